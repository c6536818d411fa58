import { context, propagation, trace } from '@opentelemetry/api';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineTracer, startTracing } from './tracing.js';

beforeAll(() => startTracing({ service: 'test', instance: 'one' }));

describe('tracing without an endpoint', () => {
  it('gives each request a trace of its own, and passes it on', async () => {
    const tracer = engineTracer();
    const seen: (string | undefined)[] = [];
    await tracer.span('outer', {}, async () => {
      seen.push(tracer.current());
      await tracer.span('inner', {}, () => {
        seen.push(tracer.current());
        return Promise.resolve();
      });
    });
    await tracer.span('other', {}, () => {
      seen.push(tracer.current());
      return Promise.resolve();
    });
    for (const traceparent of seen) expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    const [outer, inner, other] = seen.map((traceparent) => traceparent?.split('-') ?? []);
    expect(inner?.[1]).toBe(outer?.[1]);
    expect(inner?.[2]).not.toBe(outer?.[2]);
    expect(other?.[1]).not.toBe(outer?.[1]);
    expect(tracer.current()).toBeUndefined();
  });

  it('goes on with the trace of work that began elsewhere, and keeps its flag', async () => {
    const tracer = engineTracer();
    const parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await tracer.span('resumed', { parent }, () => {
      const carrier: Record<string, string> = {};
      propagation.inject(context.active(), carrier);
      expect(carrier['traceparent']).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/);
      expect(trace.getActiveSpan()?.isRecording()).toBe(false);
      return Promise.resolve();
    });
  });

  it('begins a trace for what one cause has thousands of, unless the cause is not recorded', async () => {
    const tracer = engineTracer();
    const traceOf = (cause: string): Promise<string | undefined> =>
      tracer.span('reacting', { cause, root: true }, () => Promise.resolve(tracer.current()?.split('-')[1]));
    const cause = '0af7651916cd43dd8448eb211c80319c';
    expect(await traceOf(`00-${cause}-b7ad6b7169203331-01`)).not.toBe(cause);
    expect(await traceOf(`00-${cause}-b7ad6b7169203331-00`)).toBe(cause);
  });

  it('lets a failure pass', async () => {
    await expect(engineTracer().span('failing', {}, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  });
});
