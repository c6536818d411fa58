import {
  attachVolumeData,
  cancelVolumeHandoverData,
  createVolumeSnapshotData,
  changeData,
  decideObject,
  deleteData,
  deprovisionVolumeData,
  desiredMetadata,
  detachVolumeData,
  eventOf,
  finalizerRemoved,
  notFound,
  prepareVolumeHandoverData,
  provisionVolumeData,
  revertVolumeData,
  snapshotVolumeData,
  volumeKind,
  type DesiredMetadata,
  type ProvisionVolumeData,
  type VolumeAllocation,
  type VolumeLease,
  type VolumeSpec,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  type Command,
  type JsonObject,
  type NewEvent,
  type Rejection,
  type Result,
} from '@xenolith/kernel';
import { keepSettled } from './volume-changes.js';
import { volumeRules } from './volume.js';
import type { Volume, VolumeState } from './volume.state.js';

type Events = Result<readonly NewEvent[]>;

/** What `prepare` found for a volume that would be made now: an allocation with the spec it settles, or why there is none. */
export type ResolvedVolume = Result<{ readonly allocation: VolumeAllocation; readonly spec: VolumeSpec }>;

/** Keeps a volume that was asked to go while its machine still holds the lease; the lease's end takes it off. */
export const LEASE_FINALIZER = 'storage.xenolith.dev/lease';

type Machine = VolumeLease['virtualMachine'];

interface Run {
  readonly virtualMachine: Machine;
  readonly incarnation: number;
  readonly readOnly: boolean;
}

/** Answers every command on a volume. */
export const decideVolume = (command: Command, state: VolumeState): Events => {
  switch (command.type) {
    case 'ChangeVolume':
      return change(command, state);
    case 'DeleteVolume':
      return remove(command, state);
    case 'ProvisionVolume':
      return provision(command, state);
    case 'DeprovisionVolume':
      return deprovision(command, state);
    case 'AttachVolume':
      return state.phase === 'present'
        ? attach(state, attachVolumeData.parse(command.data))
        : notFound(volumeKind, command.streamId);
    case 'PrepareVolumeHandover':
      return state.phase === 'present'
        ? prepareHandover(state, prepareVolumeHandoverData.parse(command.data))
        : notFound(volumeKind, command.streamId);
    case 'SnapshotVolume':
      return state.phase === 'present'
        ? ok([eventOf('VolumeSnapshotted', snapshotVolumeData.parse(command.data) as JsonObject)])
        : notFound(volumeKind, command.streamId);
    case 'CreateVolumeSnapshot':
      return createSnapshot(command, state);
    case 'DiscardSealedVolume':
      return discardSealed(command, state);
    case 'RevertVolume':
      return state.phase === 'present' ? revert(command, state) : notFound(volumeKind, command.streamId);
    case 'CancelVolumeHandover':
      return ok(cancelHandover(state, cancelVolumeHandoverData.parse(command.data)));
    case 'DetachVolume': {
      const data = detachVolumeData.parse(command.data);
      return ok(state.phase === 'present' ? detach(state, data.virtualMachine.uid, data.incarnation) : []);
    }
    default:
      return decideShared(command, state);
  }
};

/** Takes what `prepare` added off the command's data. */
const splitResolved = (command: Command): { readonly resolved: ResolvedVolume; readonly data: JsonObject } => {
  const { resolved, ...data } = command.data;
  const found = resolved as unknown as ResolvedVolume | undefined;
  return {
    resolved: found ?? reject('storage_domain_not_found', 'no storage domain was looked for'),
    data: data,
  };
};

const change = (command: Command, state: VolumeState): Events => {
  const { resolved, data } = splitResolved(command);
  const wished = changeData.parse(data);
  if (wished.intent === 'create' && state.phase === 'absent') {
    if (!resolved.ok) return resolved;
    return made(command, { metadata: wished.metadata, resolved: resolved.value });
  }
  if (state.phase !== 'present') return decideShared({ ...command, data }, state);
  const held = state.meta.finalizers.filter(
    (finalizer) => finalizer === LEASE_FINALIZER && !wished.metadata.finalizers.includes(finalizer),
  );
  const metadata = { ...wished.metadata, finalizers: [...wished.metadata.finalizers, ...held] };
  const spec = keepSettled(wished.spec as VolumeSpec, state.spec);
  return decideShared({ ...command, data: { ...data, metadata, spec } as JsonObject }, state);
};

const decideShared = (command: Command, state: VolumeState): Events =>
  decideObject(volumeRules, command, state) ?? reject('command_unknown', `a volume knows no command ${command.type}`);

