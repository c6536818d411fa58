import {
  BusFault,
  uuidFrom,
  type Clock,
  type CommandMessage,
  type EventLog,
  type LogFeed,
  type LoggedEvent,
  type MessageBus,
  type StoredEvent,
  type Subscription,
  type Uuid,
} from '@xenolith/kernel';
import type { CommandHandler } from './command-handler.js';
import {
  NO_TRACER,
  type Dispatch,
  type DispatchOutcome,
  type EngineObserver,
  type ProcessDefinition,
  type ProcessLoad,
  type Tracer,
} from './service.js';

/** Dispatches of one process under way at once; more wait. Bounds what a restart sends out in one burst. */
const MAX_IN_FLIGHT = 512;

/** Pause before an instance whose step faulted is looked at again. */
const FAULT_PAUSE_MS = 500;

export interface ProcessTools {
  readonly log: EventLog;
  readonly feed: LogFeed;
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly handler: CommandHandler;
  readonly tracer?: Tracer;
  readonly observer?: EngineObserver;
}

/** What the runner knows of an instance beside its state. */
interface Instance {
  readonly inFlight: Set<string>;
  cancelWake: (() => void) | null;
  /** The span that began the instance: what it does is in that trace. */
  traceparent: string | undefined;
  /** The span that last moved the instance. */
  moved: string | undefined;
  correlationId: Uuid;
  /** The command that last moved the instance: what it sends next, it sends because of that. */
  causationId: Uuid;
  pumping: boolean;
  again: boolean;
}

/**
 * Runs the instances of one process, one runner at a time over all processes of the service. It holds nothing that it could not find again in the log:
 * after a crash the next runner reads the active instances and sends, under the same ids, what was under way.
 */
export class ProcessRunner {
  private readonly instances = new Map<Uuid, Instance>();
  private readonly waiting: { readonly streamId: Uuid; readonly dispatch: Dispatch }[] = [];
  private inFlight = 0;
  private held = false;
  private subscription: Subscription | null = null;

  constructor(
    private readonly definition: ProcessDefinition,
    private readonly tools: ProcessTools,
  ) {}

  async start(): Promise<void> {
    this.subscription = await this.tools.feed.followLeased({
      name: `process-${this.definition.name}`,
      onLease: async (held) => {
        this.held = held;
        if (held) await this.resume();
        else this.forgetAll();
      },
      onBatch: (events) => this.onBatch(events),
    });
  }

  load(): ProcessLoad {
    return {
      process: this.definition.name,
      active: this.instances.size,
      inFlight: this.inFlight,
      waiting: this.waiting.length,
    };
  }

  async stop(): Promise<void> {
    this.held = false;
    this.forgetAll();
    await this.subscription?.stop();
  }

  /** Looks at an instance that a command here has begun, before the feed brings its events. One that is known is looked after already. */
  begin(event: StoredEvent): void {
    if (!this.held || event.category !== this.definition.category || this.instances.has(event.streamId)) return;
    this.instance(event.streamId, event.metadata);
    this.look(event.streamId);
  }

  private async resume(): Promise<void> {
    const { documents } = await this.tools.log.documents([this.definition.category]);
    for (const stored of documents) {
      if (!this.definition.isActive(stored.document)) continue;
      // Another runner may have gone on with it since this process last saw it.
      this.tools.handler.streams.forget(stored.streamId);
      const events = await this.tools.log.readStream(stored.streamId);
      const instance = this.instance(stored.streamId, events[0]?.metadata);
      const newest = events.at(-1)?.metadata;
      if (newest) movedBy(instance, newest);
      this.look(stored.streamId);
    }
  }

