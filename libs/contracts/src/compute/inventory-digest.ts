/** What identifies a domain for the comparison of a host with the log: which run it is, under which id, and whether its virtual CPUs run. */
export interface DigestedDomain {
  readonly virtualMachine: string;
  readonly incarnation: number;
  readonly domid: number;
  /** Neither paused nor shut down and preserved. */
  readonly runs: boolean;
}

/** Sums of digests stay below 2^53, where numbers are exact. */
const MODULUS = 2 ** 48;

/** Rounds of MurmurHash3’s mixing (32 bits, public domain) over two lanes; 48 bits are kept. Not against enemies, only against chance. */
export const domainDigest = ({ virtualMachine, incarnation, domid, runs }: DigestedDomain): number => {
  const text = `${virtualMachine}/${incarnation}/${domid}/${runs ? 'r' : 'p'}`;
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    high = Math.imul(high ^ code, 2_654_435_761);
    low = Math.imul(low ^ code, 1_597_334_677);
  }
  high = Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909);
  low = Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909);
  return (high >>> 16) * 2 ** 32 + (low >>> 0);
};

/** The digest of an inventory with one domain more. Order plays no part, so that a sum can follow the domains one by one. */
export const withDomain = (digest: number, domain: DigestedDomain): number => (digest + domainDigest(domain)) % MODULUS;

export const withoutDomain = (digest: number, domain: DigestedDomain): number =>
  (digest - domainDigest(domain) + MODULUS) % MODULUS;

/** What a heartbeat says of the whole inventory: equal for equal inventories, 0 for an empty one. */
export const inventoryDigest = (domains: readonly DigestedDomain[]): number => domains.reduce(withDomain, 0);
