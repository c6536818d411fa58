import type { HostMetrics, VirtualMachineMetrics } from '@xenolith/contracts';
import { expect, it } from 'vitest';
import { hostRows, machineRows, sorted } from './top.js';

const host = (name: string, cpu: string, memory: string): HostMetrics => ({
  metadata: { name },
  timestamp: '2026-01-01T00:00:00Z',
  window: '2s',
  usage: { cpu, memory },
  capacity: { cpu: '4', memory: '8Gi' },
  domains: 2,
});
const machine = (more: Partial<VirtualMachineMetrics>): VirtualMachineMetrics => ({
  metadata: { name: 'web-1', namespace: 'shop' },
  timestamp: '2026-01-01T00:00:00Z',
  window: '10s',
  host: 'host-0001',
  usage: { cpu: '250m', memory: '1048576Ki' },
  ...more,
});
const disk = (more: object) => ({ name: 'root', reads: 0, writes: 0, readBytes: 0, writtenBytes: 0, ...more });

it('sorts by quantities, not by their texts', () => {
  const hosts = [host('a', '900m', '2Gi'), host('b', '2', '512Mi'), host('c', '1100m', '3Gi')];
  expect(sorted(hosts, 'cpu').map(({ metadata }) => metadata.name)).toEqual(['b', 'c', 'a']);
  expect(sorted(hosts, 'memory').map(({ metadata }) => metadata.name)).toEqual(['c', 'a', 'b']);
  expect(sorted(hosts, undefined)).toEqual(hosts);
});

it('shows shares of what a host has, and a dash for what nobody said', () => {
  expect(hostRows([host('a', '1', '2Gi')])[1]).toEqual(['a', '1', '25%', '2Gi', '25%', '-', '2', '-', '-']);
  const migrations = { incoming: 1, outgoing: 2 };
  expect(hostRows([{ ...host('a', '1', '2Gi'), migrations }])[1]?.at(-1)).toBe('1/2');
  const sharing = { shared: '512Mi', saved: '1536Mi' };
  expect(hostRows([{ ...host('a', '1', '2Gi'), sharing }])[1]?.[5]).toBe('1.5Gi');
});

it('adds up what goes over all disks, once rates are known', () => {
  const disks = [disk({ readBytesPerSecond: 1024 }), disk({ readBytesPerSecond: 2048 }), disk({})];
  expect(machineRows([machine({ disks })], false)[1]).toEqual([
    'web-1',
    'host-0001',
    '250m',
    '-',
    '1Gi',
    '-',
    '3Ki',
    '-',
    '-',
    '-',
  ]);
});

it('names namespaces where there are several', () => {
  const [head, row] = machineRows([machine({ steal: '20m' })], true);
  expect(head?.slice(0, 2)).toEqual(['NAMESPACE', 'NAME']);
  expect(row?.slice(0, 2)).toEqual(['shop', 'web-1']);
});
