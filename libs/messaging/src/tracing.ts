import type { CommandMessage } from '@xenolith/kernel';
import {
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api';
import type { MsgHdrs } from '@nats-io/transport-node';
import { errorFrom } from './errors.js';

const tracer = (): Tracer => trace.getTracer('@xenolith/messaging');

const setter = { set: (carrier: MsgHdrs, key: string, value: string): void => carrier.set(key, value) };
const getter = {
  get: (carrier: MsgHdrs, key: string): string | undefined => carrier.get(key) || undefined,
  keys: (carrier: MsgHdrs): string[] => carrier.keys(),
};

// Names by OpenTelemetry's semantic conventions for messaging; what those lack has the prefix `xenolith.`.
const attributesOf = (subject: string, message: CommandMessage): Record<string, string> => ({
  'messaging.system': 'nats',
  'messaging.destination.name': subject,
  'messaging.message.id': message.commandId,
  'messaging.message.conversation_id': message.correlationId,
  'xenolith.command.type': message.type,
  'xenolith.stream.id': message.streamId,
  'xenolith.actor': message.actor,
});

/** W3C Trace Context of a span, or undefined when nothing records. */
export const traceparentOf = (span: Span): string | undefined => {
  const place = span.spanContext();
  if (!isSpanContextValid(place)) return undefined;
  return `00-${place.traceId}-${place.spanId}-${place.traceFlags.toString(16).padStart(2, '0')}`;
};

/** Begins the span of a request and writes its context into the request's headers. */
export const beginRequestSpan = (subject: string, message: CommandMessage, carrier: MsgHdrs): Span => {
  const span = tracer().startSpan(`request ${subject}`, {
    kind: SpanKind.CLIENT,
    attributes: { ...attributesOf(subject, message), 'messaging.operation.type': 'send' },
  });
  propagation.inject(trace.setSpan(context.active(), span), carrier, setter);
  return span;
};

/** Begins the span of a request's handling, as a child of its sender's. */
export const beginHandleSpan = (
  subject: string,
  message: CommandMessage,
  carrier: MsgHdrs | undefined,
): { readonly span: Span; readonly within: Context } => {
  const parent = carrier ? propagation.extract(ROOT_CONTEXT, carrier, getter) : ROOT_CONTEXT;
  const span = tracer().startSpan(
    `handle ${message.type}`,
    {
      kind: SpanKind.SERVER,
      attributes: { ...attributesOf(subject, message), 'messaging.operation.type': 'process' },
    },
    parent,
  );
  return { span, within: trace.setSpan(parent, span) };
};

/** Writes the current trace context into headers. */
export const injectContext = (carrier: MsgHdrs): void => propagation.inject(context.active(), carrier, setter);

/** Runs `action` in a span for a durable message, as a child of its publisher's; a throw marks the span as failed and passes on. */
export const withConsumeSpan = async (
  subject: string,
  carrier: MsgHdrs | undefined,
  action: () => Promise<void>,
): Promise<void> => {
  const parent = carrier ? propagation.extract(ROOT_CONTEXT, carrier, getter) : ROOT_CONTEXT;
  const span = tracer().startSpan(
    `consume ${subject}`,
    {
      kind: SpanKind.CONSUMER,
      attributes: { 'messaging.system': 'nats', 'messaging.destination.name': subject },
    },
    parent,
  );
  try {
    await context.with(trace.setSpan(parent, span), action);
    endSpan(span, 'ok');
  } catch (fault) {
    endSpan(span, 'fault', fault);
    throw fault;
  }
};

/** Ends a span. A rejection is an answer, so only a fault marks the span as failed. */
export const endSpan = (span: Span, outcome: string, fault?: unknown): void => {
  span.setAttribute('xenolith.outcome', outcome);
  if (fault !== undefined) {
    const error = errorFrom(fault);
    span.recordException(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  }
  span.end();
};
