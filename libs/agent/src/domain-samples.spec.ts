import type { DomainFigures } from '@xenolith/xen';
import { expect, it } from 'vitest';
import { grown } from './domain-samples.js';

const figures = (cpuSeconds: number, reads: number): DomainFigures => ({
  uid: 'a',
  cpu: 0.25,
  memoryBytes: 1024,
  cpuSeconds,
  disks: [{ name: 'root', reads, writes: 7, readBytes: reads * 4096, writtenBytes: 0 }],
});

it('lets totals grow evenly and leaves rates and names as they are', () => {
  const samples = { at: 1_000, spanMs: 10_000, first: [figures(1.5, 10)], second: [figures(4, 15)] };
  expect(grown(samples, 1_000)).toEqual([figures(1.5, 10)]);
  expect(grown(samples, 5_000)).toEqual([figures(2.5, 12)]);
  expect(grown(samples, 101_000)).toEqual([figures(26.5, 60)]);
});

it('never goes back when the clock does', () => {
  const samples = { at: 1_000, spanMs: 10_000, first: [figures(1.5, 10)], second: [figures(4, 15)] };
  expect(grown(samples, 0)).toEqual([figures(1.5, 10)]);
});
