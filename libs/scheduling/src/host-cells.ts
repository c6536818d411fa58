import { CELLS_MAX, type HostTable } from './host-table.js';
import { freeOfNode } from './node-memory.js';

/** What is thought to be taken beside what is there. */
export interface Claimed {
  memoryAt(slot: number): number;
  /** `cell`: its place in columns of NUMA nodes. */
  cellMemoryAt(cell: number): number;
}

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
export const freeCellVcpus = (table: HostTable, slot: number, cell: number): number => {
  const at = slot * CELLS_MAX + cell;
  return (table.cellVcpus[at] ?? 0) - (table.cellUsedVcpus[at] ?? 0);
};
