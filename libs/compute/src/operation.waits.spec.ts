import { eventOf, type PlanStep } from '@xenolith/contracts';
import { reject, uuidFrom, type JsonObject, type LoggedEvent, type NewEvent } from '@xenolith/kernel';
import { given, VIRTUAL_EPOCH_MS } from '@xenolith/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { operationAggregate } from './operation.js';
import { waitKey, wakesOf } from './operation.waits.js';
import { machineUid, metadata, Platform, WITH_DEVICES } from './platform.spec-fixture.js';

const NIC: PlanStep = {
  name: 'nic-eth0',
  stage: 0,
  to: { service: 'network' },
  type: 'ProvisionPort',
  streamId: 'port-uid',
  data: { namespace: 'default', spec: { network: 'web' } },
  timeoutMs: 60_000,
  waitOn: ['network_not_found', 'network_full'],
  doneOn: [],
  mustSucceed: false,
};
const DISK: PlanStep = {
  ...NIC,
  name: 'disk-root',
  streamId: 'volume-uid',
  data: { namespace: 'default', spec: { source: { image: 'debian' }, storageDomain: 'san' } },
};

const STARTED = eventOf('OperationStarted', {
  metadata: metadata('op'),
  spec: { target: { kind: 'VirtualMachine', name: 'web', uid: 'web-uid' }, action: 'start', parameters: {} },
  plan: [NIC],
  cancellable: true,
} as unknown as JsonObject);

const PAUSES_S = [1, 15, 30, 60, 120, 240, 300, 300];

const refused = (attempt: number, at = VIRTUAL_EPOCH_MS) => ({
  type: 'RecordStepRefused',
  data: { name: NIC.name, attempt, rejection: { code: 'network_not_found', message: 'there is no network "web"' } },
  at,
});

/** The stream after so many refusals in a row, and the pauses that followed them in seconds. */
const afterRefusals = (count: number): { events: NewEvent[]; pauses: number[] } => {
  const events: NewEvent[] = [STARTED];
  const pauses: number[] = [];
  for (let attempt = 1; attempt <= count; attempt += 1) {
    const retryAt = VIRTUAL_EPOCH_MS + (PAUSES_S[attempt - 1] ?? 0) * 1000;
    const decided = given(operationAggregate, events)
      .when(refused(attempt))
      .then([{ type: 'OperationStepDeferred', data: { retryAt } }]);
    pauses.push((retryAt - VIRTUAL_EPOCH_MS) / 1000);
    expect(decided.state).toMatchObject({ own: { phase: 'Running' } });
    const rejection = { code: 'network_not_found', message: 'there is no network "web"' };
    events.push(eventOf('OperationStepDeferred', { name: NIC.name, attempt, rejection, retryAt }));
  }
  return { events, pauses };
};

describe('a step that waits', () => {
  it('looks again soon, then after pauses that grow to five minutes, so that waiting for days fills no log', () => {
    expect(afterRefusals(8).pauses).toEqual(PAUSES_S);
  });

  it('is tried at once when woken by what it waits for, and by nothing else', () => {
    const { events } = afterRefusals(3);
    const waiting = given(operationAggregate, events);
    waiting.when({ type: 'WakeOperation', data: { streamId: 'network:default/other' } }).thenNothing();
    waiting.when({ type: 'WakeOperation', data: { streamId: 'port-uid' } }).thenNothing();
    waiting
      .when({ type: 'WakeOperation', data: { streamId: 'network:default/web' } })
      .then([{ type: 'OperationStepDeferred', data: { attempt: 4, retryAt: VIRTUAL_EPOCH_MS } }]);
    given(operationAggregate, [STARTED])
      .when({ type: 'WakeOperation', data: { streamId: 'network:default/web' } })
      .thenNothing();
  });

  it('shows what it waits for', () => {
    const { events } = afterRefusals(1);
    expect(operationAggregate.toResource(given(operationAggregate, events).state)).toMatchObject({
      status: { phase: 'Running', waitsOn: ['network:default/web'], message: 'there is no network "web"' },
    });
    expect(operationAggregate.toResource(given(operationAggregate, [STARTED]).state)?.['status']).not.toHaveProperty(
      'waitsOn',
    );
  });
});

const logged = (type: string, data: object, streamId = 'stream') =>
  ({ type, data, streamId, category: '', position: 1 }) as unknown as LoggedEvent;

