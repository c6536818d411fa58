import { commandSubject } from '@xenolith/contracts';
import type { Clock, CommandMessage, EventLog, LogFeed, MessageBus, Reply, Subscription } from '@xenolith/kernel';
import { CommandHandler } from './command-handler.js';
import { Indexes } from './index-feed.js';
import { ProcessRunner } from './process-runner.js';
import { ReactionRunner } from './reaction-runner.js';
import {
  NO_TRACER,
  routesOf,
  type EngineObserver,
  type IndexedEvent,
  type ProcessLoad,
  type ServiceDefinition,
  type Tracer,
} from './service.js';

export interface EnginePorts {
  readonly log: EventLog;
  readonly feed: LogFeed;
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly tracer?: Tracer;
  readonly observer?: EngineObserver;
}

/** A service at work: its commands served, its indexes fed, its processes run. */
export class ServiceEngine {
  readonly handler: CommandHandler;
  private readonly indexes: Indexes;
  private readonly processes: readonly ProcessRunner[];
  private readonly reactions: readonly ReactionRunner[];
  private readonly served: Subscription[] = [];

  constructor(
    readonly definition: ServiceDefinition,
    private readonly ports: EnginePorts,
  ) {
    this.indexes = new Indexes(definition.indexes, (event) => this.handler.follow(event));
    this.handler = new CommandHandler(definition, ports.log, {
      indexes: { applyOwn: (events) => this.applyOwn(events) },
      ...(ports.observer ? { observer: ports.observer } : {}),
    });
    this.processes = definition.processes.map(
      (process) => new ProcessRunner(process, { ...ports, handler: this.handler }),
    );
    this.reactions = definition.reactions.map(
      (reaction) => new ReactionRunner(reaction, { ...ports, indexes: this.indexes }),
    );
  }

  /** Settles when commands are taken. `serve: false` leaves the subjects to the caller's transport, which calls `handle`. */
  async start(options: { readonly serve: boolean } = { serve: true }): Promise<void> {
    await this.indexes.start(this.definition.name, this.ports.log, this.ports.feed);
    if (options.serve) {
      for (const subject of this.subjects())
        this.served.push(await this.ports.bus.serve(subject, (message) => this.handle(message)));
    }
    for (const runner of [...this.processes, ...this.reactions]) await runner.start();
  }

  subjects(): readonly string[] {
    return routesOf(this.definition).map((route) => commandSubject(this.definition.name, route.type));
  }

  handle(message: CommandMessage): Promise<Reply> {
    const tracer = this.ports.tracer ?? NO_TRACER;
    return tracer.span(
      `decide ${message.type}`,
      {
        attributes: {
          'xenolith.command.type': message.type,
          'xenolith.command.id': message.commandId,
          'xenolith.stream.id': message.streamId,
        },
      },
      () => {
        const traceparent = tracer.current() ?? message.traceparent;
        return this.handler.handle(traceparent === undefined ? message : { ...message, traceparent });
      },
    );
  }

  /** Settles when the indexes have seen the log up to a position; queries wait for it, so that they show what was acknowledged before. */
  caughtUp(position: number): Promise<void> {
    return this.indexes.caughtUp(position);
  }

  /** What the processes of this service have to do here and now. */
  load(): readonly ProcessLoad[] {
    return this.processes.map((process) => process.load());
  }

  /** What this process wrote is shown to its indexes and processes at once: the feed brings it some milliseconds later. */
  private applyOwn(events: readonly IndexedEvent[]): void {
    this.indexes.applyOwn(events);
    for (const event of events) for (const process of this.processes) process.begin(event);
  }

  /** Stops taking commands first, then its processes, then its indexes. */
  async stop(): Promise<void> {
    for (const subscription of this.served) await subscription.stop();
    for (const runner of [...this.reactions, ...this.processes]) await runner.stop();
    await this.indexes.stop();
  }
}
