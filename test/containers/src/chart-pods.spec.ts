import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChartPods } from './chart-pods.js';
import { lack, needsEngine } from './engine.js';

/** As the chart says: what a process may take to end. */
const GRACE_SECONDS = 30;

describe('the Pods of the chart, as containers', () => {
  needsEngine();
  let chart: ChartPods | undefined;

  beforeAll(async () => {
    if (lack !== null) return;
    chart = await ChartPods.start('agent.bootTimeSeconds=0');
  });
  afterAll(async () => {
    await chart?.remove();
  });

  const pods = (): ChartPods => {
    if (chart === undefined) throw new Error('the Pods did not start');
    return chart;
  };

  it('start with their own command, variables, files, user and limits, and are ready by their own probes', async () => {
    const names = pods().running.map(({ pod }) => pod.name.replace(/^x-xenolith-/, ''));
    expect(names.sort()).toEqual([
      'agent-0',
      ...['compute', 'gateway'].flatMap((name) => [`${name}-0`, `${name}-1`]),
      ...['nats-0', 'nats-1', 'nats-2'],
      ...['network-0', 'network-1', 'postgres-0', 'scheduler-0', 'scheduler-1', 'storage-0', 'storage-1'],
    ]);
    for (const { pod } of pods().running) {
      const { livenessProbe, securityContext } = pod.container;
      expect(livenessProbe, pod.name).toBeDefined();
      expect(securityContext, pod.name).toMatchObject({
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
    const living = pods().running.map(async ({ pod }, index) => {
      const probe = pod.container.livenessProbe;
      return [pod.name, probe !== undefined && (await pods().running[index]?.holds(probe))] as const;
    });
    expect((await Promise.all(living)).filter(([, holds]) => holds !== true)).toEqual([]);
  });

  it('let the starter inventory be applied, twice', async () => {
    expect(await pods().runToEnd(pods().release.jobs.starter)).toContain('Cluster default is applied');
    await pods().runToEnd(pods().release.jobs.starter);
  });

  it('pass what `helm test` runs: a machine is made, runs, and is deleted', async () => {
    expect(await pods().runToEnd(pods().release.jobs.test)).toMatch(/deleted|gone/);
  });

  it('take the migration again, as an upgrade runs it', async () => {
    await pods().runToEnd(pods().release.jobs.migrate);
  });

  it('end in good order when they are told to', async () => {
    const ours = pods().running.filter(({ pod }) => pod.container.image.startsWith('xenolith/'));
    const ended = await Promise.all(ours.map(async (pod) => [pod.pod.name, await pod.stop(GRACE_SECONDS)] as const));
    expect(ended.filter(([, code]) => code !== 0)).toEqual([]);
  });
});
