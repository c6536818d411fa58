import type { PlacementEvent } from '@xenolith/contracts';
import type { EventLog, LoggedEvent, Uuid } from '@xenolith/kernel';
import type { Flavour, Lifetimes } from './lifetimes.js';
import { PLACEMENT_CATEGORY } from './placement.js';

/** Some thousand lives of machines, read in a few seconds beside everything else. */
const EVENTS_READ = 100_000;
const PAGE = 1_000;

interface Life {
  readonly placement: Uuid;
  readonly flavour: Flavour;
  readonly bornAtMs: number;
  readonly diedAtMs: number;
}

/** The lives that began and ended within some events of the log. */
class Lives {
  readonly ended: Life[] = [];
  private readonly flavours = new Map<Uuid, Flavour>();
  private readonly births = new Map<Uuid, number>();

  take({ streamId, metadata, ...logged }: LoggedEvent): void {
    const event = logged as unknown as PlacementEvent;
    switch (event.type) {
      case 'PlacementRequested':
        this.asked(streamId, event.data.request);
        break;
      case 'PlacementDecided':
        if (event.data.requested) this.asked(streamId, event.data.requested.request);
        this.births.set(streamId, metadata.at);
        break;
      case 'PlacementReleased':
        this.end(streamId, metadata.at);
        break;
      case 'PlacementDeferred':
      case 'PlacementDevicesChanged':
        break;
    }
  }

  private asked(
    placement: Uuid,
    {
      virtualMachine: { namespace },
      vcpus,
      memoryBytes,
    }: { virtualMachine: { namespace: string }; vcpus: number; memoryBytes: number },
  ): void {
    this.flavours.set(placement, { namespace, vcpus, memoryBytes });
  }

  private end(placement: Uuid, diedAtMs: number): void {
    const [flavour, bornAtMs] = [this.flavours.get(placement), this.births.get(placement)];
    this.flavours.delete(placement);
    this.births.delete(placement);
    if (flavour && bornAtMs !== undefined) this.ended.push({ placement, flavour, bornAtMs, diedAtMs });
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
