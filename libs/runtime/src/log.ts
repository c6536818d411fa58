import type { LoggerService } from '@nestjs/common';
import { isSpanContextValid, trace } from '@opentelemetry/api';
import { destination, pino, stdSerializers, stdTimeFunctions, type DestinationStream, type Logger } from 'pino';

export type Log = Logger;

/** The ids by which a log line is found from its trace, and back; names as OpenTelemetry's log data model has them. */
const tracePlace = (): object => {
  const place = trace.getActiveSpan()?.spanContext();
  return place && isSpanContextValid(place) ? { trace_id: place.traceId, span_id: place.spanId } : {};
};

/** What JSON shows of an error by itself is nothing, or a code: its message, stack and causes are not enumerable. */
const told = (value: unknown): unknown => {
  if (value instanceof Error) return stdSerializers.err(value);
  if (Array.isArray(value) && value.some((item) => item instanceof Error)) return value.map(told);
  return value;
};

const tellErrors = (fields: Record<string, unknown>): Record<string, unknown> => {
  for (const key in fields) {
    const shown = told(fields[key]);
    if (shown !== fields[key]) fields = { ...fields, [key]: shown };
  }
  return fields;
};

/** JSON lines on standard output, each with the ids of the span that it was written in. */
export const openLog = (options: {
  readonly service: string;
  readonly instance: string;
  readonly level: string;
  readonly stream?: DestinationStream;
}): Log =>
  pino(
    {
      level: options.level,
      base: { service: options.service, instance: options.instance, pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: tellErrors },
      // Told already, as those in all other fields.
      serializers: { err: (shown: unknown) => shown },
      mixin: tracePlace,
    },
    // Synchronous, so that the last words of a process that dies are not lost.
    options.stream ?? destination({ fd: 1, sync: true }),
  );

/** Nest's own words, in the process's log. Its start-up chatter is for debugging. */
export class NestLog implements LoggerService {
  constructor(private readonly to: Log) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.to.debug({ nest: rest }, this.#text(message));
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.to.error({ nest: rest, ...(message instanceof Error ? { err: message } : {}) }, this.#text(message));
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.to.warn({ nest: rest }, this.#text(message));
  }

  #text(message: unknown): string {
    if (message instanceof Error) return message.message;
    return typeof message === 'string' ? message : JSON.stringify(message);
  }
}
