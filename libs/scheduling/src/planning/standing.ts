import type { PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { Guarantee } from '../availability/failover-planner.js';
import type { RestartRules } from '../availability/restart-rules.js';
import type { FlavourMix } from '../flavour-mix.js';
import type { HostTable } from '../host-table.js';
import type { Lifetimes } from '../lifetimes.js';
import type { SchedulingPolicy } from '../scores.js';

/** What an index knows at this moment, to be copied. */
export interface Standing {
  readonly table: HostTable;
  readonly lifetimes: Lifetimes;
  readonly mix: FlavourMix;
  readonly placements: ReadonlyMap<
    Uuid,
    { readonly request: PlacementRequest; readonly hostUid: Uuid | null; readonly cell: number | undefined }
  >;
  /** Hardware threads of a host, by its uid. */
  threadsOf(hostUid: Uuid): number;
  policyOf(cluster: string | undefined): SchedulingPolicy;
  /** What clusters promise of the loss of hosts, by their names. */
  readonly guarantees: ReadonlyMap<string, Guarantee>;
  readonly restarts: Pick<RestartRules, 'of'>;
}
