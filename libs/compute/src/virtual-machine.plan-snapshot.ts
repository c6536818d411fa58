import {
  apiVersionOf,
  virtualMachineSnapshotKind,
  type AttachedDisk,
  type AttachedNic,
  type PlanStep,
  type SnapshotContent,
  type SnapshotDisk,
} from '@xenolith/contracts';
import { formatBytes, sameJson, uuidFrom, type Uuid } from '@xenolith/kernel';
import {
  cleanUp,
  detachDisks,
  DOMAIN_STEP_MS,
  finish,
  from,
  giveBackDisk,
  giveBackNic,
  inStages,
  machineRef,
  moveNics,
  ownerOf,
  placementRequest,
  releasePlacement,
  step,
} from './virtual-machine.plan-steps.js';
import { discardImage, imageVolumeUid } from './virtual-machine.plan-suspend.js';
import { placedRun, type MachineSnapshot, type PlacedRun, type PresentMachine } from './virtual-machine.state.js';

type Name = Pick<MachineSnapshot, 'uid' | 'name'>;

const ownedBy = (snapshot: Name): Record<string, unknown> => ({
  apiVersion: apiVersionOf(virtualMachineSnapshotKind),
  kind: virtualMachineSnapshotKind.kind,
  name: snapshot.name,
  uid: snapshot.uid,
  controller: true,
});

/** The volume that holds a part of a snapshot. */
const heldIn = (snapshot: Name, part: string): { volume: string; volumeUid: Uuid } => ({
  volume: `${snapshot.name}-${part}`,
  volumeUid: uuidFrom(snapshot.uid, 'volume', part),
});

const IMAGE_PART = 'suspend-image';

/** Holds what a volume holds now, until it is discarded or its snapshot goes. */
const snapshotVolume = (snapshot: Name, part: string, of: Uuid): PlanStep => {
  const { volume, volumeUid } = heldIn(snapshot, part);
  return step({
    name: `snapshot-${part}`,
    to: { service: 'storage' },
    type: 'SnapshotVolume',
    streamId: of,
    data: { snapshot: volumeUid, name: volume, owner: ownedBy(snapshot) },
    undo: { type: 'DiscardSealedVolume', streamId: volumeUid, data: {} },
  });
};

/** Disks as the machine has them, not those that its spec names no more. */
const disksOf = ({ own, spec }: PresentMachine): readonly AttachedDisk[] =>
  own.disks.filter(({ name }) => spec.disks.some((disk) => disk.name === name));

const heldDisk = (snapshot: Name, disk: AttachedDisk): Record<keyof SnapshotDisk, unknown> => ({
  name: disk.name,
  volume: disk.volume,
  volumeUid: disk.volumeUid,
  owned: disk.owned,
  readOnly: disk.readOnly ?? false,
  sizeBytes: from(`snapshot-${disk.name}`, 'sizeBytes'),
  held: heldIn(snapshot, disk.name),
});

const taken = (
  machine: PresentMachine,
  snapshot: Name,
  { operation, image }: { readonly operation: Uuid; readonly image?: Record<string, unknown> },
): PlanStep =>
  finish(machine, 'RecordVirtualMachineSnapshotTaken', {
    operation,
    content: {
      spec: machine.spec,
      hardware: machine.own.hardware,
      hypervisor: machine.own.hypervisor,
      disks: disksOf(machine).map((disk) => heldDisk(snapshot, disk)),
      ...(image === undefined ? {} : { image: { ...image, ...heldIn(snapshot, IMAGE_PART) } }),
    },
  });

interface Asked {
  readonly operation: Uuid;
  readonly snapshot: Name;
  readonly timeoutMs: number;
}

