import { reject } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { machineUid, Platform, WITH_DEVICES } from './platform.spec-fixture.js';

let platform: Platform;
beforeEach(async () => {
  platform = await new Platform().start();
  await platform.register('host-1');
});
afterEach(() => platform.killCompute());

const nothingHeld = (): void => {
  expect([...platform.placements.keys()]).toEqual([]);
  expect([...platform.volumes.keys()]).toEqual([]);
  expect([...platform.ports.keys()]).toEqual([]);
  expect([...platform.domains.values()].flatMap((domains) => [...domains.keys()])).toEqual([]);
};

describe('starting a machine', () => {
  it('leads from its creation to Running in few events', async () => {
    await platform.createMachine('web');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({
      powerState: 'Running',
      phase: 'Running',
      host: 'host-1',
      incarnation: 1,
    });
    expect(platform.eventTypes().filter((type) => !type.startsWith('Host'))).toEqual([
      'VirtualMachineCreated',
      'VirtualMachineOperationStarted',
      'OperationStarted',
      'OperationStepsSucceeded',
      'OperationSucceeded',
      'VirtualMachineStarted',
    ]);
  });

  it('gives the domain what disks, interfaces and the placement answered', async () => {
    await platform.createMachine('web', WITH_DEVICES);
    await platform.settle();
    const start = platform.agents.get('host-1')?.asked.find((message) => message.type === 'StartDomain');
    expect(start?.data).toMatchObject({
      incarnation: 1,
      paused: false,
      config: {
        disks: [{ name: 'root', volume: 'web-root', sizeBytes: 1024, fencingToken: 1 }],
        nics: [{ name: 'eth0', port: 'web-eth0', mac: '00:16:3e:00:00:01', ips: ['10.0.0.2'], bridge: 'xenbr0' }],
      },
    });
    expect(platform.machine('web')).toMatchObject({ nics: [{ name: 'eth0', ips: ['10.0.0.2'] }] });
    expect(platform.eventTypes().filter((type) => /^(Virtual|Operation)/.test(type))).toHaveLength(7);
  });
});

const operationOf = (action: string) => platform.operations().find((operation) => operation.action === action);

const running = async (spec: object = WITH_DEVICES): Promise<void> => {
  await platform.createMachine('web', spec);
  await platform.settle();
  expect(platform.machine('web').phase).toBe('Running');
};

const act = (action: string, parameters: object = {}) =>
  platform.send('StartOperation', machineUid('web'), { action, parameters });

describe('stopping a machine', () => {
  it('gives leases and capacity back and keeps disks and ports', async () => {
    await running();
    expect((await act('shutdown')).ok).toBe(true);
    expect(platform.machine('web').phase).toBe('Stopping');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ powerState: 'Halted', phase: 'Halted' });
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { powerState: 'Halted' } });
    expect(platform.placements.size).toBe(0);
    expect(platform.volumes.size).toBe(0);
    expect(platform.ports.size).toBe(1);
  });

  it('ends a guest that does not listen when its wish says Halted', async () => {
    await running({});
    const agent = platform.agents.get('host-1');
    if (agent)
      agent.refusal = (message) =>
        message.data['mode'] === 'clean' ? reject('guest_ignored_shutdown', 'no answer') : null;
    expect((await platform.changeMachine('web', { powerState: 'Halted' })).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Halted');
  });

  it('leaves a guest running that ignores a clean shutdown, and gives the wish back', async () => {
    await running({});
    const agent = platform.agents.get('host-1');
    if (agent) agent.refusal = () => reject('guest_ignored_shutdown', 'the guest did not shut down within 60 s');
    await act('clean-shutdown');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running' });
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { powerState: 'Running' } });
    expect(operationOf('clean_shutdown')?.document).toMatchObject({
      status: { phase: 'Failed', message: 'shutdown-domain-clean: the guest did not shut down within 60 s' },
    });
  });

  it('lets a hard shutdown overtake a clean one', async () => {
    await running({});
    const agent = platform.agents.get('host-1');
    if (agent) agent.silent = true;
    await act('clean-shutdown');
    await platform.clock.advance(5_000);
    expect((await act('reboot')).ok).toBe(false);
    expect((await act('hard-shutdown')).ok).toBe(true);
    if (agent) agent.silent = false;
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Halted');
    expect(platform.operations().map(({ phase }) => phase)).toEqual(['Succeeded', 'Succeeded', 'Succeeded']);
  });

  it('starts again under the next incarnation with the same disks and ports', async () => {
    await running();
    await act('shutdown');
    await platform.settle();
    expect((await platform.changeMachine('web', { powerState: 'Running' })).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', incarnation: 2 });
    expect(platform.operations().map(({ action }) => action)).toEqual(['provision', 'clean_shutdown', 'start']);
  });

  it('pauses, unpauses and reboots', async () => {
    await running({});
    await platform.changeMachine('web', { powerState: 'Paused' });
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Paused', powerState: 'Paused' });
    await act('unpause');
    await platform.settle();
    await act('reboot');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', domid: 2 });
  });
});

