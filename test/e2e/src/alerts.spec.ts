import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sidePorts } from './exposition.js';
import { eventually, startPlatform, type Finished, type Platform } from './platform.js';
import { prometheusLack, watchPlatform, type Prometheus } from './prometheus.js';

const machine = (name: string, memory: string): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: { cpu: { vcpus: 1 }, memory },
  });
const network = (name: string, namespace: string, cidr: string): string =>
  JSON.stringify({
    apiVersion: 'network.xenolith.dev/v1alpha1',
    kind: 'Network',
    metadata: { name, namespace },
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

describe.skipIf(prometheusLack !== null)('alerts on a platform that Prometheus scrapes', () => {
  let platform: Platform;
  let prometheus: Prometheus;

  const pidOf = async (name: string): Promise<number> => {
    const found = (await platform.processes()).find((process) => process.name === name);
    if (found === undefined) throw new Error(`there is no process ${name}`);
    return found.pid;
  };
  /** What neither works nor ends: nobody starts it again. */
  const frozen = async (name: string, action: () => Promise<void>): Promise<void> => {
    const pid = await pidOf(name);
    process.kill(pid, 'SIGSTOP');
    try {
      await action();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  };
  /** Lets another process give positions: frozen, the one that does would stop everything, and not its own work alone. */
  const relieved = async (name: string): Promise<void> => {
    if ((await sequencerHolder(platform)) !== name) return;
    process.kill(await pidOf(name), 'SIGKILL');
    await eventually('another process gives positions', async () => {
      const holder = await sequencerHolder(platform).catch(() => name);
      return holder !== name;
    });
  };
  const running = (name: string): Promise<string> =>
    platform.kubectl('wait', `vm/${name}`, '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');

  beforeAll(async () => {
    platform = await startPlatform({ hosts: 1, args: ['--boot-time', '0'] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
    prometheus = await watchPlatform(platform);
  });
  afterAll(async () => {
    await prometheus.stop();
    await platform.down();
  });

  it('are silent while all is well', async () => {
    await platform.apply(machine('quiet', '512Mi'));
    await running('quiet');
    await prometheus.cleared('XenolithServiceMissing', 'XenolithHostsNotReady', 'XenolithProcessNotReady');
    expect((await prometheus.firing()).map(({ labels }) => labels)).toEqual([]);
  });

  it('tell of an agent that is frozen, and of its hosts', async () => {
    await frozen('agent', async () => {
      const missing = await prometheus.fires('XenolithServiceMissing', { service: 'agent' });
      expect(missing.annotations['summary']).toBe('No agent can be scraped');
      const hosts = await prometheus.fires('XenolithHostsNotReady');
      expect(hosts.annotations['summary']).toBe('1 hosts are not ready');
    });
    await prometheus.cleared('XenolithServiceMissing', 'XenolithHostsNotReady');
  });

  it('tell of a machine that finds no host, and of a cluster that is nearly full', async () => {
    await platform.apply(machine('vast', '900Gi'));
    await prometheus.fires('XenolithPlacementsPending');
    await platform.apply(machine('big', '110Gi'));
    await running('big');
    await prometheus.fires('XenolithClusterNearlyFull', { cluster: 'default' });
    await platform.kubectl('delete', 'vm', 'vast', 'big', '--timeout=60s');
    await prometheus.cleared('XenolithPlacementsPending', 'XenolithClusterNearlyFull');
  });

  it('tell of a file of tokens that is broken', async () => {
    const file = join(platform.data, 'tls', 'tokens.json');
    const whole = await readFile(file, 'utf8');
    await writeFile(file, whole.slice(1));
    const refused = await prometheus.fires('XenolithFileRefused', { file: 'tokens' });
    expect(refused.annotations['summary']).toBe("gateway-0 can't use its tokens");
    await writeFile(file, whole);
    await prometheus.cleared('XenolithFileRefused');
  });

  it('tell of NATS when it is frozen, and of requests that fail for it', async () => {
    const asked: Promise<Finished>[] = [];
    await frozen('nats', async () => {
      await prometheus.fires('XenolithProcessNotReady', { service: 'compute', check: 'nats' });
      await prometheus.fires('XenolithFeedBroken');
      asked.push(
        platform.tryKubectl('create', 'namespace', 'unheard'),
        platform.tryKubectl('create', 'namespace', 'unsaid'),
      );
      await prometheus.fires('XenolithApiFaults');
    });
    // kubectl has asked again until it was answered.
    expect((await Promise.all(asked)).map(({ code }) => code)).toEqual([0, 0]);
    await prometheus.cleared('XenolithProcessNotReady', 'XenolithFeedBroken', 'XenolithApiFaults');
  });

  it('tell of the sequencer when the process that holds it is frozen', async () => {
    await frozen(await sequencerHolder(platform), async () => {
      await prometheus.fires('XenolithSequencerStopped');
    });
    await prometheus.cleared('XenolithSequencerStopped', 'XenolithServiceMissing');
  });

  it('tell of a reaction that waits for a frozen service, and of its commands', async () => {
    await relieved('network');
    await platform.kubectl('create', 'namespace', 'doomed');
    await platform.apply(network('lost', 'doomed', '10.99.0.0/24'));
    await frozen('network', async () => {
      await platform.kubectl('delete', 'namespace', 'doomed', '--wait=false');
      await prometheus.fires('XenolithFollowerStuck', { follower: 'reaction-collector' });
      await prometheus.fires('XenolithCommandFaults', { type: 'DeleteNetwork' });
    });
    await platform.kubectl('wait', 'namespace/doomed', '--for=delete', '--timeout=120s');
    await prometheus.cleared('XenolithFollowerStuck', 'XenolithCommandFaults', 'XenolithServiceMissing');
  });

  it('tell of an agent that nobody answers', async () => {
    await frozen('compute', async () => {
      const pid = await pidOf('agent');
      process.kill(pid, 'SIGKILL');
      await eventually('the agent is started again', async () => (await pidOf('agent')) !== pid);
      await prometheus.fires('XenolithAgentUnheard', { instance: 'agent-0' });
    });
    await prometheus.cleared('XenolithAgentUnheard', 'XenolithHostsNotReady', 'XenolithServiceMissing');
  });

  it('tell of a process that ends again and again', async () => {
    // It takes seven refusals, and a minute, until an operator is asked: the next test waits for that.
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
    const started = (): Promise<readonly string[]> =>
      prometheus.values('process_start_time_seconds{instance="storage-0"}');
    for (let death = 0; death < 3; death += 1) {
      const before = await started();
      process.kill(await pidOf('storage'), 'SIGKILL');
      await eventually('it is started again, and scraped', async () => {
        const now = await started();
        return now.length === 1 && now[0] !== before[0];
      });
    }
    await prometheus.fires('XenolithProcessRestarts', { instance: 'storage-0' });
    await prometheus.cleared('XenolithProcessRestarts');
  });

  it('tell of an operation that needs an operator until he has chosen', async () => {
    const alert = await prometheus.fires('XenolithOperationNeedsOperator');
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
    await prometheus.cleared('XenolithOperationNeedsOperator');
  });

  it('are silent again when all faults are mended', async () => {
    await eventually('nothing fires', async () => (await prometheus.firing()).length === 0);
  });
});
