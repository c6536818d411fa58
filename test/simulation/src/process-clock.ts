import type { Clock } from '@xenolith/kernel';

/** A process's view of the world's clock: when the process dies, what it had planned dies with it. */
export class ProcessClock implements Clock {
  private alive = true;

  constructor(private readonly world: Clock) {}

  now(): number {
    return this.world.now();
  }

  after(delayMs: number, action: () => void): () => void {
    return this.world.after(delayMs, () => {
      if (this.alive) action();
    });
  }

  kill(): void {
    this.alive = false;
  }
}