describe('what a step waits for', () => {
  it.each([
    [NIC, 'network_not_found', 'network:default/web'],
    [NIC, 'network_full', 'network:default/web'],
    [DISK, 'image_not_found', 'image:debian'],
    [DISK, 'storage_domain_full', 'storagedomain:san'],
    [{ ...DISK, data: { spec: {} } }, 'storage_domain_not_found', 'storagedomain:'],
    [{ ...DISK, streamId: 'volume:default/data' }, 'not_found', 'volume:default/data'],
  ])('has a key of its own (%#)', (step, code, key) => {
    expect(waitKey(step, code)).toBe(key);
  });

  it.each([
    ['NetworkCreated', { metadata: { name: 'web', namespace: 'default' } }, ['network:default/web']],
    ['NetworkSpecChanged', {}, ['network:default/web']],
    ['PortDeleted', { networkUid: 'stream' }, ['network:default/web']],
    ['ImageCreated', { metadata: { name: 'debian' } }, ['image:debian']],
    ['StorageDomainCreated', { metadata: { name: 'san' } }, ['storagedomain:san', 'storagedomain:']],
    ['VolumeCreated', { metadata: { name: 'data', namespace: 'default' } }, ['volume:default/data']],
    ['PlacementDecided', {}, ['stream']],
    ['VirtualMachineStarted', {}, []],
  ])('may be there after %s', (type, data, keys) => {
    expect(wakesOf(logged(type, data), () => 'network:default/web').map(({ key }) => key)).toEqual(keys);
  });
});

describe('a machine that is applied before what it needs', () => {
  let platform: Platform;
  beforeEach(async () => {
    platform = await new Platform().start();
    await platform.register('host-1');
  });
  afterEach(() => platform.killCompute());

  const NETWORK = uuidFrom('network web');
  const lacks = (party: 'network' | 'storage', code: string, message: string): void => {
    platform[party].refusal = (command) =>
      command.type.startsWith('Provision') || command.type === 'AttachVolume' ? reject(code, message) : null;
  };
  const networkMade = () =>
    platform.logged('network', NETWORK, 'NetworkCreated', {
      data: { metadata: { name: 'web', namespace: 'default' } },
      document: { metadata: { name: 'web', namespace: 'default' } },
    });
  const waited = () => platform.eventTypes().filter((type) => type === 'OperationStepDeferred').length;

  it('stays Pending, says why, and goes on when its network is made', async () => {
    lacks('network', 'network_not_found', 'network "web" does not exist in namespace "default"');
    await platform.createMachine('web', WITH_DEVICES);
    await platform.clock.advance(20_000);
    expect(platform.machine('web')).toMatchObject({ phase: 'Pending', powerState: 'Halted' });
    expect(platform.machine('web').conditions[0]).toMatchObject({
      reason: 'NetworkNotFound',
      message: 'network "web" does not exist in namespace "default"',
    });
    platform.network.refusal = null;
    await networkMade();
    await platform.clock.advance(100);
    expect(platform.machine('web').phase).toBe('Running');
  });

  it.each([
    ['image_not_found', 'ImageNotFound', 'ImageCreated', { metadata: { name: 'debian' } }],
    ['storage_domain_not_found', 'StorageDomainNotFound', 'StorageDomainCreated', { metadata: { name: 'san' } }],
    ['storage_domain_full', 'StorageDomainFull', 'StorageDomainCreated', { metadata: { name: 'other' } }],
  ])('waits upon %s', async (code, reason, type, data) => {
    lacks('storage', code, 'not there');
    const disks = [{ name: 'root', source: { image: 'debian' } }];
    await platform.createMachine('web', { disks });
    await platform.clock.advance(20_000);
    expect(platform.machine('web')).toMatchObject({ phase: 'Pending', conditions: [{ reason, message: 'not there' }] });
    platform.storage.refusal = null;
    const document = type === 'StorageDomainCreated' ? { document: data } : {};
    await platform.logged(type === 'ImageCreated' ? 'image' : 'storagedomain', uuidFrom(type), type, {
      data,
      ...document,
    });
    await platform.clock.advance(100);
    expect(platform.machine('web').phase).toBe('Running');
  });

  it('is woken by the creation of the volume that it names', async () => {
    lacks('storage', 'not_found', 'there is no such volume');
    await platform.createMachine('web', { disks: [{ name: 'data', volume: 'data' }] });
    await platform.clock.advance(20_000);
    expect(platform.machine('web').conditions[0]).toMatchObject({ reason: 'VolumeNotFound' });
    platform.storage.refusal = null;
    const named = { metadata: { name: 'data', namespace: 'default' } };
    await platform.logged('volume', uuidFrom('data'), 'VolumeCreated', { data: named, document: named });
    await platform.clock.advance(100);
    expect(platform.machine('web').phase).toBe('Running');
    const attach = platform.storage.asked.findLast((message) => message.type === 'AttachVolume');
    expect(attach?.streamId).toBe(uuidFrom('data'));
  });

  it('goes on when an address of a full network comes free, few of many at a time', async () => {
    await networkMade();
    lacks('network', 'network_full', 'network "web" has no free address');
    const names = Array.from({ length: 12 }, (_, index) => `web-${index}`);
    for (const name of names) await platform.createMachine(name, { nics: WITH_DEVICES.nics });
    await platform.clock.advance(100_000);
    const before = waited();
    await platform.logged('port', uuidFrom('port'), 'PortDeleted', { data: { networkUid: NETWORK } });
    await platform.clock.advance(100);
    // Woken and refused again: two events each.
    expect(waited() - before).toBe(16);
    platform.network.refusal = null;
    await platform.logged('port', uuidFrom('other port'), 'PortDeleted', { data: { networkUid: NETWORK } });
    await platform.clock.advance(100);
    expect(names.filter((name) => platform.machine(name).phase === 'Running')).toHaveLength(8);
  });

  it('is no longer Pending once it has what it waited for, however long its guest boots', async () => {
    lacks('network', 'network_not_found', 'no network');
    await platform.createMachine('web', WITH_DEVICES);
    await platform.clock.advance(20_000);
    platform.network.refusal = null;
    const agent = platform.agents.get('host-1');
    if (agent) agent.silent = true;
    await networkMade();
    await platform.clock.advance(1_000);
    expect(platform.machine('web')).toMatchObject({ phase: 'Starting', conditions: [{ reason: 'Starting' }] });
  });

  it('can be deleted at once', async () => {
    lacks('network', 'network_not_found', 'no network');
    await platform.createMachine('web', WITH_DEVICES);
    await platform.clock.advance(20_000);
    await platform.accepted('DeleteVirtualMachine', machineUid('web'), {});
    await platform.clock.advance(500);
    expect(platform.document(machineUid('web'))).toBeUndefined();
    expect([platform.placements.size, platform.volumes.size, platform.ports.size]).toEqual([0, 0, 0]);
  });
});

