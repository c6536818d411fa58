import type { PlacementExplanation } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import { chooseDevices } from './device-choice.js';
import type { Wish } from './filters.js';
import { NO_CELL } from './host-cells.js';
import type { Fleet } from './machine-affinity.js';
import type { Proposal } from './placement.decide.js';
import { affinityKeys } from './placement-keys.js';

/** A pending placement that should find room, and where. */
export interface Retry {
  readonly placement: Uuid;
  readonly proposal: Proposal & { readonly fits: true };
}

/** The host that was found, with what its ledger and the claims check. */
export const fittingProposal = (
  { table, affinity }: Fleet,
  wish: Wish,
  {
    slot,
    cell,
    explanation,
  }: { readonly slot: number; readonly cell: number; readonly explanation: PlacementExplanation },
): Proposal & { fits: true } => {
  const asksThings = wish.class.resources.length > 0;
  const keys = wish.machines ? affinityKeys(affinity, wish, slot) : [];
  const numaNodes = cell === NO_CELL ? {} : { numaNodes: table.cellsOf(slot) };
  const { devices: wishes } = wish.request;
  const devices = wishes && chooseDevices(wishes, table.freeDevices(slot));
  const hypervisor = table.traits.get(table.group[slot] ?? 0)?.hypervisor;
  return {
    fits: true,
    host: table.names[slot] ?? '',
    hostUid: table.uids[slot] ?? '',
    capacity: {
      memoryBytes: table.memory[slot] ?? 0,
      vcpus: table.vcpus[slot] ?? 0,
      revision: table.stream[slot] ?? 0,
      ...numaNodes,
      ...(asksThings ? { resources: table.resourcesOf(slot) } : {}),
    },
    explanation,
    ...(cell === NO_CELL ? {} : { numa: { node: cell, pin: table.pins[slot]?.[cell] ?? '' } }),
    ...(hypervisor === undefined ? {} : { hypervisor }),
    ...(keys.length === 0 ? {} : { keys: [...keys] }),
    ...(devices ? { devices } : {}),
  };
};
