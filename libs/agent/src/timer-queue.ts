import type { Clock } from '@xenolith/kernel';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
  cancelled: boolean;
}

const earlier = (left: Timer, right: Timer): boolean =>
  left.at < right.at || (left.at === right.at && left.order < right.order);

/** Any number of timers on one timer of the clock: a fleet has tens of thousands of them. Equal times run in the order in which they were set. */
export class TimerQueue {
  private readonly heap: Timer[] = [];
  private order = 0;
  private armed: { readonly at: number; readonly cancel: () => void } | null = null;

  constructor(private readonly clock: Clock) {}

  /** Runs `action` at `at` (milliseconds since the epoch) or at once if that is past; the answer cancels it. */
  at(at: number, action: () => void): () => void {
    const timer: Timer = { at, order: (this.order += 1), action, cancelled: false };
    this.push(timer);
    this.arm();
    return () => {
      timer.cancelled = true;
    };
  }

  after(delayMs: number, action: () => void): () => void {
    return this.at(this.clock.now() + delayMs, action);
  }

  /** Forgets every timer. */
  clear(): void {
    this.heap.length = 0;
    this.armed?.cancel();
    this.armed = null;
  }

  private arm(): void {
    for (let first = this.heap[0]; first?.cancelled === true; first = this.heap[0]) this.pop();
    const first = this.heap[0];
    if (!first || (this.armed && this.armed.at <= first.at)) return;
    this.armed?.cancel();
    const cancel = this.clock.after(Math.max(0, first.at - this.clock.now()), () => this.run());
    this.armed = { at: first.at, cancel };
  }

  private run(): void {
    this.armed = null;
    const now = this.clock.now();
    for (let first = this.heap[0]; first && (first.cancelled || first.at <= now); first = this.heap[0]) {
      this.pop();
      if (!first.cancelled) first.action();
    }
    this.arm();
  }

  private push(timer: Timer): void {
    const { heap } = this;
    let child = heap.push(timer) - 1;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      const above = heap[parent];
      if (!above || !earlier(timer, above)) break;
      heap[child] = above;
      child = parent;
    }
    heap[child] = timer;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let parent = 0;
    for (;;) {
      const left = heap[2 * parent + 1];
      if (!left) break;
      const right = heap[2 * parent + 2];
      const child = right && earlier(right, left) ? 2 * parent + 2 : 2 * parent + 1;
      const least = heap[child];
      if (!least || !earlier(least, last)) break;
      heap[parent] = least;
      parent = child;
    }
    heap[parent] = last;
  }
}
