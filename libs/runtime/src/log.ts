import type { LoggerService } from '@nestjs/common';
import { isSpanContextValid, trace } from '@opentelemetry/api';
import { destination, pino, stdTimeFunctions, type DestinationStream, type Logger } from 'pino';

export type Log = Logger;

/** The ids by which a log line is found from its trace, and back; names as OpenTelemetry's log data model has them. */
const tracePlace = (): object => {
  const place = trace.getActiveSpan()?.spanContext();
  return place && isSpanContextValid(place) ? { trace_id: place.traceId, span_id: place.spanId } : {};
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
      formatters: { level: (label) => ({ level: label }) },
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
