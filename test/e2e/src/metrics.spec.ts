import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exposed, type ExposedMetric } from './exposition.js';
import { eventually, readFile, ROOT, startPlatform, type Platform } from './platform.js';

interface Listed {
  readonly name: string;
  readonly type: string;
  readonly unit: string;
  readonly labels: readonly string[];
  readonly services: readonly string[];
  readonly meaning: string;
}

const SERVICES = ['compute', 'gateway', 'network', 'scheduler', 'storage'];

const servicesOf = (cell: string): readonly string[] => {
  if (cell === 'all') return ['agent', ...SERVICES];
  return cell === 'services' ? SERVICES : cell.split(', ').sort();
};

/** The rows of docs/metrics.md. */
const listed = async (): Promise<readonly Listed[]> => {
  const text = await readFile(join(ROOT, 'docs', 'metrics.md'), 'utf8');
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `xenolith_'))
    .map((line) => {
      const [name = '', type = '', unit = '', labels = '', services = '', meaning = ''] = line
        .split('|')
        .slice(1)
        .map((cell) => cell.trim());
      return {
        name: name.replaceAll('`', ''),
        type,
        unit,
        labels: labels === '' ? [] : labels.replaceAll('`', '').split(', '),
        services: servicesOf(services),
        meaning,
      };
    });
};

/** Faults and conflicts that a platform does not have when all is well; page sharing and balloons, which this machine and its host were not made with. */
const WITHOUT_SAMPLES = [
  'xenolith_agent_faults_total',
  'xenolith_decision_retries_total',
  'xenolith_dispatch_faults_total',
  'xenolith_host_saved_memory_bytes',
  'xenolith_host_shared_memory_bytes',
  'xenolith_vm_balloon_target_bytes',
  'xenolith_vm_shared_memory_bytes',
];

const machine = (name: string, memory: string): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: {
      cpu: { vcpus: 1 },
      memory,
      disks: [{ name: 'root', source: { image: 'alpine-3' } }],
      nics: [{ name: 'eth0', network: 'default' }],
    },
  });

const unitOfName = (name: string): string | undefined => {
  const base = name.replace(/_total$/, '');
  return ['seconds', 'bytes', 'events', 'position'].find((unit) => base.endsWith(`_${unit}`));
};

describe('the figures of a platform', () => {
  let platform: Platform;
  let shown: ReadonlyMap<string, ExposedMetric>;

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 1, args: ['--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    await platform.apply(machine('measured', '512Mi'));
    await platform.kubectl('wait', 'vm/measured', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    // Figures of machines come with every few heartbeats.
    await eventually('the host told of the machine', async () => {
      shown = await exposed(platform);
      return (shown.get('xenolith_vm_ring_full_seconds_total')?.samples ?? 0) > 0;
    });
  });
  afterAll(() => platform.down());

  it('are those that docs/metrics.md lists, with their type, place and meaning', async () => {
    const rows = await listed();
    const ours = [...shown.values()].filter(({ name }) => name.startsWith('xenolith_'));
    const told = (name: string, type: string, services: Iterable<string>, help: string): string =>
      `${name} ${type} [${[...services].sort().join(' ')}] ${help}`;
    expect(rows.map((row) => told(row.name, row.type, row.services, row.meaning)).sort()).toEqual(
      ours.map((metric) => told(metric.name, metric.type, metric.services, metric.help)).sort(),
    );
  });

  it('have the labels that it lists, as far as there are samples', async () => {
    for (const row of await listed()) {
      const metric = shown.get(row.name);
      if (WITHOUT_SAMPLES.includes(row.name)) continue;
      expect(metric?.samples, `samples of ${row.name}`).toBeGreaterThan(0);
      expect([...(metric?.labels ?? [])].sort(), `labels of ${row.name}`).toEqual([...row.labels].sort());
    }
  });

  it('end in their unit', async () => {
    for (const row of await listed()) {
      expect(row.unit, row.name).not.toBe('');
      const named = unitOfName(row.name);
      if (named !== undefined) expect(row.unit, row.name).toBe(named);
      expect(row.name.endsWith('_total'), row.name).toBe(row.type === 'counter');
    }
  });

  it('of Node.js and the operating system are there for each process', () => {
    for (const name of [
      'process_resident_memory_bytes',
      'process_start_time_seconds',
      'nodejs_eventloop_lag_p99_seconds',
    ])
      expect([...(shown.get(name)?.services ?? [])].sort(), name).toEqual(['agent', ...SERVICES]);
  });
});
