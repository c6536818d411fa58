import { describe, expect, it } from 'vitest';
import type { DomainSettings, GivenDevice, InstalledDevice, XenSetup } from '../index.js';
import { GIBIBYTE, HostRig, settingsOf, type Told } from './host.spec-fixture.js';

const DEVICES: readonly InstalledDevice[] = [
  { kind: 'pci', address: '0000:3b:00.0', model: 'A2', class: 'gpu' },
  { kind: 'pci', address: '0000:af:00.0', model: 'A2', class: 'gpu' },
  { kind: 'usb', address: '1.4', model: 'Dongle', class: 'licence' },
];
const GPU: GivenDevice = { name: 'gpu', kind: 'pci', address: '0000:3b:00.0' };
const OTHER: GivenDevice = { name: 'other', kind: 'pci', address: '0000:af:00.0' };
const DONGLE: GivenDevice = { name: 'dongle', kind: 'usb', address: '1.4' };

const HVM: Partial<DomainSettings> = { guestType: 'hvm', staticMaxBytes: GIBIBYTE, passthrough: 'enabled' };

/** A host with a machine that is up. */
const running = (settings: Partial<DomainSettings> = HVM, setup: Partial<XenSetup> = {}): HostRig => {
  const rig = new HostRig(0, 'host-0001', { devices: DEVICES, ...setup });
  rig.start(settings);
  return rig;
};

const give = (rig: HostRig, device: GivenDevice, uid = 'a'): Told =>
  rig.ask({ do: 'give', uid, name: device.name, devices: [device] });
const take = (rig: HostRig, name: string): Told => rig.ask({ do: 'take', name });
const functions = (rig: HostRig): string => rig.tool('xl', 'pci-list', 'web');
const assignable = (rig: HostRig): string => rig.tool('xl', 'pci-assignable-list');
const backend = (rig: HostRig, node: string): string =>
  rig.tool('xenstore', 'read', `/local/domain/0/backend/pci/1/0/${node}`);

describe('a device that a running machine is given', () => {
  it('is there in the tools and in the store, and stays over a reboot', () => {
    const rig = running();
    expect(give(rig, GPU)).toMatchObject({ code: 'ok' });
    expect(give(rig, DONGLE)).toMatchObject({ code: 'ok' });
    expect(functions(rig)).toBe('Vdev Device\n05.0 0000:3b:00.0\n');
    expect(rig.tool('xl', 'usb-list', 'web')).toContain('Bus 001 Device 004');
    expect(backend(rig, 'num_devs')).toBe('1\n');
    expect(assignable(rig)).toBe('0000:af:00.0\n');
    rig.ask({ do: 'reboot', mode: 'hard', timeoutMs: 1_000 });
    expect(functions(rig)).toContain('0000:3b:00.0');
  });

  it('keeps its slot when one before it goes, and moves up in the store', () => {
    const rig = running();
    give(rig, GPU);
    give(rig, OTHER);
    expect(take(rig, 'gpu')).toMatchObject({ code: 'ok' });
    expect(functions(rig)).toBe('Vdev Device\n06.0 0000:af:00.0\n');
    expect([backend(rig, 'num_devs'), backend(rig, 'dev-0')]).toEqual(['1\n', '0000:af:00.0\n']);
    give(rig, GPU);
    expect(functions(rig)).toBe('Vdev Device\n06.0 0000:af:00.0\n05.0 0000:3b:00.0\n');
  });

  it('is nothing new where the machine has it', () => {
    const rig = running();
    give(rig, GPU);
    expect(give(rig, GPU)).toMatchObject({ code: 'ok' });
    expect(backend(rig, 'num_devs')).toBe('1\n');
  });

  it('is refused where another guest has it', () => {
    const rig = running();
    give(rig, GPU);
    rig.ask({ do: 'start', uid: 'b', paused: false, settings: settingsOf({ ...HVM, name: 'b', disks: [], nics: [] }) });
    expect(give(rig, GPU, 'b')).toMatchObject({ value: expect.stringContaining('another guest has it') as string });
  });

  // libxl's words when iommu_do_domctl answers EOPNOTSUPP (tools/libs/light/libxl_pci.c, `libxl__device_pci_add`).
  it('is refused where the domain was built without IOMMU mappings, as releases before 4.13 made them later', () => {
    const { passthrough: _passthrough, ...usual } = HVM;
    expect(give(running(usual), GPU)).toMatchObject({
      code: 'host_device_failed',
      value: expect.stringContaining('PCI device 0000:3b:00.0 cannot be assigned - no IOMMU') as string,
    });
    expect(give(running(usual), DONGLE)).toMatchObject({ code: 'ok' });
    expect(give(running({ ...usual, guestType: 'pv' }), GPU)).toMatchObject({ code: 'ok' });
    expect(give(running(usual, { release: 'xen-4.0', scheduler: 'credit' }), GPU)).toMatchObject({ code: 'ok' });
  });

  it('is refused to PVH guests, and on a host without an IOMMU', () => {
    expect(give(running({}), GPU)).toMatchObject({ value: expect.stringContaining('pvh') as string });
    expect(give(running(HVM, { iommu: false }), GPU)).toMatchObject({
      value: expect.stringContaining('the host has no IOMMU') as string,
    });
  });
});

describe('a device that a running machine loses', () => {
  it('is given back, and gone with the next domain', () => {
    const rig = running({ ...HVM, devices: [GPU, DONGLE] });
    expect(take(rig, 'gpu')).toMatchObject({ code: 'ok' });
    expect(take(rig, 'gpu')).toMatchObject({ code: 'ok' });
    expect(functions(rig)).toBe('');
    expect(assignable(rig)).toBe('0000:3b:00.0\n0000:af:00.0\n');
    expect(rig.tool('xenstore', 'ls', '-f', '/local/domain/0/backend')).not.toContain('pci');
    expect(take(rig, 'dongle')).toMatchObject({ code: 'ok' });
    rig.ask({ do: 'reboot', mode: 'hard', timeoutMs: 1_000 });
    expect(rig.tool('xl', 'usb-list', 'web')).toBe('');
  });

  it('stays where its guest is paused, and goes when the guest runs again in time', () => {
    const rig = running({ ...HVM, devices: [GPU, DONGLE] });
    rig.ask({ do: 'pause' });
    expect(take(rig, 'gpu')).toEqual({
      code: 'host_device_failed',
      value: 'pci device gpu (0000:3b:00.0) of web on host-0001: its guest is paused and does not let go',
    });
    // USB is pulled without asking.
    expect(take(rig, 'dongle')).toMatchObject({ code: 'ok' });
    const ticket = rig.tell({ do: 'take', name: 'gpu' });
    rig.ask({ do: 'unpause' });
    expect(rig.told(ticket)).toMatchObject({ code: 'ok' });
  });

  it('goes with its domain', () => {
    const rig = running({ ...HVM, devices: [GPU] });
    rig.ask({ do: 'pause' });
    const ticket = rig.tell({ do: 'take', name: 'gpu' });
    rig.ask({ do: 'destroy' });
    expect(rig.told(ticket)).toMatchObject({ code: 'ok' });
    expect(assignable(rig)).toContain('0000:3b:00.0');
  });
});
