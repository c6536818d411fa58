import { context, propagation, SpanKind, SpanStatusCode, trace, type Attributes } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import type { Tracer } from '@xenolith/engine';
import type { JsonObject } from '@xenolith/kernel';
import { idsOnlyProvider } from './trace-ids.js';

export interface Tracing {
  /** Sends what is not sent yet and stops. */
  stop(): Promise<void>;
}

/**
 * Starts OpenTelemetry. With an endpoint, spans of HTTP, PostgreSQL and our own are recorded and sent by OTLP; without one, only trace ids are made and
 * passed on, so that logs and events can still be told apart by request.
 */
export const startTracing = async (options: {
  readonly service: string;
  readonly instance: string;
  readonly endpoint?: string | undefined;
}): Promise<Tracing> => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const { endpoint } = options;
  if (endpoint === undefined) {
    trace.setGlobalTracerProvider(idsOnlyProvider);
    return { stop: () => Promise.resolve() };
  }
  // Loaded only here: the exporter and the instrumentations cost 30 MiB and some of each start.
  const { exportingProvider, instrument } = await import('./span-export.js');
  const provider = exportingProvider({ ...options, endpoint });
  trace.setGlobalTracerProvider(provider);
  instrument();
  return { stop: () => provider.shutdown() };
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
