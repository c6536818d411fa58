import {
  assert,
  ok,
  present,
  reject,
  type AnyAggregate,
  type AppendRequest,
  type ClaimChange,
  type Command,
  type CommandAnswer,
  type CommandMessage,
  type CommandResult,
  type EventLog,
  type JsonObject,
  type LoggedEvent,
  type NewEvent,
  type NewTimer,
  type Reply,
  type Result,
  type StreamVersion,
  type Uuid,
} from '@xenolith/kernel';
import { metadataOf, requestHash } from './command-origin.js';
import { KeyLock } from './key-lock.js';
import { LoadedStreams } from './loaded-streams.js';
import type { IndexFeed } from './index-feed.js';
import { claimMissing, staleVersion, takenName } from './refusals.js';
import { routesOf, type CommandRoute, type EngineObserver, type ServiceDefinition } from './service.js';
import { documentOf, evolveTouched, storedEvents, writeOf, type Touched } from './touched-stream.js';

/** A command meets a conflict only when another process writes the same stream; each round one of them gets through. */
const MAX_ATTEMPTS = 12;

interface Decided {
  readonly touched: readonly Touched[];
  readonly claims: readonly ClaimChange[];
  readonly timers: readonly NewTimer[];
}

/** What became of one attempt: an answer, or a reason to go round again. */
type Attempt =
  | { readonly done: true; readonly reply: Reply; readonly outcome: 'accepted' | 'rejected' | 'known' }
  | { readonly done: false; readonly reason: string; readonly why: string };

/**
 * The states kept here were behind the log. An append at an exact version would have found out; a refusal, or a stream with nothing to add,
 * appends nothing, so these are made sure of by reading.
 */
const BEHIND: Attempt = { done: false, reason: 'behind', why: 'another process wrote meanwhile' };

/** Streams whose states had a say and whose versions no append will check. */
const unchecked = (touched: ReadonlyMap<Uuid, Touched>, decided: Result<Decided>): readonly Touched[] =>
  [...touched.values()].filter((stream) => !decided.ok || stream.events.length === 0);

/**
 * Handles the commands of one service: load, decide, append, answer. A repeated command id gets the stored answer; a conflict goes round again
 * unless the user stated the version.
 */
export class CommandHandler {
  readonly streams: LoadedStreams;
  private readonly locks = new KeyLock();
  private readonly aggregates: ReadonlyMap<string, AnyAggregate>;
  private readonly routes: ReadonlyMap<string, CommandRoute>;

  constructor(
    private readonly service: ServiceDefinition,
    private readonly log: EventLog,
    private readonly options: { readonly indexes: IndexFeed; readonly observer?: EngineObserver },
  ) {
    this.streams = new LoadedStreams(log, service.eventSchemas);
    this.aggregates = new Map(service.aggregates.map((aggregate) => [aggregate.category, aggregate]));
    this.routes = new Map(routesOf(service).map((route) => [route.type, route]));
  }

  aggregate(category: string): AnyAggregate {
    return present(this.aggregates.get(category), `service ${this.service.name} has no aggregate ${category}`);
  }

  /** Adds an event of the log to what is kept of its stream: others that serve the same commands write the same streams. */
  follow(event: LoggedEvent): void {
    const aggregate = this.aggregates.get(event.category);
    if (aggregate) this.streams.follow(aggregate, event);
  }

  /** Answers a command; throws only for faults of the log, after which the same id may be asked again. */
  async handle(message: CommandMessage): Promise<Reply> {
    const route = this.routes.get(message.type);
    if (!route) return reject('command_unknown', `service ${this.service.name} knows no command ${message.type}`);
    const parsed = route.schema.safeParse(message.data);
    if (!parsed.success)
      return reject(
        'command_malformed',
        `${message.type}: ${parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}`,
      );
    const clean: CommandMessage = { ...message, data: parsed.data as JsonObject };
    const release = await this.locks.acquire(message.streamId);
    try {
      return await this.attemptUntilDone(route, clean);
    } finally {
      release();
    }
  }

