/**
 * Collects what one turn of the event loop wants to say, and says it together when the turn ends. The client writes to its socket once for all that
 * is published at one go; a write for each message costs more than the message.
 */
export class Turn {
  #jobs: (() => void)[] = [];

  /** `job` is run before anything that the next turn brings, and in order. It must not throw. */
  add(job: () => void): void {
    this.#jobs.push(job);
    if (this.#jobs.length === 1) setImmediate(() => this.end());
  }

  /** Runs what waits now. */
  end(): void {
    const jobs = this.#jobs;
    this.#jobs = [];
    for (const job of jobs) job();
  }
}
