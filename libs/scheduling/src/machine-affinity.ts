import {
  HOSTNAME_LABEL,
  type LabelSelector,
  type MachineAffinityTerm,
  type PlacementRequest,
} from '@xenolith/contracts';
import { canonicalJson, type Uuid } from '@xenolith/kernel';
import type { HostTable } from './host-table.js';
import { selects, type Labels } from './selectors.js';

/** Terms that no machine holds and that are kept counted: those of requests come again. */
const IDLE_TERMS_MAX = 4_096;

/** A place of a topology: a host by its slot, others by the value of their label. */
type Domain = number | string;

/** A term of affinity with what it counts, place by place. */
export interface Term {
  readonly namespace: string;
  readonly selector: LabelSelector;
  readonly topologyKey: string;
  readonly key: string;
  /** Machines that the selector selects. */
  readonly matching: Map<Domain, number>;
  /** Machines that must not be where those are. */
  readonly holding: Map<Domain, number>;
}

/** A placed machine that has labels, or terms of its own. */
export interface AffineMachine {
  readonly uid: Uuid;
  readonly namespace: string;
  readonly labels: Labels;
  readonly far: readonly MachineAffinityTerm[];
  readonly slot: number;
}

export const termKey = (namespace: string, { labelSelector, topologyKey }: MachineAffinityTerm): string =>
  `${namespace}/${topologyKey}/${canonicalJson(labelSelector)}`;

const add = (counts: Map<Domain, number>, domain: Domain | undefined, change: number): void => {
  if (domain === undefined) return;
  const count = (counts.get(domain) ?? 0) + change;
  if (count > 0) counts.set(domain, count);
  else counts.delete(domain);
};

const put = <Value>(sets: Map<string, Set<Value>>, key: string, value: Value): void => {
  const set = sets.get(key);
  if (set) set.add(value);
  else sets.set(key, new Set([value]));
};

const takeOut = <Value>(sets: Map<string, Set<Value>>, key: string, value: Value): void => {
  const set = sets.get(key);
  if (set?.delete(value) === true && set.size === 0) sets.delete(key);
};

/** Where machines run that others want to be near to or far from: each term is counted when it is first asked for, and kept counted from then on. */
export class AffinityBook {
  private readonly machines = new Map<Uuid, AffineMachine>();
  private readonly inNamespace = new Map<string, Set<Uuid>>();
  private readonly ofMachine = new Map<Uuid, Set<Uuid>>();
  private readonly terms = new Map<string, Term>();
  /** Terms by one label that their selector asks for, or by namespace alone. */
  private readonly byLabel = new Map<string, Set<Term>>();

  constructor(private readonly table: HostTable) {}

  put(placement: Uuid, machine: AffineMachine): void {
    this.remove(placement);
    for (const term of machine.far) this.term(machine.namespace, term);
    this.machines.set(placement, machine);
    put(this.inNamespace, machine.namespace, placement);
    put(this.ofMachine, machine.uid, placement);
    this.count(machine, 1);
  }

  remove(placement: Uuid): void {
    const machine = this.machines.get(placement);
    if (!machine) return;
    this.machines.delete(placement);
    takeOut(this.inNamespace, machine.namespace, placement);
    takeOut(this.ofMachine, machine.uid, placement);
    this.count(machine, -1);
  }

  /** A host has other labels: places that are not single hosts are counted again. */
  relabelled(): void {
    for (const term of this.terms.values()) {
      if (term.topologyKey === HOSTNAME_LABEL) continue;
      term.matching.clear();
      term.holding.clear();
      this.countAll(term);
    }
  }

  domain(term: Term, slot: number): Domain | undefined {
    return term.topologyKey === HOSTNAME_LABEL ? slot : this.table.labels[slot]?.[term.topologyKey];
  }

  /** The term with its counts. */
  term(namespace: string, wanted: MachineAffinityTerm): Term {
    const key = termKey(namespace, wanted);
    const known = this.terms.get(key);
    if (known) return known;
    const { labelSelector: selector, topologyKey } = wanted;
    const term: Term = { namespace, selector, topologyKey, key, matching: new Map(), holding: new Map() };
    this.countAll(term);
    this.terms.set(key, term);
    put(this.byLabel, labelOf(term), term);
    if (this.terms.size > IDLE_TERMS_MAX) this.forgetIdle();
    return term;
  }

  /** Whether a term is still kept counted: one that nobody holds may be forgotten. */
  counts(term: Term): boolean {
    return this.terms.get(term.key) === term;
  }

  /** Terms of the namespace that select a machine with these labels. */
  selecting(namespace: string, labels: Labels): readonly Term[] {
    const found: Term[] = [];
    const look = (key: string): void => {
      for (const term of this.byLabel.get(key) ?? []) if (selects(term.selector, labels)) found.push(term);
    };
    look(namespace);
    for (const label in labels) look(`${namespace}/${label}=${labels[label] ?? ''}`);
    return found;
  }

  /** What a machine has placed already, as one does that migrates: it is neither near to nor far from itself. */
  placedOf(machine: Uuid): readonly AffineMachine[] {
    return [...(this.ofMachine.get(machine) ?? [])].flatMap((placement) => this.machines.get(placement) ?? []);
  }