  private async attemptUntilDone(route: CommandRoute, message: CommandMessage): Promise<Reply> {
    let why = '';
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt += 1) {
      const result = await this.attempt(route, message, attempt);
      if (result.done) {
        const code = result.reply.ok ? {} : { code: result.reply.rejection.code };
        this.options.observer?.commandHandled?.({
          type: message.type,
          outcome: result.outcome,
          ...code,
        });
        return result.reply;
      }
      why = result.why;
      this.options.observer?.commandRetried?.({ type: message.type, reason: result.reason });
    }
    this.options.observer?.commandHandled?.({ type: message.type, outcome: 'rejected', code: 'version_conflict' });
    return reject(
      'version_conflict',
      `${message.type} met other writers ${MAX_ATTEMPTS} times in a row (${why}); ask again`,
    );
  }

  private async attempt(route: CommandRoute, message: CommandMessage, attempt: number): Promise<Attempt> {
    const prepared = await (route.prepare?.(message, attempt) ?? ok(message.data));
    if (!prepared.ok) return this.refuse(message, prepared);
    const command: Command = {
      type: message.type,
      commandId: message.commandId,
      streamId: message.streamId,
      at: message.at,
      actor: message.actor,
      data: prepared.value,
    };
    const aggregate = this.aggregate(route.category);
    const begins = attempt === 1 && message.dryRun !== true && route.begins?.(message) === true;
    const loaded = begins
      ? this.streams.begin(aggregate, message.streamId)
      : await this.streams.load(aggregate, message.streamId);
    if (message.expectedVersion !== undefined && message.expectedVersion !== loaded.version) {
      if (await this.streams.refresh(aggregate, message.streamId)) return BEHIND;
      return this.refuse(message, staleVersion(message, loaded.version));
    }
    const touched = new Map<Uuid, Touched>();
    const held: (() => void)[] = [];
    try {
      const decided = await this.decide(route.category, command, { touched, held });
      if (await this.wasBehind(unchecked(touched, decided))) return BEHIND;
      if (decided.ok) return await this.append(route, message, decided.value);
      if (route.retryOn?.includes(decided.rejection.code) === true && attempt < MAX_ATTEMPTS)
        return { done: false, reason: decided.rejection.code, why: decided.rejection.code };
      return await this.refuse(message, decided);
    } finally {
      for (const release of held) release();
    }
  }

  /**
   * Runs `decide` on the addressed stream, then, level by level, on the streams that its events move along. Their locks, taken in sorted order within a
   * level, spare this process conflicts with itself; no circle can form as levels go down the categories only.
   */
  private async decide(
    category: string,
    command: Command,
    { touched, held }: { readonly touched: Map<Uuid, Touched>; readonly held: (() => void)[] },
  ): Promise<Result<Decided>> {
    const claims: ClaimChange[] = [];
    const timers: NewTimer[] = [];
    let level: { category: string; command: Command }[] = [{ category, command }];
    while (level.length > 0) {
      const following: typeof level = [];
      for (const next of level) {
        const stream = await this.touch(touched, next.category, next.command.streamId);
        const decided = stream.aggregate.decide(next.command, stream.state) as Result<readonly NewEvent[]>;
        if (!decided.ok) return decided;
        for (const event of decided.value) {
          const follows = stream.aggregate.consequences?.(event, stream.state, next.command) ?? {};
          claims.push(...(follows.claims ?? []));
          timers.push(...(follows.timers ?? []));
          for (const also of follows.also ?? [])
            following.push({
              category: also.category,
              command: { ...command, streamId: also.streamId, type: also.type, data: also.data },
            });
          evolveTouched(stream, event, next.command);
        }
      }
      const fresh = new Set(
        following.map((next) => next.command.streamId).filter((streamId) => !touched.has(streamId)),
      );
      for (const streamId of [...fresh].sort()) held.push(await this.locks.acquire(streamId));
      level = following;
    }
    return ok({ touched: [...touched.values()], claims, timers });
  }

  /** Whether another process has written any of the streams; then their newest states are known from here on. */
  private async wasBehind(streams: readonly Touched[]): Promise<boolean> {
    let behind = false;
    for (const { aggregate, streamId } of streams) if (await this.streams.refresh(aggregate, streamId)) behind = true;
    return behind;
  }

  private async touch(touched: Map<Uuid, Touched>, category: string, streamId: Uuid): Promise<Touched> {
    const known = touched.get(streamId);
    if (known) return known;
    const aggregate = this.aggregate(category);
    const before = await this.streams.load(aggregate, streamId);
    const stream: Touched = { aggregate, streamId, before, state: before.state, events: [] };
    touched.set(streamId, stream);
    return stream;
  }

  private async append(route: CommandRoute, message: CommandMessage, decided: Decided): Promise<Attempt> {
    const written = decided.touched.filter((stream) => stream.events.length > 0);
    const reply = answerOf(route, message, decided);
    if (message.dryRun === true) return this.dryRun(route, message, decided, reply);
    const request = this.request(message, reply, {
      writes: written.map(writeOf),
      claims: decided.claims,
      timers: decided.timers,
    });
    const outcome = await this.log.append(request);
    switch (outcome.status) {
      case 'appended':
        this.settle(request, written);
        return { done: true, reply, outcome: 'accepted' };
      case 'known':
        // Somebody else had done it: what is kept here of its streams is older than that.
        for (const stream of decided.touched) this.streams.forget(stream.streamId);
        return knownReply(message, request.requestHash, outcome.stored);
      case 'conflict':
      case 'stream_ended':
        for (const stream of decided.touched) this.streams.forget(stream.streamId);
        if (
          message.expectedVersion !== undefined &&
          outcome.status === 'conflict' &&
          outcome.streamId === message.streamId
        ) {
          return this.refuse(message, staleVersion(message, outcome.actual));
        }
        return { done: false, reason: outcome.status, why: outcome.status };
      case 'claim_taken':
        return this.claimTaken(route, message, outcome);
      case 'claim_missing':
        return this.refuse(message, claimMissing(outcome));
    }
  }

  private async claimTaken(
    route: CommandRoute,
    message: CommandMessage,
    claim: { scope: string; value: string; holder: Uuid },
  ): Promise<Attempt> {
    const named = route.onClaimTaken ? route.onClaimTaken(claim, message) : takenName(claim);
    if (named === null) return { done: false, reason: 'claim_taken', why: `${claim.scope} ${claim.value} is taken` };
    return named.ok ? { done: true, reply: named, outcome: 'rejected' } : this.refuse(message, named);
  }

  /** A rejection is recorded under the command's id, so that asking again gives the same answer. */
  private async refuse(message: CommandMessage, refusal: Reply & { ok: false }): Promise<Attempt> {
    if (message.dryRun === true) return { done: true, reply: refusal, outcome: 'rejected' };
    const request = this.request(message, refusal, { writes: [], claims: [], timers: [] });
    const outcome = await this.log.append(request);
    if (outcome.status === 'known') return knownReply(message, request.requestHash, outcome.stored);
    return { done: true, reply: refusal, outcome: 'rejected' };
  }

  private async dryRun(route: CommandRoute, message: CommandMessage, decided: Decided, reply: Reply): Promise<Attempt> {
    for (const claim of decided.claims) {
      const holder = await this.log.claimHolder(claim.scope, claim.value);
      if (claim.op === 'claim' && holder !== null && holder !== claim.holder)
        return this.claimTaken(route, message, { ...claim, holder });
      if (claim.op === 'require' && holder === null)
        return { done: true, reply: claimMissing(claim), outcome: 'rejected' };
    }
    return { done: true, reply, outcome: 'accepted' };
  }

  private request(
    message: CommandMessage,
    reply: Reply,
    parts: Pick<AppendRequest, 'writes' | 'claims' | 'timers'>,
  ): AppendRequest {
    return {
      commandId: message.commandId,
      requestHash: requestHash(message),
      ...parts,
      cancels: message.undoes === undefined ? [] : [message.undoes],
      metadata: metadataOf(message),
      result: reply as unknown as JsonObject,
    };
  }

  /** After a successful append: the cache and the service's own indexes learn of it at once. */
  private settle(request: AppendRequest, written: readonly Touched[]): void {
    for (const stream of written) {
      const version = stream.before.version + stream.events.length;
      this.streams.remember(stream.streamId, { state: stream.state, version });
      this.options.indexes.applyOwn(storedEvents(request, stream));
      const every = stream.aggregate.snapshotEvery;
      if (every !== undefined && Math.floor(version / every) > Math.floor(stream.before.version / every)) {
        // A snapshot only saves time later: that it could not be saved is no reason to fail the command.
        this.log
          .saveSnapshot({
            streamId: stream.streamId,
            version,
            stateVersion: stream.aggregate.stateVersion,
            state: stream.state as JsonObject,
          })
          .catch((error: unknown) => this.options.observer?.defect?.(error));
      }
    }
  }
}

const answerOf = (route: CommandRoute, message: CommandMessage, decided: Decided): Reply => {
  const main = present(decided.touched[0], 'a decision touches its own stream');
  assert(main.streamId === message.streamId, 'the first touched stream is the addressed one');
  if (route.answer) return route.answer(main.state, main.streamId);
  const versions: StreamVersion[] = decided.touched.map((stream) => ({
    streamId: stream.streamId,
    version: stream.before.version + stream.events.length,
  }));
  const answer: CommandAnswer = {
    streamId: main.streamId,
    version: main.before.version + main.events.length,
    document: documentOf(main),
    versions,
  };
  return ok(answer as unknown as JsonObject);
};

const knownReply = (message: CommandMessage, hash: string, stored: CommandResult): Attempt => {
  if (stored.cancelled)
    return {
      done: true,
      reply: reject('command_cancelled', `command ${message.commandId} was cancelled before it came`),
      outcome: 'known',
    };
  if (stored.requestHash !== hash)
    return {
      done: true,
      reply: reject('command_id_reused', `command id ${message.commandId} was used for another request`),
      outcome: 'known',
    };
  return { done: true, reply: stored.result as unknown as Reply, outcome: 'known' };
};
