import { uuidFrom, type Uuid } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inventoryDifference } from './inventory.js';
import { hostUidOf, machineUid, Platform } from './platform.spec-fixture.js';
import type { IndexedMachine } from './virtual-machine.index.js';

const HOST = hostUidOf('host-1');

const known = (name: string, more: Partial<IndexedMachine> = {}): IndexedMachine => ({
  uid: uuidFrom(name),
  name,
  namespace: 'default',
  incarnation: 1,
  hostUid: HOST,
  host: 'host-1',
  starting: false,
  migrating: false,
  powerState: 'Running',
  version: 5,
  busy: false,
  domid: 1,
  ...more,
});

const difference = (domains: Parameters<typeof inventoryDifference>[1], ...machines: readonly IndexedMachine[]) => {
  const byUid = new Map(machines.map((machine) => [machine.uid, machine]));
  const onHost = machines.filter((machine) => machine.hostUid === HOST);
  return inventoryDifference(HOST, domains, { onHost, get: (uid: Uuid) => byUid.get(uid) });
};

const domain = (name: string, more: object = {}) => ({
  virtualMachine: uuidFrom(name),
  incarnation: 1,
  domid: 1,
  state: 'running' as const,
  ...more,
});

const NO_DIFFERENCE = { missing: [], strays: [], changed: [] };

describe('the comparison of an inventory with the log', () => {
  it('finds nothing where host and machine agree, paused or preserved alike', () => {
    expect(difference([domain('web')], known('web'))).toEqual(NO_DIFFERENCE);
    for (const state of ['paused', 'shutdown'] as const)
      expect(difference([domain('web', { state })], known('web', { powerState: 'Paused' }))).toEqual(NO_DIFFERENCE);
  });

  it('finds another domain id, a pause, and a domain that is gone', () => {
    const run = { virtualMachine: uuidFrom('web'), incarnation: 1, version: 5 };
    expect(difference([domain('web', { domid: 7 })], known('web')).changed).toEqual([
      { ...run, domid: 7, state: 'running' },
    ]);
    expect(difference([domain('web', { state: 'paused' })], known('web')).changed).toEqual([
      { ...run, domid: 1, state: 'paused' },
    ]);
    expect(difference([], known('web')).missing).toEqual([run]);
  });

  it('expects the next run of a machine that is on its way here, and no older one', () => {
    const coming = known('web', {
      hostUid: hostUidOf('host-2'),
      host: 'host-2',
      incarnation: 2,
      migrating: true,
      busy: true,
    });
    expect(difference([domain('web', { incarnation: 3 })], coming)).toEqual(NO_DIFFERENCE);
    const stray = { virtualMachine: uuidFrom('web'), incarnation: 1 };
    expect(difference([domain('web', { incarnation: 1 })], coming).strays).toEqual([stray]);
    expect(difference([domain('web', { incarnation: 3 })], { ...coming, migrating: false }).strays).toHaveLength(1);
  });

  it('leaves a machine alone that an operation is changing', () => {
    expect(difference([], known('web', { busy: true }))).toEqual(NO_DIFFERENCE);
    expect(difference([domain('web', { domid: 7 })], known('web', { busy: true }))).toEqual(NO_DIFFERENCE);
    const starting = known('web', { hostUid: null, host: null, starting: true, busy: true });
    expect(difference([domain('web')], starting)).toEqual(NO_DIFFERENCE);
  });
});

describe('a host that does something else than the log says', () => {
  let platform: Platform;
  beforeEach(async () => {
    platform = await new Platform().start();
    await platform.register('host-1');
    await platform.createMachine('web');
    await platform.settle();
  });
  afterEach(() => platform.killCompute());

  const WATCHED_MS = 20_000;
  const act = (action: string) => platform.send('StartOperation', machineUid('web'), { action, parameters: {} });
  const hide = (...types: readonly string[]): void => {
    const agent = platform.agents.get('host-1');
    if (agent) agent.hides = (message) => types.includes(message.type);
  };
  const differences = () => platform.eventTypes().filter((type) => type === 'HostInventoryDiffered').length;

  it('is believed about a reboot whose answer was lost until its operation had failed', async () => {
    hide('RebootDomain');
    expect((await act('reboot')).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ domid: 1 });
    await platform.beatFor(WATCHED_MS, 'host-1');
    expect(platform.machine('web')).toMatchObject({ powerState: 'Running', domid: 2 });
    expect(differences()).toBe(1);
  });

  it('is believed about a pause that nobody could take back, and the machine can be unpaused by its wish', async () => {
    hide('PauseDomain', 'UnpauseDomain');
    expect((await act('pause')).ok).toBe(true);
    await platform.until(() => platform.operations().some(({ phase }) => phase === 'NeedsOperator'), 3_600_000);
    const stuck = platform.operations().find(({ phase }) => phase === 'NeedsOperator');
    await platform.accepted('AbandonOperation', stuck?.uid ?? '', {});
    platform.details.set(machineUid('web'), { domid: 1, state: 'paused' });
    await platform.beatFor(WATCHED_MS, 'host-1');
    expect(platform.machine('web')).toMatchObject({ powerState: 'Paused', phase: 'Paused' });
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { powerState: 'Paused' } });
    hide();
    expect((await platform.changeMachine('web', { powerState: 'Running' })).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web').powerState).toBe('Running');
    expect(platform.details.get(machineUid('web'))?.state).toBe('running');
  });

  it('loses a machine whose domain is gone', async () => {
    platform.domains.get('host-1')?.clear();
    await platform.beatFor(WATCHED_MS, 'host-1');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ powerState: 'Halted' });
    expect(platform.machine('web').conditions[0]?.message).toBe('the domain vanished from host host-1');
  });

  it('costs no event and no question while nothing differs', async () => {
    const before = platform.store.log.length;
    await platform.beatFor(60_000, 'host-1', 'host-2');
    expect(platform.store.log).toHaveLength(before);
    expect(platform.agents.get('host-1')?.asked.some((message) => message.type === 'GetInventory')).toBe(false);
  });

  it('is asked, but changes nothing, while an operation explains the difference', async () => {
    hide('RebootDomain');
    await act('hard-reboot');
    await platform.beatFor(WATCHED_MS, 'host-1');
    expect(platform.agents.get('host-1')?.asked.some((message) => message.type === 'GetInventory')).toBe(true);
    expect(differences()).toBe(0);
    expect(platform.machine('web')).toMatchObject({ domid: 1 });
  });

  it('does not overwrite what a machine has learned since the host was asked', async () => {
    platform.details.set(machineUid('web'), { domid: 5, state: 'paused' });
    const old = { virtualMachine: machineUid('web'), incarnation: 1, version: 1, domid: 5, state: 'paused' };
    const bootId = platform.bootIds.get('host-1') ?? '';
    const found = { bootId, missing: [], strays: [], changed: [old] };
    await platform.accepted('RecordInventoryDifference', HOST, found);
    await platform.clock.advance(1_000);
    expect(platform.machine('web')).toMatchObject({ powerState: 'Running', domid: 1 });
  });

  it('does not lose a machine that started after its registration was sent', async () => {
    await platform.register('host-1', []);
    await platform.settle();
    expect(platform.machine('web').powerState).toBe('Running');
  });
});
