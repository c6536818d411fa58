import { randomFillSync } from 'node:crypto';
import {
  context,
  isSpanContextValid,
  trace,
  TraceFlags,
  type Context,
  type Span,
  type SpanOptions,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api';

/** Random bytes are drawn for many ids at once, as each draw is a call into the system. */
const POOL_BYTES = 8_192;
const pool = Buffer.alloc(POOL_BYTES);
let used = POOL_BYTES;

const randomHex = (bytes: number): string => {
  if (used + bytes > POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('hex', used - bytes, used);
};

/** A span that records nothing: its trace id is its parent's, or a new one. */
const beginSpan = (_name: string, options: SpanOptions = {}, within: Context = context.active()): Span => {
  const parent = options.root === true ? undefined : trace.getSpanContext(within);
  const known = parent && isSpanContextValid(parent) ? parent : undefined;
  return trace.wrapSpanContext({
    traceId: known?.traceId ?? randomHex(16),
    spanId: randomHex(8),
    traceFlags: known?.traceFlags ?? TraceFlags.NONE,
    ...(known?.traceState ? { traceState: known.traceState } : {}),
  });
};

const tracer: Tracer = {
  startSpan: beginSpan,
  startActiveSpan: <Action extends (span: Span) => unknown>(name: string, ...rest: unknown[]): ReturnType<Action> => {
    // The action is the last of two, three or four arguments.
    const action = rest.at(-1) as Action;
    const options = rest.length > 1 ? (rest[0] as SpanOptions) : {};
    const within = rest.length > 2 ? (rest[1] as Context) : context.active();
    const span = beginSpan(name, options, within);
    return context.with(trace.setSpan(within, span), () => action(span)) as ReturnType<Action>;
  },
};

/** Gives spans that have ids and nothing else, for processes whose spans go nowhere. */
export const idsOnlyProvider: TracerProvider = { getTracer: () => tracer };
