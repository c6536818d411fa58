import { faultRuleSpec, HEARTBEAT_TIMEOUT_MS, POWER_LIMIT_MS } from '@xenolith/contracts';
import { reject } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeComputeEvent } from './compute.descriptions.js';
import { hostUidOf, metadata, Platform } from './platform.spec-fixture.js';

let platform: Platform;
const host = hostUidOf('host-1');

beforeEach(async () => {
  platform = await new Platform().start();
  platform.runTimers();
  await platform.register('host-1');
});
afterEach(() => platform.killCompute());

const change = (spec: object) =>
  platform.accepted('ChangeHost', host, {
    intent: 'update',
    metadata: { ...metadata('host-1'), namespace: undefined },
    spec: { cluster: 'default', unschedulable: false, ...spec },
  });
const status = () => platform.status(host);
const power = () => status()['power'] as { state: string; reason: string; message?: string; failures?: number };
const condition = (type: string) =>
  (status().conditions as { type: string; status: string; reason: string; message: string }[]).find(
    (each) => each.type === type,
  );
const empty = (remaining = 0) =>
  platform.accepted('RecordHostEvacuation', host, {
    maintenance: (status()['maintenance'] as { uid: string } | undefined)?.uid ?? '',
    remaining,
    blocked: [],
  });
const until = async (state: string): Promise<void> => {
  expect(await platform.clock.advanceUntil(() => power().state === state, 2 * POWER_LIMIT_MS)).toBe(true);
};
const park = async (): Promise<void> => {
  await change({ parked: true });
  await empty();
  await until('Off');
};
const asked = () =>
  platform.agents
    .get('host-1')
    ?.asked.map(({ type }) => type)
    .filter((type) => type.startsWith('Power'));
const agent = () => {
  const found = platform.agents.get('host-1');
  if (!found) throw new Error('there is no agent');
  return found;
};
const told = (type: string) => platform.store.log.filter((event) => event.type === type).map(describeComputeEvent);

describe('a host that is parked', () => {
  it('is emptied first, then powered off, and not missed', async () => {
    await change({ parked: true });
    expect(status()).toMatchObject({ summary: 'Ready,Parking', maintenance: { phase: 'Evacuating' } });
    await empty(2);
    expect(power()).toMatchObject({ state: 'On', reason: 'parked by test' });
    expect(condition('Parked')).toMatchObject({ status: 'False', reason: 'Evacuating' });
    await empty();
    expect(status()).toMatchObject({ summary: 'ShuttingDown' });
    await until('Off');
    await platform.clock.advance(10 * HEARTBEAT_TIMEOUT_MS);
    expect(status()).toMatchObject({ summary: 'Parked' });
    expect(condition('Parked')).toMatchObject({ status: 'True', reason: 'PoweredOff', message: 'parked by test' });
    expect(condition('Ready')).toMatchObject({ status: 'False', reason: 'Parked' });
    expect(platform.eventTypes()).not.toContain('HostBecameUnreachable');
  });

  it('wakes when it is not to be parked any more, and is no crashed host then', async () => {
    await park();
    await change({ parked: false });
    expect(status()).toMatchObject({ summary: 'Starting' });
    await platform.clock.advance(1_000);
    await platform.register('host-1');
    expect(status()).toMatchObject({ summary: 'Ready', bootId: 'host-1-boot-1+' });
    expect(power()).toMatchObject({ state: 'On', reason: 'woken by test' });
    expect(platform.eventTypes()).not.toContain('HostCrashed');
    expect(asked()).toEqual(['PowerOffHost', 'PowerOnHost']);
  });

  it('has its full time for a first heartbeat when it is up again', async () => {
    await platform.beatFor(10_000, 'host-1');
    await park();
    await platform.clock.advance(10 * HEARTBEAT_TIMEOUT_MS);
    await change({ parked: false });
    await platform.clock.advance(1_000);
    await platform.register('host-1');
    await platform.clock.advance(HEARTBEAT_TIMEOUT_MS / 2);
    expect(platform.eventTypes()).not.toContain('HostBecameUnreachable');
    await platform.clock.advance(HEARTBEAT_TIMEOUT_MS);
    expect(platform.eventTypes()).toContain('HostBecameUnreachable');
  });

  it('stays on when it is called off before it is empty', async () => {
    await change({ parked: true });
    await empty(1);
    await change({});
    expect(status()).toMatchObject({ summary: 'Ready' });
    expect(asked()).toEqual([]);
  });

  it('is woken by the time that its power-off has not been answered, and what comes late has no effect', async () => {
    agent().silent = true;
    await change({ parked: true });
    await empty();
    await platform.clock.advance(1_000);
    await change({ parked: false });
    agent().silent = false;
    await until('On');
    expect(status()).toMatchObject({ summary: 'Ready', bootId: 'host-1-boot-1' });
    await platform.clock.advance(POWER_LIMIT_MS);
    expect(platform.off.size).toBe(0);
  });

  it('is parked while it wakes', async () => {
    await park();
    await change({ parked: false });
    await platform.clock.advance(1_000);
    await change({ parked: true });
    await empty();
    await until('Off');
    expect(platform.off.has('host-1')).toBe(true);
    await platform.clock.advance(2 * POWER_LIMIT_MS);
    expect(power()).toMatchObject({ state: 'Off' });
  });

  it('is parked while it wakes under maintenance, which had emptied it before', async () => {
    await change({ maintenance: true, parked: true });
    await empty();
    await until('Off');
    await change({ maintenance: true });
    await platform.clock.advance(1_000);
    await change({ maintenance: true, parked: true });
    await until('Off');
    expect(platform.off.has('host-1')).toBe(true);
  });

  it('is needed when a machine was placed on it in the same moment', async () => {
    await park();
    await empty(1);
    expect(power()).toMatchObject({ state: 'Starting' });
    await platform.clock.advance(1_000);
    await platform.register('host-1');
    expect(status()).toMatchObject({ summary: 'Ready,Parking' });
    await empty();
    await until('Off');
  });

  it('is shut down again when it comes up by itself', async () => {
    await park();
    platform.off.clear();
    platform.crash('host-1');
    await platform.register('host-1');
    await until('Off');
    expect(told('HostWoken')).toMatchObject([{ reason: 'Woken' }]);
  });

  it('passes over what it said before it was off', async () => {
    await park();
    await platform.register('host-1');
    expect(status()).toMatchObject({ summary: 'Parked' });
  });
});

