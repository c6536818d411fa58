import type { WhatIf } from './what-if.js';

/** What is free of the memory and virtual CPUs of some hosts, each as a share of what they have. */
export interface Spare {
  readonly memory: number;
  readonly vcpus: number;
}

export const spareOf = (whatIf: WhatIf, slots: readonly number[]): Spare => {
  const { table } = whatIf.outlook;
  const total = (of: (slot: number) => number): number => slots.reduce((sum, slot) => sum + of(slot), 0);
  const share = (free: number, all: number): number => (all === 0 ? 0 : Math.max(0, free) / all);
  return {
    memory: share(
      total((slot) => table.freeMemory(slot)),
      total((slot) => table.memory[slot] ?? 0),
    ),
    vcpus: share(
      total((slot) => table.freeVcpus(slot)),
      total((slot) => table.vcpus[slot] ?? 0),
    ),
  };
};

const percent = (share: number): string => `${Math.floor(share * 100)} %`;

/** `12 % of the memory and 40 % of the virtual CPUs are free`. */
export const spareText = ({ memory, vcpus }: Spare): string =>
  `${percent(memory)} of the memory and ${percent(vcpus)} of the virtual CPUs are free`;

/** Whether so many percent of both are free. */
export const sparesPercent = ({ memory, vcpus }: Spare, wanted: number): boolean =>
  Math.min(memory, vcpus) * 100 >= wanted;
