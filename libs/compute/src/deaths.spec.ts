import { eventOf } from '@xenolith/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { begun, created, machine, started } from './machine.spec-fixture.js';
import { hostUidOf, Platform } from './platform.spec-fixture.js';
import { virtualMachineAggregate } from './virtual-machine.js';

describe('a host whose daemons have died', () => {
  let platform: Platform;
  beforeEach(async () => {
    platform = await new Platform().start();
    await platform.register('host-1');
  });
  afterEach(() => platform.killCompute());

  const shown = () => platform.status(hostUidOf('host-1'));

  it('says what that means until they run again', async () => {
    await platform.register('host-1', undefined, { lostDaemons: ['xenstored', 'xenconsoled'] });
    expect(shown()).toMatchObject({ summary: 'Ready,Degraded' });
    expect(shown().conditions.slice(1)).toMatchObject([
      {
        type: 'ControlPlane',
        status: 'False',
        reason: 'DaemonDied',
        message: 'xenstored died: guests run on, but nothing can be started, stopped or changed until the host boots',
      },
      { type: 'Consoles', status: 'False', message: 'xenconsoled died: guests run on without consoles' },
    ]);
    const before = shown().conditions;
    await platform.register('host-1', undefined, { lostDaemons: ['xenstored', 'xenconsoled'] });
    expect(shown().conditions).toEqual(before);
    await platform.register('host-1');
    expect(shown()).toMatchObject({ summary: 'Ready' });
    expect(shown().conditions).toHaveLength(1);
  });
});

describe('a machine whose device model has died', () => {
  const running = (guest: object) =>
    machine([created({ guestType: 'hvm', guest }), begun('provision', { incarnation: 1 }), started()]);
  const report = (more: object = {}) => ({
    type: 'ReportDeviceModelLost',
    data: { incarnation: 1, host: 'host-1', domid: 1, ...more },
  });
  const DIED = { type: 'DeviceModel', status: 'False', reason: 'DeviceModelDied' };

  it('is not ready where its guest drives emulated devices, and says so until it is another domain', () => {
    const { state } = running({ pvDrivers: false }).when(report());
    expect(virtualMachineAggregate.toResource(state)).toMatchObject({
      status: { conditions: [{ type: 'Ready', status: 'False', reason: 'DeviceModelDied' }, DIED] },
    });
    const rebooted = machine([
      created({ guestType: 'hvm', guest: { pvDrivers: false } }),
      begun('provision', { incarnation: 1 }),
      started(),
      eventOf('VirtualMachineDeviceModelLost', report().data),
      eventOf('VirtualMachineRebooted', { domid: 2 }),
    ]);
    expect(virtualMachineAggregate.toResource(rebooted.when(report()).state)).toMatchObject({
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    });
  });

  it('is ready where its guest has drivers of its own', () => {
    const { state } = running({ pvDrivers: true }).when(report());
    expect(virtualMachineAggregate.toResource(state)).toMatchObject({
      status: { conditions: [{ type: 'Ready', status: 'True' }, DIED] },
    });
  });

  it('hears nothing new of a run that is over', () => {
    running({})
      .when(report({ incarnation: 7 }))
      .thenNothing();
  });
});
