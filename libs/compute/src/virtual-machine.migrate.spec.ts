import { eventOf } from '@xenolith/contracts';
import { reject, type NewEvent } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { act, begun, created, HALTED, machine, PAUSED, recordEnded, RUNNING, started } from './machine.spec-fixture.js';
import type { Party } from './party.spec-fixture.js';
import { hostUidOf, machineSpec, machineUid, Platform, WITH_DEVICES } from './platform.spec-fixture.js';

const moved = {
  operation: 'pool_migrate',
  incarnation: 2,
  from: 'host-1',
  host: 'host-2',
  hostUid: 'uid-2',
  domid: 4,
  state: 'running',
  disks: [],
  migration: {},
};
const recordMigrated = { type: 'RecordVirtualMachineMigrated', data: moved };
const lost = {
  type: 'RecordVirtualMachineStopped',
  data: { incarnation: 1, host: 'host-1', reason: 'host_crash', message: 'crashed' },
};
const missed = eventOf('VirtualMachineMissed', lost.data);
const halted = (incarnation: number) => ({
  type: 'RecordVirtualMachineHalted',
  data: { operation: 'hard_shutdown', incarnation, reason: 'hard_shutdown', message: '' },
});
const deleting = eventOf('VirtualMachineDeletionRequested', { deletionTimestamp: '2026-01-01T00:00:00Z' });

const migrate = (parameters: object) => ({ type: 'StartOperation', data: { action: 'migrate', parameters } });
const MIGRATING: readonly NewEvent[] = [...RUNNING, begun('pool_migrate', { incarnation: 2 })];
const SHUT: readonly NewEvent[] = [...MIGRATING, begun('hard_shutdown', { powerState: 'Halted' })];

