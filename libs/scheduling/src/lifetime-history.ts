import type { PlacementEvent, PlacementRequest } from '@xenolith/contracts';
import type { EventLog, LoggedEvent, Uuid } from '@xenolith/kernel';
import type { Lifetimes, PastLife } from './lifetimes.js';
import { startedAtMs } from './placement-document.js';
import { PLACEMENT_CATEGORY } from './placement.js';

/** Some thousand lives of machines, read in a few seconds beside everything else. */
const EVENTS_READ = 100_000;
const PAGE = 1_000;

interface Stay {
  readonly request: PlacementRequest;
  readonly sinceMs: number;
}

/** The lives that began and ended within some events of the log. */
class Lives {
  readonly ended: PastLife[] = [];
  private readonly asked = new Map<Uuid, PlacementRequest>();
  private readonly stays = new Map<Uuid, Stay>();
  /** How many placements a machine has. */
  private readonly places = new Map<Uuid, number>();

  take({ streamId, metadata, ...logged }: LoggedEvent): void {
    const event = logged as unknown as PlacementEvent;
    switch (event.type) {
      case 'PlacementRequested':
        this.asked.set(streamId, event.data.request);
        break;
      case 'PlacementDecided':
        this.stay(streamId, event.data.requested?.request ?? this.asked.get(streamId), metadata.at);
        break;
      case 'PlacementReleased':
        this.end(streamId, metadata.at);
        break;
      case 'PlacementDeferred':
      case 'PlacementDevicesChanged':
        break;
    }
  }

  private stay(placement: Uuid, request: PlacementRequest | undefined, sinceMs: number): void {
    this.asked.delete(placement);
    if (!request) return;
    this.stays.set(placement, { request, sinceMs });
    this.count(request, 1);
  }

  private end(placement: Uuid, diedAtMs: number): void {
    const stay = this.stays.get(placement);
    this.asked.delete(placement);
    this.stays.delete(placement);
    // Where it has another placement it only moved.
    if (!stay || this.count(stay.request, -1) > 0) return;
    const { virtualMachine, vcpus, memoryBytes } = stay.request;
    const { uid: machine, namespace } = virtualMachine;
    const bornAtMs = startedAtMs(stay.request) ?? stay.sinceMs;
    this.ended.push({ machine, flavour: { namespace, vcpus, memoryBytes }, bornAtMs, diedAtMs });
  }

  private count({ virtualMachine: { uid } }: PlacementRequest, more: 1 | -1): number {
    const places = (this.places.get(uid) ?? 0) + more;
    if (places > 0) this.places.set(uid, places);
    else this.places.delete(uid);
    return places;
  }
}

/** Teaches a scheduler that has just started how long machines lived before: those that are gone left no document. */
export class LifetimeHistory {
  private stopped = false;

  constructor(
    private readonly lifetimes: Lifetimes,
    private readonly log: Pick<EventLog, 'head' | 'readCategory'>,
  ) {}

  /** Goes through the end of the log, page by page. */
  async read(): Promise<void> {
    const until = await this.log.head();
    const lives = new Lives();
    let sinceMs: number | undefined;
    for (let after = Math.max(0, until - EVENTS_READ); !this.stopped;) {
      const events = await this.log.readCategory(PLACEMENT_CATEGORY, { after, until, limit: PAGE });
      const last = events.at(-1);
      if (!last) break;
      sinceMs ??= events[0]?.metadata.at;
      for (const event of events) lives.take(event);
      after = last.position;
    }
    if (!this.stopped && sinceMs !== undefined) this.lifetimes.remember(sinceMs, lives.ended);
  }

  stop(): Promise<void> {
    this.stopped = true;
    return Promise.resolve();
  }
}
