import type { Uuid } from '@xenolith/kernel';

/** Since when hosts have been empty, as one scheduler has seen it: after a restart each has its full time again. */
export class IdleBook {
  private since = new Map<Uuid, number>();

  /** These hosts are empty now, and no others. */
  observe(empty: Iterable<Uuid>, atMs: number): void {
    this.since = new Map([...empty].map((host) => [host, this.since.get(host) ?? atMs]));
  }

  isIdle(host: Uuid, forMs: number, atMs: number): boolean {
    const since = this.since.get(host);
    return since !== undefined && atMs - since >= forMs;
  }
}
