import {
  categoryOf,
  evolveObject,
  objectConsequences,
  timestamp,
  volumeKind,
  type ObjectRules,
  type VolumeAllocation,
  type VolumeLease,
  type VolumeOwnEvent,
  type VolumeSpec,
} from '@xenolith/contracts';
import {
  formatBytes,
  type AlsoCommand,
  type Command,
  type Consequences,
  type EventPlace,
  type JsonObject,
  type NewEvent,
  type Uuid,
} from '@xenolith/kernel';
import { STORAGE_DOMAIN_CATEGORY } from './storage-domain.js';
import { onVolumeSpecChange } from './volume-changes.js';
import type { VolumeOwn, VolumeState } from './volume.state.js';

export const VOLUME_CATEGORY = categoryOf(volumeKind);

const NO_ALLOCATION: VolumeAllocation = {
  storageDomain: '',
  storageDomainUid: '',
  sizeBytes: 0,
  provisioning: 'sparse',
};

export const volumeRules: ObjectRules<VolumeSpec, VolumeOwn> = {
  kind: volumeKind,
  // The creation's event carries the allocation; `evolve` sets it from there.
  initialOwn: () => ({
    allocation: NO_ALLOCATION,
    sealed: false,
    snapshotOf: null,
    revertedTo: null,
    lease: null,
    heir: null,
    fencingToken: 0,
    lastRun: null,
    leaseChangedAt: '',
  }),
  onSpecChange: onVolumeSpecChange,
  status: ({ meta, own }) => ({
    phase: meta.deletionTimestamp !== undefined ? 'Deleting' : own.lease ? 'InUse' : 'Available',
    size: formatBytes(own.allocation.sizeBytes),
    storageDomain: own.allocation.storageDomain,
    attachedTo: own.lease?.virtualMachine.name,
    attachedToUid: own.lease?.virtualMachine.uid,
    fencingToken: own.fencingToken,
    ...(own.sealed ? { sealed: true } : {}),
    ...(own.snapshotOf === null ? {} : { snapshotOf: own.snapshotOf }),
    ...(own.revertedTo === null ? {} : { revertedTo: own.revertedTo }),
    conditions: [
      { type: 'Ready', status: 'True', reason: 'Allocated', message: '', lastTransitionTime: meta.creationTimestamp },
      {
        type: 'Attached',
        status: own.lease ? 'True' : 'False',
        reason: own.lease ? 'LeaseGranted' : 'NoLease',
        message: own.lease ? `virtual machine "${own.lease.virtualMachine.name}" holds the lease` : '',
        lastTransitionTime: own.leaseChangedAt,
      },
    ],
  }),
};

const withLease = (own: VolumeOwn, lease: VolumeLease, at: number): VolumeOwn => ({
  ...own,
  lease,
  heir: null,
  // One that was prepared has its token from before.
  fencingToken: Math.max(own.fencingToken, lease.fencingToken),
  leaseChangedAt: timestamp(at),
});

const evolveOwn = (own: VolumeOwn, event: VolumeOwnEvent, at: number): VolumeOwn => {
  switch (event.type) {
    case 'VolumeCreated': {
      const { allocation, lease, sealed = false, snapshotOf } = event.data;
      const leaseChangedAt = timestamp(at);
      const made: VolumeOwn = { ...own, allocation, sealed, snapshotOf: snapshotOf?.name ?? null, leaseChangedAt };
      return lease ? withLease(made, lease, at) : made;
    }
    case 'VolumeSnapshotted':
      return own;
    case 'VolumeReverted': {
      const { to, toBytes } = event.data;
      return { ...own, revertedTo: to.name, allocation: { ...own.allocation, sizeBytes: toBytes } };
    }
    case 'VolumeGrown':
      return { ...own, allocation: { ...own.allocation, sizeBytes: event.data.toBytes } };
    case 'VolumeAttached':
      return withLease(own, event.data.lease, at);
    case 'VolumeDetached':
      return {
        ...own,
        lease: null,
        heir: own.heir !== null && own.heir.incarnation > event.data.incarnation ? own.heir : null,
        lastRun: { virtualMachine: event.data.virtualMachine, incarnation: event.data.incarnation },
        leaseChangedAt: timestamp(at),
      };
    case 'VolumeHandoverPrepared':
      return { ...own, heir: event.data.lease, fencingToken: event.data.lease.fencingToken };
    case 'VolumeHandoverCancelled':
      return { ...own, heir: null };
  }
};