/** The creation as the shared rules have it, with the allocation and, for a machine's own disk, its first lease. */
const made = (
  command: Command,
  wished: {
    readonly metadata: DesiredMetadata;
    readonly resolved: { readonly allocation: VolumeAllocation; readonly spec: VolumeSpec };
    readonly lease?: VolumeLease;
    readonly sealed?: boolean | undefined;
    readonly snapshotOf?: { readonly uid: string; readonly name: string };
  },
): Events => {
  const data = { intent: 'create', metadata: wished.metadata, spec: wished.resolved.spec } as unknown as JsonObject;
  const decided = decideShared({ ...command, type: 'ChangeVolume', data }, { phase: 'absent' });
  if (!decided.ok) return decided;
  const { resolved, lease, sealed, snapshotOf } = wished;
  const extra = {
    allocation: resolved.allocation,
    ...(lease ? { lease } : {}),
    ...(sealed === true ? { sealed } : {}),
    ...(snapshotOf ? { snapshotOf } : {}),
  };
  return ok(
    decided.value.map((event) =>
      event.type === 'VolumeCreated' ? { ...event, data: { ...event.data, ...extra } } : event,
    ),
  );
};

const provision = (command: Command, state: VolumeState): Events => {
  const { resolved, data } = splitResolved(command);
  const wished: ProvisionVolumeData = provisionVolumeData.parse(data);
  const run: Run = {
    virtualMachine: wished.virtualMachine,
    incarnation: wished.incarnation,
    readOnly: wished.readOnly,
  };
  if (state.phase === 'present') return attach(state, run);
  if (!resolved.ok) return resolved;
  const metadata = desiredMetadata.parse({
    name: wished.name,
    namespace: wished.namespace,
    ownerReferences: [wished.owner],
  });
  const lastToken = state.phase === 'absent' ? 0 : state.own.fencingToken;
  const { sealed } = wished;
  return made(command, { metadata, resolved: resolved.value, lease: leaseOf(run, lastToken), sealed });
};

const createSnapshot = (command: Command, state: VolumeState): Events => {
  if (state.phase === 'present') return ok([]);
  const { name, namespace, owner, snapshotOf, spec, allocation } = createVolumeSnapshotData.parse(command.data);
  const metadata = desiredMetadata.parse({ name, namespace, ownerReferences: [owner] });
  return made(command, { metadata, resolved: { allocation, spec }, sealed: true, snapshotOf });
};

/** What a snapshot that came to nothing had got so far; whoever writes it has lost it. */
const discardSealed = (command: Command, state: VolumeState): Events => {
  if (state.phase !== 'present' || !state.own.sealed) return ok([]);
  const { lease } = state.own;
  const detached = lease === null ? [] : detach(state, lease.virtualMachine.uid, lease.incarnation);
  if (state.meta.deletionTimestamp !== undefined) return ok(detached);
  const removed = decideShared({ ...command, type: 'DeleteVolume', data: {} }, state);
  return removed.ok ? ok([...detached, ...removed.value]) : removed;
};

/** What `prepare` found of the sealed volume. */
export type HeldContent = Result<{ readonly name: string; readonly sizeBytes: number }>;

const revert = (command: Command, volume: Volume): Events => {
  const { held, ...data } = command.data;
  const { to, virtualMachine, incarnation } = revertVolumeData.parse(data);
  const found = held as unknown as HeldContent;
  if (!found.ok) return found;
  const { lease, allocation } = volume.own;
  if (lease?.virtualMachine.uid !== virtualMachine.uid || lease.incarnation !== incarnation || lease.readOnly)
    return reject(
      'volume_in_use',
      `run ${incarnation} of virtual machine ${virtualMachine.uid} does not hold the lease of volume "${volume.meta.name}", so that it can't put it back`,
    );
  const { name, sizeBytes: toBytes } = found.value;
  return ok([eventOf('VolumeReverted', { to: { uid: to, name }, fromBytes: allocation.sizeBytes, toBytes })]);
};

const leaseOf = (run: Run, lastToken: number): VolumeLease => ({
  virtualMachine: run.virtualMachine,
  incarnation: run.incarnation,
  readOnly: run.readOnly,
  fencingToken: lastToken + 1,
});

const stale = (volume: Volume, run: Run, newer: number): { ok: false; rejection: Rejection } =>
  reject(
    'virtual_machine_stale_incarnation',
    `volume "${volume.meta.name}": run ${run.incarnation} of virtual machine "${run.virtualMachine.name}" asks for the lease, but run ${newer} of it had it already`,
  );

