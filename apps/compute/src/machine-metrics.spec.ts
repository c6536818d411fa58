import type { HostFigures } from '@xenolith/compute';
import type { DomainFiguresReport } from '@xenolith/contracts';
import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import { showMachines } from './machine-metrics.js';

const domain = (uid: string, more: Partial<DomainFiguresReport> = {}): DomainFiguresReport => ({
  uid,
  cpu: 0.5,
  memoryBytes: 1024,
  ...more,
});
const host = (name: string, domainFigures: readonly DomainFiguresReport[]): HostFigures => ({
  name,
  freeMemoryBytes: 0,
  cpuLoad: 0,
  domains: domainFigures.length,
  controlDomain: undefined,
  migrations: undefined,
  sharing: undefined,
  domainFigures,
  lastHeartbeatAt: 0,
});
const machine = (name: string, on: string) => ({ name, namespace: 'default', host: on });

const scrape = async (hosts: readonly HostFigures[], machines: readonly ReturnType<typeof machine>[], most = 10) => {
  const registry = new Registry();
  // A machine's name is its uid here.
  showMachines(registry, { machine: (uid) => machines.find(({ name }) => name === uid), figures: () => hosts, most });
  await registry.metrics();
  return registry.metrics();
};

it('shows what hosts said under the names of machines, totals as counters', async () => {
  const disks = [1, 2].map((reads) => ({
    name: `d${reads}`,
    reads,
    writes: 0,
    readBytes: 4096 * reads,
    writtenBytes: 0,
  }));
  const text = await scrape([host('h1', [domain('web', { cpuSeconds: 7.5, disks })])], [machine('web', 'h1')]);
  expect(text).toContain('xenolith_vm_cpu_cores{namespace="default",vm="web",host="h1"} 0.5');
  expect(text).toContain('# TYPE xenolith_vm_cpu_seconds_total counter');
  expect(text).toContain('xenolith_vm_cpu_seconds_total{namespace="default",vm="web",host="h1"} 7.5');
  expect(text).toContain('xenolith_vm_disk_read_bytes_total{namespace="default",vm="web",host="h1"} 12288');
  expect(text).not.toContain('xenolith_vm_network_sent_bytes_total{');
});

it('shows no domain that is no machine of that host', async () => {
  const text = await scrape([host('h1', [domain('stray'), domain('moved')])], [machine('moved', 'h2')]);
  expect(text).not.toContain('vm="');
});

it('shows no more machines than it may, and says how many it left out', async () => {
  const names = ['a', 'b', 'c'];
  const text = await scrape(
    [
      host(
        'h1',
        names.map((name) => domain(name)),
      ),
    ],
    names.map((name) => machine(name, 'h1')),
    2,
  );
  expect(text.match(/^xenolith_vm_cpu_cores\{/gm)).toHaveLength(2);
  expect(text).toContain('xenolith_vm_figures_left_out 1');
});
