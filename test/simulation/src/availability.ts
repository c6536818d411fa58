import type { PlacementRequest } from '@xenolith/contracts';
import type { ServiceDefinition } from '@xenolith/engine';
import type { Uuid } from '@xenolith/kernel';
import { hostLedgerId, type HostLedgerState, type SchedulingService } from '@xenolith/scheduling';
import type { Evidence } from './evidence.js';

interface Host {
  readonly uid: Uuid;
  readonly name: string;
  readonly hypervisor: 'xen' | 'kvm';
  readonly open: boolean;
  memoryBytes: number;
  vcpus: number;
  readonly words: Set<string>;
}

interface Machine {
  readonly request: PlacementRequest;
  readonly host: Uuid;
  readonly always: boolean;
}

interface HostDocument {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly unschedulable: boolean; readonly maintenance?: boolean };
  readonly status: {
    readonly hypervisor: 'xen' | 'kvm';
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
  };
}

interface PlanDocument {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly lost: readonly string[] };
  readonly status: {
    readonly state: string;
    readonly restarts?: readonly { readonly virtualMachine: { readonly uid: Uuid }; readonly to: string }[];
  };
}

type Ledgers = ReadonlyMap<Uuid, HostLedgerState>;

const isScheduling = (definition: ServiceDefinition): definition is SchedulingService => 'capacity' in definition;

const wordOf = ({ antiAffinity, virtualMachine }: PlacementRequest): string | null =>
  antiAffinity === undefined ? null : `${virtualMachine.namespace}/${antiAffinity}`;

const takes = (host: Host, { request }: Machine): boolean => {
  const word = wordOf(request);
  return (
    host.open &&
    host.memoryBytes >= request.memoryBytes &&
    host.vcpus >= request.vcpus &&
    (request.hypervisor === 'any' || request.hypervisor === host.hypervisor) &&
    (host.hypervisor === 'xen' || request.guestType === 'hvm') &&
    (word === null || !host.words.has(word))
  );
};

const put = (host: Host, { request }: Machine, sign: 1 | -1): void => {
  const word = wordOf(request);
  host.memoryBytes -= sign * request.memoryBytes;
  host.vcpus -= sign * request.vcpus;
  if (word !== null && sign === 1) host.words.add(word);
  if (word !== null && sign === -1) host.words.delete(word);
};

/** The fleet as documents and ledgers tell it, with nothing of what the scheduler is made of. */
class Picture {
  readonly hosts: readonly Host[];
  readonly machines: readonly Machine[];

  constructor(evidence: Evidence, ledgers: Ledgers) {
    const documents = (category: string) => evidence.log.documents([category]).documents;
    this.hosts = documents('host').map(({ streamId: uid, document }) => {
      const { metadata, spec, status } = document as unknown as HostDocument;
      const ledger = ledgers.get(hostLedgerId(uid));
      const capacity = ledger?.phase === 'declared' ? ledger.capacity : null;
      const ready = status.conditions.find(({ type }) => type === 'Ready')?.status === 'True';
      const open = ready && !spec.unschedulable && spec.maintenance !== true;
      const { memoryBytes = Number.POSITIVE_INFINITY, vcpus = Number.POSITIVE_INFINITY } = capacity ?? {};
      return { uid, name: metadata.name, hypervisor: status.hypervisor, open, memoryBytes, vcpus, words: new Set() };
    });
    const wished = new Map(
      documents('virtualmachine').map(({ streamId, document }) => [
        streamId,
        (document['spec'] as { ha: { restart: string } }).ha.restart,
      ]),
    );
    this.machines = documents('placement').flatMap(({ document }) => {
      const { request } = document['spec'] as unknown as { request: PlacementRequest };
      const { hostUid } = document['status'] as { hostUid?: Uuid };
      const restart = wished.get(request.virtualMachine.uid) ?? request.ha?.restart;
      return hostUid === undefined ? [] : [{ request, host: hostUid, always: restart === 'always' }];
    });
    for (const machine of this.machines) {
      const host = this.hosts.find(({ uid }) => uid === machine.host);
      if (host) put(host, machine, 1);
    }
  }

  /** A machine on its way has two places; what is said of it then is not looked at. */
  get isMoving(): boolean {
    const uids = this.machines.map(({ request }) => request.virtualMachine.uid);
    return new Set(uids).size < uids.length;
  }

