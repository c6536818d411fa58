import { describe, expect, it } from 'vitest';
import { fittingScale, peakServers, sizeOf, TRACE_SERVER } from './sizing.js';
import { eventsOf, type TraceMachine } from './trace.js';

const GIBIBYTE = 2 ** 30;
const HOST = { vcpus: 128, memoryBytes: 120 * GIBIBYTE };
const share = (part: number): TraceMachine => ({
  id: '1',
  cores: TRACE_SERVER.cores * part,
  ram: TRACE_SERVER.ram * part,
  start: 0,
  end: 1,
});

describe('sizes of replayed machines', () => {
  it.each([1 / 2, 1 / 4, 1 / 16])('lets a host hold as many machines of share %f as a server of the trace', (part) => {
    const size = sizeOf(share(part), HOST, 1);
    expect(size.vcpus).toBe(HOST.vcpus * part);
    expect(size.reservedBytes / part).toBeLessThanOrEqual(HOST.memoryBytes);
    expect(size.reservedBytes / part).toBeGreaterThan(0.98 * HOST.memoryBytes);
  });

  it('gives the smallest machine a CPU and memory to boot in', () => {
    expect(sizeOf({ ...share(1), cores: 1, ram: 0.01 }, HOST, 10)).toMatchObject({ vcpus: 1, memoryMiB: 16 });
  });

  it('shrinks a trace that needs more servers than there are hosts, and never blows one up', () => {
    const machines = [share(0.5), share(1), { ...share(1), start: 2, end: 3 }];
    const peak = peakServers(machines, eventsOf(machines));
    expect(peak).toBe(1.5);
    expect(fittingScale(peak, 1)).toBeCloseTo(1.5 / 0.9);
    expect(fittingScale(peak, 40)).toBe(1);
  });
});
