import type { AttachedDisk, AttachedNic, PlanStep, VirtualMachineSpec, WishedDevice } from '@xenolith/contracts';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import { hardwareOf, liveChangeOf, type LiveChange } from './virtual-machine.changes.js';
import {
  attachVolume,
  DOMAIN_STEP_MS,
  finish,
  from,
  giveBackDisk,
  giveBackNic,
  inStages,
  placementUid,
  provisionDisk,
  provisionNic,
  step,
} from './virtual-machine.plan-steps.js';
import type { PlacedRun, PresentMachine } from './virtual-machine.state.js';

type Disk = VirtualMachineSpec['disks'][number];
type Nic = VirtualMachineSpec['nics'][number];

type Data = Readonly<Record<string, unknown>>;

/** A command to the domain, and the one that takes it back. */
const onDomain = (
  machine: PresentMachine,
  run: PlacedRun,
  parts: { name: string; type: string; data: Data; undo: { type: string; data: Data } },
): PlanStep => {
  const { incarnation } = run;
  const streamId = machine.meta.uid;
  return step({
    name: parts.name,
    to: { agentOfHost: run.host },
    type: parts.type,
    streamId,
    data: { incarnation, ...parts.data },
    timeoutMs: DOMAIN_STEP_MS,
    undo: { type: parts.undo.type, streamId, data: { incarnation, ...parts.undo.data } },
  });
};

const changeDomain = (machine: PresentMachine, run: PlacedRun, { hardware }: LiveChange): PlanStep[] => {
  const fields = Object.keys(hardware) as (keyof LiveChange['hardware'])[];
  if (fields.length === 0) return [];
  const had = machine.own.hardware;
  const former = had === null ? {} : Object.fromEntries(fields.map((field) => [field, had[field]]));
  return [
    onDomain(machine, run, {
      name: 'change-domain',
      type: 'ChangeDomain',
      data: hardware,
      undo: { type: 'ChangeDomain', data: former },
    }),
  ];
};

const newDisk = (machine: PresentMachine, disk: Disk, incarnation: number): PlanStep => ({
  ...(disk.volume === undefined ? provisionDisk : attachVolume)(machine, disk, incarnation),
  // A machine that runs is not held up by what is not there.
  waitOn: [],
});

const newNic = (machine: PresentMachine, run: PlacedRun, nic: Nic): PlanStep => ({
  ...provisionNic(machine, nic, run),
  waitOn: [],
});

const plugDisk = (machine: PresentMachine, run: PlacedRun, disk: Disk): PlanStep => {
  const made = `disk-${disk.name}`;
  return onDomain(machine, run, {
    name: `attach-${made}`,
    type: 'AttachDisk',
    data: {
      disk: {
        name: disk.name,
        volume: from(made, 'name'),
        sizeBytes: from(made, 'sizeBytes'),
        readOnly: disk.readOnly ?? false,
        fencingToken: from(made, 'fencingToken'),
      },
    },
    undo: { type: 'DetachDisk', data: { name: disk.name } },
  });
};

const plugNic = (machine: PresentMachine, run: PlacedRun, nic: Nic): PlanStep => {
  const made = `nic-${nic.name}`;
  return onDomain(machine, run, {
    name: `attach-${made}`,
    type: 'AttachNic',
    data: {
      nic: {
        name: nic.name,
        port: from(made, 'name'),
        mac: from(made, 'mac'),
        ips: from(made, 'ips'),
        bridge: from(made, 'bridge'),
      },
    },
    undo: { type: 'DetachNic', data: { name: nic.name } },
  });
};

const unplugDisk = (machine: PresentMachine, run: PlacedRun, disk: AttachedDisk): PlanStep => {
  const { name, volume, sizeBytes = 0, fencingToken = 0, readOnly = false } = disk;
  return onDomain(machine, run, {
    name: `detach-disk-${name}`,
    type: 'DetachDisk',
    data: { name },
    undo: { type: 'AttachDisk', data: { disk: { name, volume, sizeBytes, readOnly, fencingToken } } },
  });
};

const unplugNic = (machine: PresentMachine, run: PlacedRun, nic: AttachedNic): PlanStep => {
  const { name, port, mac, ips, bridge = '' } = nic;
  return onDomain(machine, run, {
    name: `detach-nic-${name}`,
    type: 'DetachNic',
    data: { name },
    undo: { type: 'AttachNic', data: { nic: { name, port, mac, ips, bridge } } },
  });
};

/** Devices are reserved before the host gives them, and given back after it took them. */
const RESERVE = 'reserve-devices';
const RELEASE = 'release-devices';

const changeDevices = (
  machine: PresentMachine,
  run: PlacedRun,
  { name, add, remove }: { name: string; add: readonly WishedDevice[]; remove: readonly string[] },
): PlanStep =>
  step({
    name,
    to: { service: 'scheduler' },
    type: 'ChangePlacementDevices',
    streamId: placementUid(machine.meta.uid, run.incarnation),
    data: { add, remove },
  });

