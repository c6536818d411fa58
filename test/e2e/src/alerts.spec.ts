import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiClient, type ApiAnswer, type ApiClient } from './api-client.js';
import { sidePorts } from './exposition.js';
import { asOwner } from './owner-session.js';
import { eventually, freePort, startPlatform, type Platform } from './platform.js';
import { prometheusLack, watchPlatform, type FiringAlert, type Prometheus } from './prometheus.js';
import { startSecondScheduler } from './second-scheduler.js';

const NAMESPACES = '/api/v1/namespaces';
const COMPUTE = '/apis/compute.xenolith.dev/v1alpha1/namespaces/default';
const MACHINES = `${COMPUTE}/virtualmachines`;

/** A process has 512 steps under way at most: one of each machine's creation. */
const MORE_THAN_IN_FLIGHT = 540;
/** Machines that are created at once while an alert is waited for. */
const WAVE = 60;

const machine = (name: string, memory: string): object => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: { name },
  spec: { cpu: { vcpus: 1 }, memory },
});
const namespace = (name: string): object => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
const network = (name: string, within: string, cidr: string): object => ({
  apiVersion: 'network.xenolith.dev/v1alpha1',
  kind: 'Network',
  metadata: { name, namespace: within },
  spec: { cidr },
});

/** The service whose process gives positions, as it says itself. */
const sequencerHolder = async (platform: Platform): Promise<string> => {
  for (const [service, port] of Object.entries(await sidePorts(platform))) {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    if (/^xenolith_sequencer_held\{.*\} 1$/m.test(text)) return service;
  }
  throw new Error('no process holds the sequencer');
};

/** Runs a load again and again until what is waited for has come: one burst might begin and end between two scrapes. */
const under = async <Value>(load: () => Promise<unknown>, waited: Promise<Value>): Promise<Value> => {
  let over = false;
  const keepOn = async (): Promise<void> => {
    while (!over) await load();
  };
  const [value] = await Promise.all([waited.finally(() => (over = true)), keepOn()]);
  return value;
};

