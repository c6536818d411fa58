import { generateKeyPairSync } from 'node:crypto';
import { agentSubject, commandSubject, telemetrySubject } from '@xenolith/contracts';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BusDoor } from './chart-bus.js';
import { ChartPods } from './chart-pods.js';
import { lack, needsEngine } from './engine.js';
import type { RunningPod } from './running-pod.js';

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

  it('let a host be operated from the container of its agent, without the control plane', async () => {
    const direct = (...args: readonly string[]): ReturnType<RunningPod['execute']> =>
      pods()
        .named('agent-0')
        .execute('/bin/node', '/app/direct.js', ...args);
    const listed = await direct('host-0001', 'xl', 'list');
    expect(listed).toMatchObject({ code: 0, output: expect.stringContaining('Domain-0') as string });
    expect(await direct('host-0001', 'xl', 'destroy', 'nobody')).toMatchObject({
      code: 1,
      output: expect.stringContaining('nobody is an invalid domain identifier') as string,
    });
    expect(await direct('host-9999', 'xl', 'list')).toEqual({
      code: 1,
      output: 'direct: this agent has no host host-9999\r\n',
    });
  });

  it('let nobody onto the bus without a key, nor with one do what is not theirs', async () => {
    const door = await BusDoor.find(pods().release, pods().named('nats-1').reachedBy('client'));
    try {
      await expect(door.enter()).rejects.toThrow(/authorization/i);
      const users = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'agent.default'];
      const facts: readonly (readonly [string, readonly string[]])[] = [
        [agentSubject('host-0001', 'StartDomain'), ['compute']],
        [commandSubject('storage', 'ProvisionVolume'), ['compute', 'storage']],
        [telemetrySubject('host-0001'), ['agent.default']],
        [telemetrySubject('host-0099'), []],
      ];
      for (const [subject, able] of facts) expect(await door.mayPublish(users, subject), subject).toEqual(able);
    } finally {
      await door.close();
    }
  });

  it('keep an agent from the bus that has not the key of its fleet', async () => {
    const agent = pods().named('agent-0').pod;
    const stranger = { ...agent, name: 'x-xenolith-agent-stranger' };
    const keys = pods().release.data.get('Secret/x-xenolith-nats-keys') ?? {};
    const other = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    const data = new Map(pods().release.data).set('Secret/x-xenolith-nats-keys', { ...keys, 'agent.default': other });
    const tried = await pods().tryOut(stranger, { ...pods().release, data }, /authorization violation/i);
    expect(tried).toEqual({ ready: false });
  });

  it('let nobody into the database but by TLS', async () => {
    const port = pods().named('postgres-0').reachedBy('postgres');
    const password = pods().release.data.get('Secret/x-xenolith-database-roles')?.['storage'] ?? '';
    const ca = pods().release.data.get('Secret/x-xenolith-postgres-tls')?.['ca.crt'] ?? '';
    const login = (ssl: false | object): pg.Client =>
      new pg.Client({ host: 'localhost', port, database: 'xenolith', user: 'xenolith_storage', password, ssl });
    await expect(login(false).connect()).rejects.toThrow(/no encryption/);
    const secured = login({ ca });
    await secured.connect();
    const { rows } = await secured.query('select version from pg_stat_ssl where pid = pg_backend_pid()');
    await secured.end();
    expect(rows).toEqual([{ version: 'TLSv1.3' }]);
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

/** Limits are the chart's own: they bound, and reserve nothing. */
const LARGE_GATEWAYS = 3;
const LARGE_GATEWAY_BYTES = 2.5 * 2 ** 30;

// `medium` has as many Pods as `small`, and more memory: what would be seen of it is seen here.
describe('the Pods of the size large, with two agents', () => {
  needsEngine();
  let chart: ChartPods | undefined;

  beforeAll(async () => {
    if (lack !== null) return;
    chart = await ChartPods.start('agent.bootTimeSeconds=0', 'size=large', 'agent.replicas=2');
  });
  afterAll(async () => {
    await chart?.remove();
  });

  it('are ready by their own probes under the limits of that size, and pass what `helm test` runs', async () => {
    if (chart === undefined) throw new Error('the Pods did not start');
    const gateways = chart.running.filter(({ pod }) => pod.name.startsWith('x-xenolith-gateway-'));
    expect(gateways).toHaveLength(LARGE_GATEWAYS);
    for (const gateway of gateways) expect(await gateway.memoryLimitBytes()).toBe(LARGE_GATEWAY_BYTES);
    await chart.runToEnd(chart.release.jobs.starter);
    expect(await chart.runToEnd(chart.release.jobs.test)).toMatch(/is gone/);
    // Each agent speaks for its own hosts.
    const door = await BusDoor.find(chart.release, chart.named('nats-0').reachedBy('client'));
    try {
      const agents = ['x-xenolith-agent-0', 'x-xenolith-agent-1'];
      for (const agent of agents)
        expect(
          await door.mayPublish(
            agents.map((name) => `agent.${name}`),
            telemetrySubject(`${agent}-0001`),
          ),
        ).toEqual([`agent.${agent}`]);
    } finally {
      await door.close();
    }
  });
});