describe('deleting a machine', () => {
  it('takes everything back that it held, and the object with it', async () => {
    await running();
    await platform.accepted('DeleteVirtualMachine', machineUid('web'), {});
    expect(platform.machine('web').phase).toBe('Deleting');
    await platform.settle();
    expect(platform.document(machineUid('web'))).toBeUndefined();
    nothingHeld();
  });

  it('takes one append for a machine that never ran', async () => {
    await platform.createMachine('web', { powerState: 'Halted' });
    await platform.accepted('DeleteVirtualMachine', machineUid('web'), {});
    expect(platform.document(machineUid('web'))).toBeUndefined();
    expect(operationOf('deprovision')?.phase).toBe('Succeeded');
  });

  it('cancels a start that is under way first', async () => {
    platform.network.silent = true;
    await platform.createMachine('web', WITH_DEVICES);
    await platform.clock.advance(1_000);
    await platform.accepted('DeleteVirtualMachine', machineUid('web'), {});
    platform.network.silent = false;
    await platform.until(() => platform.document(machineUid('web')) === undefined);
    expect(platform.document(machineUid('web'))).toBeUndefined();
    nothingHeld();
    expect(operationOf('provision')?.phase).toBe('Cancelled');
  });
});

describe('an operation that fails', () => {
  it('takes back every step that may have run and leaves the machine Halted with the reason', async () => {
    const agent = platform.agents.get('host-1');
    if (agent)
      agent.refusal = (message) =>
        message.type === 'StartDomain' ? reject('host_out_of_memory', 'needs 1 GiB, 0 are free') : null;
    await platform.createMachine('web', WITH_DEVICES);
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Halted', currentOperations: {} });
    expect(platform.machine('web').conditions[0]).toMatchObject({
      status: 'False',
      reason: 'OperationFailed',
      message: 'start-domain: needs 1 GiB, 0 are free',
    });
    nothingHeld();
  });

  it('takes back a step whose answer never came before its deadline', async () => {
    platform.storage.silent = true;
    await platform.createMachine('web', WITH_DEVICES);
    await platform.clock.advance(150_000);
    platform.storage.silent = false;
    await platform.settle();
    expect(operationOf('provision')).toMatchObject({ phase: 'Failed' });
    nothingHeld();
    const undo = platform.storage.asked.find((message) => message.type === 'DeprovisionVolume');
    expect(undo?.undoes).toBeDefined();
  });

  it('is not held up by a domain that is gone already', async () => {
    await running({});
    const agent = platform.agents.get('host-1');
    if (agent)
      agent.refusal = (message) =>
        message.type === 'PauseDomain' ? reject('host_crashed', 'crashed') : reject('host_unknown_domain', 'gone');
    await act('pause');
    await platform.settle(60_000);
    expect(operationOf('pause')?.phase).toBe('Failed');
  });

  it('spares the content of disks that a run has had', async () => {
    await running();
    await act('shutdown');
    await platform.settle();
    const agent = platform.agents.get('host-1');
    if (agent)
      agent.refusal = (message) => (message.type === 'StartDomain' ? reject('host_out_of_memory', 'no') : null);
    await act('start');
    await platform.settle();
    const undo = platform.storage.asked.filter((message) => message.type === 'DeprovisionVolume');
    expect(undo.map((message) => message.data['delete'])).toEqual([false]);
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { powerState: 'Halted' } });
  });

  it('asks an operator when a compensation keeps failing, and goes on as he chooses', async () => {
    const agent = platform.agents.get('host-1');
    if (agent) agent.refusal = () => reject('host_out_of_memory', 'no');
    platform.scheduler.refusal = (message) =>
      message.type === 'ReleasePlacement' ? reject('fault_injected', 'not today') : null;
    const broken = () => platform.operations().find(({ phase }) => phase === 'NeedsOperator');
    if (agent)
      agent.refusal = (message) => (message.type === 'StartDomain' ? reject('host_out_of_memory', 'no') : null);
    await platform.createMachine('web');
    await platform.until(() => broken() !== undefined, 3_600_000);
    const { uid, document } = broken() ?? { uid: '', document: {} };
    expect(document).toMatchObject({
      status: { choices: ['retry', 'abandon'], message: 'taking back place keeps failing: not today' },
    });
    expect(await platform.send('UndoOperation', uid, {})).toMatchObject({
      rejection: { code: 'operation_not_allowed' },
    });
    platform.scheduler.refusal = null;
    await platform.accepted('RetryOperation', uid, {});
    await platform.settle();
    expect(platform.operations()).toMatchObject([{ phase: 'Failed' }]);
    nothingHeld();
  });

  it('goes on trying while it waits for an operator, and ends by itself once it gets through', async () => {
    platform.scheduler.refusal = (message) =>
      message.type === 'ReleasePlacement' ? reject('fault_injected', 'not today') : null;
    const agent = platform.agents.get('host-1');
    if (agent)
      agent.refusal = (message) => (message.type === 'StartDomain' ? reject('host_out_of_memory', 'no') : null);
    await platform.createMachine('web');
    await platform.until(() => platform.operations().some(({ phase }) => phase === 'NeedsOperator'), 3_600_000);
    platform.scheduler.refusal = null;
    await platform.until(() => platform.operations().every(({ phase }) => phase === 'Failed'), 120_000);
    nothingHeld();
  });

  it('gives up the stuck step alone, and does the rest, when an operator abandons it', async () => {
    await running({});
    platform.scheduler.refusal = () => reject('fault_injected', 'not today');
    await act('hard-shutdown');
    const broken = () => platform.operations().find(({ phase }) => phase === 'NeedsOperator');
    await platform.until(() => broken() !== undefined, 3_600_000);
    await platform.accepted('ChangeOperation', machineUid('an operation'), {
      intent: 'create',
      metadata: {
        name: 'give-up',
        namespace: 'default',
        labels: {},
        annotations: {},
        finalizers: [],
        ownerReferences: [],
        managedFields: [],
      },
      spec: { target: { kind: 'Operation', name: broken()?.name }, action: 'abandon', parameters: {} },
    });
    expect(platform.operations().map(({ phase }) => phase)).toEqual(['Succeeded', 'Succeeded', 'Succeeded']);
    expect(platform.machine('web')).toMatchObject({ currentOperations: {}, powerState: 'Halted' });
  });

  it('gives back all that it can when an operator abandons a step of a teardown', async () => {
    await running();
    const agent = platform.agents.get('host-1');
    if (agent) agent.refusal = () => reject('fault_injected', 'the toolstack is jammed');
    await platform.accepted('DeleteVirtualMachine', machineUid('web'), {});
    const broken = () => platform.operations().find(({ phase }) => phase === 'NeedsOperator');
    await platform.until(() => broken() !== undefined, 3_600_000);
    const uid = broken()?.uid ?? '';
    await platform.accepted('AbandonOperation', uid, {});
    await platform.settle();
    expect(platform.status(uid)).toMatchObject({ phase: 'Succeeded' });
    expect(platform.status(uid)['steps']).toContainEqual({ name: 'destroy-domain-1', phase: 'Abandoned' });
    expect(platform.document(machineUid('web'))).toBeUndefined();
    expect([platform.placements.size, platform.volumes.size, platform.ports.size]).toEqual([0, 0, 0]);
    // The domain is what was given up: it is on its host until somebody, or the inventory, takes it away.
    expect(platform.domains.get('host-1')?.size).toBe(1);
  });
});

