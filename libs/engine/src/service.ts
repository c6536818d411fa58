import { categoryOf, releaseData, type KindDefinition, type ServiceName } from '@xenolith/contracts';
import type {
  AnyAggregate,
  BusFaultKind,
  CommandMessage,
  JsonObject,
  LoggedEvent,
  Reply,
  Result,
  StoredDocument,
  StoredEvent,
  Uuid,
} from '@xenolith/kernel';
import type { z } from 'zod';

/** Everything that a service is, as data: the same definition runs in its app, over Postgres and NATS, and in the simulation. */
export interface ServiceDefinition {
  readonly name: ServiceName;
  readonly kinds: readonly KindDefinition[];
  readonly aggregates: readonly AnyAggregate[];
  readonly routes: readonly CommandRoute[];
  readonly indexes: readonly Index[];
  readonly processes: readonly ProcessDefinition[];
  readonly reactions: readonly Reaction[];
  /** Schemas of the events that this service writes, by type; an event is parsed when it is read. */
  readonly eventSchemas: Readonly<Record<string, z.ZodType>>;
}

/** The service's own routes, and `Release<Kind>`, which all kinds have alike unless the service gives the word another meaning. */
export const routesOf = (service: ServiceDefinition): readonly CommandRoute[] => {
  const own = new Set(service.routes.map((route) => route.type));
  const shared = service.kinds.map((kind) => ({
    type: `Release${kind.kind}`,
    category: categoryOf(kind),
    schema: releaseData,
  }));
  return [...service.routes, ...shared.filter((route) => !own.has(route.type))];
};

/** A command that the service takes on `cmd.<service>.<type>`, and the category of the stream it is for. */
export interface CommandRoute {
  readonly type: string;
  readonly category: string;
  readonly schema: z.ZodType;
  /**
   * Completes the data with what pure deciding cannot know: a free address, a host that fits. Reads the service's indexes only. Runs again when
   * the append met a taken claim, a conflict, or a refusal with a code in `retryOn`.
   */
  readonly prepare?: (message: CommandMessage, attempt: number) => Result<JsonObject> | Promise<Result<JsonObject>>;
  readonly retryOn?: readonly string[];
  /**
   * Whether the command is probably the first one of its stream. Then the stream is not read: it is taken for one without events, and the append, or a look before
   * a refusal, finds out. A command that is wrong about it goes round again.
   */
  readonly begins?: (message: CommandMessage) => boolean;
  /** Names the refusal when a claim is taken; absent: `already_exists` for names, `claim_taken` else. `null`: prepare again. */
  readonly onClaimTaken?: (
    claim: { scope: string; value: string; holder: Uuid },
    message: CommandMessage,
  ) => Reply | null;
  /** What the command answers, from the stream's state after it; absent: a `CommandAnswer`. */
  readonly answer?: (state: unknown, streamId: Uuid) => Reply;
}

/** An event as an index sees it: the last one of each write carries the document that the write left, `null` once the object is gone. */
export type IndexedEvent = StoredEvent & { readonly document?: JsonObject | null };

/** The loading of an index in pages, which come in no order that means anything. */
export interface IndexLoading {
  take(documents: readonly StoredDocument[]): void;
  /** All documents were there, exact as of `position`. */
  end(position: number): void;
}

/**
 * A view of the log in memory. It starts from the documents of its categories at one position, then sees every event in order; the service's own
 * appends reach it at once, so that the next decision knows of them. No event of a stream is shown twice.
 */
export interface Index {
  readonly name: string;
  readonly categories: readonly string[];
  /** Called before the first event, and again (from scratch) after the log was rebuilt. The documents are exact as of `position`. */
  load(documents: readonly StoredDocument[], position: number): void;
  /** In the place of `load`, for an index that keeps little of each document: begins from scratch, and is given them page by page. */
  loading?(): IndexLoading;
  apply(event: IndexedEvent): void;
}

