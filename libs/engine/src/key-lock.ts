/** Mutual exclusion by key, in the order of arrival. */
export class KeyLock {
  private readonly tails = new Map<string, Promise<void>>();

  /** Settles when the key is the caller's; the answer gives it back. */
  async acquire(key: string): Promise<() => void> {
    const before = this.tails.get(key);
    let release = (): void => undefined;
    const mine = new Promise<void>((resolve) => {
      release = resolve;
    });
    const tail = before ? before.then(() => mine) : mine;
    this.tails.set(key, tail);
    if (before) await before;
    return () => {
      release();
      if (this.tails.get(key) === tail) this.tails.delete(key);
    };
  }
}