describe('migration', () => {
  it('is an operation that brings the next run of a machine that runs', () => {
    machine(RUNNING)
      .when(migrate({ to: 'host-2' }))
      .then([{ type: 'VirtualMachineOperationStarted', data: { action: 'pool_migrate', incarnation: 2 } }]);
    for (const state of [HALTED, PAUSED])
      machine(state)
        .when(act('migrate'))
        .thenRejected('operation_not_allowed', /pool_migrate needs running/);
    machine(MIGRATING).when(act('migrate')).thenRejected('operation_in_progress');
  });

  it.each<[string, object, string]>([
    ['where it is', { to: 'host-1' }, 'spec.parameters.to'],
    ['nowhere', { to: 7 }, 'spec.parameters.to'],
    ['by a policy that nobody knows', { policy: 'hope' }, 'spec.parameters.policy'],
    ['by force that is no yes or no', { allowOvercommit: 'please' }, 'spec.parameters.allowOvercommit'],
  ])('goes not %s', (_where, parameters, field) => {
    const { causes } = machine(RUNNING).when(migrate(parameters)).thenRejected('object_invalid');
    expect(causes?.map((cause) => cause.field)).toEqual([field]);
  });

  it('keeps to the host that the spec names', () => {
    const pinned = created({ placement: { host: 'host-1' } });
    machine([pinned, begun('provision', { incarnation: 1 }), started()])
      .when(migrate({ to: 'host-2' }))
      .thenRejected('object_invalid', /on host host-1 only/);
  });

  it('needs a guest that hears of it', () => {
    const hvm = created({ guestType: 'hvm', guest: { pvDrivers: false } });
    const { details } = machine([hvm, begun('provision', { incarnation: 1 }), started()])
      .when(migrate({}))
      .thenRejected('operation_not_allowed');
    expect(details).toMatchObject({ xapi: { code: 'VM_LACKS_FEATURE' } });
  });

  it('leaves the same machine on the other host', () => {
    const { state } = machine(MIGRATING)
      .when(recordMigrated)
      .then([{ type: 'VirtualMachineMigrated' }]);
    expect(state).toMatchObject({
      own: { run: { phase: 'running', incarnation: 2, host: 'host-2', domid: 4 }, incarnation: 2, operations: [] },
    });
  });

  it('that failed leaves it where it is, and the next run is another one', () => {
    const { state } = machine(MIGRATING)
      .when(recordEnded('pool_migrate'))
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    expect(state).toMatchObject({ own: { run: { incarnation: 1, host: 'host-1' }, incarnation: 2 } });
    machine([...MIGRATING, eventOf('VirtualMachineOperationEnded', recordEnded('pool_migrate').data)])
      .when(migrate({}))
      .then([{ type: 'VirtualMachineOperationStarted', data: { incarnation: 3 } }]);
  });

  it('makes nothing of the loss of its host before it has ended', () => {
    machine(MIGRATING)
      .when(lost)
      .then([{ type: 'VirtualMachineMissed' }]);
    const { state } = machine([...MIGRATING, missed])
      .when(recordMigrated)
      .then([{ type: 'VirtualMachineMigrated' }]);
    expect(state).toMatchObject({ own: { run: { phase: 'running' }, missed: null } });
    machine([...MIGRATING, missed])
      .when(recordEnded('pool_migrate'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineHalted', data: { incarnation: 1, reason: 'host_crash' } },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
    machine([created({ ha: { restart: 'always' } }), ...MIGRATING.slice(1), missed])
      .when(recordEnded('pool_migrate'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineHalted' },
        {
          type: 'VirtualMachineOperationStarted',
          // It ran: that its cluster could survive less with it again is no reason not to run it.
          data: { action: 'start', incarnation: 3, parameters: { allowOvercommit: true } },
        },
      ]);
  });

  it('takes along what its guest did there before it was recorded', () => {
    const report = { incarnation: 2, host: 'host-2', reason: 'crash' };
    machine(MIGRATING)
      .when({ type: 'ReportDomainStopped', data: report })
      .then([{ type: 'VirtualMachineEndedEarly', data: { incarnation: 2 } }]);
    machine([...MIGRATING, eventOf('VirtualMachineEndedEarly', { incarnation: 2, reason: 'crash' })])
      .when(recordMigrated)
      .then([
        { type: 'VirtualMachineMigrated' },
        { type: 'VirtualMachineHalted', data: { incarnation: 2, reason: 'guest_crash' } },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
  });

  it('does not escape a hard shutdown, whichever is recorded first', () => {
    const haltedFirst = machine([...SHUT, eventOf('VirtualMachineHalted', halted(1).data)]).when(recordMigrated);
    haltedFirst.then([
      { type: 'VirtualMachineMigrated' },
      { type: 'VirtualMachineOperationStarted', data: { action: 'shutdown' } },
    ]);
    machine([...SHUT, eventOf('VirtualMachineMigrated', moved)])
      .when(halted(1))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'hard_shutdown' } },
      ]);
  });

  it('is cancelled by a deletion, which waits for what has become of it', () => {
    machine(MIGRATING)
      .when({ type: 'DeleteVirtualMachine', data: { propagationPolicy: 'Background' } })
      .then([{ type: 'VirtualMachineDeletionRequested' }, { type: 'VirtualMachineOperationSuperseded' }]);
    const torn = { type: 'VirtualMachineOperationStarted', data: { action: 'deprovision' } };
    machine([...MIGRATING, deleting])
      .when(recordMigrated)
      .then([{ type: 'VirtualMachineMigrated' }, torn]);
    machine([...MIGRATING, deleting])
      .when(recordEnded('pool_migrate', 'cancelled'))
      .then([{ type: 'VirtualMachineOperationEnded' }, torn]);
  });

  it('undoes no reboot of another run', () => {
    machine([
      ...RUNNING,
      begun('hard_reboot'),
      begun('pool_migrate', { incarnation: 2 }),
      eventOf('VirtualMachineMigrated', moved),
    ])
      .when({ type: 'RecordVirtualMachineRebooted', data: { operation: 'hard_reboot', incarnation: 1, domid: 9 } })
      .then([{ type: 'VirtualMachineOperationEnded' }]);
  });
});

