import { present } from '@xenolith/kernel';
import type { Machine } from './machine.js';
import { cycle } from './pcpu-mask.js';
import type { PcpuMask } from './pcpu-mask.js';

interface Floor {
  readonly machine: Machine;
  readonly pcpus: readonly { readonly queue: readonly number[]; readonly idle: boolean; idleBias: number }[];
}

const countIn = (mask: PcpuMask, members: readonly number[]): number => {
  let count = 0;
  for (const member of members) count += mask[member] ?? 0;
  return count;
};

const remove = (mask: PcpuMask, members: readonly number[]): void => {
  for (const member of members) mask[member] = 0;
};

/** Of `candidates`, all idle, one whose core or socket has the most idle neighbours; `start` where none is better. */
const mostIdle = (floor: Floor, start: number, idlers: PcpuMask, candidates: PcpuMask): [number, number] => {
  const { siblings, socketMates } = floor.machine.neighbours;
  const near = (groups: readonly (readonly number[])[], pcpu: number): readonly number[] => groups[pcpu] ?? [];
  let chosen = start;
  let biased = -1;
  candidates[chosen] = 0;
  for (let next = cycle(chosen, candidates); next !== -1; next = cycle(chosen, candidates)) {
    const sameSocket = near(socketMates, next).includes(chosen);
    // On another socket twice as many must be idle before it is worth the way.
    const groups = sameSocket ? siblings : socketMates;
    const here = countIn(idlers, near(groups, chosen)) * (sameSocket ? 1 : 2);
    const there = near(groups, next);
    if (here < countIn(idlers, there)) {
      const among = new Uint8Array(candidates.length);
      for (const pcpu of there) among[pcpu] = candidates[pcpu] ?? 0;
      biased = next;
      chosen = cycle(present(floor.pcpus[next], 'the pCPU exists').idleBias, among);
      remove(candidates, near(siblings, chosen));
    } else
      remove(
        candidates,
        there.filter((pcpu) => idlers[pcpu] === 1),
      );
  }
  return [chosen, biased];
};

/**
 * `_csched_cpu_pick` of xen/common/sched/credit.c: the pCPU where a vCPU is best off: its own where that is idle but for it, else an idle one with
 * idle neighbours, within its soft affinity first. `commit` remembers the choice, so that the next one goes elsewhere.
 */
export const pickPcpu = (floor: Floor, vcpu: number, commit: boolean): number => {
  const { machine, pcpus } = floor;
  const home = machine.vcpu(vcpu).pcpu;
  const affinity = machine.affinity(vcpu);
  let chosen = home;
  let biased = -1;
  for (const mask of [affinity.soft, affinity.hard]) {
    if (mask === null) continue;
    chosen = mask[home] === 1 ? home : cycle(home, mask);
    const homeIsFree = chosen === home && pcpus[home]?.queue.length === 0;
    const idlers = Uint8Array.from(pcpus, (place, pcpu) => (place.idle || (homeIsFree && pcpu === home) ? 1 : 0));
    const candidates = mask.map((member, pcpu) => member & (idlers[pcpu] ?? 0));
    if (candidates[chosen] !== 1 && candidates.includes(1)) chosen = cycle(chosen, candidates);
    [chosen, biased] = mostIdle(floor, chosen, idlers, candidates);
    if (idlers[chosen] === 1) break;
  }
  if (commit && biased !== -1) present(pcpus[biased], 'the pCPU exists').idleBias = chosen;
  return chosen;
};
