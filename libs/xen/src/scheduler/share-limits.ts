import { present } from '@xenolith/kernel';

export interface Filling {
  readonly domain: number;
  readonly demand: number;
  readonly weight: number;
  share: number;
  state: 'growing' | 'satisfied' | 'crowded' | 'capped';
}

/** vCPUs that may run on the same pCPUs. */
export interface AffinityGroup {
  readonly vcpus: readonly Filling[];
  readonly pcpus: readonly number[];
  /** What its fixed vCPUs have. */
  fixed: number;
  /** Of those that grow. */
  weight: number;
  growing: number;
}

/** Those that reach the limit of their pCPUs at this level, all together. */
export interface Crowd {
  readonly level: number;
  readonly vcpus: readonly Filling[];
}

/** Groups that share pCPUs, directly or over others, and nothing with the rest of the host. */
export class AffinityPart {
  readonly groups: readonly AffinityGroup[];
  readonly pcpus: readonly number[];
  /** Not before this level is any set of pCPUs full: fixing a vCPU early leaves more for the others, so it only grows. */
  #safeLevel = 0;

  constructor(groups: readonly AffinityGroup[]) {
    this.groups = groups;
    this.pcpus = [...new Set(groups.flatMap((group) => group.pcpus))];
  }

  /** `vcpu` has got its share. */
  fix(vcpu: Filling): void {
    const group = present(
      this.groups.length === 1 ? this.groups[0] : this.groups.find((it) => it.vcpus.includes(vcpu)),
      'the vCPU is in a group of its part',
    );
    group.fixed += vcpu.share;
    group.growing -= 1;
    group.weight = group.growing === 0 ? 0 : group.weight - vcpu.weight;
  }

  /** Who is full first, where that is below `ceiling`; null: nobody. */
  crowdBelow(ceiling: number): Crowd | null {
    if (this.#safeLevel >= ceiling) return null;
    let level = this.#levelOf(this.groups);
    let full: readonly AffinityGroup[] = this.groups;
    if (level === Infinity) return null;
    // Each set that does not fit gives a lower level, until all fit: the last one is the tightest.
    while (this.groups.length > 1) {
      const crowded = this.#overfull(level);
      if (crowded.length === 0) break;
      const lower = this.#levelOf(crowded);
      if (!(lower < level)) break;
      level = lower;
      full = crowded;
    }
    this.#safeLevel = level;
    if (level >= ceiling) return null;
    return { level, vcpus: full.flatMap((group) => group.vcpus.filter((vcpu) => vcpu.state === 'growing')) };
  }

  /** The level at which these groups fill the pCPUs that any of them may use. */
  #levelOf(groups: readonly AffinityGroup[]): number {
    let weight = 0;
    let fixed = 0;
    for (const group of groups) {
      weight += group.weight;
      fixed += group.fixed;
    }
    if (weight === 0) return Infinity;
    const room = groups === this.groups ? this.pcpus.length : new Set(groups.flatMap((group) => group.pcpus)).size;
    return Math.max(0, room - fixed) / weight;
  }

  /** The groups of a minimum cut that do not get what they want at this level; empty: everybody fits. */
  #overfull(level: number): readonly AffinityGroup[] {
    const flow = new BipartiteFlow(this.groups, level);
    return flow.unserved();
  }
}

/** Flow below this is rounding. */
const NEGLIGIBLE = 1e-9;

/** A maximum flow from groups, each with what it wants at a level, to pCPUs of size 1, by augmenting paths. */
class BipartiteFlow {
  readonly #groups: readonly AffinityGroup[];
  readonly #wanted: number[];
  readonly #room = new Map<number, number>();
  readonly #flows: Map<number, number>[];
  readonly #users = new Map<number, number[]>();

