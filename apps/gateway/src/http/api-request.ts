import type { IncomingHttpHeaders } from 'node:http';
import type { Uuid } from '@xenolith/kernel';

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid?: string;
  /** What else the proof of identity says, as Kubernetes' `UserInfo` has it. */
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  /** When the proof of identity ends, in milliseconds since the epoch. */
  readonly expiresAt?: number;
  /** Whether the proof of identity still counts; absent: until it ends. */
  readonly isProven?: () => boolean;
  /** The cluster whose API ours is a part of says who this is, and what they may do. */
  readonly provenBy?: 'cluster';
  /** Who sent the request in this user's name. */
  readonly impersonatedBy?: string;
}

/** A request as the verbs see it: no framework, no socket. */
export interface ApiRequest {
  readonly method: string;
  /** Decoded by segment later; no query, no trailing slash. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names the request in its answer, in the gateway's log and, without an `Idempotency-Key`, as its first command. */
  readonly id: Uuid;
  readonly headers: IncomingHttpHeaders;
  readonly user: User;
  readonly sourceAddress: string;
  /** Milliseconds since the epoch. */
  readonly receivedAt: number;
  /** The body whole, within the size limit. Throws a StatusError. */
  readonly body: () => Promise<Buffer>;
}

/** Where a watch writes to. */
export interface EventSink {
  /** Bytes that were written and not yet taken by the network. */
  readonly pendingBytes: number;
  write(chunk: Buffer): void;
  /** Settles when the network has taken what was written, or the connection is gone. */
  drained(): Promise<void>;
  end(): void;
  onClose(listener: () => void): void;
  readonly closed: boolean;
}

export type ApiAnswer =
  | {
      readonly status: number;
      readonly contentType: string;
      /** Pieces are written one after the other. */
      readonly body: string | readonly string[];
      readonly headers?: Readonly<Record<string, string | readonly string[]>>;
    }
  | { readonly status: 200; readonly contentType: string; readonly stream: (sink: EventSink) => void };

/** Who does it, as events and commands have it: who sent the request, and in whose name. */
export const actorOf = ({ name, impersonatedBy }: User): string =>
  impersonatedBy === undefined ? `user:${name}` : `user:${impersonatedBy} as ${name}`;

export const jsonAnswer = (
  status: number,
  body: unknown,
  headers?: Record<string, string | readonly string[]>,
): ApiAnswer => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(body),
  ...(headers === undefined ? {} : { headers }),
});
