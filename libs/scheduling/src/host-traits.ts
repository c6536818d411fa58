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

/** Numbers sets of traits. A number never means another set, so that what was found of one holds for ever. */
export class TraitBook {
  private readonly numbers = new Map<string, number>();
  private readonly known: HostTraits[] = [];
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
    }
    this.remembered.set(traits, number);
    return number;
  }

  get(number: number): HostTraits | undefined {
    return this.known[number];
  }
}

export const withoutHostname = (labels: Labels): Labels => {
  const { [HOSTNAME_LABEL]: _name, ...others } = labels;
  return others;
};