const attach = (volume: Volume, run: Run): Events => {
  const { lease, heir, lastRun, fencingToken } = volume.own;
  const { uid } = run.virtualMachine;
  const user = (lease ?? heir)?.virtualMachine;
  // A machine that has it may go on with it, as another run too, until it lets go.
  if (volume.meta.deletionTimestamp !== undefined && user?.uid !== uid)
    return reject('volume_not_available', `volume "${volume.meta.name}" is being deleted`);
  if (user && user.uid !== uid)
    return reject(
      'volume_in_use',
      `volume "${volume.meta.name}" is attached to virtual machine "${user.name}"; detach it there first`,
      { details: { attachedTo: user } },
    );
  if (lease && lease.incarnation > run.incarnation) return stale(volume, run, lease.incarnation);
  if (lastRun && lastRun.virtualMachine === uid && lastRun.incarnation > run.incarnation)
    return stale(volume, run, lastRun.incarnation);
  if (lease?.incarnation === run.incarnation) return ok([]);
  if (volume.own.sealed && !run.readOnly)
    return reject(
      'volume_not_available',
      `volume "${volume.meta.name}" is a part of a snapshot and never written; attach it with readOnly`,
    );
  const prepared = heir?.incarnation === run.incarnation ? heir : leaseOf(run, fencingToken);
  return ok([eventOf('VolumeAttached', { lease: prepared })]);
};

const prepareHandover = (volume: Volume, run: Run): Events => {
  const { lease, heir, fencingToken } = volume.own;
  if (lease?.virtualMachine.uid !== run.virtualMachine.uid)
    return reject(
      'volume_in_use',
      `virtual machine "${run.virtualMachine.name}" does not hold the lease of volume "${volume.meta.name}", so that it can't be handed over`,
    );
  if (heir?.incarnation === run.incarnation) return ok([]);
  const youngest = Math.max(lease.incarnation, heir?.incarnation ?? 0);
  if (youngest >= run.incarnation) return stale(volume, run, youngest);
  return ok([eventOf('VolumeHandoverPrepared', { lease: leaseOf(run, fencingToken) })]);
};

const cancelHandover = (
  state: VolumeState,
  {
    virtualMachine: { uid },
    incarnation,
  }: { readonly virtualMachine: { readonly uid: string }; readonly incarnation: number },
): readonly NewEvent[] => {
  const heir = state.phase === 'present' ? state.own.heir : null;
  const prepared = heir?.virtualMachine.uid === uid && heir.incarnation === incarnation;
  return prepared ? [eventOf('VolumeHandoverCancelled', { virtualMachine: uid, incarnation })] : [];
};

/** Ends the lease of that run or an older one, and the volume with it when only the lease kept it. */
const detach = (volume: Volume, virtualMachine: string, incarnation: number): readonly NewEvent[] => {
  const { lease } = volume.own;
  if (lease?.virtualMachine.uid !== virtualMachine || lease.incarnation > incarnation) return [];
  return [
    eventOf('VolumeDetached', { virtualMachine, incarnation }),
    ...finalizerRemoved(volumeKind, volume, LEASE_FINALIZER),
  ];
};

/** Undoes a provisioning; with `delete` a disk that the machine owns goes, once no run of the machine holds it. */
const deprovision = (command: Command, state: VolumeState): Events => {
  const data = deprovisionVolumeData.parse(command.data);
  if (state.phase !== 'present') return ok([]);
  const { uid } = data.virtualMachine;
  const detached = detach(state, uid, data.incarnation);
  const owned = state.meta.ownerReferences.some((owner) => owner.uid === uid);
  const held = state.own.lease !== null && detached.length === 0;
  if (!data.delete || !owned || held) return ok(detached);
  if (state.meta.deletionTimestamp !== undefined) return ok(detached);
  const removed = decideShared({ ...command, type: 'DeleteVolume', data: {} }, state);
  return removed.ok ? ok([...detached, ...removed.value]) : removed;
};

const remove = (command: Command, state: VolumeState): Events => {
  const isUser = command.actor.startsWith('user:');
  const snapshot = state.phase === 'present' && state.own.sealed ? state.meta.ownerReferences[0] : undefined;
  if (snapshot !== undefined && isUser)
    return reject(
      'volume_in_use',
      `volume "${state.phase === 'present' ? state.meta.name : ''}" is a part of snapshot "${snapshot.name}": delete that instead`,
    );
  if (state.phase !== 'present' || state.own.lease === null) return decideShared(command, state);
  const { virtualMachine } = state.own.lease;
  const owned = state.meta.ownerReferences.some((owner) => owner.uid === virtualMachine.uid);
  // What is in use goes when its use ends, as Kubernetes protects claimed volumes; the parts of a living machine go with it only.
  if (!owned || !isUser) {
    const data = deleteData.parse(command.data) as JsonObject;
    const finalizers = [...new Set([...state.meta.finalizers, LEASE_FINALIZER])];
    return decideShared({ ...command, data }, { ...state, meta: { ...state.meta, finalizers } });
  }
  return reject(
    'volume_in_use',
    `volume "${state.meta.name}" is attached to virtual machine "${virtualMachine.name}", which owns it: delete the virtual machine instead`,
    { details: { attachedTo: virtualMachine } },
  );
};
