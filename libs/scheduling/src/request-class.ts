import { HOSTNAME_LABEL, type PlacementRequest, type SelectorRequirement } from '@xenolith/contracts';
import type { HostTable } from './host-table.js';
import type { HostTraits } from './host-traits.js';
import { meetsAll, untolerated, type Labels } from './selectors.js';

/** Classes that are remembered; four of five requests are of a kind that was seen before (reference: Protean). */
const CLASSES_MAX = 4_096;

/** Filters that look at nothing but what a host shares with others, in the order in which they are asked. */
export const TRAIT_FILTERS = [
  'cluster',
  'hypervisor',
  'cpuFeatures',
  'storage',
  'network',
  'hostAffinity',
  'taints',
] as const;
export type TraitFilter = (typeof TRAIT_FILTERS)[number];

const TRAIT_FILTER_NAMES: ReadonlySet<string> = new Set(TRAIT_FILTERS);
export const isTraitFilter = (filter: string): filter is TraitFilter => TRAIT_FILTER_NAMES.has(filter);

const NO_TOLERATIONS: NonNullable<PlacementRequest['tolerations']> = [];

const termsOf = (request: PlacementRequest): readonly { matchExpressions: readonly SelectorRequirement[] }[] =>
  request.affinity?.hostAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.hostSelectorTerms ?? [];

/** Whether a host's labels are those that the request asks for. */
export const hasLabels = (request: PlacementRequest, labels: Labels): boolean => {
  for (const key in request.hostSelector) if (labels[key] !== request.hostSelector[key]) return false;
  const terms = termsOf(request);
  return terms.length === 0 || terms.some((term) => meetsAll(labels, term.matchExpressions));
};

/** Paravirtual guests need Xen; the others need a processor with extensions for virtualisation, where the host says what it has. No release of Xen gives a guest any number of vCPUs. */
export const runsGuests = (request: PlacementRequest, traits: HostTraits): boolean => {
  const { guestType, hypervisor } = request;
  if (traits.hypervisor === 'kvm') return hypervisor !== 'xen' && guestType === 'hvm';
  if (hypervisor === 'kvm') return false;
  if (traits.maxVcpus && request.vcpus > traits.maxVcpus[guestType]) return false;
  return (
    guestType === 'pv' || traits.features.length === 0 || EXTENSIONS.some((name) => traits.features.includes(name))
  );
};

const EXTENSIONS = ['vmx', 'svm', 'hvm'];

/** Names of the storage domains that a host does not reach, of those that are asked for. */
export const unreachedStorage = (request: PlacementRequest, { storageDomains: reached }: HostTraits): string[] =>
  reached === undefined ? [] : (request.storageDomains ?? []).filter((name) => !reached.includes(name));

/** Names of the networks that a host does not reach, of those that are asked for. */
export const unreachedNetworks = (request: PlacementRequest, { networks: reached }: HostTraits): string[] => {
  const { namespace } = request.virtualMachine;
  return reached === undefined
    ? []
    : (request.networks ?? []).filter((name) => !reached.includes(`${namespace}/${name}`));
};

/** Whether a filter lets hosts with these traits through; `labels`: theirs, or one host's own. */
export const traitPasses = (
  filter: TraitFilter,
  request: PlacementRequest,
  traits: HostTraits,
  labels: Labels = traits.labels,
): boolean => {
  switch (filter) {
    case 'cluster':
      return request.cluster === undefined || traits.cluster === request.cluster;
    case 'hypervisor':
      return runsGuests(request, traits);
    case 'cpuFeatures':
      return (request.cpuFeatures ?? []).every((feature) => traits.features.includes(feature));
    case 'storage':
      return unreachedStorage(request, traits).length === 0;
    case 'network':
      return unreachedNetworks(request, traits).length === 0;
    case 'hostAffinity':
      return hasLabels(request, labels);
    case 'taints':
      return untolerated(traits.taints, request.tolerations ?? NO_TOLERATIONS, 'NoSchedule').length === 0;
  }
};

