import { commandSubject, type HostEvent, type VirtualMachineEvent } from '@xenolith/contracts';
import type { Dispatch, Reaction } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type LoggedEvent, type Uuid } from '@xenolith/kernel';
import type { ClusterIndex } from './cluster.index.js';
import type { HostIndex } from './host.index.js';
import type { VirtualMachineIndex } from './virtual-machine.index.js';

/** Reactions of this service command its own streams only: a host that does not answer must not hold up what concerns others. */
const OWN_COMMAND_MS = 15_000;

const toOwn = (event: LoggedEvent, type: string, streamId: Uuid, data: JsonObject): Dispatch => ({
  key: `${type}/${streamId}`,
  commandId: uuidFrom(event.eventId, type, streamId),
  subject: commandSubject('compute', type),
  type,
  streamId,
  data,
  timeoutMs: OWN_COMMAND_MS,
});

/** The same, unless the stream has moved on since that version. */
const ifStillAt = (version: number | undefined, dispatch: Dispatch): Dispatch =>
  version === undefined ? dispatch : { ...dispatch, expectedVersion: version };

type HostInventoryDiffered = Extract<HostEvent, { type: 'HostInventoryDiffered' }>;

/**
 * Machines learn what an inventory showed of them: their domain is gone, or is otherwise than they know. Each at the version that it had before the host was
 * asked: a machine that has moved since knows better, and the next look at the host will show whether it does.
 */
const tellOfInventory = (hosts: HostIndex): Reaction => ({
  name: 'tell-machines-of-lost-domains',
  on: ['HostInventoryDiffered'],
  react: (event) => {
    const host = hosts.get(event.streamId)?.name;
    const { missing, rebooted, changed = [] } = event.data as unknown as Partial<HostInventoryDiffered['data']>;
    if (host === undefined) return [];
    const reason = rebooted ? 'host_crash' : 'vanished';
    const message = rebooted ? `host ${host} crashed and booted again` : `the domain vanished from host ${host}`;
    const lost = (missing ?? []).map(({ virtualMachine, incarnation, version }) => {
      const data = { incarnation, host, reason, message };
      return ifStillAt(version, toOwn(event, 'RecordVirtualMachineStopped', virtualMachine, data));
    });
    const observed = changed.map(({ virtualMachine, version, incarnation, domid, state }) => {
      const data = { incarnation, host, domid, state };
      return ifStillAt(version, toOwn(event, 'RecordVirtualMachineObserved', virtualMachine, data));
    });
    return [...lost, ...observed];
  },
});

/** A start, or a migration, whose host crashed, or was deleted, between the domain's beginning there and its record: no inventory could miss it. */
const findOvertakenStarts = (hosts: HostIndex): Reaction => ({
  name: 'find-starts-that-a-crash-overtook',
  on: ['VirtualMachineStarted', 'VirtualMachineMigrated'],
  react: (event) => {
    const { data } = event as unknown as Extract<
      VirtualMachineEvent,
      { type: 'VirtualMachineStarted' | 'VirtualMachineMigrated' }
    >;
    const host = hosts.get(data.hostUid);
    if (host !== undefined && (data.bootId === undefined || host.bootId === data.bootId)) return [];
    const ended =
      host === undefined
        ? { reason: 'vanished', message: `host ${data.host} was deleted while the machine started` }
        : { reason: 'host_crash', message: `host ${data.host} crashed while the machine started` };
    const run = { incarnation: data.incarnation, host: data.host };
    return [toOwn(event, 'RecordVirtualMachineStopped', event.streamId, { ...run, ...ended })];
  },
});

/** Machines that were started on a host after its deletion had looked for machines there. */
const endRunsOfDeletedHosts = (machines: VirtualMachineIndex): Reaction => ({
  name: 'end-runs-of-deleted-hosts',
  on: ['HostDeleted'],
  react: (event) =>
    machines.onHost(event.streamId).map((machine) =>
      toOwn(event, 'RecordVirtualMachineStopped', machine.uid, {
        incarnation: machine.incarnation,
        host: machine.host,
        reason: 'vanished',
        message: `host ${machine.host ?? ''} was deleted`,
      }),
    ),
});

/** Machines show that their host does not answer, and that it does again. */
const tellOfUnreachableHosts = (hosts: HostIndex, machines: VirtualMachineIndex): Reaction => ({
  name: 'tell-machines-of-unreachable-hosts',
  on: ['HostBecameUnreachable', 'HostBecameReady'],
  react: (event) => {
    const host = hosts.get(event.streamId)?.name;
    if (host === undefined) return [];
    const type = event.type === 'HostBecameReady' ? 'RecordHostRegained' : 'RecordHostLost';
    return machines.onHost(event.streamId).map((machine) => toOwn(event, type, machine.uid, { host }));
  },
});

/** A machine keeps what puts it back to a snapshot as long as there is one. */
const forgetDeletedSnapshots: Reaction = {
  name: 'forget-deleted-snapshots',
  on: ['VirtualMachineSnapshotDeleted'],
  react: (event) => {
    const machine = event.data['virtualMachineUid'] as Uuid | undefined;
    if (machine === undefined) return [];
    return [toOwn(event, 'RecordVirtualMachineSnapshotDeleted', machine, { snapshot: event.streamId })];
  },
};

/** Clusters count their hosts. */
const countHosts = (hosts: HostIndex, clusters: ClusterIndex): Reaction => ({
  name: 'count-hosts-of-clusters',
  on: [
    'HostCreated',
    'HostSpecChanged',
    'HostDeleted',
    'HostBecameReady',
    'HostBecameUnreachable',
    'HostShutdownBegun',
    'HostPoweredOff',
    'HostWakeBegun',
    'HostPowerFailed',
    'ClusterCreated',
  ],
  react: (event) =>
    clusters.clusters().map((cluster) => toOwn(event, 'RecordClusterHosts', cluster.uid, hosts.countsOf(cluster.name))),
});

export const computeReactions = (indexes: {
  readonly hosts: HostIndex;
  readonly machines: VirtualMachineIndex;
  readonly clusters: ClusterIndex;
}): readonly Reaction[] => [
  tellOfInventory(indexes.hosts),
  findOvertakenStarts(indexes.hosts),
  endRunsOfDeletedHosts(indexes.machines),
  tellOfUnreachableHosts(indexes.hosts, indexes.machines),
  countHosts(indexes.hosts, indexes.clusters),
  forgetDeletedSnapshots,
];
