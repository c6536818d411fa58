import type { PlacementRequest } from '@xenolith/contracts';
import { CELLS_MAX, type HostTable } from './host-table.js';
import { freeOfNode } from './node-memory.js';

/** What is thought to be taken beside what is there. */
export interface Claimed {
  memoryAt(slot: number): number;
  /** `cell`: its place in columns of NUMA nodes. */
  cellMemoryAt(cell: number): number;
  cellVcpusAt(cell: number): number;
}

export const NO_CELL = -1;

/** Written anew with each look: placement looks at thousands of nodes in a second. */
const rooms = new Float64Array(CELLS_MAX);

/** Memory of a NUMA node that is neither reserved there nor of machines of no node. */
export const freeCellMemory = (table: HostTable, slot: number, cell: number, claimed?: Claimed): number => {
  const cells = table.cells[slot] ?? 0;
  let spread = (table.usedMemory[slot] ?? 0) + (claimed?.memoryAt(slot) ?? 0);
  for (let number = 0; number < cells; number += 1) {
    const at = slot * CELLS_MAX + number;
    const reserved = (table.cellUsedMemory[at] ?? 0) + (claimed?.cellMemoryAt(at) ?? 0);
    rooms[number] = (table.cellMemory[at] ?? 0) - reserved;
    spread -= reserved;
  }
  return freeOfNode(rooms, cells, cell, spread);
};

/** Its CPUs are shared with machines of no node, which may run on any: only what is reserved there counts. */
export const freeCellVcpus = (table: HostTable, slot: number, cell: number, claimed?: Claimed): number => {
  const at = slot * CELLS_MAX + cell;
  return (table.cellVcpus[at] ?? 0) - (table.cellUsedVcpus[at] ?? 0) - (claimed?.cellVcpusAt(at) ?? 0);
};

interface Choice {
  readonly prefer?: 'tightest' | 'emptiest';
  readonly claimed?: Claimed;
}

/** The NUMA node that a machine fits on as a whole: the tightest by memory, or the emptiest. */
export const cellFor = (
  table: HostTable,
  slot: number,
  demand: { readonly memoryBytes: number; readonly vcpus: number },
  { prefer = 'tightest', claimed }: Choice = {},
): number => {
  let [found, best] = [NO_CELL, 0];
  const cells = table.cells[slot] ?? 0;
  for (let cell = 0; cell < cells; cell += 1) {
    if (freeCellVcpus(table, slot, cell, claimed) < demand.vcpus) continue;
    const free = freeCellMemory(table, slot, cell, claimed);
    if (free < demand.memoryBytes) continue;
    if (found === NO_CELL || (prefer === 'tightest' ? free < best : free > best)) [found, best] = [cell, free];
  }
  return found;
};

/** The NUMA node that is to be reserved for a machine; `NO_CELL`: it asks for none, or the host has none for it. */
export const cellToReserve = (table: HostTable, slot: number, request: PlacementRequest, choice?: Choice): number =>
  request.numa === undefined || request.numa === 'none' ? NO_CELL : cellFor(table, slot, request, choice);