export const UNKNOWN = 0;
export const PASSES = 1;
/** A verdict from here on is a refusal: the place of the filter in `TRAIT_FILTERS`, added. */
export const REFUSED = 2;

interface Eligible {
  readonly groups: readonly number[];
  readonly partitions: readonly number[];
  readonly hosts: number;
}

/** Requests that ask the same of a host by itself, with what was found of each set of traits. */
export class RequestClass {
  /** Whether a host's own name counts, so that hosts of the same traits are not alike. */
  readonly byName: boolean;
  readonly resources: readonly (readonly [string, number])[];
  private verdicts = new Uint8Array(16);
  private likings = new Float64Array(16);
  private dislikes = new Uint8Array(16);
  private membership = -1;
  private groups: number[] = [];
  private partitions: number[] = [];
  private hosts = 0;
  private uniform = true;

  constructor(readonly request: PlacementRequest) {
    const preferred = request.affinity?.hostAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    const expressions = [...termsOf(request), ...preferred.map(({ preference }) => preference)].flatMap(
      ({ matchExpressions }) => matchExpressions,
    );
    this.byName =
      request.hostSelector?.[HOSTNAME_LABEL] !== undefined || expressions.some(({ key }) => key === HOSTNAME_LABEL);
    this.resources = Object.entries(request.resources ?? {}).filter(([, count]) => count > 0);
  }

  /** `PASSES`, or `REFUSED` and the filter. */
  verdict(table: HostTable, slot: number): number {
    if (this.byName) return this.judge(table, slot);
    const group = table.group[slot] ?? 0;
    const known = this.verdicts[group] ?? UNKNOWN;
    if (known !== UNKNOWN) return known;
    this.learn(table, group);
    return this.verdicts[group] ?? PASSES;
  }

  /** Whether one filter refuses a host, whatever those before it say. */
  refusesTraits(table: HostTable, slot: number, filter: TraitFilter): boolean {
    const traits = table.traits.get(table.group[slot] ?? 0);
    return traits !== undefined && !traitPasses(filter, this.request, traits, table.labels[slot] ?? traits.labels);
  }

  /** Weights of the preferences that a host meets. */
  liking(table: HostTable, slot: number): number {
    const group = table.group[slot] ?? 0;
    if (this.byName) return this.weigh(table.labels[slot] ?? {});
    if ((this.verdicts[group] ?? UNKNOWN) === UNKNOWN) this.learn(table, group);
    return this.likings[group] ?? 0;
  }

  /** Taints that should keep it away where there is another host. */
  dislike(table: HostTable, slot: number): number {
    const group = table.group[slot] ?? 0;
    if (this.byName) return this.disliked(table.traits.get(group));
    if ((this.verdicts[group] ?? UNKNOWN) === UNKNOWN) this.learn(table, group);
    return this.dislikes[group] ?? 0;
  }

  /** Sets of traits that pass, of hosts that may take machines; the partitions of those hosts, and how many they are. */
  eligible(table: HostTable): Eligible {
    const { groups, partitions, hosts } = this;
    if (this.membership === table.membership) return { groups, partitions, hosts };
    this.membership = table.membership;
    this.groups = [];
    this.hosts = 0;
    for (let group = 0; group < table.traits.size; group += 1) {
      const hosts = table.byTraits.counts[group] ?? 0;
      if (hosts === 0) continue;
      if (!this.byName) {
        if ((this.verdicts[group] ?? UNKNOWN) === UNKNOWN) this.learn(table, group);
        if (this.verdicts[group] !== PASSES) continue;
      }
      this.groups.push(group);
      this.hosts += hosts;
    }
    this.partitions = [...new Set(this.groups.map((group) => table.traits.partitionOf(group)))].sort((a, b) => a - b);
    this.sortByLiking();
    return { groups: this.groups, partitions: this.partitions, hosts: this.hosts };
  }

