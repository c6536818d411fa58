/** Wakes one waiting loop. A wake that comes while nobody waits is kept, so that none is lost between a look and a wait. */
export class Signal {
  #due = false;
  #wake: (() => void) | undefined;

  wake(): void {
    this.#due = true;
    this.#wake?.();
  }

  /** Settles at the next wake or after `timeoutMs`; answers whether it was woken. */
  async wait(timeoutMs: number): Promise<boolean> {
    if (!this.#due) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    const woken = this.#due;
    this.#due = false;
    return woken;
  }

  /** Waits the whole time, wakes or not, unless `isOver` holds after one. */
  async rest(durationMs: number, isOver: () => boolean): Promise<void> {
    const end = performance.now() + durationMs;
    for (let left = durationMs; left > 0 && !isOver(); left = end - performance.now()) await this.wait(left);
  }
}
