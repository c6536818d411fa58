import { freePort, startNats, type TestServer } from '@xenolith/testing';
import { ok } from '@xenolith/kernel';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { processConfig, runProcess, type ProcessContext } from './index.js';
import { Handle } from './process.spec-fixture.js';

let nats: TestServer;

beforeAll(async () => {
  nats = await startNats();
});
afterAll(async () => {
  await nats.stop();
});

const get = async (url: string): Promise<{ status: number; text: string }> => {
  const response = await fetch(url);
  return { status: response.status, text: await response.text() };
};

it('answers probes while it waits for NATS, becomes ready, and ends in order', async () => {
  await nats.kill();
  const port = await freePort();
  const handle = new Handle({
    NATS_URL: nats.url,
    HTTP_PORT: String(port),
    LOG_LEVEL: 'error',
    INSTANCE: 'one',
    GREETING: 'hello',
  });
  const events: string[] = [];
  let context: ProcessContext | undefined;
  const running = runProcess(
    {
      name: 'tested',
      config: processConfig.extend({ GREETING: z.string() }),
      start: async (given) => {
        context = given;
        events.push(given.config.GREETING);
        await given.bus.serve('greet', () => Promise.resolve(ok({})));
        given.lifecycle.onStop('part', () => {
          events.push(`stopped with NATS ${given.bus.connected ? 'there' : 'gone'}`);
          return Promise.resolve();
        });
      },
    },
    handle,
  );
  const base = `http://127.0.0.1:${port}`;
  await vi.waitFor(async () => expect((await get(`${base}/livez`)).status).toBe(200), { timeout: 10_000 });
  const waiting = await get(`${base}/readyz`);
  expect(waiting.status).toBe(500);
  expect(waiting.text).toContain('[-]nats failed: not connected yet');
  expect(waiting.text).toContain('readyz check failed');

  await nats.restart();
  await running;
  expect(await get(`${base}/readyz`)).toEqual({ status: 200, text: 'ok' });
  expect((await get(`${base}/readyz?verbose`)).text).toBe('[+]ping ok\n[+]start ok\n[+]nats ok\nreadyz check passed\n');
  expect((await get(`${base}/readyz/nats`)).status).toBe(200);
  const commandId = '018f0000-0000-7000-8000-000000000000';
  const ids = { commandId, streamId: commandId, correlationId: commandId, causationId: commandId };
  await context?.bus.request(
    'greet',
    { ...ids, type: 'Greet', actor: 'system:test', at: 0, data: {} },
    { timeoutMs: 5_000 },
  );
  const metrics = await get(`${base}/metrics`);
  expect(metrics.text).toMatch(/xenolith_command_seconds_count\{[^}]*type="Greet",outcome="ok"\} 1/);
  expect(metrics.text).toContain('process_cpu_seconds_total');

  handle.emit('SIGTERM');
  await vi.waitFor(() => expect(handle.codes).toEqual([0]), { timeout: 10_000 });
  expect(events).toEqual(['hello', 'stopped with NATS there']);
  await expect(fetch(`${base}/livez`)).rejects.toThrow();
});
