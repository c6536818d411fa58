import type { PcpuPlace } from './simulation.js';

/** A set of pCPUs: 1 at the number of each that is in it. */
export type PcpuMask = Uint8Array;

export const maskOf = (count: number, members: readonly number[] | undefined): PcpuMask => {
  const mask = new Uint8Array(count);
  if (members === undefined) return mask.fill(1);
  for (const member of members) mask[member] = 1;
  return mask;
};

/** The first member after `from`, going round; -1 where the set is empty (Xen's `cpumask_cycle`). */
export const cycle = (from: number, mask: PcpuMask): number => {
  const after = mask.indexOf(1, from + 1);
  return after === -1 ? mask.indexOf(1) : after;
};

/** Where a vCPU may run and where it would rather run. */
export interface Affinity {
  readonly hard: PcpuMask;
  /** The preferred part of `hard`; null where the preference says nothing (Xen's `has_soft_affinity`). */
  readonly soft: PcpuMask | null;
  /** May run on one pCPU only. */
  readonly pinned: boolean;
}

export const affinityOf = (
  count: number,
  hardAffinity: readonly number[] | undefined,
  softAffinity: readonly number[] | undefined,
): Affinity => {
  const hard = maskOf(count, hardAffinity);
  const members = hard.reduce((sum, member) => sum + member, 0);
  const soft = maskOf(count, softAffinity).map((member, pcpu) => member & (hard[pcpu] ?? 0));
  const preferred = soft.reduce((sum, member) => sum + member, 0);
  return { hard, soft: preferred === 0 || preferred === members ? null : soft, pinned: members === 1 };
};

/** For each pCPU the threads of its core and those of its socket, itself included. */
export interface Neighbours {
  readonly siblings: readonly (readonly number[])[];
  readonly socketMates: readonly (readonly number[])[];
}

export const neighboursOf = (places: readonly PcpuPlace[]): Neighbours => {
  const numbers = places.map((_, pcpu) => pcpu);
  const mates = (alike: (one: PcpuPlace, other: PcpuPlace) => boolean): readonly (readonly number[])[] =>
    places.map((one) =>
      numbers.filter((pcpu) => {
        const other = places[pcpu];
        return other !== undefined && alike(one, other);
      }),
    );
  return {
    siblings: mates((one, other) => one.socket === other.socket && one.core === other.core),
    socketMates: mates((one, other) => one.socket === other.socket),
  };
};
