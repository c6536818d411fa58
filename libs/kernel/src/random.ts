/**
 * A seeded stream of pseudo-random numbers (SplitMix32 seeding xoshiro128**, both in the public domain). The same seed gives the
 * same numbers on every machine. Not for secrets.
 */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, bound). `bound` is a positive integer. */
  below(bound: number): number;
  /** True with the given probability in [0, 1]. */
  chance(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
  /** An independent stream named by `label`: drawing from one never shifts the other. */
  fork(label: string | number): Random;
}

const hashText = (text: string): number => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
};

const rotateLeft = (value: number, bits: number): number => (value << bits) | (value >>> (32 - bits));

export const randomFrom = (seed: number | string): Random => {
  const start = typeof seed === 'number' ? hashText(String(seed)) : hashText(seed);
  let mixer = start;
  const splitMix = (): number => {
    mixer = (mixer + 0x9e3779b9) | 0;
    let mixed = mixer ^ (mixer >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
  let [a, b, c, d] = [splitMix(), splitMix(), splitMix(), splitMix()];
  const draw = (): number => {
    const drawn = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = rotateLeft(d, 11);
    return drawn;
  };
  const random: Random = {
    next: () => ((draw() >>> 5) * 0x4000000 + (draw() >>> 6)) / 0x20000000000000,
    below: (bound) => Math.floor(random.next() * bound),
    chance: (probability) => random.next() < probability,
    pick: <Item>(items: readonly Item[]): Item => items[random.below(items.length)] as Item,
    fork: (label) => randomFrom(`${start}/${label}`),
  };
  return random;
};