const reserveDevices = (machine: PresentMachine, run: PlacedRun, { addedDevices }: LiveChange): PlanStep[] => {
  if (addedDevices.length === 0) return [];
  const reserve = changeDevices(machine, run, { name: RESERVE, add: addedDevices, remove: [] });
  const { type, streamId } = reserve;
  const names = addedDevices.map(({ name }) => name);
  return [{ ...reserve, waitOn: [], undo: { type, streamId, data: { add: [], remove: names } } }];
};

const releaseDevices = (machine: PresentMachine, run: PlacedRun, { removedDevices }: LiveChange): PlanStep[] =>
  removedDevices.length === 0
    ? []
    : [
        {
          ...changeDevices(machine, run, { name: RELEASE, add: [], remove: removedDevices }),
          doneOn: ['placement_unknown'],
          mustSucceed: true,
        },
      ];

const giveDevice = (machine: PresentMachine, run: PlacedRun, { name }: WishedDevice): PlanStep =>
  onDomain(machine, run, {
    name: `attach-device-${name}`,
    type: 'AttachDevice',
    data: { name, devices: from(RESERVE, 'devices') },
    undo: { type: 'DetachDevice', data: { name } },
  });

const takeDevice = (machine: PresentMachine, run: PlacedRun, name: string): PlanStep =>
  onDomain(machine, run, {
    name: `detach-device-${name}`,
    type: 'DetachDevice',
    data: { name },
    undo: { type: 'AttachDevice', data: { name, devices: machine.own.devices } },
  });

/** What the machine has of its host's devices in the end; nothing is said where nothing changes. */
const devicesAfter = ({ addedDevices, removedDevices }: LiveChange): { readonly devices?: unknown } => {
  if (removedDevices.length > 0) return { devices: from(RELEASE, 'devices') };
  return addedDevices.length > 0 ? { devices: from(RESERVE, 'devices') } : {};
};

/** What a step that provides a disk or an interface answered, as the machine keeps it. */
export const attachedDisk = (disk: Disk): Record<keyof AttachedDisk, unknown> => {
  const made = `disk-${disk.name}`;
  return {
    name: disk.name,
    volume: from(made, 'name'),
    volumeUid: from(made, 'uid'),
    owned: disk.volume === undefined,
    readOnly: disk.readOnly ?? false,
    sizeBytes: from(made, 'sizeBytes'),
    fencingToken: from(made, 'fencingToken'),
  };
};

export const attachedNic = (nic: Nic): Record<keyof AttachedNic, unknown> => {
  const made = `nic-${nic.name}`;
  return {
    name: nic.name,
    port: from(made, 'name'),
    portUid: from(made, 'uid'),
    mac: from(made, 'mac'),
    ips: from(made, 'ips'),
    bridge: from(made, 'bridge'),
  };
};

/**
 * what is new is provided -> hardware changes, devices are plugged -> others are unplugged -> what is not had any more is given back. Once everything is
 * unplugged there is no way back: volumes of the machine's own go.
 */
export const changePlan = (machine: PresentMachine, run: PlacedRun, operation: Uuid): PlanStep[] => {
  const { incarnation, host } = run;
  const { own, spec } = machine;
  const change = liveChangeOf(machine, spec);
  const { addedDisks, addedNics, removedDisks, removedNics } = change;
  const keeps = <Item extends { readonly name: string }>(
    items: readonly Item[],
    removed: readonly Item[],
  ): JsonObject[] => items.filter((item) => !removed.includes(item)).map((item) => ({ ...item }));
  const reconfigured = finish(machine, 'RecordVirtualMachineReconfigured', {
    operation,
    incarnation,
    host,
    hardware: { ...hardwareOf(spec), maxVcpus: own.hardware?.maxVcpus ?? hardwareOf(spec).maxVcpus },
    disks: [...keeps(own.disks, removedDisks), ...addedDisks.map(attachedDisk)],
    nics: [...keeps(own.nics, removedNics), ...addedNics.map(attachedNic)],
    ...devicesAfter(change),
  });
  return inStages(
    [
      ...addedDisks.map((disk) => newDisk(machine, disk, incarnation)),
      ...addedNics.map((nic) => newNic(machine, run, nic)),
      ...reserveDevices(machine, run, change),
    ],
    [
      ...changeDomain(machine, run, change),
      ...addedDisks.map((disk) => plugDisk(machine, run, disk)),
      ...addedNics.map((nic) => plugNic(machine, run, nic)),
      ...change.addedDevices.map((wish) => giveDevice(machine, run, wish)),
    ],
    [
      ...removedDisks.map((disk) => unplugDisk(machine, run, disk)),
      ...removedNics.map((nic) => unplugNic(machine, run, nic)),
      ...change.removedDevices.map((name) => takeDevice(machine, run, name)),
    ],
    [
      ...removedDisks.map((disk) => giveBackDisk(machine, disk, incarnation)),
      ...removedNics.map((nic) => giveBackNic(machine, nic, incarnation)),
      ...releaseDevices(machine, run, change),
    ],
    [reconfigured],
  );
};
