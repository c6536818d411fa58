import { assert } from '@xenolith/kernel';

/** A timer that is off: state is JSON, which knows no infinity. */
export const OFF = -1;

/**
 * A fixed set of timers over an array of due times, each a whole number of nanoseconds or `OFF`. Of timers that are due at the same time the
 * one with the lowest number comes first, so that the order never depends on history. A binary heap: setting costs O(log n).
 */
export class Timers {
  readonly #due: number[];
  readonly #heap: number[] = [];
  readonly #position: number[];

  constructor(due: number[]) {
    this.#due = due;
    this.#position = due.map(() => OFF);
    due.forEach((when, timer) => {
      if (when !== OFF) this.#push(timer);
    });
  }

  /** The timer that fires next; `OFF`: none is set. */
  next(): number {
    return this.#heap[0] ?? OFF;
  }

  dueOf(timer: number): number {
    return this.#due[timer] ?? OFF;
  }

  set(timer: number, whenNs: number): void {
    assert(whenNs >= 0, 'a timer is set to a time');
    const before = this.dueOf(timer);
    this.#due[timer] = whenNs;
    if (before === OFF) this.#push(timer);
    else if (whenNs < before) this.#rise(this.#positionOf(timer));
    else if (whenNs > before) this.#sink(this.#positionOf(timer));
  }

  clear(timer: number): void {
    const position = this.#positionOf(timer);
    this.#due[timer] = OFF;
    if (position === OFF) return;
    this.#position[timer] = OFF;
    const last = this.#heap.pop() ?? OFF;
    if (last === timer) return;
    this.#put(last, position);
    this.#rise(position);
    this.#sink(this.#positionOf(last));
  }

  #positionOf(timer: number): number {
    return this.#position[timer] ?? OFF;
  }

  #put(timer: number, position: number): void {
    this.#heap[position] = timer;
    this.#position[timer] = position;
  }

  #push(timer: number): void {
    this.#put(timer, this.#heap.length);
    this.#rise(this.#heap.length - 1);
  }

  #before(one: number, other: number): boolean {
    const difference = this.dueOf(one) - this.dueOf(other);
    return difference === 0 ? one < other : difference < 0;
  }

  #rise(start: number): void {
    let position = start;
    const timer = this.#heap[position] ?? OFF;
    while (position > 0) {
      const parent = (position - 1) >> 1;
      const above = this.#heap[parent] ?? OFF;
      if (!this.#before(timer, above)) break;
      this.#put(above, position);
      position = parent;
    }
    this.#put(timer, position);
  }

  #sink(start: number): void {
    let position = start;
    const timer = this.#heap[position] ?? OFF;
    for (;;) {
      let child = 2 * position + 1;
      if (child >= this.#heap.length) break;
      let below = this.#heap[child] ?? OFF;
      const right = this.#heap[child + 1];
      if (right !== undefined && this.#before(right, below)) {
        child += 1;
        below = right;
      }
      if (!this.#before(below, timer)) break;
      this.#put(below, position);
      position = child;
    }
    this.#put(timer, position);
  }
}
