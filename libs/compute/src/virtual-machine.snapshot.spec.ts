import { eventOf } from '@xenolith/contracts';
import { ok, reject, uuidFrom, type JsonObject } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { act, begun, HALTED, machine, PAUSED, recordEnded, RUNNING } from './machine.spec-fixture.js';
import type { Party } from './party.spec-fixture.js';
import { machineSpec, machineUid, metadata, Platform, WITH_DEVICES } from './platform.spec-fixture.js';

const asked = (action: string, parameters: object) => ({ type: 'StartOperation', data: { action, parameters } });

const content = (memory: boolean): JsonObject => ({
  spec: machineSpec({ memory: '2Gi' }),
  hardware: null,
  hypervisor: 'kvm',
  disks: [],
  ...(memory ? { image: { sizeBytes: 9, content: 'saved', volume: 'i', volumeUid: 'i', reservedBytes: 16 } } : {}),
});

const taken = (name: string, memory = false) => [
  begun('snapshot', { operation: name, parameters: { name } }),
  eventOf('VirtualMachineSnapshotTaken', { operation: name, content: content(memory) }),
];

describe('snapshots of a machine', () => {
  it('are taken in every state, checkpoints of what has a state', () => {
    for (const state of [HALTED, RUNNING, PAUSED])
      machine(state)
        .when(asked('snapshot', { name: 'before' }))
        .then([{ type: 'VirtualMachineOperationStarted', data: { parameters: { name: 'before' } } }]);
    machine(HALTED)
      .when(act('checkpoint'))
      .thenRejected('operation_not_allowed', /checkpoint needs paused, suspended, running/);
    machine([...RUNNING, begun('checkpoint', { parameters: { name: 'a' } })])
      .when(act('checkpoint'))
      .thenRejected('operation_in_progress');
  });

  it('need a name that can be one, and are as many as a chain of disks can be long', () => {
    machine(RUNNING)
      .when(asked('snapshot', { name: 'Not A Name' }))
      .thenRejected('object_invalid', /spec.parameters.name/);
    const many = Array.from({ length: 30 }, (_, index) => taken(`s-${index}`)).flat();
    machine([...RUNNING, ...many])
      .when(act('snapshot'))
      .thenRejected('object_invalid', /30 snapshots already/);
  });

  it('are what the machine is put back to, by name', () => {
    machine(RUNNING)
      .when(asked('revert', { to: 'before' }))
      .thenRejected('object_invalid', /it has none/);
    machine([...RUNNING, ...taken('before')])
      .when(asked('revert', { to: 'other' }))
      .thenRejected('object_invalid', /it has before/);
    machine([...RUNNING, ...taken('before')])
      .when(asked('revert', { to: 'before' }))
      .then([{ type: 'VirtualMachineOperationStarted', data: { action: 'revert', incarnation: 2 } }]);
    machine([...RUNNING, ...taken('before'), begun('revert', { parameters: { to: 'before' } })])
      .when(act('snapshot'))
      .thenRejected('operation_in_progress');
  });

  it.each([
    [true, { phase: 'suspended', incarnation: 2 }, 'Suspended'],
    [false, { phase: 'halted', reason: 'reverted' }, 'Halted'],
  ])('leave it as it was (with memory: %s)', (memory, run, powerState) => {
    const reverting = begun('revert', { incarnation: 2, parameters: { to: 'before' } });
    const image = memory ? { image: { volume: 'web-suspend-image', volumeUid: 'image-uid' } } : {};
    const snapshot = uuidFrom('before', 'snapshot');
    const { state } = machine([...RUNNING, ...taken('before', memory), reverting])
      .when({
        type: 'RecordVirtualMachineReverted',
        data: { operation: 'revert', incarnation: 2, snapshot, nics: [], ...image },
      })
      .then([{ type: 'VirtualMachineReverted' }]);
    expect(state).toMatchObject({
      spec: { memory: '2Gi', powerState },
      own: { run, hypervisor: 'kvm', operations: [], snapshots: [{ name: 'before' }] },
    });
  });

  it('that it could not be put back to leave it halted: its run had been ended first', () => {
    machine([...RUNNING, ...taken('before'), begun('revert', { incarnation: 2, parameters: { to: 'before' } })])
      .when(recordEnded('revert'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineHalted', data: { incarnation: 1, powerState: 'Halted' } },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
  });

  it('are forgotten when they are gone', () => {
    const { state } = machine([...HALTED, ...taken('before')])
      .when({ type: 'RecordVirtualMachineSnapshotDeleted', data: { snapshot: uuidFrom('before', 'snapshot') } })
      .then([{ type: 'VirtualMachineSnapshotForgotten' }]);
    expect(state).toMatchObject({ own: { snapshots: [] } });
  });
});

describe('a snapshot', () => {
  let platform: Platform;
  const uid = machineUid('web');
  const host = (): Party => platform.agents.get('host-1') as Party;
  const go = (action: string, parameters: object = {}) =>
    platform.accepted('StartOperation', uid, { action, parameters });
  const snapshots = () => platform.store.documents(['virtualmachinesnapshot']).documents;
  const only = () => snapshots()[0]?.document as { status: JsonObject } | undefined;

  beforeEach(async () => {
    platform = await new Platform().start();
    for (const name of ['host-1', 'host-2']) await platform.register(name);
    await platform.createMachine('web', WITH_DEVICES);
    await platform.settle();
  });
  afterEach(() => platform.killCompute());

  it('of memory is taken while the guest stands still, and puts it back there', async () => {
    const orders: string[] = [];
    const note = (party: Party): void => {
      party.refusal = ({ type }) => {
        orders.push(type);
        return null;
      };
    };
    note(host());
    note(platform.storage);
    await go('checkpoint', { name: 'before' });
    await platform.settle();
    expect(orders.filter((type) => type !== 'GetInventory')).toEqual([
      'ProvisionVolume',
      'CheckpointDomain',
      'SnapshotVolume',
      expect.stringMatching(/^(UnpauseDomain|DetachVolume)$/),
      expect.stringMatching(/^(UnpauseDomain|DetachVolume)$/),
    ]);
    expect(only()?.status).toMatchObject({
      phase: 'Ready',
      powerState: 'Suspended',
      disks: [{ name: 'root', volume: 'before-root' }],
      memoryVolume: 'before-suspend-image',
      allowedOperations: ['destroy', 'revert'],
    });
    expect(platform.machine('web')).toMatchObject({ phase: 'Running' });
    await go('revert', { to: 'before' });
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Suspended', powerState: 'Suspended' });
    expect(platform.placements.size).toBe(0);
    await go('resume');
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running' });
    const resume = host().asked.find(({ type }) => type === 'ResumeDomain');
    expect(resume?.data).toMatchObject({ image: { content: 'saved run 1' } });
  });

  it('that comes to nothing leaves nothing, and its guest goes on', async () => {
    const volumes = platform.volumes.size;
    platform.storage.refusal = ({ type }) =>
      type === 'SnapshotVolume' ? reject('storage_domain_full', 'no room') : null;
    await go('checkpoint');
    await platform.settle();
    expect(snapshots()).toEqual([]);
    expect(platform.volumes.size).toBe(volumes);
    expect(platform.details.get(uid)).toMatchObject({ state: 'running' });
    expect(platform.machine('web')).toMatchObject({ phase: 'Running' });
  });

  it('has a name of its own, and is not deleted while it is needed', async () => {
    await go('snapshot', { name: 'before' });
    await platform.settle();
    const snapshot = snapshots()[0]?.streamId ?? '';
    const again = { action: 'snapshot', parameters: { name: 'before' } };
    expect(await platform.send('StartOperation', uid, again)).toMatchObject({
      rejection: { code: 'object_invalid', causes: [{ field: 'spec.parameters.name' }] },
    });
    platform.storage.refusal = ({ type }) => (type === 'RevertVolume' ? reject('fault_injected', 'not yet') : null);
    await go('revert', { to: 'before' });
    await platform.until(() => platform.storage.asked.some(({ type }) => type === 'RevertVolume'));
    expect(await platform.send('DeleteVirtualMachineSnapshot', snapshot, {})).toMatchObject({
      rejection: { code: 'operation_in_progress' },
    });
    platform.storage.refusal = null;
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Halted' });
    expect(await platform.send('DeleteVirtualMachineSnapshot', snapshot, {})).toMatchObject(ok({}));
    expect(snapshots()).toEqual([]);
    await platform.until(() => platform.eventTypes().includes('VirtualMachineSnapshotForgotten'));
  });

  it('is made by its machine only, and stays what it is', async () => {
    const spec = { virtualMachine: 'web', memory: false };
    const made = { intent: 'create', metadata: metadata('mine'), spec };
    expect(await platform.send('ChangeVirtualMachineSnapshot', uuidFrom('mine'), made)).toMatchObject({
      rejection: { code: 'verb_not_supported' },
    });
    await go('snapshot', { name: 'before' });
    await platform.settle();
    const changed = { intent: 'update', metadata: metadata('before'), spec: { ...spec, memory: true } };
    const snapshot = snapshots()[0]?.streamId ?? '';
    expect(await platform.send('ChangeVirtualMachineSnapshot', snapshot, changed)).toMatchObject({
      rejection: { code: 'object_invalid' },
    });
  });

  it('goes when its machine is deleted while it is taken', async () => {
    host().silent = true;
    await go('checkpoint');
    await platform.clock.advance(1_000);
    expect(only()?.status).toMatchObject({ phase: 'Taking' });
    await platform.accepted('DeleteVirtualMachine', uid, { propagationPolicy: 'Background' });
    host().silent = false;
    await platform.until(() => platform.document(uid) === undefined);
    expect(snapshots()).toEqual([]);
  });
});
