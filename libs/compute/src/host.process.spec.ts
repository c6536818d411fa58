import { faultRuleSpec, HEARTBEAT_TIMEOUT_MS } from '@xenolith/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hostUidOf, machineUid, metadata, Platform } from './platform.spec-fixture.js';

let platform: Platform;
const host = hostUidOf('host-1');
beforeEach(async () => {
  platform = await new Platform().start();
  await platform.accepted('ChangeCluster', hostUidOf('cluster'), {
    intent: 'create',
    metadata: { ...metadata('default'), namespace: undefined },
    spec: { description: '', cpuOvercommit: 4, memoryOvercommit: 1 },
  });
  await platform.register('host-1');
});
afterEach(() => platform.killCompute());

const running = async (name: string, spec: object = {}): Promise<void> => {
  await platform.createMachine(name, spec);
  await platform.settle();
};

const beat = (): void =>
  platform.client.publish('telemetry.host-1', {
    host,
    name: 'host-1',
    bootId: platform.bootIds.get('host-1') ?? '',
    at: platform.clock.now(),
    domains: 0,
    freeMemoryBytes: 1,
    cpuLoad: 0,
  });

describe('a host', () => {
  it('is made by its first registration and counted by its cluster', async () => {
    await platform.clock.advance(10);
    expect(platform.status(host)).toMatchObject({
      summary: 'Ready',
      cpus: 4,
      memory: '16Gi',
      allocatableMemory: '8Gi',
      numaNodes: 1,
    });
    expect(platform.status(hostUidOf('cluster'))).toMatchObject({ hosts: 1, readyHosts: 1 });
  });

  it('writes nothing when it registers again unchanged', async () => {
    await platform.clock.advance(100);
    const before = platform.store.log.length;
    await platform.register('host-1');
    expect(platform.store.log).toHaveLength(before);
  });

  it('becomes unreachable when its heartbeats cease, its machines say so, and both come back', async () => {
    await running('web');
    beat();
    await platform.clock.advance(HEARTBEAT_TIMEOUT_MS + 2_000);
    expect(platform.status(host)).toMatchObject({ summary: 'NotReady' });
    expect(platform.machine('web').conditions[0]).toMatchObject({ status: 'Unknown', reason: 'HostUnreachable' });
    await platform.clock.advance(60_000);
    expect(platform.eventTypes().filter((type) => type === 'HostBecameUnreachable')).toHaveLength(1);
    beat();
    await platform.clock.advance(1_000);
    expect(platform.status(host)).toMatchObject({ summary: 'Ready' });
    expect(platform.machine('web').conditions[0]).toMatchObject({ status: 'True', reason: 'DomainRunning' });
    expect(platform.status(hostUidOf('cluster'))).toMatchObject({ readyHosts: 1 });
  });

  it('loses its machines in a crash; they are Halted and hold nothing', async () => {
    await running('web', { disks: [{ name: 'root', size: '1Gi' }] });
    platform.crash('host-1');
    await platform.register('host-1');
    await platform.until(() => platform.machine('web').phase === 'Halted');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ powerState: 'Halted' });
    expect(platform.machine('web').conditions[0]?.message).toBe('host host-1 crashed and booted again');
    expect([platform.placements.size, platform.volumes.size]).toEqual([0, 0]);
    expect(platform.eventTypes()).toContain('HostCrashed');
  });

  it('gets its machines back after a crash when they are to be restarted always', async () => {
    await running('web', { ha: { restart: 'always' } });
    platform.crash('host-1');
    await platform.register('host-1');
    await platform.until(() => platform.machine('web').incarnation === 2);
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', incarnation: 2 });
    expect(platform.domains.get('host-1')?.get(machineUid('web'))).toBe(2);
    expect(platform.placements.size).toBe(1);
  });

  it('is freed of domains that no machine knows, and of older runs', async () => {
    await running('web');
    platform.domains.get('host-1')?.set(machineUid('stranger'), 1);
    platform.domains.get('host-2')?.set(machineUid('web'), 1);
    await platform.register('host-1');
    await platform.register('host-2');
    await platform.until(() => platform.domains.get('host-2')?.size === 0);
    await platform.clock.advance(10);
    expect([...(platform.domains.get('host-1') ?? [])]).toEqual([[machineUid('web'), 1]]);
    expect(platform.machine('web').phase).toBe('Running');
    expect(platform.status(host)['strayDomains']).toBeUndefined();
  });

  it('keeps the domain of a start that has not been recorded yet', async () => {
    const agent = platform.agents.get('host-1');
    if (agent) agent.silent = true;
    await platform.createMachine('web');
    await platform.clock.advance(10);
    platform.domains.get('host-1')?.set(machineUid('web'), 1);
    await platform.register('host-1');
    await platform.clock.advance(1_000);
    if (agent) agent.silent = false;
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Running');
    expect(platform.domains.get('host-1')?.get(machineUid('web'))).toBe(1);
  });

  it('takes its machine down that a crash overtook between its boot and its record', async () => {
    await platform.createMachine('web');
    await platform.until(() => platform.domains.get('host-1')?.has(machineUid('web')) === true);
    platform.crash('host-1');
    await platform.register('host-1');
    await platform.until(() => platform.machine('web').phase === 'Halted' && platform.placements.size === 0);
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Halted');
    expect(platform.placements.size).toBe(0);
  });

  it('takes its machine down that its deletion overtook', async () => {
    await platform.createMachine('web');
    await platform.until(() => platform.domains.get('host-1')?.has(machineUid('web')) === true);
    await platform.accepted('DeleteHost', host, {});
    await platform.until(() => platform.machine('web').phase === 'Halted' && platform.placements.size === 0);
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Halted');
    expect(platform.placements.size).toBe(0);
    expect(platform.domains.get('host-1')?.size).toBe(0);
  });

  it('can not be deleted while machines run on it', async () => {
    await running('web');
    expect(await platform.send('DeleteHost', host, {})).toMatchObject({ rejection: { code: 'object_in_use' } });
  });
});

