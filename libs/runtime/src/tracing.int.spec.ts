import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { ok, uuidFrom } from '@xenolith/kernel';
import { openMessageBus } from '@xenolith/messaging';
import { startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
// Loaded before tracing starts, as services' static imports are.
import pg from 'pg';
import { SpanKind } from '@opentelemetry/api';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { engineTracer, openLog, startTracing } from './index.js';

interface ReceivedSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[];
}

interface Export {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly ReceivedSpan[] }[] }[];
}

/** An OTLP receiver of the test's own. */
const startReceiver = async (): Promise<{ server: Server; url: string; spans: ReceivedSpan[] }> => {
  const spans: ReceivedSpan[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Export;
      for (const resource of body.resourceSpans) for (const scope of resource.scopeSpans) spans.push(...scope.spans);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans };
};

let nats: TestServer;
let postgres: TestPostgres;
let receiver: Awaited<ReturnType<typeof startReceiver>>;

beforeAll(async () => {
  [nats, postgres, receiver] = await Promise.all([startNats(), startPostgres(), startReceiver()]);
});
afterAll(async () => {
  receiver.server.close();
  await Promise.all([nats.stop(), postgres.stop()]);
});

it('makes one trace of an HTTP request, a bus request, the engine and a query, and writes its id into the log', async () => {
  const tracing = await startTracing({ service: 'test', instance: 'one', endpoint: receiver.url });
  const lines: { trace_id?: string; span_id?: string }[] = [];
  const log = openLog({
    service: 'test',
    instance: 'one',
    level: 'info',
    stream: { write: (line) => void lines.push(JSON.parse(line) as object) },
  });
  const pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
  const [server, client] = await Promise.all([
    openMessageBus({ natsUrl: nats.url, name: 'server' }),
    openMessageBus({ natsUrl: nats.url, name: 'client' }),
  ]);
  const tracer = engineTracer();
  let stored: string | undefined;
  await server.serve('cmd.test.DoThing', (message) => {
    stored = message.traceparent;
    return tracer.span('decide DoThing', { attributes: { stream: message.streamId } }, async () => {
      await pool.query('select 1 as one');
      log.info('decided');
      return ok({});
    });
  });
  const edge = createServer((_, response) => {
    const commandId = uuidFrom('traced');
    const message = {
      commandId,
      type: 'DoThing',
      streamId: commandId,
      data: {},
      actor: 'user:test',
      correlationId: commandId,
      causationId: commandId,
      at: 0,
    };
    void client.request('cmd.test.DoThing', message, { timeoutMs: 5_000 }).then(() => response.end('done'));
  }).listen(0, '127.0.0.1');
  await once(edge, 'listening');
  const { port } = edge.address() as AddressInfo;
  await (await fetch(`http://127.0.0.1:${port}/apis`)).text();

  await Promise.all([server.close(), client.close(), pool.end()]);
  edge.close();
  // Stopping sends what was not sent yet.
  await tracing.stop();

  const byId = new Map(receiver.spans.map((span) => [span.spanId, span]));
  const query = receiver.spans.find((span) => span.name.startsWith('pg.query'));
  const path: string[] = [];
  for (let span = query; span; span = byId.get(span.parentSpanId ?? '')) path.push(span.name);
  expect(path).toEqual([
    expect.stringMatching(/^pg\.query/),
    'decide DoThing',
    'handle DoThing',
    'request DoThing',
    'GET',
  ]);
  const handled = receiver.spans.find((span) => span.name === 'handle DoThing');
  // OTLP counts the kinds from 1.
  expect(handled?.kind).toBe(SpanKind.SERVER + 1);
  expect(handled?.attributes).toContainEqual({
    key: 'messaging.destination.name',
    value: { stringValue: 'cmd.test.DoThing' },
  });
  expect(stored).toBe(`00-${handled?.traceId ?? ''}-${handled?.spanId ?? ''}-01`);
  expect(lines[0]?.trace_id).toBe(handled?.traceId);
  expect(lines[0]?.span_id).toMatch(/^[0-9a-f]{16}$/);
});
