import type { Outcome } from '../outcome.js';

/** Largest payload of a message, request or reply, in bytes (XENSTORE_PAYLOAD_MAX, public/io/xs_wire.h). */
export const PAYLOAD_MAX = 4096;

/** A WATCH_EVENT to be delivered to a domain; relative where the watch was set by a relative path. */
export interface WatchEvent {
  readonly to: number;
  readonly token: string;
  readonly path: string;
}

/** What an operation that can change the store answers, and the events that it caused, in the order in which the daemon would queue them. */
export interface Answer<Value = null> {
  readonly outcome: Outcome<Value>;
  readonly events: readonly WatchEvent[];
}
