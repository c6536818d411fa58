import { createRequire, syncBuiltinESMExports } from 'node:module';
import { context, propagation, SpanKind, SpanStatusCode, trace, type Attributes } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  AlwaysOnSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Tracer } from '@xenolith/engine';
import type { JsonObject } from '@xenolith/kernel';

/** Spans that wait for their export; more are dropped, as tracing must not fill the memory of a busy service. */
const SPAN_QUEUE = 8_192;
const SPAN_BATCH = 512;
const EXPORT_EVERY_MS = 1_000;
const EXPORT_TIMEOUT_MS = 5_000;

export interface Tracing {
  /** Sends what is not sent yet and stops. */
  stop(): Promise<void>;
}

/** Probes and scrapes come every few seconds and say nothing about what users asked for. */
const isProbe = (url: string | undefined): boolean => /^\/(livez|readyz|healthz|metrics)\b/.test(url ?? '');

/**
 * Starts OpenTelemetry. With an endpoint, spans of HTTP, PostgreSQL and our own are recorded and sent by OTLP; without one, only trace ids are made and
 * passed on, so that logs and events can still be told apart by request.
 */
export const startTracing = (options: {
  readonly service: string;
  readonly instance: string;
  readonly endpoint?: string | undefined;
}): Tracing => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const resource = resourceFromAttributes({
    'service.name': options.service,
    'service.namespace': 'xenolith',
    'service.instance.id': options.instance,
  });
  if (options.endpoint === undefined) {
    const provider = new TracerProvider({ resource, sampler: new AlwaysOffSampler() });
    trace.setGlobalTracerProvider(provider);
    return { stop: () => provider.shutdown() };
  }
  const exporter = new OTLPTraceExporter({
    url: `${options.endpoint.replace(/\/$/, '')}/v1/traces`,
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  const provider = new TracerProvider({
    resource,
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: SPAN_QUEUE,
        maxExportBatchSize: SPAN_BATCH,
        scheduledDelayMillis: EXPORT_EVERY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
  trace.setGlobalTracerProvider(provider);
  instrument();
  return { stop: () => provider.shutdown() };
};

/**
 * Instruments what is shared by every importer. The instrumentations act when CommonJS `require` loads a module, and ES modules that import `pg` or
 * `node:http` pass them by; yet what they change is the module's one prototype or export, so that requiring it here once reaches all of them, whichever
 * was loaded first.
 */
const instrument = (): void => {
  registerInstrumentations({
    instrumentations: [
      new HttpInstrumentation({ ignoreIncomingRequestHook: (request) => isProbe(request.url) }),
      // A query outside a request is a poll: it belongs to no trace.
      new PgInstrumentation({ requireParentSpan: true }),
    ],
  });
  const require = createRequire(import.meta.url);
  for (const name of ['http', 'https', 'pg']) require(name);
  createRequire(require.resolve('pg'))('pg-pool');
  syncBuiltinESMExports();
};

const attributesOf = (given: JsonObject | undefined): Attributes => {
  const attributes: Attributes = {};
  for (const [key, value] of Object.entries(given ?? {}))
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') attributes[key] = value;
  return attributes;
};

/** The engine's spans, as OpenTelemetry's. */
export const engineTracer = (): Tracer => {
  const tracer = trace.getTracer('@xenolith/engine');
  return {
    current: () => {
      const carrier: Record<string, string> = {};
      propagation.inject(context.active(), carrier);
      return carrier['traceparent'];
    },
    span: (name, options, action) => {
      const parent =
        options.parent === undefined
          ? context.active()
          : propagation.extract(context.active(), { traceparent: options.parent });
      const attributes = attributesOf(options.attributes);
      return tracer.startActiveSpan(name, { kind: SpanKind.INTERNAL, attributes }, parent, async (span) => {
        try {
          return await action();
        } catch (fault) {
          const error = fault instanceof Error ? fault : new Error('something was thrown that is not an error');
          span.recordException(error);
          span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
          throw fault;
        } finally {
          span.end();
        }
      });
    },
  };
};
