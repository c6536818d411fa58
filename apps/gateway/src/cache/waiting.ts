/** Callers that wait for a number to be reached: positions of the log, versions of a stream. */
export class Waiting {
  private waiters: { readonly target: number; readonly settle: (reached: boolean) => void }[] = [];

  /** Settles with true once `reached` was called with `target` or more, with false after `timeoutMs`. */
  wait(target: number, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.waiters = this.waiters.filter((waiter) => waiter !== mine);
        resolve(false);
      }, timeoutMs);
      const mine = {
        target,
        settle: (reached: boolean) => {
          clearTimeout(timer);
          resolve(reached);
        },
      };
      this.waiters.push(mine);
    });
  }

  reached(value: number): void {
    if (this.waiters.length === 0) return;
    const ready = this.waiters.filter((waiter) => waiter.target <= value);
    if (ready.length === 0) return;
    this.waiters = this.waiters.filter((waiter) => waiter.target > value);
    for (const waiter of ready) waiter.settle(true);
  }

  get empty(): boolean {
    return this.waiters.length === 0;
  }
}