/** A command that a process or a reaction sends. The id makes it idempotent. */
export interface Dispatch {
  /** Unique among the dispatches of one process instance. */
  readonly key: string;
  readonly commandId: Uuid;
  readonly subject: string;
  readonly type: string;
  readonly streamId: Uuid;
  readonly data: JsonObject;
  readonly timeoutMs: number;
  readonly undoes?: Uuid;
  /** The version that the stream must have: else the command is refused with `version_conflict`. */
  readonly expectedVersion?: number;
}

export type DispatchOutcome =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'fault'; readonly fault: BusFaultKind; readonly message: string };

/**
 * An event-sourced process manager. Its streams are the instances; `due` reads, from an instance's state alone, which commands must be under way, so
 * that it resumes anywhere. Every outcome is recorded by a command on the instance's own stream before the next step.
 */
export interface ProcessDefinition {
  readonly name: string;
  readonly category: string;
  /** Whether an instance with this document still has work; finished ones are passed over after a restart. */
  readonly isActive: (document: JsonObject) => boolean;
  /** Commands to be under way now, and the moment (milliseconds since the epoch) to look again. */
  readonly due: (
    state: unknown,
    place: { readonly streamId: Uuid; readonly now: number },
  ) => { readonly dispatches: readonly Dispatch[]; readonly wakeAt: number | null };
  /** The command on the instance's own stream that records an outcome; null: nothing to record, ask again. */
  readonly record: (
    dispatch: Dispatch,
    outcome: DispatchOutcome,
    now: number,
  ) => { readonly type: string; readonly data: JsonObject } | null;
  /** Instances to look at when an event of another stream is seen. */
  readonly wakes?: (
    event: LoggedEvent,
  ) => readonly { readonly streamId: Uuid; readonly type: string; readonly data: JsonObject }[];
}

/**
 * Turns single events into commands, at least once each, in the log's order. The service's indexes have seen the event before `react` does, so that it may
 * read them.
 */
export interface Reaction {
  readonly name: string;
  /** Types of the events. */
  readonly on: readonly string[] | 'every';
  readonly react: (event: LoggedEvent) => readonly Dispatch[];
}

/** Where a span belongs, by W3C traceparents. */
export interface SpanPlace {
  readonly attributes?: JsonObject;
  /** Of work that goes on after its request: the span that began it all. Absent: the current one. */
  readonly parent?: string | undefined;
  /** The span that made this one necessary, to which it is linked: as its child it would hang one level below it, and so on without end. */
  readonly cause?: string | undefined;
  /** In a trace of its own: one cause may have thousands of such. */
  readonly root?: boolean;
}

/** Spans, as the engine names them; the runtime gives OpenTelemetry's. */
export interface Tracer {
  span<Value>(name: string, place: SpanPlace, action: () => Promise<Value>): Promise<Value>;
  /** The current span's traceparent, if there is one. */
  current(): string | undefined;
}

export const NO_TRACER: Tracer = { span: (_name, _place, action) => action(), current: () => undefined };

/** What a process has to do, in the one service that runs it; elsewhere there are none. */
export interface ProcessLoad {
  readonly process: string;
  /** Instances that go on. */
  readonly active: number;
  /** Steps whose command was sent and not answered. */
  readonly inFlight: number;
  /** Steps that wait until fewer are in flight. */
  readonly waiting: number;
}

/** Where the engine says what it did; the runtime logs and counts it. */
export interface EngineObserver {
  commandHandled?(info: {
    readonly type: string;
    readonly outcome: 'accepted' | 'rejected' | 'known';
    readonly code?: string;
  }): void;
  /** A decision is made again: another process wrote, or `reason` is the code of what the ledger or a claim refused. */
  commandRetried?(info: { readonly type: string; readonly reason: string }): void;
  dispatchFaulted?(info: {
    readonly process: string;
    readonly dispatch: Dispatch;
    readonly fault: string;
    readonly message: string;
  }): void;
  defect?(error: unknown): void;
}