  /** Whether some of the hosts that may do are liked more than others. */
  prefers(table: HostTable): boolean {
    this.eligible(table);
    return !this.uniform;
  }

  /** The most liked first. */
  private sortByLiking(): void {
    const of = (group: number): readonly [number, number] => [this.dislikes[group] ?? 0, this.likings[group] ?? 0];
    this.groups.sort((left, right) => {
      const [[leftDislike, leftLiking], [rightDislike, rightLiking]] = [of(left), of(right)];
      return leftDislike - rightDislike || rightLiking - leftLiking || left - right;
    });
    const [first, last] = [this.groups[0] ?? 0, this.groups.at(-1) ?? 0];
    this.uniform = !this.byName && of(first).join() === of(last).join();
  }

  private judge(table: HostTable, slot: number): number {
    const traits = table.traits.get(table.group[slot] ?? 0);
    return traits ? this.judgement(traits, table.labels[slot] ?? traits.labels) : PASSES;
  }

  private judgement(traits: HostTraits, labels: Labels): number {
    const refusing = TRAIT_FILTERS.findIndex((filter) => !traitPasses(filter, this.request, traits, labels));
    return refusing < 0 ? PASSES : REFUSED + refusing;
  }

  private learn(table: HostTable, group: number): void {
    const traits = table.traits.get(group);
    if (!traits) return;
    if (group >= this.verdicts.length) this.grow(group);
    this.verdicts[group] = this.judgement(traits, traits.labels);
    this.likings[group] = this.weigh(traits.labels);
    this.dislikes[group] = this.disliked(traits);
  }

  private weigh(labels: Labels): number {
    let liking = 0;
    const preferred = this.request.affinity?.hostAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    for (const { weight, preference } of preferred) if (meetsAll(labels, preference.matchExpressions)) liking += weight;
    return liking;
  }

  private disliked(traits: HostTraits | undefined): number {
    if (!traits) return 0;
    return untolerated(traits.taints, this.request.tolerations ?? NO_TOLERATIONS, 'PreferNoSchedule').length;
  }

  private grow(group: number): void {
    const size = Math.max(group + 1, this.verdicts.length * 2);
    const [verdicts, likings, dislikes] = [new Uint8Array(size), new Float64Array(size), new Uint8Array(size)];
    verdicts.set(this.verdicts);
    likings.set(this.likings);
    dislikes.set(this.dislikes);
    [this.verdicts, this.likings, this.dislikes] = [verdicts, likings, dislikes];
  }
}

const keyOf = (request: PlacementRequest): string => {
  const { vcpus, memoryBytes, hypervisor, guestType, cluster = '' } = request;
  const plain = `${vcpus}/${memoryBytes}/${hypervisor}/${guestType}/${request.numa ?? ''}/${cluster}`;
  const { hostSelector, affinity, tolerations, cpuFeatures, resources, devices } = request;
  const reach = reachOf(request);
  if (!hostSelector && !affinity?.hostAffinity && !tolerations && !cpuFeatures && !resources && !reach) return plain;
  const { hostAffinity } = affinity ?? {};
  return `${plain}/${JSON.stringify([hostSelector, hostAffinity, tolerations, cpuFeatures, resources, devices, reach])}`;
};

/** Networks are of a namespace. */
const reachOf = ({ storageDomains, networks, virtualMachine }: PlacementRequest): readonly unknown[] | undefined =>
  storageDomains || networks ? [storageDomains, networks && [virtualMachine.namespace, networks]] : undefined;

/** The classes of the requests that came lately. */
export class ClassBook {
  private readonly classes = new Map<string, RequestClass>();

  of(request: PlacementRequest): RequestClass {
    const key = keyOf(request);
    const known = this.classes.get(key);
    if (known) return known;
    const made = new RequestClass(request);
    this.classes.set(key, made);
    if (this.classes.size > CLASSES_MAX) {
      const oldest = this.classes.keys().next();
      if (oldest.done !== true) this.classes.delete(oldest.value);
    }
    return made;
  }
}
