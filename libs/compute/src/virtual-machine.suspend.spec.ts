import { eventOf } from '@xenolith/contracts';
import { reject, type NewEvent } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  act,
  begun,
  change,
  create,
  created,
  HALTED,
  machine,
  PAUSED,
  recordEnded,
  RUNNING,
  started,
} from './machine.spec-fixture.js';
import { machineSpec, machineUid, Platform, WITH_DEVICES } from './platform.spec-fixture.js';

const IMAGE = { sizeBytes: 4096, content: 'saved', volume: 'web-suspend-image', volumeUid: 'image-uid' };
const recordSuspended = {
  type: 'RecordVirtualMachineSuspended',
  data: { operation: 'suspend', incarnation: 1, image: IMAGE },
};
const recordHalted = {
  type: 'RecordVirtualMachineHalted',
  data: { operation: 'hard_shutdown', incarnation: 1, reason: 'hard_shutdown', message: '' },
};
const lost = {
  type: 'RecordVirtualMachineStopped',
  data: { incarnation: 1, host: 'host-1', reason: 'vanished', message: 'gone' },
};
const missed = eventOf('VirtualMachineMissed', lost.data);
const wished = (powerState: string): NewEvent =>
  eventOf('VirtualMachineSpecChanged', { spec: machineSpec({ powerState }) });

const SUSPENDING = [...RUNNING, begun('suspend', { powerState: 'Suspended' })];
const SUSPENDED = [...SUSPENDING, eventOf('VirtualMachineSuspended', recordSuspended.data)];
const RESUMING = [...SUSPENDED, begun('resume', { incarnation: 2, powerState: 'Running' })];

describe('suspension', () => {
  it('is an action, and a wish, of a machine that runs', () => {
    machine(RUNNING)
      .when(act('suspend'))
      .then([{ type: 'VirtualMachineOperationStarted', data: { action: 'suspend', powerState: 'Suspended' } }]);
    machine(RUNNING)
      .when(change({ powerState: 'Suspended' }))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'suspend' } },
      ]);
    machine([])
      .when(create({ powerState: 'Suspended' }))
      .thenRejected('object_invalid', /never run/);
    for (const state of [HALTED, PAUSED]) {
      machine(state)
        .when(change({ powerState: 'Suspended' }))
        .thenRejected('operation_not_allowed', /needs running/);
      machine(state)
        .when(act('suspend'))
        .thenRejected('operation_not_allowed', /needs running/);
    }
  });

  it('needs a guest that can hear of it', () => {
    const hvm = created({ guestType: 'hvm', guest: { pvDrivers: false } });
    const { details } = machine([hvm, begun('provision', { incarnation: 1 }), started()])
      .when(act('suspend'))
      .thenRejected('operation_not_allowed');
    expect(details).toMatchObject({ xapi: { code: 'VM_LACKS_FEATURE' } });
  });

  it('leaves the machine on no host, with its guest in the image', () => {
    const { state } = machine(SUSPENDING)
      .when(recordSuspended)
      .then([{ type: 'VirtualMachineSuspended' }]);
    expect(state).toMatchObject({ own: { run: { phase: 'suspended', incarnation: 1 }, image: IMAGE, operations: [] } });
  });

  it('that its guest refuses lets it run on, and gives the wish back', () => {
    const { state } = machine(SUSPENDING)
      .when(recordEnded('suspend'))
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    expect(state).toMatchObject({ spec: { powerState: 'Running' }, own: { run: { phase: 'running' } } });
  });

  it('is no loss of the run: what its host lacks is acted on when the suspension has come to nothing', () => {
    machine(SUSPENDING)
      .when(lost)
      .then([{ type: 'VirtualMachineMissed' }]);
    machine([...SUSPENDING, missed])
      .when(lost)
      .thenNothing();
    machine([...SUSPENDING, missed])
      .when(recordSuspended)
      .then([{ type: 'VirtualMachineSuspended' }]);
    machine([...SUSPENDING, missed])
      .when(recordEnded('suspend'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineHalted', data: { reason: 'vanished' } },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
    machine([created({ ha: { restart: 'always' } }), ...SUSPENDING.slice(1), missed])
      .when(recordEnded('suspend'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineHalted' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'start', incarnation: 2 } },
      ]);
  });

  it('that a hard shutdown overtook leaves an image to be discarded', () => {
    const overtaken = [...SUSPENDING, begun('hard_shutdown', { powerState: 'Halted' })];
    const { state } = machine(overtaken)
      .when(recordHalted)
      .then([{ type: 'VirtualMachineHalted' }]);
    expect(state).toMatchObject({ own: { run: { phase: 'halted' } } });
    const after = machine([...overtaken, eventOf('VirtualMachineHalted', recordHalted.data)])
      .when(recordSuspended)
      .then([
        { type: 'VirtualMachineSuspended' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
    expect(after.state).toMatchObject({ own: { run: { phase: 'halted' }, image: IMAGE } });
  });

  it('is waited for by a deletion', () => {
    const deleted = machine(SUSPENDING)
      .when({ type: 'DeleteVirtualMachine', data: { propagationPolicy: 'Background' } })
      .then([
        { type: 'VirtualMachineDeletionRequested' },
        { type: 'VirtualMachineOperationSuperseded', data: { operation: 'suspend' } },
      ]);
    expect(deleted.state.phase).toBe('present');
    const deleting = eventOf('VirtualMachineDeletionRequested', { deletionTimestamp: '2026-01-01T00:00:00Z' });
    machine([...SUSPENDING, deleting])
      .when(recordSuspended)
      .then([
        { type: 'VirtualMachineSuspended' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'deprovision' } },
      ]);
  });
});

describe('a suspended machine', () => {
  it('is resumed, not started', () => {
    machine(SUSPENDED)
      .when(act('start'))
      .thenRejected('operation_not_allowed', /is suspended, start needs halted/);
    machine(SUSPENDED)
      .when(act('resume'))
      .then([
        { type: 'VirtualMachineOperationStarted', data: { action: 'resume', incarnation: 2, powerState: 'Running' } },
      ]);
    machine(SUSPENDED)
      .when(change({ powerState: 'Running' }))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'resume' } },
      ]);
  });

  it('gives its image back once its next run is recorded', () => {
    machine(RESUMING)
      .when({ type: 'RecordVirtualMachineStarted', data: { ...started(2).data, operation: 'resume' } })
      .then([
        { type: 'VirtualMachineStarted' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
  });

  it('stays suspended when its resumption fails', () => {
    const { state } = machine(RESUMING)
      .when(recordEnded('resume'))
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    expect(state).toMatchObject({
      spec: { powerState: 'Suspended' },
      own: { run: { phase: 'suspended' }, image: IMAGE },
    });
  });

  it('is ended with its image when it is to be halted', () => {
    machine(SUSPENDED)
      .when(change({ powerState: 'Halted' }))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'hard_shutdown' } },
      ]);
    const { state } = machine([...SUSPENDED, begun('hard_shutdown')])
      .when(recordHalted)
      .then([{ type: 'VirtualMachineHalted' }]);
    expect(state).toMatchObject({ own: { run: { phase: 'halted', leftover: null }, image: null } });
    // The wish cancels a resumption, and is fulfilled after it.
    machine(RESUMING)
      .when(change({ powerState: 'Halted' }))
      .then([{ type: 'VirtualMachineSpecChanged' }, { type: 'VirtualMachineOperationSuperseded' }]);
    machine([...RESUMING, wished('Halted')])
      .when(recordEnded('resume', 'cancelled'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'hard_shutdown' } },
      ]);
  });
});

