import { heartbeat } from '@xenolith/contracts';
import { describe, expect, it } from 'vitest';
import { LoadBook } from './load-book.js';

const beat = (host: string, machines: Readonly<Record<string, number>>) =>
  heartbeat.parse({
    host,
    name: host,
    bootId: 'boot',
    at: 0,
    domains: 1,
    freeMemoryBytes: 0,
    cpuLoad: 0,
    virtualMachines: Object.entries(machines).map(([uid, cpu]) => ({
      uid,
      cpu,
      memoryBytes: 1_024,
      dirtyPagesPerSecond: 10,
    })),
  });

describe('loads of machines', () => {
  it('are what the host says, averaged over some figures', () => {
    const book = new LoadBook();
    book.observe(beat('one', { web: 1 }), 0);
    expect(book.load('web', 0)).toEqual({
      cpu: 1,
      memoryBytes: 1_024,
      dirtyBytesPerSecond: 40_960,
      measured: true,
    });
    book.observe(beat('one', { web: 2 }), 10_000);
    expect(book.load('web', 10_000)?.cpu).toBeCloseTo(1.3);
    for (let at = 20_000; at <= 100_000; at += 10_000) book.observe(beat('one', { web: 2 }), at);
    expect(book.load('web', 100_000)?.cpu).toBeGreaterThan(1.95);
  });

  it('are unknown once the host is silent, or does not have the machine any more', () => {
    const book = new LoadBook();
    book.observe(beat('one', { web: 1, gone: 1 }), 0);
    book.observe(beat('one', { web: 1 }), 10_000);
    expect(book.load('gone', 10_000)).toBeUndefined();
    expect(book.load('web', 60_000)).toBeDefined();
    expect(book.load('web', 80_000)).toBeUndefined();
  });

  it('go along with a machine that moves', () => {
    const book = new LoadBook();
    book.observe(beat('one', { web: 1 }), 0);
    book.observe(beat('two', { web: 1 }), 5_000);
    book.observe(beat('one', {}), 6_000);
    expect(book.load('web', 6_000)).toBeDefined();
  });
});
