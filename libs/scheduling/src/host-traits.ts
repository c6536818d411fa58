import { HOSTNAME_LABEL, type Taint } from '@xenolith/contracts';
import { canonicalJson } from '@xenolith/kernel';
import type { Labels } from './selectors.js';

/** vCPUs that one guest can have, by its type. */
export type GuestLimits = Readonly<Record<'pv' | 'hvm' | 'pvh', number>>;

/** What a host shares with many others and seldom changes: looked at once for each request class, not once for each host. */
export interface HostTraits {
  readonly cluster: string;
  readonly hypervisor: 'xen' | 'kvm';
  /** Absent: it sets none. */
  readonly maxVcpus?: GuestLimits;
  /** Without the host's own name. */
  readonly labels: Labels;
  readonly taints: readonly Taint[];
  readonly features: readonly string[];
  /** Absent: it reaches every one. */
  readonly storageDomains?: readonly string[];
  /** Each as `namespace/name`. */
  readonly networks?: readonly string[];
}

/** More partitions than this are one: each is looked at by itself. */
const PARTITIONS_MAX = 64;

/** What keeps most machines from a host whatever else it is: hosts that differ in it are found apart from each other. */
const partitionKey = ({ cluster, hypervisor, taints }: HostTraits): string =>
  canonicalJson([cluster, hypervisor, taints.filter(({ effect }) => effect === 'NoSchedule')]);

/** Numbers sets of traits. A number never means another set, so that what was found of one holds for ever. */
export class TraitBook {
  private readonly numbers = new Map<string, number>();
  private readonly known: HostTraits[] = [];
  private readonly partitionKeys = new Map<string, number>();
  private readonly partitionNumbers: number[] = [];
  /** Facts come again and again with each change of a host: the text is made once for each object. */
  private readonly remembered = new WeakMap<HostTraits, number>();

  get size(): number {
    return this.known.length;
  }

  numberOf(traits: HostTraits): number {
    const seen = this.remembered.get(traits);
    if (seen !== undefined) return seen;
    const text = canonicalJson(traits);
    let number = this.numbers.get(text);
    if (number === undefined) {
      number = this.known.length;
      this.numbers.set(text, number);
      this.known.push(traits);
      this.partitionNumbers.push(this.partition(partitionKey(traits)));
    }
    this.remembered.set(traits, number);
    return number;
  }

  get partitions(): number {
    return this.partitionKeys.size;
  }

  /** The partition of hosts with the set of traits of a number. */
  partitionOf(number: number): number {
    return this.partitionNumbers[number] ?? 0;
  }

  private partition(key: string): number {
    const known = this.partitionKeys.get(key) ?? Math.min(PARTITIONS_MAX - 1, this.partitionKeys.size);
    if (this.partitionKeys.size < PARTITIONS_MAX) this.partitionKeys.set(key, known);
    return known;
  }

  get(number: number): HostTraits | undefined {
    return this.known[number];
  }
}

export const withoutHostname = (labels: Labels): Labels => {
  const { [HOSTNAME_LABEL]: _name, ...others } = labels;
  return others;
};
