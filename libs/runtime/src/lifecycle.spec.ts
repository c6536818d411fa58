import { EventEmitter } from 'node:events';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { takeCharge } from './lifecycle.js';

const silent = pino({ level: 'silent' });

class Handle extends EventEmitter {
  readonly codes: number[] = [];
  exit(code: number): never {
    this.codes.push(code);
    return undefined as never;
  }
}

describe('a process', () => {
  it('ends in the reverse order of its beginning, with code 0', async () => {
    const handle = new Handle();
    const lifecycle = takeCharge(silent, handle);
    const stopped: string[] = [];
    for (const name of ['bus', 'store', 'engine'])
      lifecycle.onStop(name, () => {
        stopped.push(name);
        return Promise.resolve();
      });
    handle.emit('SIGTERM');
    await vi.waitFor(() => expect(handle.codes).toEqual([0]));
    expect(stopped).toEqual(['engine', 'store', 'bus']);
    expect(lifecycle.stopping.aborted).toBe(true);
  });

  it('ends with code 1 when a part does not stop, yet stops the others', async () => {
    const handle = new Handle();
    const lifecycle = takeCharge(silent, handle);
    const stopped: string[] = [];
    lifecycle.onStop('first', () => {
      stopped.push('first');
      return Promise.resolve();
    });
    lifecycle.onStop('stuck', () => Promise.reject(new Error('stuck')));
    handle.emit('SIGINT');
    await vi.waitFor(() => expect(handle.codes).toEqual([1]));
    expect(stopped).toEqual(['first']);
  });

  it('ends at once at the second signal', () => {
    const handle = new Handle();
    const lifecycle = takeCharge(silent, handle);
    lifecycle.onStop('slow', () => new Promise(() => undefined));
    handle.emit('SIGINT');
    expect(handle.codes).toEqual([]);
    handle.emit('SIGINT');
    expect(handle.codes).toEqual([130]);
  });

  it('ends with code 1 at what nobody caught', () => {
    const handle = new Handle();
    takeCharge(silent, handle);
    handle.emit('unhandledRejection', new Error('lost'));
    handle.emit('uncaughtException', new Error('thrown'));
    expect(handle.codes).toEqual([1, 1]);
  });
});