describe('the platform', () => {
  let platform: Platform;
  beforeEach(async () => {
    platform = await new Platform().start();
    await platform.register('host-1');
    await platform.createMachine('web', WITH_DEVICES);
    await platform.settle();
  });
  afterEach(() => platform.killCompute());

  const ask = (action: string) => platform.send('StartOperation', machineUid('web'), { action, parameters: {} });
  const agent = () => {
    const party = platform.agents.get('host-1');
    if (party === undefined) throw new Error('host-1 has an agent');
    return party;
  };
  const phaseOf = (action: string) => platform.operations().find((operation) => operation.action === action)?.phase;

  it('suspends a machine, holds nothing for it but its image, and resumes its guest', async () => {
    expect((await ask('suspend')).ok).toBe(true);
    expect(platform.machine('web').phase).toBe('Suspending');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({
      powerState: 'Suspended',
      phase: 'Suspended',
      suspendImage: { volume: 'web-suspend-image' },
      conditions: [{ status: 'False', reason: 'Suspended' }],
      allowedOperations: ['checkpoint', 'destroy', 'hard_shutdown', 'resume', 'snapshot'],
    });
    expect(platform.machine('web')['host']).toBeUndefined();
    expect(platform.placements.size).toBe(0);
    expect(platform.volumes.size).toBe(1);
    expect((await ask('resume')).ok).toBe(true);
    expect(platform.machine('web').phase).toBe('Resuming');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', incarnation: 2 });
    const resume = agent().asked.find(({ type }) => type === 'ResumeDomain');
    expect(resume?.data).toMatchObject({ incarnation: 2, image: { sizeBytes: 4096, content: 'saved run 1' } });
    // The root disk is left: the image is given back.
    expect(platform.volumes.size).toBe(1);
    expect(platform.operations().map(({ action, phase }) => `${action} ${phase}`)).toEqual([
      'provision Succeeded',
      'suspend Succeeded',
      'resume Succeeded',
      'release Succeeded',
    ]);
  });

  it.each([
    ['guest_ignored_shutdown', 'the guest does not acknowledge'],
    ['command_unknown', 'the agent knows no command SuspendDomain'],
  ])('lets a machine run on when its host answers %s', async (code, message) => {
    agent().refusal = ({ type }) => (type === 'SuspendDomain' ? reject(code, message) : null);
    await ask('suspend');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running' });
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { powerState: 'Running' } });
    expect(phaseOf('suspend')).toBe('Failed');
    expect(platform.volumes.size).toBe(1);
    expect(platform.placements.size).toBe(1);
  });

  it('discards the image of a suspended machine that is deleted', async () => {
    await ask('suspend');
    await platform.settle();
    await platform.accepted('DeleteVirtualMachine', machineUid('web'), {});
    await platform.settle();
    expect(platform.document(machineUid('web'))).toBeUndefined();
    expect([platform.volumes.size, platform.ports.size, platform.placements.size]).toEqual([0, 0, 0]);
  });
});
