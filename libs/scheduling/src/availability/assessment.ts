import type { ClusterAvailability } from '@xenolith/contracts';
import { sameJson, type Uuid } from '@xenolith/kernel';
import type { HostTable } from '../host-table.js';
import type { AvailabilityBook } from './availability-book.js';
import { PAIRED_HOSTS_MAX, type FailoverPlanner, type Scenario } from './failover-planner.js';

const OFF: ClusterAvailability = { hostFailures: 0, tolerates: 0, state: 'Off', message: '' };

const namesOf = (table: HostTable, { lost }: Scenario): string[] => lost.map((slot) => table.names[slot] ?? '');

export interface Assessment {
  readonly uid: Uuid;
  readonly found: ClusterAvailability;
}

/** Clusters that say something else of what they promise than their plans. */
export function* differing(
  table: HostTable,
  book: AvailabilityBook,
  clusters: Iterable<{ readonly uid: Uuid; readonly name: string; readonly told: ClusterAvailability | undefined }>,
): Iterable<Assessment> {
  for (const { uid, name, told } of clusters) {
    const planner = book.plannerOf(name);
    if (!planner && (told?.state ?? 'Off') === 'Off') continue;
    const found = assess(table, planner, told);
    if (!sameJson(found, told)) yield { uid, found };
  }
}

/** What a cluster's plans come to. `told`: what it says of them, which stays as long as it is true. */
export const assess = (
  table: HostTable,
  planner: FailoverPlanner | undefined,
  told: ClusterAvailability | undefined,
): ClusterAvailability => {
  if (!planner) return OFF;
  const { hostFailures } = planner.guarantee;
  const open = [...planner.all()].filter(({ plan }) => plan.verdict !== 'covered');
  const tolerates = open.some(({ lost }) => lost.length === 1) ? 0 : planner.pairs && open.length === 0 ? 2 : 1;
  const proved = open.filter(({ plan }) => plan.verdict === 'impossible');
  const shown = proved.length > 0 ? proved : open;
  const [first] = shown;
  if (!first || first.plan.verdict === 'covered') {
    if (tolerates >= hostFailures) return { hostFailures, tolerates, state: 'Protected', message: '' };
    const message = `the loss of any two hosts is planned for in clusters of up to ${PAIRED_HOSTS_MAX} hosts; this one has ${planner.hosts}`;
    return { hostFailures, tolerates, state: 'Unknown', message };
  }
  const state = proved.length > 0 ? 'Overcommitted' : 'Unknown';
  const known = told?.uncovered?.join();
  if (told?.state === state && told.hostFailures === hostFailures && told.tolerates === tolerates)
    if (shown.some((scenario) => namesOf(table, scenario).join() === known)) return told;
  const { message } = first.plan.shortage;
  return { hostFailures, tolerates, state, uncovered: namesOf(table, first), message };
};
