import { inboxPrefix } from '@xenolith/contracts';
import type { Clock } from '@xenolith/kernel';
import { openMessageBus, type NatsMessageBus } from '@xenolith/messaging';
import type { z } from 'zod';
import { busCredentials, readConfig, type ProcessConfig } from './config.js';
import { Health } from './health.js';
import { takeCharge, type Lifecycle, type ProcessHandle } from './lifecycle.js';
import { openLog, type Log } from './log.js';
import { createMetrics, type Metrics } from './metrics.js';
import { openSidePort } from './side-port.js';
import { startTracing } from './tracing.js';
import { waitFor } from './wait-for.js';

/** What a process has from the beginning. */
export interface EarlyContext<Config extends ProcessConfig = ProcessConfig> {
  readonly name: string;
  readonly config: Config;
  readonly log: Log;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Add a check here to hold readiness back. */
  readonly readiness: Health;
  readonly lifecycle: Lifecycle;
}

/** What a process has once NATS is reached. */
export interface ProcessContext<Config extends ProcessConfig = ProcessConfig> extends EarlyContext<Config> {
  readonly bus: NatsMessageBus;
}

/** One process: what it reads from its environment and what it does. */
export interface ProcessDefinition<Schema extends z.ZodObject> {
  readonly name: string;
  /** `processConfig` or an extension of it. */
  readonly config: Schema;
  /** Who it is on the message bus; absent: its name. */
  readonly busUser?: (config: z.infer<Schema>) => string;
  /** What it does before NATS is there, and without it. */
  readonly prepare?: (context: EarlyContext<z.infer<Schema> & ProcessConfig>) => Promise<void>;
  /** Settles when the process does its work; whatever it opened, it gives to `lifecycle.onStop`. */
  readonly start: (context: ProcessContext<z.infer<Schema> & ProcessConfig>) => Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (delayMs, action) => {
    // Node warns of what is due already.
    const timer = setTimeout(action, Math.max(0, delayMs));
    return () => clearTimeout(timer);
  },
};

/**
 * Runs a process from its first breath to its last: configuration, log, tracing, the port for probes and metrics, NATS, then `start`. It is not ready until
 * `start` has settled, and waits as long as it takes for what is not there yet.
 */
export const runProcess = async <Schema extends z.ZodObject>(
  definition: ProcessDefinition<Schema>,
  handle: ProcessHandle = process,
): Promise<void> => {
  const config = readConfig(definition.config, handle) as z.infer<Schema> & ProcessConfig;
  const log = openLog({ service: definition.name, instance: config.INSTANCE, level: config.LOG_LEVEL });
  const lifecycle = takeCharge(log, handle);
  const labels = { service: definition.name, instance: config.INSTANCE };
  const tracing = await startTracing({ ...labels, endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT });
  lifecycle.onStop('tracing', () =>
    tracing.stop().catch((error: unknown) => log.warn({ err: error }, 'spans were lost')),
  );
  const metrics = createMetrics(labels);
  const readiness = new Health('readyz');
  const user = definition.busUser?.(config) ?? definition.name;
  let phase = 'waiting for NATS';
  metrics.watchReadiness(readiness);
  readiness.set('start', () => (phase === 'started' ? undefined : phase));
  lifecycle.stopping.addEventListener('abort', () => {
    readiness.set('shutdown', () => 'the process is stopping');
  });
  try {
    await openPort(config, { metrics, readiness, lifecycle, log });
    const early = { name: definition.name, config, log, clock: systemClock, metrics, readiness, lifecycle };
    await definition.prepare?.(early);
    const bus = await connectBus({ name: definition.name, user }, config, { metrics, readiness, lifecycle, log });
    phase = 'the process is starting';
    await definition.start({ ...early, bus });
    phase = 'started';
    log.info('ready');
  } catch (error) {
    // Told to stop while it started: the stop is under way already.
    if (!lifecycle.stopping.aborted) lifecycle.fail(error, 'the start failed');
  }
};

interface Parts {
  readonly metrics: Metrics;
  readonly readiness: Health;
  readonly lifecycle: Lifecycle;
  readonly log: Log;
}

const openPort = async (config: ProcessConfig, parts: Parts): Promise<void> => {
  const side = await openSidePort({
    host: config.HTTP_HOST,
    port: config.HTTP_PORT,
    liveness: new Health('livez'),
    readiness: parts.readiness,
    registry: parts.metrics.registry,
    log: parts.log,
  });
  parts.lifecycle.onStop('probes', () => side.close());
  parts.log.info({ host: config.HTTP_HOST, port: side.port }, 'answering /livez, /readyz and /metrics');
};

const connectBus = async (
  { name, user }: { readonly name: string; readonly user: string },
  config: ProcessConfig,
  parts: Parts,
): Promise<NatsMessageBus> => {
  const { log, lifecycle, metrics, readiness } = parts;
  readiness.set('nats', () => 'not connected yet');
  const open = (): Promise<NatsMessageBus> =>
    openMessageBus({
      natsUrl: config.NATS_URL,
      name: `${name} ${config.INSTANCE}`,
      credentials: busCredentials(config),
      inboxPrefix: inboxPrefix(user),
      log,
      observer: metrics.bus,
      onDefect: (defect) => lifecycle.fail(defect, 'a handler met a defect: ending'),
    });
  const bus = await waitFor('NATS', open, { log, signal: lifecycle.stopping });
  lifecycle.onStop('message bus', () => bus.close());
  readiness.set('nats', () => (bus.connected ? undefined : 'the connection to NATS is down'));
  return bus;
};
