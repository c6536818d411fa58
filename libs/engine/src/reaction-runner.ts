import {
  AssertionError,
  BusFault,
  type Clock,
  type LogFeed,
  type LoggedEvent,
  type MessageBus,
  type Subscription,
} from '@xenolith/kernel';
import { messageOf } from './process-runner.js';
import { NO_TRACER, type Dispatch, type EngineObserver, type Reaction, type Tracer } from './service.js';

/** Runs a reaction, one runner at a time: each event's commands are answered before the checkpoint passes it. */
export class ReactionRunner {
  private subscription: Subscription | null = null;

  constructor(
    private readonly reaction: Reaction,
    private readonly tools: {
      readonly feed: LogFeed;
      readonly indexes: { caughtUp(position: number): Promise<void> };
      readonly bus: MessageBus;
      readonly clock: Clock;
      readonly tracer?: Tracer;
      readonly observer?: EngineObserver;
    },
  ) {}

  async start(): Promise<void> {
    this.subscription = await this.tools.feed.followLeased({
      name: `reaction-${this.reaction.name}`,
      onBatch: (events) => this.onBatch(events),
    });
  }

  private async onBatch(events: readonly LoggedEvent[]): Promise<void> {
    try {
      for (const event of events) {
        if (this.reaction.on !== 'every' && !this.reaction.on.includes(event.type)) continue;
        await this.tools.indexes.caughtUp(event.position);
        await Promise.all(this.reaction.react(event).map((dispatch) => this.send(event, dispatch)));
      }
    } catch (error) {
      // The feed would bring the batch again for ever.
      if (error instanceof AssertionError) this.tools.observer?.defect?.(error);
      throw error;
    }
  }

  async stop(): Promise<void> {
    await this.subscription?.stop();
  }

  /** Throws a fault, upon which the feed brings the batch again; a rejection is an answer like any other. */
  private async send(event: LoggedEvent, dispatch: Dispatch): Promise<void> {
    const message = messageOf(dispatch, {
      actor: `process:${this.reaction.name}`,
      correlationId: event.metadata.correlationId,
      causationId: event.eventId,
      causePosition: event.position,
      at: event.metadata.at,
    });
    const tracer = this.tools.tracer ?? NO_TRACER;
    try {
      await tracer.span(
        `${this.reaction.name} ${dispatch.type}`,
        {
          attributes: {
            'xenolith.reaction': this.reaction.name,
            'xenolith.event.type': event.type,
            'xenolith.event.position': event.position,
            'xenolith.command.type': dispatch.type,
            'xenolith.stream.id': dispatch.streamId,
          },
          cause: event.metadata.traceparent,
          root: true,
        },
        () => this.tools.bus.request(dispatch.subject, message, { timeoutMs: dispatch.timeoutMs }),
      );
    } catch (error) {
      if (error instanceof BusFault)
        this.tools.observer?.dispatchFaulted?.({
          process: this.reaction.name,
          dispatch,
          fault: error.kind,
          message: error.message,
        });
      throw error;
    }
  }
}