describe.skipIf(prometheusLack !== null)('alerts on a platform that Prometheus scrapes', () => {
  let platform: Platform;
  let prometheus: Prometheus;
  let api: ApiClient;
  let secondPort: number;
  let names = 0;

  const fresh = (): string => `n${(names += 1)}`;
  const pidOf = async (name: string): Promise<number> => {
    const found = (await platform.processes()).find((process) => process.name === name);
    if (found === undefined) throw new Error(`there is no process ${name}`);
    return found.pid;
  };
  /** What neither works nor ends: nobody starts it again. */
  const stopped = async <Value>(pids: readonly number[], action: () => Promise<Value>): Promise<Value> => {
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      return await action();
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
  };
  const frozen = async <Value>(name: string, action: () => Promise<Value>): Promise<Value> =>
    stopped([await pidOf(name)], action);
  const killed = async (name: string): Promise<void> => {
    const pid = await pidOf(name);
    process.kill(pid, 'SIGKILL');
    await eventually(`${name} is started again`, async () => (await pidOf(name)) !== pid);
  };
  /** Lets another process give positions: frozen, the one that does would stop everything, and not its own work alone. */
  const relieved = (...names: readonly string[]): Promise<void> =>
    eventually(`another process than ${names.join(' and ')} gives positions`, async () => {
      const holder = await sequencerHolder(platform).catch(() => null);
      if (holder !== null && names.includes(holder)) process.kill(await pidOf(holder), 'SIGKILL');
      return holder !== null && !names.includes(holder);
    });
  const create = (body: object): Promise<ApiAnswer> => api.ask('POST', `${MACHINES}?timeout=30s`, body);
  const createMany = (count: number): Promise<readonly ApiAnswer[]> =>
    Promise.all(Array.from({ length: count }, () => create(machine(fresh(), '64Mi'))));
  /** kubectl waits for each of hundreds by itself. */
  const deleteAllMachines = async (): Promise<void> => {
    await api.ask('DELETE', MACHINES);
    await eventually('all machines are gone', async () => {
      const { body } = await api.ask('GET', `${MACHINES}?limit=1`);
      return (JSON.parse(body) as { items: readonly object[] }).items.length === 0;
    });
  };
  const fires = (name: string, labels?: Readonly<Record<string, string>>): Promise<FiringAlert> =>
    prometheus.fires(name, labels);

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 1, args: ['--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    api = await apiClient(platform);
    secondPort = await freePort();
    prometheus = await watchPlatform(platform, [secondPort]);
  });
  afterAll(async () => {
    api.close();
    await prometheus.stop();
    await platform.down();
  });

  it('are silent while all is well', async () => {
    await create(machine('quiet', '512Mi'));
    await platform.kubectl('wait', 'vm/quiet', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    await prometheus.cleared('XenolithServiceMissing', 'XenolithHostsNotReady', 'XenolithProcessNotReady');
    expect((await prometheus.firing()).map(({ labels }) => labels)).toEqual([]);
  });

  it('tell of a machine that finds no host, and of a cluster that is nearly full', async () => {
    await create(machine('vast', '900Gi'));
    await fires('XenolithPlacementsPending');
    await create(machine('big', '110Gi'));
    await fires('XenolithClusterNearlyFull', { cluster: 'default' });
    await platform.kubectl('delete', 'vm', 'vast', 'big', '--timeout=60s');
    await prometheus.cleared('XenolithPlacementsPending', 'XenolithClusterNearlyFull');
    // It takes seven refusals, and a minute, until an operator is asked: meanwhile other things fail.
    await platform.apply(
      JSON.stringify({
        apiVersion: 'chaos.xenolith.dev/v1alpha1',
        kind: 'FaultRule',
        metadata: { name: 'no-destroy' },
        spec: {
          match: { commands: ['DestroyDomain'] },
          effect: { fail: { code: 'fault_injected', message: 'not today' } },
        },
      }),
    );
    await platform.kubectl('delete', 'vm', 'quiet', '--wait=false');
  });

  it('tell of a process that ends again and again', async () => {
    const started = (): Promise<readonly string[]> =>
      prometheus.values('process_start_time_seconds{instance="storage-0"}');
    for (let death = 0; death < 3; death += 1) {
      const before = await started();
      await killed('storage');
      await eventually('it is started again, and scraped', async () => {
        const now = await started();
        return now.length === 1 && now[0] !== before[0];
      });
    }
    await fires('XenolithProcessRestarts', { instance: 'storage-0' });
  });

  it('tell of an agent that is frozen, and of its hosts', async () => {
    await frozen('agent', async () => {
      const missing = await fires('XenolithServiceMissing', { service: 'agent' });
      expect(missing.annotations['summary']).toBe('No agent can be scraped');
      const hosts = await fires('XenolithHostsNotReady');
      expect(hosts.annotations['summary']).toBe('1 hosts are not ready');
    });
    await prometheus.cleared('XenolithServiceMissing', 'XenolithHostsNotReady');
  });

  it('tell of NATS when it is frozen, and of requests that fail for it, late', async () => {
    const failing = (): Promise<unknown> =>
      Promise.all(Array.from({ length: 4 }, () => api.ask('POST', `${NAMESPACES}?timeout=3s`, namespace(fresh()))));
    await frozen('nats', async () => {
      const alerts = Promise.all([
        fires('XenolithProcessNotReady', { service: 'compute', check: 'nats' }),
        fires('XenolithFeedBroken'),
        fires('XenolithApiFaults'),
        fires('XenolithApiSlow', { verb: 'create' }),
      ]);
      await under(failing, alerts);
    });
    await prometheus.cleared('XenolithProcessNotReady', 'XenolithFeedBroken');
  });

  it('tell of the sequencer when the process that holds it is frozen, and of watches that hear late', async () => {
    await relieved('gateway');
    const written = await frozen(await sequencerHolder(platform), async () => {
      const answer = api.ask('POST', NAMESPACES, namespace('late'));
      await fires('XenolithSequencerStopped');
      await prometheus.shows('max(xenolith_sequencer_lag_seconds) > 3');
      return { answer };
    });
    expect((await written.answer).code).toBe(201);
    await fires('XenolithWatchesLate', { instance: 'gateway-0' });
    await prometheus.cleared('XenolithSequencerStopped', 'XenolithServiceMissing');
  });

  it('tell of a service that nobody hears: of its timers, of an agent that it does not answer', async () => {
    await relieved('compute');
    const pid = await pidOf('compute');
    /** A cancelled operation that was deleted is removed by a timer, a second after. Whether that was still to come when its service was frozen shows then. */
    const timerCaught = async (): Promise<boolean> => {
      const { body } = await create(machine(fresh(), '900Gi'));
      const { metadata } = JSON.parse(body) as { metadata: { uid: string } };
      interface Operation {
        metadata: { name: string };
        spec: { target: { uid: string } };
        status?: { phase: string };
      }
      const operation = (): Promise<Operation | undefined> =>
        platform
          .json<{ items: Operation[] }>('get', 'operations')
          .then(({ items }) => items.find(({ spec }) => spec.target.uid === metadata.uid));
      await eventually('its operation waits', async () => (await operation()) !== undefined);
      const name = (await operation())?.metadata.name ?? '';
      let cancelled: () => void = () => undefined;
      const isCancelled = new Promise<void>((done) => (cancelled = done));
      const leave = await api.follow(
        `${COMPUTE}/operations?watch=true&fieldSelector=metadata.name%3D${name}`,
        (line) => {
          if (line.includes('"phase":"Cancelled"')) cancelled();
        },
      );
      await api.ask('DELETE', `${COMPUTE}/operations/${name}`);
      await isCancelled;
      process.kill(pid, 'SIGSTOP');
      leave();
      const overdue = async (): Promise<boolean> =>
        (await prometheus.values('max(xenolith_timers_overdue) > 0')).length > 0;
      await eventually(
        'the timer is overdue, or what it should remove is gone',
        async () => (await overdue()) || (await api.ask('GET', `${COMPUTE}/operations/${name}`)).code === 404,
      );
      const caught = await overdue();
      if (!caught) process.kill(pid, 'SIGCONT');
      return caught;
    };
    try {
      await eventually('a timer comes to nothing', timerCaught);
      const tokens = join(platform.data, 'tls', 'tokens.json');
      const whole = await readFile(tokens, 'utf8');
      await writeFile(tokens, whole.slice(1));
      const refused = await fires('XenolithFileRefused', { file: 'tokens' });
      expect(refused.annotations['summary']).toBe("gateway-0 can't use its tokens");
      await writeFile(tokens, whole);
      await killed('agent');
      await Promise.all([
        prometheus.cleared('XenolithFileRefused'),
        fires('XenolithAgentUnheard', { instance: 'agent-0' }),
        fires('XenolithTimersOverdue'),
      ]);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await prometheus.cleared('XenolithAgentUnheard', 'XenolithTimersOverdue', 'XenolithServiceMissing');
  });

  it('tell of an operation that needs an operator until he has chosen', async () => {
    const alert = await fires('XenolithOperationNeedsOperator');
    expect(alert.annotations['runbook_url']).toBe('docs/operations/XenolithOperationNeedsOperator.md');
    // As its runbook says: the cause is removed, then it is tried again.
    await platform.kubectl('delete', 'faultrule', 'no-destroy');
    const { items } = await platform.json<{ items: { metadata: { name: string } }[] }>(
      'get',
      'operations',
      '--field-selector=status.phase=NeedsOperator',
    );
    expect(items).toHaveLength(1);
    await platform.kubectl('xen', 'retry', items[0]?.metadata.name ?? '');
    await platform.kubectl('wait', 'vm/quiet', '--for=delete', '--timeout=60s');
    await deleteAllMachines();
  });

  it('tell of a reaction that waits for a frozen service until it is far behind, and of steps that wait', async () => {
    await relieved('network', 'scheduler');
    await platform.kubectl('create', 'namespace', 'doomed');
    await platform.apply(JSON.stringify(network('lost', 'doomed', '10.99.0.0/24')));
    const second = await startSecondScheduler(platform, secondPort);
    // Leaves what is shown to it where it is.
    const leave = await api.ignore(`${MACHINES}?watch=true`);
    await frozen('network', async () => {
      await platform.kubectl('delete', 'namespace', 'doomed', '--wait=false');
      const waiting = Promise.all([
        fires('XenolithFollowerStuck', { follower: 'reaction-collector' }),
        fires('XenolithCommandFaults', { type: 'DeleteNetwork' }),
      ]);
      await stopped([await pidOf('scheduler'), second.pid], async () => {
        await Promise.all([
          createMany(MORE_THAN_IN_FLIGHT),
          fires('XenolithProcessBacklog', { process: 'operations' }),
        ]);
      });
      const contended = Promise.all([
        fires('XenolithPlacementConflicts'),
        fires('XenolithWatchersCut', { instance: 'gateway-0' }),
        fires('XenolithFollowerBehind', { follower: 'reaction-collector' }),
      ]);
      await under(async () => {
        await api.ask('DELETE', MACHINES);
        await createMany(WAVE);
      }, contended);
      await waiting;
    });
    leave();
    await second.stop();
    await platform.kubectl('wait', 'namespace/doomed', '--for=delete', '--timeout=120s');
    await deleteAllMachines();
    await prometheus.cleared('XenolithFollowerStuck', 'XenolithServiceMissing');
  });

  it('do not take it for a defect that the database ends', async () => {
    // It is started again at once: steps that were under way just then fail.
    await createMany(WAVE);
    const pid = await pidOf('postgres');
    await Promise.all([api.ask('DELETE', MACHINES), Promise.resolve(process.kill(pid, 'SIGKILL'))]);
    await eventually('the database is started again', async () => (await pidOf('postgres')) !== pid);
    await eventually('all processes work', async () => (await platform.xenolith('status')).code === 0);
    await deleteAllMachines();
    expect(await prometheus.values('sum by (instance) (xenolith_defects_total) > 0')).toEqual([]);
  });

  it('tell of a defect: of a right that a service was given and has no more', async () => {
    // The ledger of a host is kept as a snapshot once in hundreds of machines; all else goes on.
    await asOwner(platform, 'revoke insert on es.snapshots from xenolith_scheduler');
    await under(
      async () => {
        await createMany(WAVE);
        await deleteAllMachines();
      },
      fires('XenolithDefects', { instance: 'scheduler-0' }),
    );
    await asOwner(platform, 'grant insert on es.snapshots to xenolith_scheduler');
  });

  it('are silent again when all faults are mended, and each has fired', async () => {
    await eventually('nothing fires', async () => (await prometheus.firing()).length === 0);
    expect([...prometheus.fired].sort()).toEqual([...(await prometheus.alerts())].sort());
  });
});