  private async onBatch(events: readonly LoggedEvent[]): Promise<void> {
    for (const event of events) {
      if (event.category === this.definition.category) {
        this.tools.handler.follow(event);
        movedBy(this.instance(event.streamId, event.metadata), event.metadata);
        this.look(event.streamId);
      }
      for (const woken of this.definition.wakes?.(event) ?? [])
        await this.execute(woken.streamId, uuidFrom(event.eventId, 'wakes', woken.streamId), woken, {
          causationId: event.eventId,
          causePosition: event.position,
          cause: event.metadata.traceparent,
        });
    }
  }

  private instance(
    streamId: Uuid,
    metadata?: { traceparent?: string; correlationId: Uuid; commandId: Uuid },
  ): Instance {
    const known = this.instances.get(streamId);
    if (known) return known;
    const instance: Instance = {
      inFlight: new Set(),
      cancelWake: null,
      traceparent: metadata?.traceparent,
      moved: metadata?.traceparent,
      correlationId: metadata?.correlationId ?? streamId,
      causationId: metadata?.commandId ?? streamId,
      pumping: false,
      again: false,
    };
    this.instances.set(streamId, instance);
    return instance;
  }

  /** Looks at an instance now; a look that finds one under way makes that one look again. */
  private look(streamId: Uuid): void {
    const instance = this.instance(streamId);
    if (instance.pumping) {
      instance.again = true;
      return;
    }
    instance.pumping = true;
    this.pump(streamId, instance)
      .catch((error: unknown) => {
        this.tools.observer?.defect?.(error);
        this.wakeAfter(streamId, instance, FAULT_PAUSE_MS);
      })
      .finally(() => {
        instance.pumping = false;
        if (instance.again && this.held) {
          instance.again = false;
          this.look(streamId);
        }
      });
  }

  private async pump(streamId: Uuid, instance: Instance): Promise<void> {
    if (!this.held) return;
    instance.cancelWake?.();
    instance.cancelWake = null;
    const { state } = await this.tools.handler.streams.load(
      this.tools.handler.aggregate(this.definition.category),
      streamId,
    );
    const now = this.tools.clock.now();
    const { dispatches, wakeAt } = this.definition.due(state, { streamId, now });
    for (const dispatch of dispatches) {
      if (instance.inFlight.has(dispatch.key)) continue;
      instance.inFlight.add(dispatch.key);
      this.waiting.push({ streamId, dispatch });
    }
    this.drainWaiting();
    if (wakeAt !== null) this.wakeAfter(streamId, instance, Math.max(0, wakeAt - now));
    else if (instance.inFlight.size === 0) this.instances.delete(streamId);
  }

  private drainWaiting(): void {
    while (this.held && this.inFlight < MAX_IN_FLIGHT) {
      const next = this.waiting.shift();
      if (!next) return;
      this.inFlight += 1;
      this.run(next.streamId, next.dispatch)
        .catch((error: unknown) => this.tools.observer?.defect?.(error))
        .finally(() => {
          this.inFlight -= 1;
          this.drainWaiting();
        });
    }
  }

  private async run(streamId: Uuid, dispatch: Dispatch): Promise<void> {
    const instance = this.instance(streamId);
    const { outcome, step } = await this.send(dispatch, instance);
    if (!this.held) return;
    const record = this.definition.record(dispatch, outcome, this.tools.clock.now());
    try {
      if (record) {
        const commandId = uuidFrom(
          dispatch.commandId,
          record.type,
          outcome.kind === 'fault' ? this.tools.clock.now() : 0,
        );
        const recorded = await this.execute(streamId, commandId, record, {
          causationId: dispatch.commandId,
          parent: step,
        });
        movedBy(instance, { commandId, traceparent: recorded });
      }
    } finally {
      instance.inFlight.delete(dispatch.key);
      if (record) this.look(streamId);
      else this.wakeAfter(streamId, instance, FAULT_PAUSE_MS);
    }
  }