  /** Whether whoever must run fits on the other hosts, by trying every way. */
  survives(lost: Host): boolean {
    const others = this.hosts.filter((host) => host !== lost);
    const must = this.machines
      .filter(({ host, always }) => host === lost.uid && always)
      .sort((left, right) => right.request.memoryBytes - left.request.memoryBytes);
    const seat = (at: number): boolean => {
      const machine = must[at];
      if (!machine) return true;
      return others.some((host) => {
        if (!takes(host, machine)) return false;
        put(host, machine, 1);
        const seated = seat(at + 1);
        put(host, machine, -1);
        return seated;
      });
    };
    return seat(0);
  }

  /** What is wrong with a plan that is said to cover the loss of a host. */
  misplanned(lost: Host, plan: PlanDocument): readonly string[] {
    const restarts = plan.status.restarts ?? [];
    const must = this.machines.filter(({ host, always }) => host === lost.uid && always);
    const seated: [Host, Machine][] = [];
    const broken = must.flatMap((machine) => {
      const { uid, name } = machine.request.virtualMachine;
      const to = restarts.filter(({ virtualMachine }) => virtualMachine.uid === uid).map((restart) => restart.to);
      const host = this.hosts.find((one) => one !== lost && one.name === to[0]);
      if (to.length !== 1 || !host || !takes(host, machine))
        return [`${name} can't be restarted on ${to.join() || 'no host'}`];
      put(host, machine, 1);
      seated.push([host, machine]);
      return [];
    });
    for (const [host, machine] of seated.reverse()) put(host, machine, -1);
    const extra = restarts.length > must.length ? [`it restarts ${restarts.length} machines of ${must.length}`] : [];
    return [...broken, ...extra].map((what) => `failover plan ${plan.metadata.name}: ${what}`);
  }
}

interface ClusterDocument {
  readonly spec: { readonly highAvailability?: { readonly hostFailures: number } };
  readonly status: { readonly highAvailability?: { readonly state: string; readonly uncovered?: readonly string[] } };
}

const guaranteeing = (evidence: Evidence): ClusterDocument | null => {
  const [cluster] = evidence.log
    .documents(['cluster'])
    .documents.map(({ document }) => document as unknown as ClusterDocument);
  return cluster?.spec.highAvailability?.hostFailures === 1 ? cluster : null;
};

const uncoveredOf = (picture: Picture): readonly string[] =>
  picture.hosts.filter((host) => !picture.survives(host)).map(({ name }) => name);

/** Hosts whose loss nobody could make up for now; null where nothing is promised, or where it can't be told. */
export const uncoveredLosses = (evidence: Evidence, ledgers: Ledgers): readonly string[] | null => {
  if (!guaranteeing(evidence)) return null;
  const picture = new Picture(evidence, ledgers);
  return picture.isMoving ? null : uncoveredOf(picture);
};

/** Whether clusters, and the plans for the loss of each host, say what trying every way finds. */
export const unlikeAvailability = (evidence: Evidence, ledgers: Ledgers): readonly string[] => {
  const cluster = guaranteeing(evidence);
  if (!cluster) return [];
  const picture = new Picture(evidence, ledgers);
  if (picture.isMoving) return [];
  const uncovered = uncoveredOf(picture);
  const said = cluster.status.highAvailability;
  const state = uncovered.length === 0 ? 'Protected' : 'Overcommitted';
  const broken: string[] = [];
  if (said?.state !== state)
    broken.push(
      `the cluster says that it is ${said?.state ?? 'nothing'}, it is ${state}: ${uncovered.join() || 'every loss is covered'}`,
    );
  if (said?.uncovered?.some((name) => !uncovered.includes(name)) === true)
    broken.push(`the cluster says that the loss of ${said.uncovered.join()} is not covered, it is`);
  for (const { live } of evidence.running()) {
    if (!isScheduling(live)) continue;
    for (const plan of live.capacity.failovers.after() as Iterable<unknown> as Iterable<PlanDocument>) {
      const lost = picture.hosts.find(({ name }) => name === plan.spec.lost[0]);
      if (!lost) continue;
      const wanted = uncovered.includes(lost.name) ? 'Impossible' : 'Guaranteed';
      if (plan.status.state !== wanted)
        broken.push(`failover plan ${plan.metadata.name} is ${plan.status.state} and should be ${wanted}`);
      else if (wanted === 'Guaranteed') broken.push(...picture.misplanned(lost, plan));
    }
  }
  return broken;
};
