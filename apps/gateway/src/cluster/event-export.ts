import type { JsonObject } from '@xenolith/kernel';
import type { SeenEvent } from '../events/event-view.js';
import { ClusterRefusal, type ClusterApi } from './cluster-api.js';

/** Events that wait: some seconds of a busy platform. What more comes is not written, as Kubernetes' own recorders do. */
const MAX_WAITING = 1_000;
/** Requests at once, so that events don't hold back the reviews of requests. */
const WRITERS = 4;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;
/** Who takes over writes again what the one before may have had in hand. */
export const HANDOVER_MS = 60_000;

const CONFLICT = 409;
const NOT_FOUND = 404;
const MERGE_PATCH = 'application/merge-patch+json';

/** What became of an event: written, dropped as too many waited, or refused by the cluster. */
export const EVENT_OUTCOMES = ['written', 'dropped', 'refused'] as const;
export type EventOutcome = (typeof EVENT_OUTCOMES)[number];

export interface EventExportPorts {
  readonly counted: (outcome: EventOutcome) => void;
  readonly warn: (message: string, err: unknown) => void;
}

/** Refused for ever, or to be tried again: a cluster that is overloaded or away comes back. */
const isFinal = (error: unknown): boolean =>
  error instanceof ClusterRefusal && error.status < 500 && error.status !== 429 && error.status !== 408;

/** Writes the events of our objects to the cluster, so that its `kubectl describe` shows them. The same thing that happens again is counted in one. */
export class EventExport {
  /** Oldest first; the newest count of each. */
  private readonly waiting = new Map<string, SeenEvent>();
  private readonly written = new Set<string>();
  /** Being written: what is seen of them meanwhile waits, so that a count never goes back. */
  private readonly inHand = new Set<string>();
  private writers = 0;
  private pauseMs = FIRST_PAUSE_MS;
  private resume: NodeJS.Timeout | null = null;
  private active = false;
  private idle: () => void = () => undefined;

  constructor(
    private readonly api: Pick<ClusterApi, 'expect' | 'ask'>,
    private readonly ports: EventExportPorts,
  ) {}

  /** One gateway writes at a time. */
  lead(active: boolean, recent: () => Iterable<SeenEvent>): void {
    this.active = active;
    if (active) for (const event of recent()) this.take(event);
    else this.waiting.clear();
  }

  take(event: SeenEvent): void {
    if (!this.active) return;
    const key = `${event.namespace}/${event.name}`;
    if (!this.waiting.has(key) && this.waiting.size >= MAX_WAITING) {
      this.ports.counted('dropped');
      return;
    }
    this.waiting.set(key, event);
    this.fill();
  }

  /** Settles when no request is under way. */
  async stop(): Promise<void> {
    this.lead(false, () => []);
    if (this.resume !== null) clearTimeout(this.resume);
    if (this.writers > 0) await new Promise<void>((resolve) => (this.idle = resolve));
  }

  private fill(): void {
    if (this.resume !== null) return;
    while (this.writers < WRITERS && this.next() !== undefined) {
      this.writers += 1;
      void this.work();
    }
  }

  private async work(): Promise<void> {
    for (;;) {
      const next = this.next();
      if (next === undefined || this.resume !== null) break;
      const [key, event] = next;
      this.waiting.delete(key);
      this.inHand.add(key);
      await this.write(key, event);
      this.inHand.delete(key);
    }
    this.writers -= 1;
    if (this.writers === 0) this.idle();
  }

  private next(): readonly [string, SeenEvent] | undefined {
    for (const entry of this.waiting) if (!this.inHand.has(entry[0])) return entry;
    return undefined;
  }

  private async write(key: string, event: SeenEvent): Promise<void> {
    try {
      await this.put(key, event);
      this.pauseMs = FIRST_PAUSE_MS;
      this.ports.counted('written');
    } catch (error) {
      if (isFinal(error)) {
        this.ports.counted('refused');
        this.ports.warn(`the cluster does not take event ${key}`, error);
        return;
      }
      this.ports.warn('events can’t be written to the cluster; they wait', error);
      this.pause(key, event);
    }
  }

  private pause(key: string, event: SeenEvent): void {
    // What happened meanwhile counts further than this.
    if (this.active && !this.waiting.has(key)) this.waiting.set(key, event);
    if (this.resume !== null || !this.active) return;
    this.resume = setTimeout(() => {
      this.resume = null;
      this.fill();
    }, this.pauseMs);
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }

  /** An event that the cluster has already is counted on; one that it has forgotten is written again. */
  private async put(key: string, event: SeenEvent): Promise<void> {
    const collection = `/api/v1/namespaces/${encodeURIComponent(event.namespace)}/events`;
    const document = event.document();
    if (this.written.has(key) || event.count > 1) {
      const known = await this.countOn(`${collection}/${encodeURIComponent(event.name)}`, document);
      if (known) {
        this.remember(key);
        return;
      }
    }
    try {
      await this.api.expect('POST', collection, document);
    } catch (error) {
      if (!(error instanceof ClusterRefusal && error.status === CONFLICT)) throw error;
      await this.countOn(`${collection}/${encodeURIComponent(event.name)}`, document);
    }
    this.remember(key);
  }

  /** False: the cluster does not have it. */
  private async countOn(path: string, { count = 1, lastTimestamp = null }: JsonObject): Promise<boolean> {
    const answer = await this.api.ask('PATCH', path, { count, lastTimestamp }, MERGE_PATCH);
    if (answer.status === NOT_FOUND) return false;
    if (answer.status >= 300) throw new ClusterRefusal(answer.status, `PATCH ${path} was answered ${answer.status}`);
    return true;
  }

  private remember(key: string): void {
    this.written.add(key);
    if (this.written.size <= MAX_WAITING) return;
    const [oldest] = this.written;
    if (oldest !== undefined) this.written.delete(oldest);
  }
}