export const evolveVolume = (state: VolumeState, event: NewEvent, place: EventPlace): VolumeState => {
  const shared = evolveObject(volumeRules, state, event, place);
  if (shared && event.type !== 'VolumeCreated') return shared;
  const object = shared ?? state;
  if (object.phase === 'absent') return state;
  const own = evolveOwn(object.own, event as unknown as VolumeOwnEvent, place.at);
  // A machine's volume that is made again under the same uid never grants a token twice.
  const before = state.phase === 'absent' ? 0 : state.own.fencingToken;
  const size = event.type === 'VolumeReverted' ? { size: formatBytes(own.allocation.sizeBytes) } : {};
  return {
    ...object,
    spec: { ...object.spec, ...size },
    own: { ...own, fencingToken: Math.max(own.fencingToken, before) },
  };
};

const toDomain = (allocation: VolumeAllocation, type: string, data: JsonObject): AlsoCommand => ({
  category: STORAGE_DOMAIN_CATEGORY,
  streamId: allocation.storageDomainUid,
  type,
  data: { ...data, provisioning: allocation.provisioning },
});

/** A snapshot is a volume of its own, made in the append that says that it was taken; it shares its blocks, so that it is sparse whatever it was taken of. */
const snapshotTaken = (event: NewEvent, before: VolumeState, command: Command): readonly AlsoCommand[] => {
  if (event.type !== 'VolumeSnapshotted' || before.phase === 'absent') return [];
  const { snapshot, name, owner } = event.data as unknown as { snapshot: Uuid; name: string; owner: JsonObject };
  const { allocation } = before.own;
  const { storageDomain, format } = before.spec;
  const size = formatBytes(allocation.sizeBytes);
  const data = {
    name,
    ...(before.meta.namespace === undefined ? {} : { namespace: before.meta.namespace }),
    owner,
    snapshotOf: { uid: command.streamId, name: before.meta.name },
    spec: { size, format, provisioning: 'sparse', ...(storageDomain === undefined ? {} : { storageDomain }) },
    allocation: { ...allocation, provisioning: 'sparse' },
  };
  return [{ category: VOLUME_CATEGORY, streamId: snapshot, type: 'CreateVolumeSnapshot', data }];
};

/** The storage domain's ledger moves in the append that makes, resizes or removes the volume. */
const ledgerMoves = (event: NewEvent, before: VolumeState, command: Command): readonly AlsoCommand[] => {
  const volume = command.streamId;
  if (event.type === 'VolumeCreated') {
    const { allocation } = event.data as unknown as { allocation: VolumeAllocation };
    return [toDomain(allocation, 'ReserveStorage', { volume, bytes: allocation.sizeBytes, volumes: 1 })];
  }
  if (before.phase === 'absent') return [];
  const { allocation } = before.own;
  if (event.type === 'VolumeGrown' || event.type === 'VolumeReverted') {
    const { fromBytes, toBytes } = event.data as unknown as { fromBytes: number; toBytes: number };
    return [toDomain(allocation, 'ReserveStorage', { volume, bytes: toBytes - fromBytes, volumes: 0 })];
  }
  if (event.type === 'VolumeDeleted')
    return [toDomain(allocation, 'ReleaseStorage', { volume, bytes: allocation.sizeBytes })];
  return [];
};

export const volumeConsequences = (event: NewEvent, before: VolumeState, command: Command): Consequences => ({
  ...objectConsequences(volumeRules, event, before, command),
  also: [...snapshotTaken(event, before, command), ...ledgerMoves(event, before, command)],
});