/** Room for the guest -> it is saved and stands still -> its disks are held at that very moment -> it goes on. */
const checkpointOfRun = (machine: PresentMachine, run: PlacedRun, asked: Asked): PlanStep[] => {
  const { operation, snapshot, timeoutMs } = asked;
  const { incarnation, host } = run;
  const { volume, volumeUid } = heldIn(snapshot, IMAGE_PART);
  const streamId = machine.meta.uid;
  const room = step({
    name: 'image',
    to: { service: 'storage' },
    type: 'ProvisionVolume',
    streamId: volumeUid,
    data: {
      name: volume,
      namespace: machine.meta.namespace,
      owner: ownedBy(snapshot),
      spec: { size: formatBytes(placementRequest(machine).memoryBytes), format: 'raw', provisioning: 'sparse' },
      virtualMachine: machineRef(machine),
      incarnation,
      sealed: true,
    },
    undo: { type: 'DiscardSealedVolume', streamId: volumeUid, data: {} },
  });
  const saved = step({
    name: 'checkpoint-domain',
    to: { agentOfHost: host },
    type: 'CheckpointDomain',
    streamId,
    data: { incarnation, timeoutMs, paused: true },
    timeoutMs: timeoutMs + DOMAIN_STEP_MS,
    undo: { type: 'UnpauseDomain', streamId, data: { incarnation } },
  });
  const goOn = step({
    name: 'unpause-domain',
    to: { agentOfHost: host },
    type: 'UnpauseDomain',
    streamId,
    data: { incarnation },
    timeoutMs: DOMAIN_STEP_MS,
    doneOn: ['host_unknown_domain', 'host_stale_incarnation'],
    mustSucceed: true,
  });
  const written = step({
    name: 'detach-image',
    to: { service: 'storage' },
    type: 'DetachVolume',
    streamId: volumeUid,
    data: { virtualMachine: { uid: machine.meta.uid }, incarnation },
    doneOn: ['not_found'],
    mustSucceed: true,
  });
  const image = {
    sizeBytes: from(saved.name, 'sizeBytes'),
    content: from(saved.name, 'content'),
    reservedBytes: from(room.name, 'sizeBytes'),
  };
  return inStages(
    [room],
    [saved],
    disksOf(machine).map((disk) => snapshotVolume(snapshot, disk.name, disk.volumeUid)),
    [goOn, written],
    [taken(machine, snapshot, { operation, image })],
  );
};

/**
 * As XAPI has it: a checkpoint holds the memory of a machine that runs or is suspended, while one of a paused machine, and every plain snapshot, holds its disks
 * only (xapi_vm_clone.ml, `new_power_state`).
 */
export const snapshotPlan = (machine: PresentMachine, asked: Asked & { readonly memory: boolean }): PlanStep[] => {
  const { own } = machine;
  const { operation, snapshot, memory } = asked;
  const disks = disksOf(machine).map((disk) => snapshotVolume(snapshot, disk.name, disk.volumeUid));
  if (memory && own.run.phase === 'running') return checkpointOfRun(machine, own.run, asked);
  if (!memory || own.run.phase !== 'suspended' || own.image === null)
    return inStages(disks, [taken(machine, snapshot, { operation })]);
  const { sizeBytes, content, volumeUid } = own.image;
  const held = snapshotVolume(snapshot, IMAGE_PART, volumeUid);
  const image = { sizeBytes, content, reservedBytes: from(held.name, 'sizeBytes') };
  return inStages([...disks, held], [taken(machine, snapshot, { operation, image })]);
};

/** The end of whatever run there is: XAPI's revert begins with that (xapi_vm.ml, `revert`). */
const endOfRun = (machine: PresentMachine): readonly (readonly PlanStep[])[] => {
  const run = placedRun(machine.own.run);
  if (run === null) return cleanUp(machine);
  const { incarnation } = run;
  const end = step({
    name: 'shutdown-domain-hard',
    to: { agentOfHost: run.host },
    type: 'ShutdownDomain',
    streamId: machine.meta.uid,
    data: { incarnation, mode: 'hard', timeoutMs: DOMAIN_STEP_MS },
    timeoutMs: DOMAIN_STEP_MS,
    doneOn: ['host_unknown_domain', 'host_stale_incarnation'],
    mustSucceed: true,
  });
  return [
    [end],
    [
      ...detachDisks(machine, incarnation),
      ...moveNics(machine, incarnation),
      releasePlacement(machine, incarnation, 'the machine is put back to a snapshot'),
    ],
  ];
};

/** A volume of the machine and the one that holds what it is to hold. */
interface Restored {
  readonly name: string;
  readonly volume: string;
  readonly volumeUid: Uuid;
  readonly owned: boolean;
  readonly sizeBytes: number;
  readonly to: Uuid;
  readonly format: 'raw' | 'cow';
  readonly storageDomain?: string | undefined;
}

const restoredDisks = ({ disks, spec }: SnapshotContent): readonly Restored[] =>
  disks.map(({ held, ...disk }) => ({
    ...disk,
    to: held.volumeUid,
    format: 'cow',
    storageDomain: spec.disks.find(({ name }) => name === disk.name)?.storageDomain,
  }));

const restoredImage = (machine: PresentMachine, { image }: SnapshotContent): readonly Restored[] =>
  image === undefined
    ? []
    : [
        {
          name: IMAGE_PART,
          volume: `${machine.meta.name}-${IMAGE_PART}`,
          volumeUid: imageVolumeUid(machine.meta.uid),
          owned: true,
          sizeBytes: image.reservedBytes,
          to: image.volumeUid,
          format: 'raw',
        },
      ];