describe('a step that nobody answers', () => {
  it('says how often it was asked and when it gives up, in few events', async () => {
    const platform = await new Platform().start();
    await platform.register('host-1');
    platform.storage.silent = true;
    await platform.createMachine('web', WITH_DEVICES);
    await platform.clock.advance(70_000);
    const [operation] = platform.operations();
    expect(platform.status(operation?.uid ?? '')['message']).toMatch(
      /^disk-root is not answered \(.*\); asked again 4 times, gives up at \d{4}-/,
    );
    await platform.settle();
    expect(platform.eventTypes().filter((type) => type === 'OperationStepUnanswered').length).toBeLessThanOrEqual(6);
    platform.storage.silent = false;
    await platform.settle();
    await platform.killCompute();
  });
});

describe('an undo that keeps failing', () => {
  it('says how many attempts are left and when the next one is, and asks an operator within some seventy seconds', async () => {
    const platform = await new Platform().start();
    await platform.register('host-1');
    const agent = platform.agents.get('host-1');
    if (agent)
      agent.refusal = (message) =>
        message.type === 'StartDomain' ? reject('host_out_of_memory', 'full') : reject('fault_injected', 'not today');
    await platform.createMachine('web');
    await platform.clock.advance(5_000);
    const uid = platform.operations()[0]?.uid ?? '';
    expect(platform.status(uid)).toMatchObject({
      phase: 'Compensating',
      retries: [{ step: 'start-domain', failures: 3, attemptsLeft: 4 }],
    });
    expect(platform.status(uid)['message']).toMatch(
      /^start-domain: full; taking back start-domain failed 3 times \(not today\); next attempt at .*, after 4 more an operator is asked$/,
    );
    await platform.clock.advance(65_000);
    expect(platform.status(uid)).toMatchObject({ phase: 'NeedsOperator', choices: ['retry', 'abandon'] });
    await platform.killCompute();
  });
});
