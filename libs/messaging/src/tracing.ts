import { BusFault, type CommandMessage, type Reply } from '@xenolith/kernel';
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
  // Named by the type: subjects of agents have the names of hosts in them.
  const span = tracer().startSpan(`request ${message.type}`, {
    kind: SpanKind.CLIENT,
    attributes: {
      ...attributesOf(subject, message),
      'messaging.operation.name': 'request',
      'messaging.operation.type': 'send',
    },
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
      attributes: {
        ...attributesOf(subject, message),
        'messaging.operation.name': 'handle',
        'messaging.operation.type': 'process',
      },
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
      attributes: {
        'messaging.system': 'nats',
        'messaging.destination.name': subject,
        'messaging.operation.name': 'consume',
        'messaging.operation.type': 'process',
      },
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

/** Ends the span of a request that was answered. A rejection is an answer, and no error. */
export const endAnswered = (span: Span, reply: Reply): void => {
  if (!reply.ok) span.setAttribute('xenolith.rejection.code', reply.rejection.code);
  endSpan(span, reply.ok ? 'ok' : 'rejected');
};

/** Ends a span; a fault marks it as failed. */
export const endSpan = (span: Span, outcome: string, fault?: unknown): void => {
  span.setAttribute('xenolith.outcome', outcome);
  if (fault !== undefined) {
    const error = errorFrom(fault);
    span.recordException(error);
    span.setAttribute('error.type', error instanceof BusFault ? error.kind : error.name);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  }
  span.end();
};