/** The lease to write it; a volume of the machine's own that is gone is made again. */
const lease = (machine: PresentMachine, incarnation: number, restored: Restored): PlanStep => {
  const { volumeUid, owned, sizeBytes, format, storageDomain } = restored;
  const run = { virtualMachine: machineRef(machine), incarnation, readOnly: false };
  const ended = { virtualMachine: { uid: machine.meta.uid }, incarnation };
  const name = `lease-${restored.name}`;
  const to = { service: 'storage' };
  if (!owned) {
    const undo = { type: 'DetachVolume', streamId: volumeUid, data: ended };
    return step({ name, to, type: 'AttachVolume', streamId: volumeUid, data: run, undo });
  }
  const known =
    machine.own.image?.volumeUid === volumeUid || machine.own.disks.some((disk) => disk.volumeUid === volumeUid);
  return step({
    name,
    to,
    type: 'ProvisionVolume',
    streamId: volumeUid,
    data: {
      name: restored.volume,
      namespace: machine.meta.namespace,
      owner: ownerOf(machine),
      spec: {
        size: formatBytes(sizeBytes),
        format,
        provisioning: 'sparse',
        ...(storageDomain === undefined ? {} : { storageDomain }),
      },
      ...run,
    },
    undo: { type: 'DeprovisionVolume', streamId: volumeUid, data: { ...ended, delete: !known } },
  });
};

const restore = (machine: PresentMachine, incarnation: number, { name, volumeUid, to }: Restored): PlanStep =>
  step({
    name: `revert-${name}`,
    to: { service: 'storage' },
    type: 'RevertVolume',
    streamId: volumeUid,
    data: { to, virtualMachine: { uid: machine.meta.uid }, incarnation },
    mustSucceed: true,
  });

const letGo = (machine: PresentMachine, incarnation: number, { name, volumeUid }: Restored): PlanStep =>
  step({
    name: `let-go-${name}`,
    to: { service: 'storage' },
    type: 'DetachVolume',
    streamId: volumeUid,
    data: { virtualMachine: { uid: machine.meta.uid }, incarnation },
    doneOn: ['not_found'],
    mustSucceed: true,
  });

/** Interfaces that are the same in the snapshot keep their ports, and with them their addresses. */
const keptNics = ({ own, spec }: PresentMachine, content: SnapshotContent): readonly AttachedNic[] =>
  own.nics.filter(({ name }) => {
    const [now, then] = [spec, content.spec].map(({ nics }) => nics.find((nic) => nic.name === name));
    return now !== undefined && then !== undefined && sameJson(now, then);
  });

/**
 * The run ends, if there is one -> the machine takes all volumes under a number of its own -> from here on only forwards: they get what the snapshot holds -> they
 * are let go, and what the snapshot does not know is given back. The image of a checkpoint stays the machine's, which is suspended then.
 */
export const revertPlan = (
  machine: PresentMachine,
  asked: { readonly operation: Uuid; readonly incarnation: number; readonly snapshot: MachineSnapshot },
): PlanStep[] => {
  const { operation, incarnation, snapshot } = asked;
  const { content } = snapshot;
  const disks = restoredDisks(content);
  const image = restoredImage(machine, content);
  const nics = keptNics(machine, content);
  const gone = machine.own.disks.filter((disk) => !disks.some(({ volumeUid }) => volumeUid === disk.volumeUid));
  return inStages(
    ...endOfRun(machine),
    [...disks, ...image].map((restored) => lease(machine, incarnation, restored)),
    [...disks, ...image].map((restored) => restore(machine, incarnation, restored)),
    [
      ...disks.map((restored) => letGo(machine, incarnation, restored)),
      ...gone.map((disk) => giveBackDisk(machine, disk, incarnation)),
      ...machine.own.nics.filter((nic) => !nics.includes(nic)).map((nic) => giveBackNic(machine, nic, incarnation)),
      ...(image.length === 0 ? discardImage(machine) : []),
    ],
    [
      finish(machine, 'RecordVirtualMachineReverted', {
        operation,
        incarnation,
        snapshot: snapshot.uid,
        nics,
        ...(image.length === 0
          ? {}
          : { image: { volume: from(`lease-${IMAGE_PART}`, 'name'), volumeUid: from(`lease-${IMAGE_PART}`, 'uid') } }),
      }),
    ],
  );
};