describe('power that does not come', () => {
  it('is made by rules that reach a host while it is off', async () => {
    await park();
    await platform.accepted('ChangeFaultRule', hostUidOf('rule'), {
      intent: 'create',
      metadata: { ...metadata('no-power'), namespace: undefined },
      spec: faultRuleSpec.parse({ match: { commands: ['PowerOnHost'] }, effect: { fail: {} } }),
    });
    const told = () => agent().asked.some(({ type }) => type === 'SetFaultRules');
    expect(await platform.clock.advanceUntil(told, 10_000)).toBe(true);
  });

  const broken = () => reject('fault_injected', 'its power supply is broken');

  it('is said, and tried again after a pause', async () => {
    await park();
    agent().refusal = ({ type }) => (type === 'PowerOnHost' ? broken() : null);
    await change({ parked: false });
    await until('Off');
    expect(status()).toMatchObject({ summary: 'NotReady,Off' });
    expect(power()).toMatchObject({
      message: 'it could not be powered on: its power supply is broken',
      failures: 1,
      retryTime: expect.any(String) as string,
    });
    agent().refusal = null;
    await until('Starting');
    await platform.clock.advance(1_000);
    await platform.register('host-1');
    expect(power()).toEqual({ state: 'On', since: expect.any(String) as string, reason: 'woken by test' });
  });

  it('is said where a host has power and does not register in time; it may come later', async () => {
    await park();
    await change({ parked: false });
    await platform.clock.advance(POWER_LIMIT_MS + 1_000);
    expect(power()).toMatchObject({ state: 'Off', failures: 1 });
    expect(power().message).toBe('it was powered on, and did not register within 5 minutes');
    await platform.register('host-1');
    expect(status()).toMatchObject({ summary: 'Ready' });
  });

  it('is asked for anew where nobody answers', async () => {
    agent().hides = ({ type }) => type === 'PowerOffHost';
    await change({ parked: true });
    await empty();
    await platform.clock.advance(POWER_LIMIT_MS + 2_000);
    expect(power()).toMatchObject({ state: 'ShuttingDown', message: 'nobody answered for its power within 5 minutes' });
    agent().hides = null;
    await until('Off');
    expect(new Set(asked()?.filter((type) => type === 'PowerOffHost')).size).toBe(1);
  });

  it('keeps a host on whose machines were not known, and says so', async () => {
    platform.domains.get('host-1')?.set('stray', 1);
    await change({ parked: true });
    await empty();
    await platform.clock.advance(1_000);
    expect(power()).toMatchObject({
      state: 'ShuttingDown',
      message: 'it could not be powered off: guests would be lost',
    });
    platform.domains.get('host-1')?.clear();
    await until('Off');
    expect(told('HostPowerFailed')).toMatchObject([{ reason: 'PowerFailed', type: 'Warning' }]);
  });
});

describe('the scheduler', () => {
  it('parks and wakes with a reason, and changes the wish itself', async () => {
    await platform.accepted('ParkHost', host, { reason: 'empty for 10 minutes' });
    expect(platform.document(host)?.['spec']).toMatchObject({ parked: true });
    expect(told('HostParkingBegun')).toMatchObject([
      { reason: 'Parking', message: 'it is emptied and then powered off: empty for 10 minutes' },
    ]);
    await platform.accepted('ParkHost', host, { reason: 'again' });
    await empty();
    await until('Off');
    await platform.accepted('WakeHost', host, { reason: 'virtual machine default/web fits on no host that is on' });
    await platform.clock.advance(1_000);
    await platform.register('host-1');
    expect(platform.document(host)?.['spec']).toMatchObject({ parked: false });
    expect(power().reason).toBe('virtual machine default/web fits on no host that is on');
  });
});

describe('a cluster', () => {
  it('counts its hosts that are parked', async () => {
    const cluster = hostUidOf('cluster');
    await platform.accepted('ChangeCluster', cluster, {
      intent: 'create',
      metadata: { ...metadata('default'), namespace: undefined },
      spec: {},
    });
    await park();
    const counted = () => platform.status(cluster)['parkedHosts'] === 1;
    expect(await platform.clock.advanceUntil(counted, 10_000)).toBe(true);
    expect(platform.status(cluster)).toMatchObject({ hosts: 1, readyHosts: 0 });
  });
});
