import { commandSubject, type ServiceName } from '@xenolith/contracts';
import { ServiceEngine, type ServiceDefinition } from '@xenolith/engine';
import {
  isOutage,
  openEventStore,
  openLogFeed,
  readBacklog,
  requireSchema,
  runSequencer,
  runTimers,
  SchemaMismatch,
  type EventStore,
  type Report,
  type StoreLogFeed,
} from '@xenolith/event-store';
import { AssertionError, BusFault, NewerEvent, type CommandMessage, type JsonObject } from '@xenolith/kernel';
import { FaultFilter, NatsTransport, type NatsTransportOptions } from '@xenolith/messaging';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { z } from 'zod';
import { databaseUrlOf, type ServiceConfig } from './config.js';
import type { ProcessHandle } from './lifecycle.js';
import { NestLog, type Log } from './log.js';
import { runProcess, type ProcessContext } from './process.js';
import { engineTracer } from './tracing.js';
import { waitFor } from './wait-for.js';

/** A timer's command may wait this long for its service to return; after that the timer is due again. */
const TIMER_TIMEOUT_MS = 10_000;

/** What a service has beside what every process has: its part in the log. */
export interface LogContext<Config extends ServiceConfig = ServiceConfig> extends ProcessContext<Config> {
  readonly store: EventStore;
  /** Measured: each follower's lag and delay show in the metrics. */
  readonly feed: StoreLogFeed;
}

export interface ServiceContext<Config extends ServiceConfig = ServiceConfig> extends LogContext<Config> {
  readonly engine: ServiceEngine;
}

/** Injects the `ServiceContext` into what a service's own Nest modules hold. */
export const SERVICE_CONTEXT = Symbol('service context');

export interface ServiceProgram<Schema extends z.ZodObject> {
  readonly name: ServiceName;
  /** `serviceConfig` or an extension of it. */
  readonly config: Schema;
  /** The service as data; called once the log can be read. */
  readonly define: (
    context: LogContext<z.infer<Schema> & ServiceConfig>,
  ) => ServiceDefinition | Promise<ServiceDefinition>;
  /** Nest modules of the service's own: controllers with message and event patterns, and what they inject. */
  readonly modules?: readonly (Type | DynamicModule)[];
  /** The stream that the modules' event patterns read from. */
  readonly events?: NatsTransportOptions['events'];
  /** What the service does besides; runs when its commands are served. What it opens, it gives to `lifecycle.onStop`. */
  readonly start?: (context: ServiceContext<z.infer<Schema> & ServiceConfig>) => Promise<void>;
}

@Module({})
class ServiceModule {}

/**
 * Runs a service: everything that `runProcess` does, then the log (whose schema must have been migrated; followed, a candidate for its sequencer and its timers), then the engine with
 * the definition's indexes, processes and reactions, and its commands behind Nest's transport. It ends in the reverse order: commands are drained first.
 */
export const runService = <Schema extends z.ZodObject>(
  program: ServiceProgram<Schema>,
  handle: ProcessHandle = process,
): Promise<void> =>
  runProcess(
    {
      name: program.name,
      config: program.config,
      start: async (base) => {
        const context = await openLog(program.name, base as unknown as ProcessContext<z.infer<Schema> & ServiceConfig>);
        const definition = await program.define(context);
        const engine = await startEngine(context, definition);
        const service = { ...context, engine };
        await serveCommands(service, program);
        await program.start?.(service);
      },
    },
    handle,
  );

const reportTo =
  (log: Log): Report =>
  (level, message, fields) => {
    log[level]({ ...fields }, message);
  };

