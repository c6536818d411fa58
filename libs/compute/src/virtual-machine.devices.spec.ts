import { wishedDevice } from '@xenolith/contracts';
import { describe, expect, it } from 'vitest';
import { act, begun, change, create, created, machine, started } from './machine.spec-fixture.js';
import { virtualMachineAggregate } from './virtual-machine.js';
import { changePlan } from './virtual-machine.plan-change.js';
import { placementRequest, domainConfig } from './virtual-machine.plan-steps.js';
import { allowedOperations } from './virtual-machine.power.js';

const GPU = { name: 'gpu', kind: 'pci', class: 'gpu', count: 2 } as const;
const PORT = { name: 'fast', kind: 'sriov', class: 'ten-gigabit' } as const;
const DONGLE = { name: 'dongle', kind: 'usb', address: '1.4' } as const;
const GIVEN_DONGLE = { ...DONGLE, model: 'Dongle', class: 'licence' };

const running = (devices: readonly object[]) => {
  const spec = { guestType: 'hvm', devices };
  const given = devices.includes(DONGLE) ? [GIVEN_DONGLE] : [];
  return machine([created(spec), begun('provision', { incarnation: 1 }), started(1, { devices: given })]);
};

const presentState = (devices: readonly object[]) => {
  const { state } = running(devices).when(act('start'));
  if (state.phase !== 'present') throw new Error('the machine is there');
  return state;
};

describe('a machine with devices of its host', () => {
  it('asks placement for them, and for what keeps them apart', () => {
    const state = presentState([GPU, PORT, DONGLE]);
    expect(placementRequest(state)).toMatchObject({
      cpuFeatures: ['iommu'],
      resources: { 'device:pci/gpu': 2, 'device:sriov/ten-gigabit': 1, 'device:usb@1.4': 1 },
    });
    expect(placementRequest(state)).toMatchObject({ devices: [GPU, PORT, DONGLE] });
    expect(domainConfig(state)).toMatchObject({ devices: { $from: 'place', path: 'devices' } });
    expect(placementRequest(presentState([DONGLE]))).not.toHaveProperty('cpuFeatures');
  });

  it('can’t be saved or leave, with XAPI’s errors', () => {
    for (const devices of [[GPU], [PORT]])
      for (const action of ['suspend', 'migrate'])
        running(devices)
          .when(act(action))
          .thenRejected('operation_not_allowed', /VM_HAS_PCI_ATTACHED/);
    running([DONGLE])
      .when(act('migrate'))
      .thenRejected('operation_not_allowed', /VM_HAS_VUSBS/);
    expect(allowedOperations(presentState([DONGLE]))).not.toContain('suspend');
  });

  it('gets and loses some while it runs: reserved before they are given, given back after they are taken', () => {
    const { state } = running([DONGLE])
      .when(change({ guestType: 'hvm', devices: [PORT] }))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'reconfigure' } },
      ]);
    if (state.phase !== 'present' || state.own.run.phase !== 'running') throw new Error('the machine runs');
    const plan = changePlan(state, state.own.run, 'op');
    expect(plan.map(({ name, type, stage }) => [stage, name, type])).toEqual([
      [0, 'reserve-devices', 'ChangePlacementDevices'],
      [1, 'attach-device-fast', 'AttachDevice'],
      [2, 'detach-device-dongle', 'DetachDevice'],
      [3, 'release-devices', 'ChangePlacementDevices'],
      [4, 'finish', 'RecordVirtualMachineReconfigured'],
    ]);
    expect(plan[0]).toMatchObject({ data: { add: [PORT], remove: [] }, undo: { data: { add: [], remove: ['fast'] } } });
    expect(plan[2]).toMatchObject({
      undo: { type: 'AttachDevice', data: { name: 'dongle', devices: [GIVEN_DONGLE] } },
    });
    expect(plan[4]).toMatchObject({ data: { devices: { $from: 'release-devices', path: 'devices' } } });
  });

  it('tells which devices it was given', () => {
    const { state } = running([DONGLE]);
    expect(virtualMachineAggregate.toResource(state)).toMatchObject({
      status: { devices: [{ name: 'dongle', kind: 'usb', address: '1.4', model: 'Dongle', attached: true }] },
    });
  });

  it('can’t get others by a name that is taken, nor be built otherwise while it runs', () => {
    running([DONGLE])
      .when(change({ guestType: 'hvm', devices: [{ ...DONGLE, address: '2.3' }] }))
      .thenRejected('object_invalid', /spec\.devices\[0\]/);
    running([DONGLE])
      .when(change({ guestType: 'hvm', devices: [DONGLE], passthrough: 'enabled' }))
      .thenRejected('object_invalid', /spec\.passthrough/);
  });

  it('asks for a host with an IOMMU where it may be given functions later', () => {
    const { state } = machine([created({ guestType: 'hvm', passthrough: 'enabled' })]).when(act('start'));
    if (state.phase !== 'present') throw new Error('the machine is there');
    expect(placementRequest(state)).toMatchObject({ cpuFeatures: ['iommu'] });
    expect(domainConfig(state)).toMatchObject({ passthrough: 'enabled' });
    machine([])
      .when(create({ guestType: 'pvh', passthrough: 'enabled' }))
      .thenRejected('object_invalid', /pvh guests/);
  });

  it('is refused where it can’t have them', () => {
    const refused = (spec: object, why: RegExp): void => {
      machine([]).when(create(spec)).thenRejected('object_invalid', why);
    };
    refused({ guestType: 'pvh', devices: [GPU] }, /pvh guests; use hvm or pv/);
    refused(
      { guestType: 'hvm', devices: [GPU], memory: { staticMax: '2Gi', dynamicMin: '1Gi', dynamicMax: '2Gi' } },
      /give one size/,
    );
    refused({ guestType: 'hvm', devices: [{ name: 'keys', kind: 'usb', class: 'key', count: 7 }] }, /6 USB devices/);
    refused({ guestType: 'hvm', devices: [DONGLE, DONGLE] }, /two are named "dongle"/);
  });

  it('names a class, a model or one address of the right kind', () => {
    const isWish = (wish: object): boolean => wishedDevice.safeParse({ name: 'a', ...wish }).success;
    expect(isWish({ kind: 'pci', class: 'gpu' })).toBe(true);
    expect(isWish({ kind: 'pci', address: '0000:3b:00.0' })).toBe(true);
    expect(isWish({ kind: 'pci', model: '10de:25b6', count: 2 })).toBe(true);
    expect(isWish({ kind: 'pci', model: 'A2', class: 'gpu' })).toBe(false);
    expect(isWish({ kind: 'pci' })).toBe(false);
    expect(isWish({ kind: 'pci', class: 'gpu', address: '0000:3b:00.0' })).toBe(false);
    expect(isWish({ kind: 'usb', address: '0000:3b:00.0' })).toBe(false);
    expect(isWish({ kind: 'pci', address: '0000:3b:00.0', count: 2 })).toBe(false);
  });
});
