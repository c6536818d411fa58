import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { causeChain, waitFor } from './wait-for.js';

describe('waiting for a server', () => {
  it('tries until it is there, and says what it waits for once per reason', async () => {
    const lines: string[] = [];
    const log = pino({}, { write: (line) => void lines.push((JSON.parse(line) as { msg: string }).msg) });
    let attempts = 0;
    const value = await waitFor(
      'Postgres',
      () => {
        attempts += 1;
        return attempts < 4
          ? Promise.reject(new Error('connect', { cause: new Error('refused') }))
          : Promise.resolve(7);
      },
      { log, signal: new AbortController().signal },
    );
    expect(value).toBe(7);
    expect(lines).toEqual(['waiting for Postgres: connect: refused', 'Postgres is there']);
  });

  it('gives up when it is told to stop', async () => {
    const abort = new AbortController();
    const waiting = waitFor('NATS', () => Promise.reject(new Error('refused')), {
      log: pino({ level: 'silent' }),
      signal: abort.signal,
      onTrouble: () => abort.abort(new Error('told to stop')),
    });
    await expect(waiting).rejects.toThrow('told to stop');
  });

  it('tells causes that an aggregate hides', () => {
    expect(causeChain(new AggregateError([new Error('v4 refused'), new Error('v6 refused')]))).toBe(
      'v4 refused, v6 refused',
    );
  });
});
