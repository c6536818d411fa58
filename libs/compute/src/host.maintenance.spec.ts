import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeComputeEvent } from './compute.descriptions.js';
import { hostUidOf, machineUid, metadata, Platform } from './platform.spec-fixture.js';

let platform: Platform;
const host = hostUidOf('host-1');
const blocked = [
  {
    virtualMachine: { uid: machineUid('web'), name: 'web', namespace: 'default' },
    message: 'its guest has no paravirtual drivers',
  },
];

beforeEach(async () => {
  platform = await new Platform().start();
  await platform.register('host-1');
});
afterEach(() => platform.killCompute());

const change = (spec: object) =>
  platform.accepted('ChangeHost', host, {
    intent: 'update',
    metadata: { ...metadata('host-1'), namespace: undefined },
    spec: { cluster: 'default', unschedulable: false, ...spec },
  });
const maintenance = () => platform.status(host)['maintenance'] as { readonly uid: string } | undefined;
const record = (found: object, uid = maintenance()?.uid) =>
  platform.accepted('RecordHostEvacuation', host, { maintenance: uid, remaining: 0, blocked: [], ...found });
const eventsOf = (type: string) => platform.eventTypes().filter((known) => known === type).length;

describe('a host under maintenance', () => {
  it('is being evacuated from the moment that the maintenance is wished for', async () => {
    await change({ maintenance: true });
    expect(platform.status(host)).toMatchObject({ summary: 'Ready,Evacuating', maintenance: { phase: 'Evacuating' } });
    expect(platform.status(host).conditions[1]).toMatchObject({ type: 'Evacuated', status: 'False' });
  });

  it('says how many machines are left, and which of them can not move', async () => {
    await change({ maintenance: true, unschedulable: true });
    await record({ remaining: 3, blocked });
    expect(platform.status(host)).toMatchObject({
      summary: 'Ready,Unschedulable,Evacuating',
      maintenance: { phase: 'Evacuating', remaining: 3, blocked },
    });
    expect(platform.status(host).conditions[1]).toMatchObject({
      reason: 'Blocked',
      message: "3 virtual machines are left on the host; 1 can't move",
    });
    const progressed = platform.store.log.find((event) => event.type === 'HostEvacuationProgressed');
    expect(progressed && describeComputeEvent(progressed)).toEqual({
      reason: 'EvacuationBlocked',
      type: 'Warning',
      message: "default/web can't move: its guest has no paravirtual drivers",
    });
  });

  it('is in maintenance once nothing is left, until a machine comes', async () => {
    await change({ maintenance: true });
    await record({ remaining: 0 });
    expect(platform.status(host)).toMatchObject({
      summary: 'Ready,Maintenance',
      maintenance: { phase: 'InMaintenance', remaining: 0 },
    });
    expect(platform.status(host).conditions[1]).toMatchObject({ status: 'True', reason: 'Empty' });
    await record({ remaining: 1 });
    expect(platform.status(host)).toMatchObject({ summary: 'Ready,Evacuating' });
  });

  it('writes nothing for what is known', async () => {
    await change({ maintenance: true });
    await record({ remaining: 1, blocked });
    await record({ remaining: 1, blocked });
    expect(eventsOf('HostEvacuationProgressed')).toBe(1);
  });

  it('is as before when the maintenance ends, and hears nothing more of it', async () => {
    await change({ maintenance: true });
    const first = maintenance()?.uid;
    await change({ maintenance: false });
    expect(platform.status(host)).toMatchObject({ summary: 'Ready' });
    expect(platform.status(host).conditions).toHaveLength(1);
    await record({ remaining: 0 }, first);
    await change({ maintenance: true });
    await record({ remaining: 0 }, first);
    expect(maintenance()).toMatchObject({ phase: 'Evacuating' });
    expect(maintenance()?.uid).not.toBe(first);
    expect(eventsOf('HostEvacuationProgressed')).toBe(0);
  });
});
