/** The part of a pino logger that the bus uses. */
export interface BusLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const silentLog: BusLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

export type HandledOutcome = 'ok' | 'rejected' | 'fault' | 'overloaded' | 'expired' | 'malformed' | 'abandoned';

/** Is told how long things took, for metrics. */
export interface BusObserver {
  /** A request that arrived here ended: `type` is the command's. */
  handled(type: string, outcome: HandledOutcome, seconds: number): void;
  /** A request sent from here ended: `outcome` is `ok`, `rejected` or the kind of the `BusFault`. */
  requested(type: string, outcome: string, seconds: number): void;
}

export interface BusSettings {
  /** A server says once in this time that a request is still in hand. */
  readonly keepAliveMs: number;
  /** A server that said nothing for this long is taken for dead, and the request is asked again. */
  readonly silenceMs: number;
  /** Requests sent from here that wait for their replies; more are refused as `overloaded`. */
  readonly requestLimit: number;
  /** Requests of one subject that wait for a free handler; more are answered `overloaded`. */
  readonly waitingLimit: number;
  /** Requests of one subject handled at once, unless `serve` says otherwise. */
  readonly concurrency: number;
  /** Requests in hand may take this long to end when a server stops; then their signal is aborted and their senders ask again. */
  readonly drainMs: number;
}

export const DEFAULT_SETTINGS: BusSettings = {
  keepAliveMs: 1_000,
  // Three keep-alives may be lost or late before a living server is taken for a dead one.
  silenceMs: 3_500,
  // At 4 KiB a command, 32 MiB of memory; a service asks far fewer at once unless what it asks has stopped.
  requestLimit: 8_192,
  // At 1 ms a command this is a second's work: a longer queue would only hold commands until they expire.
  waitingLimit: 1_024,
  // More than the pool of database connections, so that group commit has something to group.
  concurrency: 128,
  // Below the 15 s after which the platform's supervisor kills a process that was told to stop.
  drainMs: 10_000,
};