describe('a guest that ends by itself', () => {
  const report = (reason: string, domid?: number) =>
    platform.accepted('ReportDomainStopped', machineUid('web'), {
      incarnation: 1,
      host: 'host-1',
      reason,
      ...(domid === undefined ? {} : { domid }),
    });

  it('leaves its machine Halted, and the wish with it', async () => {
    await running('web');
    await report('poweroff');
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Halted');
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { powerState: 'Halted' } });
    expect(platform.placements.size).toBe(0);
  });

  it('is started again when its machine says restart', async () => {
    await running('web', { onCrash: 'restart' });
    await report('crash');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', incarnation: 2 });
    expect(platform.placements.size).toBe(1);
  });

  it('that rebooted has another domain id', async () => {
    await running('web');
    await report('reboot', 9);
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', domid: 9 });
  });
});

describe('fault rules', () => {
  it('reach every host, also one that comes later, and say how often they struck', async () => {
    await platform.accepted('ChangeFaultRule', machineUid('rule'), {
      intent: 'create',
      metadata: { ...metadata('slow'), namespace: undefined },
      spec: faultRuleSpec.parse({ match: { commands: ['StartDomain'] }, effect: { delay: 1 } }),
    });
    await platform.register('host-2');
    await platform.clock.advance(1_000);
    for (const name of ['host-1', 'host-2']) {
      const told = platform.agents.get(name)?.asked.filter((message) => message.type === 'SetFaultRules');
      expect(told?.at(-1)?.data).toMatchObject({ rules: [{ name: 'slow' }] });
    }
    await platform.accepted('RecordFaultFired', machineUid('rule'), {
      host: 'host-1',
      command: 'StartDomain',
      fired: 2,
    });
    expect(platform.status(machineUid('rule'))).toMatchObject({ fired: 2, lastHost: 'host-1' });
    await platform.accepted('DeleteFaultRule', machineUid('rule'), {});
    await platform.clock.advance(1_000);
    const last = platform.agents
      .get('host-1')
      ?.asked.filter((message) => message.type === 'SetFaultRules')
      .at(-1);
    expect(last?.data).toEqual({ rules: [] });
  });
});
