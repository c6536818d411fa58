import type { ClaimChange, NewEvent, NewTimer } from './event-log.js';
import type { JsonObject } from './json.js';
import type { Uuid } from './ids.js';
import type { Result } from './result.js';

/** A request to change one stream. Everything `decide` may know about the moment arrives here: no clock, no dice. */
export interface Command<Type extends string = string, Data = JsonObject> {
  readonly type: Type;
  readonly commandId: Uuid;
  /** The uid of the object that the command is for. */
  readonly streamId: Uuid;
  /** Milliseconds since the epoch, as the sender saw them. */
  readonly at: number;
  /** `user:<name>`, `process:<category>`, `host:<name>` or `system:<service>`. */
  readonly actor: string;
  readonly data: Data;
}

/**
 * A command on another stream of the same service, decided and written in the same transaction. Its refusal refuses the whole. Whoever moves another
 * stream along must not be reached back from it while that command may wait: operations tell machines, machines only begin operations of fresh ids,
 * placements tell ledgers.
 */
export interface AlsoCommand {
  readonly category: string;
  readonly streamId: Uuid;
  readonly type: string;
  readonly data: JsonObject;
}

/** What an event brings with it, in its own transaction. */
export interface Consequences {
  readonly claims?: readonly ClaimChange[];
  readonly also?: readonly AlsoCommand[];
  readonly timers?: readonly NewTimer[];
}

/**
 * One kind of stream. `decide` is pure and refuses by value; `evolve` never fails; `toResource` gives the API document (null: the
 * stream shows none). `consequences` says, as data, what an event claims, which other streams it moves along and which timers it sets.
 */
export interface Aggregate<State, Event extends NewEvent = NewEvent, Cmd extends Command = Command> {
  readonly category: string;
  readonly initial: State;
  readonly decide: (command: Cmd, state: State) => Result<readonly Event[]>;
  readonly evolve: (state: State, event: Event, at: EventPlace) => State;
  readonly toResource: (state: State) => JsonObject | null;
  readonly consequences?: (event: Event, before: State, command: Cmd) => Consequences;
  /** True once no event may follow: the stream is ended and its document becomes a tombstone. */
  readonly ended?: (state: State) => boolean;
  /** Changes when the shape of `State` does, so that older snapshots are passed over. */
  readonly stateVersion: number;
  /** A snapshot is taken each so many events; absent: never. */
  readonly snapshotEvery?: number;
  /** Events of older shapes become today's; keyed by type, applied while `schemaVersion` is below the current one. */
  readonly upcasters?: Readonly<Record<string, readonly Upcaster[]>>;
}

/** Where an event stands: `evolve` may read the time at which it was decided. */
export interface EventPlace {
  readonly streamId: Uuid;
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly actor: string;
}

export interface Upcaster {
  readonly from: number;
  readonly upcast: (data: JsonObject) => JsonObject;
}

/** An aggregate whose types are erased, as registries hold them. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a registry holds aggregates of every state type; each is used with its own only
export type AnyAggregate = Aggregate<any, any, any>;