  private countAll(term: Term): void {
    for (const placement of this.inNamespace.get(term.namespace) ?? []) {
      const machine = this.machines.get(placement);
      if (!machine) continue;
      const domain = this.domain(term, machine.slot);
      if (selects(term.selector, machine.labels)) add(term.matching, domain, 1);
      if (isCounted(machine, term, true)) add(term.holding, domain, 1);
    }
  }

  private count(machine: AffineMachine, change: 1 | -1): void {
    for (const term of this.selecting(machine.namespace, machine.labels))
      add(term.matching, this.domain(term, machine.slot), change);
    for (const far of machine.far) {
      const term = this.terms.get(termKey(machine.namespace, far));
      if (term) add(term.holding, this.domain(term, machine.slot), change);
    }
  }

  private forgetIdle(): void {
    for (const term of this.terms.values()) {
      if (this.terms.size <= IDLE_TERMS_MAX / 2) return;
      if (term.holding.size > 0) continue;
      this.terms.delete(term.key);
      takeOut(this.byLabel, labelOf(term), term);
    }
  }
}

const labelOf = ({ namespace, selector }: Term): string => {
  const [label] = Object.entries(selector.matchLabels ?? {});
  return label ? `${namespace}/${label[0]}=${label[1]}` : namespace;
};

/** What a request asks of the machines that are there, with the counts of this moment. */
export interface MachineWish {
  readonly near: readonly Term[];
  /** Terms of which this is the first machine: it may be anywhere, and the others will be near to it. */
  readonly first: readonly Term[];
  readonly far: readonly Term[];
  /** Terms of machines that are there which keep this one away. */
  readonly repelling: readonly Term[];
  readonly liked: readonly { readonly weight: number; readonly term: Term }[];
  /** This machine's own other placements. */
  readonly own: readonly AffineMachine[];
}

const NO_LABELS: Labels = {};

/** Null: nothing is asked, and nobody there minds. */
export const machineWish = (book: AffinityBook, request: PlacementRequest): MachineWish | null => {
  const { affinity, labels = NO_LABELS } = request;
  const { namespace, uid } = request.virtualMachine;
  const repelling = request.labels
    ? book.selecting(namespace, labels).filter((term) => term.holding.size > 0)
    : ([] as readonly Term[]);
  const [attract, repel] = [affinity?.virtualMachineAffinity, affinity?.virtualMachineAntiAffinity];
  if (repelling.length === 0 && !attract && !repel) return null;
  const term = (wanted: MachineAffinityTerm): Term => book.term(namespace, wanted);
  const required = attract?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const liked = [
    ...(attract?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(
      ({ weight, virtualMachineAffinityTerm }) => ({ weight, term: term(virtualMachineAffinityTerm) }),
    ),
    ...(repel?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(({ weight, virtualMachineAffinityTerm }) => ({
      weight: -weight,
      term: term(virtualMachineAffinityTerm),
    })),
  ];
  const near = required.map(term);
  // As in Kubernetes: the first of a group that wants to be together may be anywhere.
  // One that migrates is its own company no more than it is a stranger.
  const own = book.placedOf(uid);
  const alone = ({ matching }: Term): boolean =>
    matching.size <= own.length && [...matching.values()].reduce((sum, count) => sum + count, 0) <= own.length;
  const first = near.every((wanted) => selects(wanted.selector, labels) && alone(wanted));
  const far = (repel?.requiredDuringSchedulingIgnoredDuringExecution ?? []).map(term);
  return { near: first ? [] : near, first: first ? near : [], far, repelling, liked, own };
};

const isCounted = (machine: AffineMachine, { key, selector }: Term, held: boolean): boolean =>
  held ? machine.far.some((far) => termKey(machine.namespace, far) === key) : selects(selector, machine.labels);

const counted = (book: AffinityBook, wish: MachineWish, at: { term: Term; slot: number; held: boolean }): number => {
  const { term, slot, held } = at;
  const domain = book.domain(term, slot);
  if (domain === undefined) return 0;
  const count = (held ? term.holding : term.matching).get(domain) ?? 0;
  if (count === 0 || wish.own.length === 0) return count;
  const own = wish.own.filter(
    (machine) => book.domain(term, machine.slot) === domain && isCounted(machine, term, held),
  );
  return count - own.length;
};

/** Machines of a term in a slot's place. */
export const machinesNear = (book: AffinityBook, wish: MachineWish, term: Term, slot: number): number =>
  counted(book, wish, { term, slot, held: false });

export const lacksCompany = (book: AffinityBook, wish: MachineWish, slot: number): Term | undefined =>
  wish.near.find((term) => machinesNear(book, wish, term, slot) === 0);

export const hasRepellent = (book: AffinityBook, wish: MachineWish, slot: number): Term | undefined =>
  wish.far.find((term) => machinesNear(book, wish, term, slot) > 0) ??
  wish.repelling.find((term) => counted(book, wish, { term, slot, held: true }) > 0);

/** Weights of what is liked of a slot's place, each as often as there are machines of it. */
export const likingOf = (book: AffinityBook, wish: MachineWish, slot: number): number => {
  let liking = 0;
  for (const { weight, term } of wish.liked) liking += weight * machinesNear(book, wish, term, slot);
  return liking;
};

/** What filters look at. */
export interface Fleet {
  readonly table: HostTable;
  readonly affinity: AffinityBook;
}
