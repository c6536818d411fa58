import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Attributes,
  type Context,
  type SpanContext,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import type { SpanPlace, Tracer } from '@xenolith/engine';
import { BusFault, type JsonObject } from '@xenolith/kernel';
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

const contextOf = (traceparent: string): Context => propagation.extract(ROOT_CONTEXT, { traceparent });

const spanOf = (traceparent: string | undefined): SpanContext | undefined =>
  traceparent === undefined ? undefined : trace.getSpanContext(contextOf(traceparent));

/** A trace that begins here is recorded only where its cause is: what is not recorded stays in the cause's trace, so that it is not either. */
const parentOf = ({ parent, cause, root }: SpanPlace): Context => {
  if (root === true) {
    const caused = spanOf(cause);
    const recorded = caused === undefined || (caused.traceFlags & TraceFlags.SAMPLED) !== 0;
    return recorded || cause === undefined ? ROOT_CONTEXT : contextOf(cause);
  }
  return parent === undefined ? context.active() : contextOf(parent);
};

/** What failed, in few words: OpenTelemetry's `error.type`. */
const errorType = (error: Error): string => (error instanceof BusFault ? error.kind : error.name);

/** The engine's spans, as OpenTelemetry's. */
export const engineTracer = (): Tracer => {
  const tracer = trace.getTracer('@xenolith/engine');
  return {
    current: () => {
      const carrier: Record<string, string> = {};
      propagation.inject(context.active(), carrier);
      return carrier['traceparent'];
    },
    span: (name, place, action) => {
      const attributes = attributesOf(place.attributes);
      const cause = place.cause === place.parent ? undefined : spanOf(place.cause);
      const links = cause === undefined ? [] : [{ context: cause }];
      const options = { kind: SpanKind.INTERNAL, attributes, links };
      return tracer.startActiveSpan(name, options, parentOf(place), async (span) => {
        try {
          return await action();
        } catch (fault) {
          const error = fault instanceof Error ? fault : new Error('something was thrown that is not an error');
          span.recordException(error);
          span.setAttribute('error.type', errorType(error));
          span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
          throw fault;
        } finally {
          span.end();
        }
      });
    },
  };
};
