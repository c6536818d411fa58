interface Remembered<Value> {
  readonly value: Value;
  readonly until: number;
}

/** Remembers values for a while, the newest ones up to a number. */
export class BriefMemory<Value> {
  private readonly entries = new Map<string, Remembered<Value>>();

  constructor(
    private readonly limit: number,
    private readonly now: () => number = Date.now,
  ) {}

  get(key: string): Value | undefined {
    const found = this.entries.get(key);
    return found !== undefined && found.until > this.now() ? found.value : undefined;
  }

  set(key: string, value: Value, forMs: number): void {
    this.entries.delete(key);
    this.entries.set(key, { value, until: this.now() + forMs });
    if (this.entries.size <= this.limit) return;
    const oldest = this.entries.keys().next();
    if (oldest.done !== true) this.entries.delete(oldest.value);
  }
}
