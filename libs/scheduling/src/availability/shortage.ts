import { approximateBytes } from '@xenolith/kernel';
import type { Board } from './board.js';
import { nameOf, nearTerms, type Resident } from './resident.js';

/** Why machines can be restarted in no way, and by how much. */
export interface Shortage {
  readonly message: string;
  readonly memoryBytes?: number;
  readonly vcpus?: number;
}

interface Dimension {
  readonly name: 'memoryBytes' | 'vcpus';
  readonly of: (machine: Resident) => number;
  readonly free: (slot: number) => number;
  readonly text: (amount: number) => string;
}

const dimensions = (board: Board): readonly Dimension[] => [
  {
    name: 'memoryBytes',
    of: ({ request }) => request.memoryBytes,
    free: (slot) => board.claims.freeMemory(slot),
    text: approximateBytes,
  },
  {
    name: 'vcpus',
    of: ({ request }) => request.vcpus,
    free: (slot) => board.claims.freeVcpus(slot),
    text: (amount) => `${amount} vCPUs`,
  },
];

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** One that fits nowhere even if it is the only one to be restarted. One that wants company may get it from others of the plan. */
const alone = (board: Board, machines: readonly Resident[], slots: readonly number[]): Shortage | null => {
  for (const machine of machines) {
    if (nearTerms(machine.request).length > 0 || slots.some((slot) => board.canHold(machine, slot))) continue;
    const able = slots.filter((slot) => board.mayTake(machine, slot));
    const { host, memoryBytes } = machine.request;
    if (able.length === 0 || host !== undefined) {
      const why = host === undefined ? 'no other host is allowed' : `it may run on host ${host} only`;
      return { message: `${nameOf(machine)} could be restarted nowhere: ${why}` };
    }
    for (const { name, of, free, text } of dimensions(board)) {
      const most = Math.max(...able.map(free));
      if (most >= of(machine)) continue;
      const message = `${nameOf(machine)} needs ${text(of(machine))}, the most that is free on another host is ${text(Math.max(0, most))}`;
      return { message, [name]: of(machine) - most };
    }
    return {
      message: `${nameOf(machine)} (${approximateBytes(memoryBytes)}) finds no other host that its rules allow`,
    };
  }
  return null;
};

/** Machines of one class together need more than there is on hosts that may take them. */
const totals = (board: Board, machines: readonly Resident[], able: readonly number[]): Shortage | null => {
  for (const { name, of, free, text } of dimensions(board)) {
    const needed = sum(machines.map(of));
    const there = sum(able.map((slot) => Math.max(0, free(slot))));
    if (needed <= there) continue;
    const message = `${machines.length} machines need ${text(needed)}, ${text(there)} are free on the other hosts`;
    return { message, [name]: needed - there };
  }
  return null;
};

/** However the machines of at least some size are spread, hosts have room for fewer of them than there are. */
const bySize = (board: Board, machines: readonly Resident[], able: readonly number[]): Shortage | null => {
  for (const { name, of, free, text } of dimensions(board)) {
    const sizes = machines.map(of).sort((left, right) => right - left);
    for (const [index, size] of sizes.entries()) {
      if (size === sizes[index + 1]) continue;
      const room = sum(able.map((slot) => Math.max(0, Math.floor(free(slot) / size))));
      if (index + 1 > room) {
        const message = `${index + 1} machines need ${text(size)} or more each, the other hosts have room for ${room} of them`;
        return { message, [name]: size * (index + 1 - room) };
      }
      const large = sum(sizes.slice(0, index + 1));
      const there = sum(able.map(free).filter((amount) => amount >= size));
      if (large > there) {
        const message = `${index + 1} machines of ${text(size)} or more need ${text(large)}, hosts that are large enough have ${text(there)} free`;
        return { message, [name]: large - there };
      }
    }
  }
  return null;
};

/** Proves that machines can't all be restarted, where a count is enough; null proves nothing. `over`: those of them that are looked at one by one. Nobody is seated. */
export const shortageOf = (
  board: Board,
  { machines, over }: { readonly machines: readonly Resident[]; readonly over: readonly Resident[] },
  slots: readonly number[],
): Shortage | null => {
  const there = slots.filter((slot) => !board.isLost(slot));
  const single = alone(board, over, there);
  if (single) return single;
  const byClass = Map.groupBy(machines, (machine) => machine.class);
  const groups = byClass.size > 1 ? [machines, ...byClass.values()] : [machines];
  for (const group of groups) {
    board.steps += there.length;
    const able = there.filter((slot) => group.some((machine) => board.mayTake(machine, slot)));
    const shortage = totals(board, group, able) ?? bySize(board, group, able);
    if (shortage) return shortage;
  }
  return null;
};