  /** Gives the step's span, too: that its outcome is recorded belongs there. */
  private async send(
    dispatch: Dispatch,
    instance: Instance,
  ): Promise<{ readonly outcome: DispatchOutcome; readonly step: string | undefined }> {
    const message = messageOf(dispatch, {
      actor: `process:${this.definition.name}`,
      correlationId: instance.correlationId,
      causationId: instance.causationId,
      at: this.tools.clock.now(),
    });
    const tracer = this.tools.tracer ?? NO_TRACER;
    const attributes = {
      'xenolith.process': this.definition.name,
      'xenolith.step': dispatch.key,
      'xenolith.command.type': dispatch.type,
      'xenolith.stream.id': dispatch.streamId,
    };
    let step: string | undefined;
    try {
      const reply = await tracer.span(
        `${this.definition.name} ${dispatch.type}`,
        { attributes, parent: instance.traceparent, cause: instance.moved },
        () => {
          step = tracer.current();
          return this.tools.bus.request(dispatch.subject, message, { timeoutMs: dispatch.timeoutMs });
        },
      );
      return { outcome: { kind: 'reply', reply }, step };
    } catch (error) {
      if (!(error instanceof BusFault)) throw error;
      this.tools.observer?.dispatchFaulted?.({
        process: this.definition.name,
        dispatch,
        fault: error.kind,
        message: error.message,
      });
      return { outcome: { kind: 'fault', fault: error.kind, message: error.message }, step };
    }
  }

  private async execute(
    streamId: Uuid,
    commandId: Uuid,
    record: { type: string; data: Dispatch['data'] },
    {
      parent,
      cause,
      ...caused
    }: {
      readonly causationId: Uuid;
      readonly causePosition?: number;
      readonly parent?: string | undefined;
      readonly cause?: string | undefined;
    },
  ): Promise<string | undefined> {
    const known = this.instances.get(streamId);
    const tracer = this.tools.tracer ?? NO_TRACER;
    const attributes = {
      'xenolith.process': this.definition.name,
      'xenolith.command.type': record.type,
      'xenolith.stream.id': streamId,
    };
    const place = { attributes, parent: parent ?? known?.traceparent, cause };
    return tracer.span(`${this.definition.name} ${record.type}`, place, async () => {
      const traceparent = tracer.current();
      await this.tools.handler.handle({
        commandId,
        type: record.type,
        streamId,
        data: record.data,
        actor: `process:${this.definition.name}`,
        correlationId: known?.correlationId ?? streamId,
        ...caused,
        at: this.tools.clock.now(),
        ...(traceparent === undefined ? {} : { traceparent }),
      });
      return traceparent;
    });
  }

  private wakeAfter(streamId: Uuid, instance: Instance, delayMs: number): void {
    instance.cancelWake?.();
    instance.cancelWake = this.tools.clock.after(delayMs, () => {
      instance.cancelWake = null;
      if (this.held) this.look(streamId);
    });
  }

  private forgetAll(): void {
    for (const instance of this.instances.values()) instance.cancelWake?.();
    this.instances.clear();
    this.waiting.length = 0;
  }
}

const movedBy = (
  instance: Instance,
  by: { readonly commandId: Uuid; readonly traceparent?: string | undefined },
): void => {
  instance.causationId = by.commandId;
  instance.moved = by.traceparent;
};

/** A dispatch as a message: its id is its own, so that however often it is sent it happens once. */
export const messageOf = (
  dispatch: Dispatch,
  origin: { actor: string; correlationId: Uuid; at: number; causationId: Uuid; causePosition?: number },
): CommandMessage => ({
  commandId: dispatch.commandId,
  type: dispatch.type,
  streamId: dispatch.streamId,
  data: dispatch.data,
  actor: origin.actor,
  correlationId: origin.correlationId,
  causationId: origin.causationId,
  ...(origin.causePosition === undefined ? {} : { causePosition: origin.causePosition }),
  at: origin.at,
  ...(dispatch.undoes === undefined ? {} : { undoes: dispatch.undoes }),
  ...(dispatch.expectedVersion === undefined ? {} : { expectedVersion: dispatch.expectedVersion }),
});
