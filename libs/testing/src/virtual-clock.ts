import type { Clock } from '@xenolith/kernel';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
  cancelled: boolean;
}

/** Midnight of the first day of 2026, where virtual time starts. */
export const VIRTUAL_EPOCH_MS = Date.UTC(2026, 0, 1);

/**
 * A clock that stands still until it is moved. Timers of the same moment run in the order in which they were set; between two timers
 * everything that was promised meanwhile settles. The same inputs give the same order on every machine.
 */
export class VirtualClock implements Clock {
  private readonly heap: Timer[] = [];
  private order = 0;
  private time = VIRTUAL_EPOCH_MS;

  now(): number {
    return this.time;
  }

  after(delayMs: number, action: () => void): () => void {
    const timer: Timer = { at: this.time + Math.max(0, delayMs), order: (this.order += 1), action, cancelled: false };
    this.push(timer);
    return () => {
      timer.cancelled = true;
    };
  }

  /** Settles after `delayMs` of virtual time. */
  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.after(delayMs, resolve));
  }

  /** Runs the next timer; false when there is none (before `until`). */
  async step(until = Number.POSITIVE_INFINITY): Promise<boolean> {
    await settle();
    for (let next = this.heap[0]; next !== undefined; next = this.heap[0]) {
      if (next.cancelled) {
        this.pop();
        continue;
      }
      if (next.at > until) return false;
      this.pop();
      this.time = next.at;
      next.action();
      await settle();
      return true;
    }
    return false;
  }

  /** Moves time forward by `durationMs`, running every timer on the way. */
  async advance(durationMs: number): Promise<void> {
    const until = this.time + durationMs;
    while (await this.step(until));
    this.time = until;
  }

  /** Moves time forward until `condition` holds; false when it does not within `limitMs` of virtual time, or no timer is left. */
  async advanceUntil(condition: () => boolean | Promise<boolean>, limitMs: number): Promise<boolean> {
    const until = this.time + limitMs;
    await settle();
    while (!(await condition())) {
      if (!(await this.step(until))) return condition();
    }
    return true;
  }

  private push(timer: Timer): void {
    this.heap.push(timer);
    for (let child = this.heap.length - 1; child > 0;) {
      const parent = (child - 1) >> 1;
      if (!earlier(this.heap[child], this.heap[parent])) return;
      this.swap(child, parent);
      child = parent;
    }
  }

  private pop(): void {
    const last = this.heap.pop();
    if (last === undefined || this.heap.length === 0) return;
    this.heap[0] = last;
    for (let parent = 0; ;) {
      const left = 2 * parent + 1;
      const least = earlier(this.heap[left + 1], this.heap[left]) ? left + 1 : left;
      if (!earlier(this.heap[least], this.heap[parent])) return;
      this.swap(parent, least);
      parent = least;
    }
  }

  private swap(left: number, right: number): void {
    const kept = this.heap[left];
    const other = this.heap[right];
    if (kept === undefined || other === undefined) return;
    this.heap[left] = other;
    this.heap[right] = kept;
  }
}

const earlier = (left: Timer | undefined, right: Timer | undefined): boolean =>
  left !== undefined &&
  (right === undefined || left.at < right.at || (left.at === right.at && left.order < right.order));

/** Settles when every promise that can settle without time passing has. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
