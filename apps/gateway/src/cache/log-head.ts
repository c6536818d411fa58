/**
 * Asks where the log ends, one question at a time: whoever comes while one is under way shares the next one, as the one under way may have been
 * answered before their own past writes.
 */
export class LogHead {
  private current: Promise<number> | null = null;
  private next: Promise<number> | null = null;

  constructor(private readonly log: { head(): Promise<number> }) {}

  /** A position at or above every append that was acknowledged before this call. */
  ask(): Promise<number> {
    if (this.current === null) return this.start();
    this.next ??= this.current.then(
      () => this.startNext(),
      () => this.startNext(),
    );
    return this.next;
  }

  private startNext(): Promise<number> {
    this.next = null;
    return this.start();
  }

  private start(): Promise<number> {
    const question = this.log.head().finally(() => {
      if (this.current === question) this.current = null;
    });
    this.current = question;
    return question;
  }
}
