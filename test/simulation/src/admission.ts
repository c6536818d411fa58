import type { LoggedEvent, Uuid } from '@xenolith/kernel';
import type { HostLedgerState } from '@xenolith/scheduling';
import { uncoveredLosses } from './availability.js';
import type { Evidence } from './evidence.js';

/** What hosts, clusters and rules of restarting do is known to every scheduler by then. */
const HEARD_MS = 5_000;
/** So are placements of another scheduler; until then each of two may let a machine in where there is room for one. */
const PLACED_MS = 1_000;

const CHANGES_RULES: ReadonlySet<string> = new Set(['VirtualMachineSpecChanged', 'VirtualMachineDeleted']);

const isUnasked = ({ type, data }: LoggedEvent): boolean => {
  const asked = data['requested'] as { readonly request: { readonly allowOvercommit?: boolean } } | undefined;
  return type === 'PlacementDecided' && asked !== undefined && asked.request.allowOvercommit !== true;
};

/** Watches that no machine is let in where, with it, some loss of a host could not be covered any more. */
export class AdmissionWatch {
  private changedAt = 0;
  private placedAt = 0;
  private wasCovered = false;

  constructor(private readonly evidence: Evidence) {}

  /** What broke with the events since the last look. */
  look(news: readonly LoggedEvent[], ledgers: ReadonlyMap<Uuid, HostLedgerState>): readonly string[] {
    const decided = news.filter(({ type }) => type === 'PlacementDecided');
    const [placed] = decided;
    const at = news.at(-1)?.metadata.at ?? 0;
    for (const { category, type, metadata } of news)
      if (category === 'host' || category === 'cluster' || CHANGES_RULES.has(type))
        this.changedAt = Math.max(this.changedAt, metadata.at);
    if (news.every(({ category }) => !['host', 'cluster', 'placement', 'virtualmachine'].includes(category))) return [];
    const uncovered = uncoveredLosses(this.evidence, ledgers);
    const judged =
      this.wasCovered &&
      decided.length === 1 &&
      placed !== undefined &&
      isUnasked(placed) &&
      at - this.changedAt > HEARD_MS &&
      at - this.placedAt > PLACED_MS;
    if (placed) this.placedAt = at;
    this.wasCovered = uncovered?.length === 0;
    if (!judged || uncovered === null || uncovered.length === 0) return [];
    return [`placement ${placed.streamId} was let in, and the loss of ${uncovered.join()} is not covered any more`];
  }
}
