import type { Condition, HostPowerState, HostSetup } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';

export interface IndexedHost {
  readonly uid: Uuid;
  readonly name: string;
  readonly cluster: string;
  readonly bootId: string;
  readonly ready: boolean;
  readonly powered: HostPowerState;
  readonly hypervisor: 'xen' | 'kvm' | undefined;
  /** Of Xen. */
  readonly release: string | undefined;
  readonly driverDomains: boolean;
}

interface HostStatus {
  readonly bootId?: string;
  readonly conditions: readonly Condition[];
  readonly hypervisor?: 'xen' | 'kvm';
  readonly setup?: HostSetup;
  readonly power?: { readonly state: HostPowerState };
}

const hostOf = (uid: Uuid, document: JsonObject): IndexedHost => {
  const { name } = document['metadata'] as { name: string };
  const { cluster } = document['spec'] as { cluster: string };
  const { hypervisor, setup, ...status } = document['status'] as unknown as HostStatus;
  const ready = status.conditions.find((condition) => condition.type === 'Ready');
  return {
    uid,
    name,
    cluster,
    bootId: status.bootId ?? '',
    ready: ready?.status === 'True',
    powered: status.power?.state ?? 'On',
    hypervisor,
    release: setup?.release,
    driverDomains: (setup?.driverDomains ?? []).length > 0,
  };
};

/** Hosts by uid; whoever pushes something to hosts listens for their changes. */
export class HostIndex implements Index {
  readonly name = 'hosts';
  readonly categories = ['host'];
  private readonly hosts = new Map<Uuid, IndexedHost>();
  private readonly listeners = new Set<(uid: Uuid) => void>();

  get(uid: Uuid): IndexedHost | undefined {
    return this.hosts.get(uid);
  }

  all(): readonly IndexedHost[] {
    return [...this.hosts.values()];
  }

  countsOf(cluster: string): { hosts: number; readyHosts: number; parkedHosts: number } {
    const counts = { hosts: 0, readyHosts: 0, parkedHosts: 0 };
    for (const host of this.hosts.values()) {
      if (host.cluster !== cluster) continue;
      counts.hosts += 1;
      if (host.ready) counts.readyHosts += 1;
      if (host.powered === 'Off') counts.parkedHosts += 1;
    }
    return counts;
  }

  /** Calls `listener` with each host that came, went or changed; the answer ends that. */
  onChange(listener: (uid: Uuid) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  load(documents: readonly StoredDocument[]): void {
    this.hosts.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private set(uid: Uuid, document: JsonObject | null): void {
    if (document === null) this.hosts.delete(uid);
    else this.hosts.set(uid, hostOf(uid, document));
    for (const listener of this.listeners) listener(uid);
  }
}
