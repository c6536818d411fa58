import { describe, expect, it } from 'vitest';
import { GIBIBYTE, ModelRig, settingsOf, type Told } from '../host/host.spec-fixture.js';
import { timingFor } from '../host-timing.js';
import type { DomainSettings, GivenDevice, HostDevices, HostModel } from '../index.js';
import { kvmHostModel } from './kvm-host.js';
import type { KvmHostState } from './kvm-state.js';

const kvm = kvmHostModel(timingFor(0));
const GPU: GivenDevice = { name: 'gpu', kind: 'pci', address: '0000:3b:00.0' };
const DONGLE: GivenDevice = { name: 'dongle', kind: 'usb', address: '1.4' };
const INSTALLED: HostDevices = {
  devices: [
    { kind: 'pci', address: GPU.address, model: 'A2', class: 'gpu' },
    { kind: 'usb', address: DONGLE.address, model: 'Dongle', class: 'licence' },
  ],
};

const rigOf = (devices: HostDevices = INSTALLED): ModelRig<KvmHostState> => {
  const model: HostModel<KvmHostState> = { ...kvm, create: (options) => kvm.create({ ...options, devices }) };
  return new ModelRig(model, 'kvm-0001');
};
const hvm = (more: Partial<DomainSettings> = {}): Partial<DomainSettings> => ({
  guestType: 'hvm',
  staticMaxBytes: GIBIBYTE,
  ...more,
});
const give = (rig: ModelRig<KvmHostState>, device: GivenDevice, uid = 'a'): Told =>
  rig.ask({ do: 'give', uid, name: device.name, devices: [device] });
const take = (rig: ModelRig<KvmHostState>, name: string): Told => rig.ask({ do: 'take', name });
const other = (rig: ModelRig<KvmHostState>, devices: readonly GivenDevice[] = []): Told =>
  rig.ask({ do: 'start', uid: 'b', paused: false, settings: settingsOf({ ...hvm({ devices }), name: 'b' }) });

const failure = (why: string): object => ({
  code: 'host_device_failed',
  value: expect.stringContaining(why) as string,
});

describe('devices of a KVM host', () => {
  it('are one process’s, and free when it has ended, or its host has crashed', () => {
    const rig = rigOf();
    expect(rig.start(hvm({ devices: [GPU, DONGLE] }))).toMatchObject({ code: 'ok' });
    expect(other(rig, [GPU])).toMatchObject(failure('in use by driver QEMU'));
    expect(rig.model.inventory(rig.state)).toHaveLength(1);
    rig.ask({ do: 'destroy' });
    expect(other(rig, [GPU])).toMatchObject({ code: 'ok' });
    rig.crash();
    rig.pass(1_000_000);
    expect(
      rig.ask({
        do: 'start',
        uid: 'c',
        paused: false,
        settings: settingsOf({ ...hvm({ devices: [GPU] }), name: 'c' }),
      }),
    ).toMatchObject({ code: 'ok' });
  });

  it('come to a running machine and stay over its reboots', () => {
    const rig = rigOf();
    rig.start(hvm());
    expect(give(rig, GPU)).toMatchObject({ code: 'ok' });
    expect(give(rig, GPU)).toMatchObject({ code: 'ok' });
    other(rig);
    expect(give(rig, GPU, 'b')).toMatchObject(failure('in use by driver QEMU'));
    rig.ask({ do: 'reboot', mode: 'hard', timeoutMs: 1_000 });
    expect(give(rig, GPU, 'b')).toMatchObject(failure('in use by driver QEMU'));
  });

  it('go when the guest lets go of them; USB is pulled', () => {
    const rig = rigOf();
    rig.start(hvm({ devices: [GPU, DONGLE] }));
    rig.ask({ do: 'pause' });
    expect(take(rig, 'gpu')).toMatchObject(failure('its guest does not let go'));
    expect(take(rig, 'dongle')).toMatchObject({ code: 'ok' });
    const ticket = rig.tell({ do: 'take', name: 'gpu' });
    rig.ask({ do: 'unpause' });
    expect(rig.told(ticket)).toMatchObject({ code: 'ok' });
    expect(take(rig, 'gpu')).toMatchObject({ code: 'ok' });
    expect(other(rig, [GPU, DONGLE])).toMatchObject({ code: 'ok' });
  });

  it('are refused without an IOMMU, where there are none, and by a fault', () => {
    const bare = rigOf({ ...INSTALLED, iommu: false });
    bare.start(hvm());
    expect(give(bare, GPU)).toMatchObject(failure("host doesn't support passthrough of host PCI devices"));
    expect(give(bare, DONGLE)).toMatchObject({ code: 'ok' });
    const rig = rigOf();
    rig.start(hvm());
    expect(give(rig, { ...GPU, address: '0000:00:1f.0' })).toMatchObject(failure('Device not found'));
    rig.setFaults({
      rule: 'r',
      machines: [],
      devices: ['gpu'],
      effects: { failHotplug: 'vfio: error' },
      probability: 1,
      seed: 0,
      left: null,
    });
    expect(give(rig, GPU)).toMatchObject(failure('vfio: error'));
  });
});