describe('the platform', () => {
  let platform: Platform;
  beforeEach(async () => {
    platform = await new Platform().start();
    await platform.register('host-1');
    await platform.register('host-2');
    await platform.createMachine('web', WITH_DEVICES);
    await platform.settle();
  });
  afterEach(() => platform.killCompute());

  const uid = machineUid('web');
  const agent = (host: string): Party => {
    const party = platform.agents.get(host);
    if (party === undefined) throw new Error(`${host} has an agent`);
    return party;
  };
  const migration = () => {
    const found = platform.operations().find(({ action }) => action === 'pool_migrate');
    if (found === undefined) throw new Error('the machine is being migrated');
    return found;
  };
  const go = (parameters: object = {}) => platform.accepted('StartOperation', uid, { action: 'migrate', parameters });
  const atSource = () =>
    expect([...platform.domains].map(([host, domains]) => [host, domains.get(uid)])).toEqual([
      ['host-1', 1],
      ['host-2', undefined],
    ]);
  const cancel = () => platform.send('DeleteOperation', migration().uid, {});

  it('migrates a machine, and shows how', async () => {
    const { startTime } = platform.machine('web');
    expect(startTime).toMatch(/Z$/);
    await platform.beatFor(20_000, 'host-1', 'host-2');
    await go({ to: 'host-2' });
    expect(platform.machine('web').phase).toBe('Migrating');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({
      phase: 'Running',
      host: 'host-2',
      hostUid: hostUidOf('host-2'),
      incarnation: 2,
      domid: 2,
      startTime,
    });
    // Schedulers learn how long machines live: one that moves goes on with its life.
    const [placed] = platform.scheduler.asked.filter(({ type }) => type === 'PlaceVirtualMachine').slice(-1);
    expect(placed?.data).toMatchObject({ request: { exceptHost: 'host-1', startTime } });
    expect(migration().document).toMatchObject({
      status: {
        phase: 'Succeeded',
        migration: { round: 5, pagesSent: 5000, remainingPages: 0, pagesPerSecond: 0, durationMs: 700, downtimeMs: 12 },
      },
    });
    expect([platform.placements.size, platform.volumes.size]).toEqual([1, 1]);
    // The network learns the new place, which it once did not.
    const moves = platform.network.asked.filter(({ type }) => type === 'AttachPort');
    expect(moves.map(({ data }) => data)).toMatchObject([{ incarnation: 2, host: 'host-2' }]);
    const receive = agent('host-2').asked.find(({ type }) => type === 'ReceiveDomain');
    expect(receive?.data).toMatchObject({
      config: {
        // Its own run's token: it once was the one of the run that it takes the place of.
        disks: [{ name: 'root', volume: 'web-root', sizeBytes: 1024, fencingToken: 2 }],
        nics: [{ name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'xenbr0' }],
      },
    });
    await platform.beatFor(20_000, 'host-1', 'host-2');
    expect(platform.eventTypes()).not.toContain('HostInventoryDiffered');
  });

  it.each<[string, string, string]>([
    ['host-2', 'ReceiveDomain', 'command_unknown'],
    ['host-2', 'ReceiveDomain', 'host_out_of_memory'],
    ['host-1', 'MigrateDomain', 'migration_failed'],
    ['host-1', 'MigrateDomain', 'fault_injected'],
    ['host-1', 'MigrateDomain', 'host_crashed'],
  ])('leaves the machine where it is when %s answers %s with %s', async (host, type, code) => {
    agent(host).refusal = (message) => (message.type === type ? reject(code, 'no') : null);
    await go();
    await platform.settle();
    atSource();
    expect(migration().phase).toBe('Failed');
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', host: 'host-1', incarnation: 1 });
    expect([platform.placements.size, platform.volumes.size]).toEqual([1, 1]);
  });

  it('fails at once where no host has room', async () => {
    platform.scheduler.refusal = ({ type }) =>
      type === 'PlaceVirtualMachine' ? reject('placement_pending', '0/2 hosts') : null;
    await go();
    await platform.settle();
    expect(migration().document).toMatchObject({ status: { phase: 'Failed', message: 'place: 0/2 hosts' } });
  });

  it('finds the machine where it is when its sender can’t tell any more', async () => {
    agent('host-1').refusal = (message) => {
      if (message.type !== 'MigrateDomain') return null;
      platform.domains.get('host-1')?.delete(uid);
      platform.domains.get('host-2')?.set(uid, 2);
      return reject('host_crashed', 'the host crashed');
    };
    await go();
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', host: 'host-2', incarnation: 2 });
  });

  it('never takes silence for a refusal: it asks on, and for an operator at last', async () => {
    agent('host-1').hides = ({ type }) => type === 'MigrateDomain';
    await go();
    await platform.until(() => migration().phase === 'NeedsOperator', 3_600_000);
    expect(platform.status(migration().uid)).toMatchObject({ choices: ['retry', 'abandon'], step: 'migrate-domain' });
    expect(agent('host-1').asked.filter(({ type }) => type === 'MigrateDomain').length).toBeGreaterThan(10);
    agent('host-1').hides = null;
    await platform.until(() => migration().phase === 'Succeeded');
    const ids = agent('host-1').asked.flatMap(({ type, commandId }) => (type === 'MigrateDomain' ? [commandId] : []));
    expect(new Set(ids).size).toBe(1);
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', host: 'host-2' });
  });

  it('records each round once, and sums them up', async () => {
    agent('host-1').silent = true;
    await go();
    await platform.clock.advance(5_000);
    const round = { host: 'host-1', remainingPages: 40, pagesPerSecond: 1000, durationMs: 500 };
    for (const data of [
      { ...round, round: 1, pagesSent: 500 },
      { ...round, round: 1, pagesSent: 500 },
      { ...round, round: 2, pagesSent: 60, remainingPages: 8 },
    ])
      await platform.accepted('ReportMigrationRound', migration().uid, data);
    expect(platform.status(migration().uid)).toMatchObject({
      migration: { round: 2, pagesSent: 560, durationMs: 1000, remainingPages: 8, pagesPerSecond: 1000 },
    });
    expect(platform.eventTypes().filter((type) => type === 'OperationMigrationRoundEnded')).toHaveLength(2);
  });

  describe('that is cancelled', () => {
    it('before its guest is asked for takes everything back', async () => {
      agent('host-2').silent = true;
      await go();
      await platform.clock.advance(5_000);
      expect((await cancel()).ok).toBe(true);
      agent('host-2').silent = false;
      await platform.until(() => migration().phase === 'Cancelled');
      atSource();
      expect(agent('host-1').asked.some(({ type }) => type === 'CancelMigration')).toBe(false);
    });

    it('while its guest goes over ends as its sender says', async () => {
      const source = agent('host-1');
      source.hides = ({ type }) => type === 'MigrateDomain';
      source.refusal = ({ type }) => (type === 'MigrateDomain' ? reject('migration_cancelled', 'given up') : null);
      await go();
      await platform.clock.advance(5_000);
      expect((await cancel()).ok).toBe(true);
      await platform.until(() => source.asked.some(({ type }) => type === 'CancelMigration'));
      expect(migration().phase).toBe('Running');
      source.hides = null;
      await platform.until(() => migration().phase === 'Cancelled');
      atSource();
      expect(platform.placements.size).toBe(1);
      const asked = source.asked.filter(({ type }) => type === 'CancelMigration');
      expect(new Set(asked.map(({ commandId }) => commandId)).size).toBe(1);
    });

    it('too late succeeds, and says so', async () => {
      const source = agent('host-1');
      source.hides = ({ type }) => type === 'MigrateDomain';
      source.refusal = ({ type }) => (type === 'CancelMigration' ? reject('migration_switched', 'too late') : null);
      await go();
      await platform.clock.advance(5_000);
      expect((await cancel()).ok).toBe(true);
      await platform.clock.advance(5_000);
      source.hides = null;
      await platform.until(() => migration().phase === 'Succeeded');
      expect(platform.status(migration().uid)).toMatchObject({
        message: 'user:test cancelled it too late: it was done by then',
      });
      expect(platform.machine('web')).toMatchObject({ host: 'host-2', phase: 'Running' });
    });

    it('once it has gone over is refused', async () => {
      agent('host-2').refusal = ({ type }) => (type === 'SettleMigration' ? reject('fault_injected', 'not now') : null);
      await go();
      await platform.clock.advance(3_000);
      const refused = await cancel();
      expect(refused).toMatchObject({ ok: false, rejection: { code: 'operation_not_cancellable' } });
      agent('host-2').refusal = null;
      await platform.settle();
      expect(platform.machine('web')).toMatchObject({ host: 'host-2', phase: 'Running' });
    });

    it('by the deletion of its machine gives everything back', async () => {
      agent('host-1').hides = ({ type }) => type === 'MigrateDomain';
      await go();
      await platform.clock.advance(5_000);
      await platform.accepted('DeleteVirtualMachine', uid, {});
      agent('host-1').hides = null;
      await platform.until(() => platform.document(uid) === undefined);
      expect([platform.placements.size, platform.volumes.size, platform.ports.size]).toEqual([0, 0, 0]);
      expect([...platform.domains.values()].flatMap((domains) => [...domains])).toEqual([]);
    });
  });

  it('survives a crash of its sender when it has gone over, and follows its loss when it has not', async () => {
    agent('host-1').hides = ({ type }) => type === 'MigrateDomain';
    await go();
    await platform.clock.advance(2_000);
    platform.crash('host-1');
    await platform.register('host-1');
    expect(platform.machine('web')).toMatchObject({ powerState: 'Running', phase: 'Migrating' });
    agent('host-1').hides = null;
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ host: 'host-2', phase: 'Running' });
    expect(platform.document(uid)).toMatchObject({ spec: machineSpec(WITH_DEVICES) });
  });
});
