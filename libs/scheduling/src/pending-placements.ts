import type { PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import { isGuarded, type PlacementDocument } from './placement-document.js';

/** Placements that wait for room, in the order in which they became pending: oldest first. */
export class PendingPlacements {
  private readonly requests = new Map<Uuid, PlacementRequest>();
  /** Those of them whose room depends on what other machines do elsewhere. */
  private readonly byRule = new Set<Uuid>();

  get size(): number {
    return this.requests.size;
  }

  request(placement: Uuid): PlacementRequest | undefined {
    return this.requests.get(placement);
  }

  all(): Iterable<readonly [Uuid, PlacementRequest]> {
    return this.requests;
  }

  ruled(): Iterable<Uuid> {
    return this.byRule;
  }

  /** One that waits already keeps its place. */
  wait(placement: Uuid, document: PlacementDocument): void {
    const { request } = document.spec;
    this.requests.set(placement, request);
    if (request.labels || request.affinity || isGuarded(document)) this.byRule.add(placement);
  }

  end(placement: Uuid): void {
    this.requests.delete(placement);
    this.byRule.delete(placement);
  }

  clear(): void {
    this.requests.clear();
    this.byRule.clear();
  }
}
