import type { MachineAffinityTerm, PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';

/** What a machine does to its host, measured or assumed. */
export interface MachineLoad {
  /** Hardware threads that it keeps busy. */
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly dirtyBytesPerSecond: number;
  /** False: nobody measured it, and it is taken for as busy as its share of the host's virtual CPUs. */
  readonly measured: boolean;
}

/** A machine that runs, as a plan sees it; `slot` and `cell` follow the moves that are tried. */
export interface PlannedMachine {
  readonly placement: Uuid;
  readonly request: PlacementRequest;
  readonly slot: number;
  /** The NUMA node that is reserved for it. */
  readonly cell?: number | undefined;
  readonly load: MachineLoad;
  /** Milliseconds that it is expected to live on. */
  readonly remainingMs: number;
  /** Why it can't leave its host; absent: it can. */
  readonly fixed?: string | undefined;
}

/** What the placements don't tell of machines. */
export interface MachineKnowledge {
  load?(placement: Uuid, request: PlacementRequest): MachineLoad | undefined;
  /** Why a machine can't leave its host: passed-through devices, a pause, an operation under way. */
  fixed?(placement: Uuid, request: PlacementRequest): string | undefined;
}

/** Where a machine was, to be put back there. */
export interface Stay {
  readonly machine: PlannedMachine;
  readonly slot: number;
  readonly cell: number | undefined;
}

/** What it must be near to. */
export const requiredNear = ({ request }: PlannedMachine): readonly MachineAffinityTerm[] =>
  request.affinity?.virtualMachineAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