  constructor(groups: readonly AffinityGroup[], level: number) {
    this.#groups = groups;
    this.#wanted = groups.map((group) => group.fixed + group.weight * level);
    this.#flows = groups.map(() => new Map<number, number>());
    for (const [index, group] of groups.entries())
      for (const pcpu of group.pcpus) {
        this.#room.set(pcpu, 1);
        const users = this.#users.get(pcpu);
        if (users === undefined) this.#users.set(pcpu, [index]);
        else users.push(index);
      }
    // Those with little choice first: most of the flow is found without a detour.
    const order = groups.map((_, index) => index).sort((one, other) => this.#choices(one) - this.#choices(other));
    for (const index of order) this.#serveDirectly(index);
    for (const index of order) while (this.#augment(index));
  }

  /** Groups from which the unserved rest could still go nowhere: the set that is too big for its pCPUs. */
  unserved(): readonly AffinityGroup[] {
    const starts = this.#groups.flatMap((_, index) => (this.#want(index) > NEGLIGIBLE ? [index] : []));
    const { groups } = this.#search(starts);
    return [...groups.keys()].map((index) => present(this.#groups[index], 'the group exists'));
  }

  #choices(index: number): number {
    return present(this.#groups[index], 'the group exists').pcpus.length;
  }

  #want(index: number): number {
    return this.#wanted[index] ?? 0;
  }

  #flowsOf(index: number): Map<number, number> {
    return present(this.#flows[index], 'the group exists');
  }

  #push(index: number, pcpu: number, amount: number): void {
    const flows = this.#flowsOf(index);
    flows.set(pcpu, (flows.get(pcpu) ?? 0) + amount);
  }

  #serveDirectly(index: number): void {
    for (const pcpu of present(this.#groups[index], 'the group exists').pcpus) {
      const room = this.#room.get(pcpu) ?? 0;
      const amount = Math.min(room, this.#want(index));
      if (amount <= 0) continue;
      this.#push(index, pcpu, amount);
      this.#room.set(pcpu, room - amount);
      this.#wanted[index] = this.#want(index) - amount;
    }
  }

  /** Breadth first from these groups: over a pCPU on to each group that could give some of it away. Stops at a pCPU with room. */
  #search(starts: readonly number[]): { groups: Map<number, number>; pcpus: Map<number, number>; end: number } {
    const groups = new Map(starts.map((index) => [index, -1]));
    const pcpus = new Map<number, number>();
    for (const index of groups.keys())
      for (const pcpu of present(this.#groups[index], 'the group exists').pcpus) {
        if (pcpus.has(pcpu)) continue;
        pcpus.set(pcpu, index);
        if ((this.#room.get(pcpu) ?? 0) > NEGLIGIBLE) return { groups, pcpus, end: pcpu };
        for (const user of this.#users.get(pcpu) ?? [])
          if (!groups.has(user) && (this.#flowsOf(user).get(pcpu) ?? 0) > NEGLIGIBLE) groups.set(user, pcpu);
      }
    return { groups, pcpus, end: -1 };
  }

  #augment(start: number): boolean {
    if (this.#want(start) <= NEGLIGIBLE) return false;
    const { groups, pcpus, end } = this.#search([start]);
    if (end === -1) return false;
    const path: [number, number][] = [];
    let amount = Math.min(this.#want(start), this.#room.get(end) ?? 0);
    for (let pcpu = end; ;) {
      const index = present(pcpus.get(pcpu), 'the search came here');
      path.push([index, pcpu]);
      const from = present(groups.get(index), 'the search came here');
      if (from === -1) break;
      amount = Math.min(amount, this.#flowsOf(index).get(from) ?? 0);
      path.push([index, -1 - from]);
      pcpu = from;
    }
    for (const [index, pcpu] of path)
      if (pcpu >= 0) this.#push(index, pcpu, amount);
      else this.#push(index, -1 - pcpu, -amount);
    this.#wanted[start] = this.#want(start) - amount;
    this.#room.set(end, (this.#room.get(end) ?? 0) - amount);
    return true;
  }
}

/** Splits a host into parts that have nothing in common. */
export const connectedParts = (
  pcpuCount: number,
  vcpus: readonly Filling[],
  affinities: readonly (readonly number[] | undefined)[],
): readonly AffinityPart[] => {
  const all = Array.from({ length: pcpuCount }, (_, pcpu) => pcpu);
  const byKey = new Map<string, { pcpus: readonly number[]; vcpus: Filling[] }>();
  for (const [index, vcpu] of vcpus.entries()) {
    const affinity = affinities[index];
    const key = affinity?.join() ?? '';
    const group = byKey.get(key);
    if (group === undefined) byKey.set(key, { pcpus: affinity ?? all, vcpus: [vcpu] });
    else group.vcpus.push(vcpu);
  }
  const groups = [...byKey.values()].map((group): AffinityGroup => {
    const growing = group.vcpus.filter((vcpu) => vcpu.state === 'growing');
    const weight = growing.reduce((sum, vcpu) => sum + vcpu.weight, 0);
    return { vcpus: group.vcpus, pcpus: [...new Set(group.pcpus)], fixed: 0, weight, growing: growing.length };
  });
  const parts: AffinityGroup[][] = [];
  const partOf = new Map<number, AffinityGroup[]>();
  for (const group of groups) {
    const part = [group];
    for (const met of new Set(group.pcpus.flatMap((pcpu) => partOf.get(pcpu) ?? []))) part.push(met);
    for (const member of part) for (const pcpu of member.pcpus) partOf.set(pcpu, part);
  }
  for (const part of new Set(partOf.values())) parts.push([...new Set(part)]);
  return parts.map((part) => new AffinityPart(part));
};

/** Of all parts, those that are full first, where that is below `ceiling`. */
export const mostUrgent = (parts: readonly AffinityPart[], ceiling: number): Crowd | null =>
  parts.reduce<Crowd | null>((best, part) => part.crowdBelow(best?.level ?? ceiling) ?? best, null);