describe('a start for which no host has room', () => {
  const full = () => {
    platform.scheduler.refusal = (message) =>
      message.type === 'PlaceVirtualMachine' ? reject('placement_pending', '0/1 hosts: 1 lacks memory') : null;
  };

  it('stays Pending, says why, and goes on once asked again', async () => {
    full();
    await platform.createMachine('web');
    await platform.clock.advance(40_000);
    expect(platform.machine('web')).toMatchObject({ phase: 'Pending', powerState: 'Halted' });
    expect(platform.machine('web').conditions[0]).toMatchObject({
      reason: 'Unschedulable',
      message: '0/1 hosts: 1 lacks memory',
    });
    expect(platform.eventTypes().filter((type) => type === 'VirtualMachineUnschedulable')).toHaveLength(1);
    platform.scheduler.refusal = null;
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Running');
  });

  it('goes on at once when its placement is decided', async () => {
    full();
    await platform.createMachine('web');
    await platform.clock.advance(1_000);
    platform.scheduler.refusal = null;
    const { uid } = operationOf('provision') ?? { uid: '' };
    const [placement] = platform.status(uid)['waitsOn'] as string[];
    await platform.logged('placement', placement ?? '', 'PlacementDecided');
    await platform.clock.advance(100);
    expect(platform.machine('web').phase).toBe('Running');
    expect(platform.status(uid)).toMatchObject({ phase: 'Succeeded', progress: 100 });
  });

  it('is cancelled by deleting its operation', async () => {
    full();
    await platform.createMachine('web');
    await platform.clock.advance(1_000);
    const { uid } = operationOf('provision') ?? { uid: '' };
    await platform.accepted('DeleteOperation', uid, {});
    await platform.settle();
    expect(operationOf('provision')?.phase).toBe('Cancelled');
    expect(platform.machine('web')).toMatchObject({ phase: 'Halted', currentOperations: {} });
    nothingHeld();
  });

  it('is cancelled by the wish to be halted', async () => {
    full();
    await platform.createMachine('web');
    await platform.clock.advance(1_000);
    expect((await platform.changeMachine('web', { powerState: 'Halted' })).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Halted');
    nothingHeld();
  });
});

describe('an operation that a user makes', () => {
  const make = (action: string, target: object = { name: 'web' }) =>
    platform.send('ChangeOperation', machineUid('an operation'), {
      intent: 'create',
      metadata: {
        name: 'mine',
        namespace: 'default',
        labels: {},
        annotations: {},
        finalizers: [],
        ownerReferences: [],
        managedFields: [],
      },
      spec: { target: { kind: 'VirtualMachine', ...target }, action },
    });

  it('ends in the same events as an action, under its own name', async () => {
    await running({});
    expect((await make('reboot')).ok).toBe(true);
    expect(platform.machine('web').currentOperations).toEqual({ mine: 'clean_reboot' });
    await platform.settle();
    expect(platform.operations().map(({ phase }) => phase)).toEqual(['Succeeded', 'Succeeded']);
  });

  it('may be asked for in the words that allowedOperations shows', async () => {
    await running({});
    expect(await make('clean_reboot')).toMatchObject({ ok: true });
    expect(platform.machine('web').currentOperations).toEqual({ mine: 'clean_reboot' });
  });

  it('is refused with the words of its target', async () => {
    await running({});
    expect(await make('unpause')).toMatchObject({
      rejection: {
        code: 'operation_not_allowed',
        details: { xapi: { code: 'VM_BAD_POWER_STATE', args: [machineUid('web'), 'paused', 'running'] } },
      },
    });
    for (const word of ['fly', 'constructor'])
      expect(await make(word)).toMatchObject({
        rejection: { code: 'object_invalid', causes: [{ field: 'spec.action', reason: 'FieldValueNotSupported' }] },
      });
    expect(await make('reboot', { name: 'nobody' })).toMatchObject({ rejection: { code: 'object_invalid' } });
    expect(platform.operations()).toHaveLength(1);
  });
});

describe('a compute process that is killed', () => {
  it('goes on where it stopped, at every step', async () => {
    await platform.createMachine('web', WITH_DEVICES);
    for (let step = 0; step < 40; step += 1) {
      for (let moments = 0; moments <= step % 5; moments += 1) await platform.clock.step();
      await platform.killCompute();
      await platform.startCompute();
    }
    await platform.settle();
    expect(platform.machine('web').phase).toBe('Running');
    expect(platform.domains.get('host-1')?.get(machineUid('web'))).toBe(1);
    expect([platform.placements.size, platform.volumes.size, platform.ports.size]).toEqual([1, 1, 1]);
  });
});