const openLog = async <Config extends ServiceConfig>(
  name: ServiceName,
  context: ProcessContext<Config>,
): Promise<LogContext<Config>> => {
  const { bus, config, lifecycle, log, metrics, readiness } = context;
  const { connection: nats } = bus;
  const databaseUrl = await databaseUrlOf(config);
  readiness.set('postgres', () => 'not connected yet');
  const open = async (): Promise<EventStore> => {
    await requireSchema(databaseUrl).catch((error: unknown) => {
      // What an older release must not touch does not become older by waiting.
      if (error instanceof SchemaMismatch && error.kind === 'ahead')
        lifecycle.fail(error, 'this release is too old for the database');
      throw error;
    });
    return openEventStore({ databaseUrl, name: context.name, nats });
  };
  const store = await waitFor('PostgreSQL', open, { log, signal: lifecycle.stopping });
  lifecycle.onStop('event store', () => store.close());
  readiness.set('postgres', async () => {
    await store.pool.query('select 1');
    return undefined;
  });
  metrics.watchLog(() => readBacklog(store.pool, context.clock.now()));

  const report = reportTo(log);
  const sequencer = await runSequencer({ databaseUrl, nats, name: context.name, report });
  lifecycle.onStop('sequencer', () => sequencer.stop());
  metrics.watchSequencer(() => sequencer.state());
  const feed = await openLogFeed({ store, nats, report });
  lifecycle.onStop('log feed', () => feed.close());
  const send = (subject: string, command: JsonObject): Promise<void> => sendTimer(context, subject, command);
  // A service's timers are for itself: nobody else may command it in its name.
  const own = { name, subjects: commandSubject(name, '') };
  const timers = await runTimers({ store, send, report, ...own });
  lifecycle.onStop('timers', () => timers.stop());
  return { ...context, store, feed: metrics.measured(feed) };
};

/** Any reply will do: a refused timer has been heard too. A fault throws, and the timer stays due. */
const sendTimer = async (context: ProcessContext, subject: string, command: JsonObject): Promise<void> => {
  // Timers hold whole commands, as the events' consequences made them.
  const message = command as unknown as CommandMessage;
  const reply = await context.bus.request(subject, message, { timeoutMs: TIMER_TIMEOUT_MS });
  if (!reply.ok)
    context.log.warn(
      { subject, commandId: message.commandId, code: reply.rejection.code },
      "a timer's command was refused",
    );
};

const startEngine = async (context: LogContext, definition: ServiceDefinition): Promise<ServiceEngine> => {
  const { store, feed, bus, clock, metrics, lifecycle, log } = context;
  const counted = metrics.engine();
  const engine = new ServiceEngine(definition, {
    log: store,
    feed,
    bus,
    clock,
    tracer: engineTracer(),
    observer: {
      ...counted,
      dispatchFaulted: (info) => {
        counted.dispatchFaulted?.(info);
        log.warn(
          { process: info.process, key: info.dispatch.key, commandId: info.dispatch.commandId, fault: info.fault },
          `a step could not be sent: ${info.message}`,
        );
      },
      defect: (error) => {
        // Beside a newer release that is as it should be, and ends with the upgrade.
        if (error instanceof NewerEvent) {
          log.warn({ err: error }, 'the stream is left to newer processes');
          return;
        }
        // A server that is away has alerts of its own: what waits for it goes on when it is back.
        if (error instanceof BusFault || isOutage(error)) {
          log.warn({ err: error }, 'a part of the engine could not reach a server; it tries again');
          return;
        }
        counted.defect?.(error);
        if (error instanceof AssertionError) lifecycle.fail(error, 'the engine met a defect: ending');
        log.error({ err: error }, 'a part of the engine failed; it tries again');
      },
    },
  });
  metrics.watchProcesses(() => engine.load());
  // The transport serves the commands, so that Nest drains them with everything else that it serves.
  await engine.start({ serve: false });
  lifecycle.onStop('engine', () => engine.stop());
  return engine;
};

const serveCommands = async (
  context: ServiceContext,
  program: Pick<ServiceProgram<z.ZodObject>, 'modules' | 'events'>,
): Promise<void> => {
  const { bus, engine, lifecycle, log } = context;
  const transport = new NatsTransport({ bus, ...(program.events ? { events: program.events } : {}) });
  for (const subject of engine.subjects())
    transport.addHandler(subject, (message: CommandMessage) => engine.handle(message));
  const root: DynamicModule = {
    module: ServiceModule,
    global: true,
    imports: [...(program.modules ?? [])],
    providers: [{ provide: SERVICE_CONTEXT, useValue: context }],
    exports: [SERVICE_CONTEXT],
  };
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(
    root,
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- Nest types its options as a class and takes plain objects
    { strategy: transport, logger: new NestLog(log), abortOnError: false },
  );
  app.useGlobalFilters(new FaultFilter());
  await app.listen();
  lifecycle.onStop('commands', () => app.close());
};
