import type { Uuid } from '@xenolith/kernel';
import { hypervisorFacts } from '@xenolith/xen';
import type { Fleet, HostSlot } from './fleet.js';

/** A host as it is. */
export interface HostInspection {
  readonly name: string;
  readonly off: boolean;
  /** Memory that domains can have, overhead included. */
  readonly allocatableBytes: number;
  readonly domains: readonly {
    readonly virtualMachine: Uuid;
    readonly incarnation: number;
    readonly domid: number;
    readonly state: 'running' | 'paused' | 'shutdown';
    /** Its guest takes no step here, and may run elsewhere already. */
    readonly standsStill: boolean;
    /** Guest memory and overhead. */
    readonly memoryBytes: number;
  }[];
}

/** What the host really runs, whatever anybody was told. */
export const inspectionOf = (fleet: Fleet, slot: HostSlot): HostInspection => {
  const bytes = new Map(fleet.domainFigures(slot).map((domain) => [domain.uid, domain.memoryBytes]));
  return {
    name: slot.name,
    off: fleet.isOff(slot),
    allocatableBytes: hypervisorFacts(fleet.makeOf(slot.name)).allocatableBytes,
    domains: fleet.inventory(slot).map(({ uid, incarnation, domid, state, standsStill }) => ({
      virtualMachine: uid,
      incarnation,
      domid,
      state,
      standsStill: standsStill === true,
      memoryBytes: bytes.get(uid) ?? 0,
    })),
  };
};
