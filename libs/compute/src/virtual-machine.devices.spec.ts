import { wishedDevice } from '@xenolith/contracts';
import { describe, expect, it } from 'vitest';
import { act, begun, change, create, created, machine, started } from './machine.spec-fixture.js';
import { placementRequest, domainConfig } from './virtual-machine.plan-steps.js';
import { allowedOperations } from './virtual-machine.power.js';

const GPU = { name: 'gpu', kind: 'pci', class: 'gpu', count: 2 } as const;
const PORT = { name: 'fast', kind: 'sriov', class: 'ten-gigabit' } as const;
const DONGLE = { name: 'dongle', kind: 'usb', address: '1.4' } as const;

const running = (devices: readonly object[]) => {
  const spec = { guestType: 'hvm', devices };
  return machine([created(spec), begun('provision', { incarnation: 1 }), started()]);
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
    expect(domainConfig(state)).toMatchObject({ devices: [GPU, PORT, DONGLE] });
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

  it('keeps them until it is halted', () => {
    running([DONGLE])
      .when(change({ guestType: 'hvm' }))
      .thenRejected('object_invalid', /devices/);
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
    refused({ guestType: 'hvm', hypervisor: 'kvm', devices: [DONGLE] }, /use xen/);
    refused({ guestType: 'hvm', devices: [DONGLE, DONGLE] }, /two are named "dongle"/);
  });

  it('names a class or one address of the right kind', () => {
    const isWish = (wish: object): boolean => wishedDevice.safeParse({ name: 'a', ...wish }).success;
    expect(isWish({ kind: 'pci', class: 'gpu' })).toBe(true);
    expect(isWish({ kind: 'pci', address: '0000:3b:00.0' })).toBe(true);
    expect(isWish({ kind: 'pci' })).toBe(false);
    expect(isWish({ kind: 'pci', class: 'gpu', address: '0000:3b:00.0' })).toBe(false);
    expect(isWish({ kind: 'usb', address: '0000:3b:00.0' })).toBe(false);
    expect(isWish({ kind: 'pci', address: '0000:3b:00.0', count: 2 })).toBe(false);
  });
});
