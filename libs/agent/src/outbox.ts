import { BusFault, present, type CommandMessage, type MessageBus, type Random, type Reply } from '@xenolith/kernel';
import type { AgentObserver } from './observer.js';
import type { TimerQueue } from './timer-queue.js';

/** Messages on their way at once. Enough to register 10,000 hosts in seconds, few enough to leave the services room for their users. */
const IN_FLIGHT = 64;
/** Short, so that what is said is fresh: an inventory that arrives late misleads. */
const TIMEOUT_MS = 5_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;

/** Something that must be said until it is answered. */
export interface Posting {
  /** A posting replaces an earlier one with the same key that is not answered yet. */
  readonly key: string;
  readonly subject: string;
  /** Made anew for each attempt; null: there is nothing to say any more. */
  readonly message: () => CommandMessage | null;
  /** The answer is the pause in milliseconds after which it must be said again; null: it is done. */
  readonly answered: (reply: Reply) => number | null;
}

interface Queued {
  posting: Posting;
  failures: number;
  /** It was posted again while it was on its way. */
  again: boolean;
  state: 'waiting' | 'sent' | 'paused';
}

/** Says things to services, each until it is answered, with growing pauses. */
export class Outbox {
  private readonly queued = new Map<string, Queued>();
  private readonly waiting: Queued[] = [];
  /** None before the start. */
  private bus: MessageBus | null = null;
  private inFlight = 0;
  private open = false;

  constructor(
    private readonly ports: {
      readonly timers: TimerQueue;
      readonly random: Random;
      readonly observer: AgentObserver;
    },
  ) {}

  post(posting: Posting): void {
    const known = this.queued.get(posting.key);
    if (known) {
      known.posting = posting;
      known.again = known.state === 'sent';
      return;
    }
    const queued: Queued = { posting, failures: 0, again: false, state: 'waiting' };
    this.queued.set(posting.key, queued);
    this.enqueue(queued);
  }

  start(bus: MessageBus): void {
    this.bus = bus;
    this.open = true;
    this.drain();
  }

  stop(): void {
    this.open = false;
  }

  /** Postings that have not been answered. */
  get size(): number {
    return this.queued.size;
  }

  private enqueue(queued: Queued): void {
    queued.state = 'waiting';
    this.waiting.push(queued);
    this.drain();
  }

  private drain(): void {
    while (this.open && this.inFlight < IN_FLIGHT) {
      const next = this.waiting.shift();
      if (!next) return;
      const message = next.posting.message();
      if (message) void this.send(next, message);
      else this.queued.delete(next.posting.key);
    }
  }

  private async send(queued: Queued, message: CommandMessage): Promise<void> {
    const { posting } = queued;
    queued.state = 'sent';
    this.inFlight += 1;
    let pauseMs: number | null;
    try {
      const reply = await present(this.bus, 'an outbox that sends was started').request(posting.subject, message, {
        timeoutMs: TIMEOUT_MS,
      });
      queued.failures = 0;
      if (!reply.ok) this.ports.observer.refused?.(message, reply.rejection);
      pauseMs = this.open ? posting.answered(reply) : null;
    } catch (error) {
      if (!(error instanceof BusFault)) this.ports.observer.defect?.(error);
      this.ports.observer.unanswered?.(message, error);
      pauseMs = this.backOff(queued);
    }
    this.inFlight -= 1;
    this.settle(queued, pauseMs);
    this.drain();
  }

  private backOff(queued: Queued): number {
    queued.failures += 1;
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(queued.failures, 10));
    return Math.round(longest * (0.5 + 0.5 * this.ports.random.next()));
  }

  private settle(queued: Queued, pauseMs: number | null): void {
    const again = queued.again;
    queued.again = false;
    if (pauseMs === null && !again) {
      this.queued.delete(queued.posting.key);
    } else if (pauseMs === null || pauseMs === 0) {
      this.enqueue(queued);
    } else {
      queued.state = 'paused';
      this.ports.timers.after(pauseMs, () => this.enqueue(queued));
    }
  }
}
