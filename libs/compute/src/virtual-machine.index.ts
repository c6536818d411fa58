import { withDomain, withoutDomain, type DigestedDomain } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';

/** What other parts of the service need to know of a machine. */
export interface IndexedMachine {
  readonly uid: Uuid;
  readonly name: string;
  readonly namespace: string;
  /** The youngest run; the one that runs, while one does. */
  readonly incarnation: number;
  readonly hostUid: Uuid | null;
  readonly host: string | null;
  /** It is on its way to a host that does not show yet, as a younger run. */
  readonly migrating: boolean;
  /** A run is being started, on a host that the machine does not know yet. */
  readonly starting: boolean;
  readonly powerState: string;
  /** Of its stream, as the document has it. */
  readonly version: number;
  /** An operation is under way, so that what its host runs may be ahead of what the machine knows. */
  readonly busy: boolean;
  /** Of the run, while one does. */
  readonly domid: number | null;
}

/** What the host of a machine's run should list of it. */
export const domainOf = (machine: IndexedMachine): DigestedDomain => ({
  virtualMachine: machine.uid,
  incarnation: machine.incarnation,
  domid: machine.domid ?? 0,
  runs: machine.powerState === 'Running',
});

interface MachineStatus {
  readonly powerState: string;
  readonly incarnation: number;
  readonly hostUid?: Uuid;
  readonly host?: string;
  readonly domid?: number;
  readonly currentOperations: Readonly<Record<string, string>>;
}

const machineOf = (uid: Uuid, version: number, document: JsonObject): IndexedMachine => {
  const { name, namespace } = document['metadata'] as { name: string; namespace?: string };
  const status = document['status'] as unknown as MachineStatus;
  const actions = Object.values(status.currentOperations);
  return {
    uid,
    name,
    namespace: namespace ?? '',
    incarnation: status.incarnation,
    hostUid: status.hostUid ?? null,
    host: status.host ?? null,
    starting: actions.some((action) => action === 'start' || action === 'provision' || action === 'resume'),
    migrating: actions.includes('pool_migrate'),
    powerState: status.powerState,
    version,
    busy: actions.length > 0,
    domid: status.domid ?? null,
  };
};

/** Machines by uid, by name and by host. */
export class VirtualMachineIndex implements Index {
  readonly name = 'virtual-machines';
  readonly categories = ['virtualmachine'];
  private readonly machines = new Map<Uuid, IndexedMachine>();
  private readonly uids = new Map<string, Uuid>();
  private readonly hosts = new Map<Uuid, Set<Uuid>>();
  private readonly digests = new Map<Uuid, number>();

  get(uid: Uuid): IndexedMachine | undefined {
    return this.machines.get(uid);
  }

  uid(namespace: string, name: string): Uuid | undefined {
    return this.uids.get(`${namespace}/${name}`);
  }

  onHost(hostUid: Uuid): readonly IndexedMachine[] {
    return [...(this.hosts.get(hostUid) ?? [])].flatMap((uid) => this.machines.get(uid) ?? []);
  }

  /** The digest that a heartbeat of the host has while it runs what the machines say. */
  digestOn(hostUid: Uuid): number {
    return this.digests.get(hostUid) ?? 0;
  }

  /** How many machines there are in each power state. */
  countByPowerState(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { powerState } of this.machines.values()) counts.set(powerState, (counts.get(powerState) ?? 0) + 1);
    return counts;
  }

  load(documents: readonly StoredDocument[]): void {
    this.machines.clear();
    this.uids.clear();
    this.hosts.clear();
    this.digests.clear();
    for (const stored of documents) this.set(stored.streamId, stored.version, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.version, event.document);
  }

  private set(uid: Uuid, version: number, document: JsonObject | null): void {
    const before = this.machines.get(uid);
    if (before) this.remove(before);
    if (document === null) return;
    const machine = machineOf(uid, version, document);
    this.machines.set(uid, machine);
    this.uids.set(`${machine.namespace}/${machine.name}`, uid);
    if (machine.hostUid === null) return;
    const onHost = this.hosts.get(machine.hostUid) ?? new Set<Uuid>();
    this.hosts.set(machine.hostUid, onHost.add(uid));
    this.digests.set(machine.hostUid, withDomain(this.digestOn(machine.hostUid), domainOf(machine)));
  }

  private remove(machine: IndexedMachine): void {
    this.machines.delete(machine.uid);
    const key = `${machine.namespace}/${machine.name}`;
    if (this.uids.get(key) === machine.uid) this.uids.delete(key);
    if (machine.hostUid === null) return;
    const onHost = this.hosts.get(machine.hostUid);
    onHost?.delete(machine.uid);
    if (onHost?.size !== 0) {
      this.digests.set(machine.hostUid, withoutDomain(this.digestOn(machine.hostUid), domainOf(machine)));
      return;
    }
    this.hosts.delete(machine.hostUid);
    this.digests.delete(machine.hostUid);
  }
}
