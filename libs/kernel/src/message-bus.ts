import type { Subscription } from './event-log.js';
import type { Uuid } from './ids.js';
import type { JsonObject } from './json.js';
import type { Rejection } from './result.js';

/** A command on its way to the service or host that handles it. */
export interface CommandMessage {
  readonly commandId: Uuid;
  /** Verb and noun, such as `ChangeVirtualMachine`. */
  readonly type: string;
  readonly streamId: Uuid;
  readonly data: JsonObject;
  readonly actor: string;
  readonly sourceAddress?: string;
  readonly correlationId: Uuid;
  readonly causationId: Uuid;
  /** The position of the event that led here, where it was one. */
  readonly causePosition?: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The version that the user stated: never retried on conflict. */
  readonly expectedVersion?: number;
  /** Decide and answer as if, but write nothing. */
  readonly dryRun?: boolean;
  /** An undo names the command that it undoes: that one must have no effect if it comes later. */
  readonly undoes?: Uuid;
  /** W3C Trace Context; the transport sets it. */
  readonly traceparent?: string;
}

/** A command that nothing else caused: it begins a chain of causes of its own. */
export const rootCommand = (command: Omit<CommandMessage, 'correlationId' | 'causationId'>): CommandMessage => ({
  ...command,
  correlationId: command.commandId,
  causationId: command.commandId,
});

/** `value` is what the handler answers: for commands on streams a `CommandAnswer`. */
export type Reply<Value = JsonObject> =
  { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly rejection: Rejection };

/** The answer to a command on a stream. A command that found the wished state already reached answers the current version. */
export interface CommandAnswer {
  readonly streamId: Uuid;
  readonly version: number;
  /** The document after the command; null once the object is gone. */
  readonly document: JsonObject | null;
  /** Versions of every stream that the command wrote. */
  readonly versions: readonly { readonly streamId: Uuid; readonly version: number }[];
}

export type BusFaultKind = 'timeout' | 'no_responders' | 'overloaded' | 'disconnected' | 'fault';

/** The message may or may not have had its effect: ask again with the same command id. */
export class BusFault extends Error {
  override readonly name = 'BusFault';
  constructor(
    readonly kind: BusFaultKind,
    message: string,
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
  }
}

/** Requests, replies and lossy signals between processes. Delivery is at most once; senders ask again, receivers de-duplicate by command id. */
export interface MessageBus {
  /** Settles with the reply, or throws a `BusFault`. `timeoutMs` bounds the whole call. */
  request(subject: string, message: CommandMessage, options: { readonly timeoutMs: number }): Promise<Reply>;
  /** Answers requests on `subject`, at most `concurrency` at once; several processes that serve one subject share the requests. */
  serve(
    subject: string,
    handler: (message: CommandMessage, context: ServeContext) => Promise<Reply>,
    options?: { readonly concurrency?: number },
  ): Promise<Subscription>;
  /** Fire and forget. */
  publish(subject: string, payload: JsonObject): void;
  /** Every subscriber gets every message that arrives; none is kept. Wild cards as NATS has them. */
  subscribe(subject: string, handler: (payload: JsonObject, subject: string) => void): Promise<Subscription>;
}

export interface ServeContext {
  readonly subject: string;
  /** Milliseconds since the epoch after which nobody waits for the reply. */
  readonly deadline: number;
  /** Aborted at the deadline or when the server stops. */
  readonly signal: CancelSignal;
}

/** The part of an `AbortSignal` that pure code may see. */
export interface CancelSignal {
  readonly aborted: boolean;
}

/** NATS' wild cards: `*` is one token, `>` all that follow. */
export const subjectMatches = (pattern: string, subject: string): boolean => {
  const wanted = pattern.split('.');
  const given = subject.split('.');
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return given.length > index;
    if (token !== '*' && token !== given[index]) return false;
  }
  return wanted.length === given.length;
};
