import type { PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';

/** Shares of hosts, 0 to 1 (CPU above 1 where more is asked than there is). */
export interface Spread {
  readonly lowest: number;
  readonly mean: number;
  readonly highest: number;
}

/** What a migration is expected to take. */
export interface MigrationCost {
  readonly seconds: number;
  /** Memory that goes over the network, what is sent again included. */
  readonly bytes: number;
}

/** One migration of a plan; hosts by name. */
export interface Move {
  readonly placement: Uuid;
  readonly virtualMachine: PlacementRequest['virtualMachine'];
  readonly from: string;
  readonly to: string;
  /** From 1. Moves of one wave can go side by side once the waves before are done. */
  readonly wave: number;
  /** A sentence with figures. */
  readonly reason: string;
  /** By how much the imbalance falls; 0 where a move has another purpose. */
  readonly gain: number;
  readonly cost: MigrationCost;
}

/** A machine that stays where it should not. */
export interface Blocked {
  readonly virtualMachine: PlacementRequest['virtualMachine'];
  readonly host: string;
  readonly message: string;
}

export interface MovePlan {
  readonly moves: readonly Move[];
  readonly blocked: readonly Blocked[];
  /** Uids of the blocked machines that an arrangement which was not found might have room for; of the others there is none. */
  readonly unproved: readonly Uuid[];
  readonly before: FleetFigures;
  readonly after: FleetFigures;
}

/** How evenly hosts are used. */
export interface FleetFigures {
  readonly hosts: number;
  readonly emptyHosts: number;
  readonly machines: number;
  /** Busy share of the hardware threads. */
  readonly cpu: Spread;
  /** Promised share of the memory. */
  readonly memory: Spread;
  /** Standard deviations of both over the hosts, added up; 0: all hosts are alike. */
  readonly imbalance: number;
}
