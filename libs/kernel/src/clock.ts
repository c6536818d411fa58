/** Time as processes and agents see it: real in the apps, virtual in the simulation. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `action` once after `delayMs`; the answer cancels it. */
  after(delayMs: number, action: () => void): () => void;
}
