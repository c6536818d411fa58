import { describe, expect, it } from 'vitest';
import type { DomainSettings, GivenDevice, InstalledDevice, XenSetup } from '../index.js';
import { GIBIBYTE, HostRig, settingsOf } from './host.spec-fixture.js';

const DEVICES: readonly InstalledDevice[] = [
  { kind: 'pci', address: '0000:3b:00.0', model: 'A2', class: 'gpu' },
  { kind: 'pci', address: '0000:af:00.0', model: 'A2', class: 'gpu' },
  { kind: 'pci', address: '0000:18:00.0', model: 'X710', class: 'net', virtualFunctions: 3 },
  { kind: 'usb', address: '1.4', model: 'Dongle', class: 'licence' },
  { kind: 'usb', address: '2.3', model: 'Dongle', class: 'licence' },
];

const rigOf = (setup: Partial<XenSetup> = {}): HostRig => new HostRig(0, 'host-0001', { devices: DEVICES, ...setup });

const GPU: GivenDevice = { name: 'gpu', kind: 'pci', address: '0000:3b:00.0' };
const OTHER_GPU: GivenDevice = { name: 'gpu', kind: 'pci', address: '0000:af:00.0' };
const PORT: GivenDevice = { name: 'net', kind: 'sriov', address: '0000:18:02.0' };
const DONGLES: readonly GivenDevice[] = ['1.4', '2.3'].map((address) => ({ name: 'dongles', kind: 'usb', address }));

/** All of its memory at boot, as the IOMMU wants it. */
const whole = (devices: readonly GivenDevice[], more: Partial<DomainSettings> = {}): Partial<DomainSettings> => ({
  guestType: 'hvm',
  staticMaxBytes: GIBIBYTE,
  devices,
  ...more,
});

const assignable = (rig: HostRig): string[] => rig.tool('xl', 'pci-assignable-list').trim().split('\n');

/** Virtual functions begin 16 behind their card. */
const PARTS = ['0000:18:02.0', '0000:18:02.1', '0000:18:02.2'];

describe('devices of a host', () => {
  it('are bound to pciback at boot, a card that is parted by its parts', () => {
    expect(assignable(rigOf())).toEqual([...PARTS, '0000:3b:00.0', '0000:af:00.0']);
    expect(new HostRig(0).tool('xl', 'pci-assignable-list')).toBe('');
  });

  // Columns of tools/xl/xl_pci.c and xl_usb.c; ports of libxl's controllers.
  it('are given in their order, and seen in the tools', () => {
    const rig = rigOf();
    expect(rig.start(whole([GPU, PORT, ...DONGLES]))).toMatchObject({ code: 'ok' });
    expect(rig.tool('xl', 'pci-list', 'web')).toBe('Vdev Device\n05.0 0000:3b:00.0\n06.0 0000:18:02.0\n');
    expect(assignable(rig)).toEqual([PARTS[1], PARTS[2], '0000:af:00.0']);
    expect(rig.tool('xl', 'usb-list', 'web').split('\n').slice(0, 5)).toEqual([
      'Devid  Type         BE  state usb-ver ports',
      '0      devicemodel  0   0     2       6    ',
      '  Port 1: Bus 001 Device 004',
      '  Port 2: Bus 002 Device 003',
      '  Port 3:',
    ]);
    expect(rig.tool('xenstore', 'read', '/local/domain/0/backend/pci/1/0/num_devs')).toBe('2\n');
    expect(rig.tool('xenstore', 'read', '/local/domain/0/backend/pci/1/0/dev-1')).toBe('0000:18:02.0\n');
  });

  it('are given once', () => {
    const rig = rigOf();
    rig.start(whole([OTHER_GPU], { guestType: 'pv' }));
    expect(rig.tool('xl', 'pci-list', 'web')).toBe('Vdev Device\n00.0 0000:af:00.0\n');
    const second = rig.ask({
      do: 'start',
      uid: 'b',
      paused: false,
      settings: settingsOf({ ...whole([OTHER_GPU]), name: 'b' }),
    });
    expect(second).toEqual({
      code: 'host_device_failed',
      value: "b can't have pci device gpu (0000:af:00.0) on host-0001: another guest has it, or one of its IOMMU group",
    });
  });

  it('stay with a machine that reboots, and are free when it has ended', () => {
    const rig = rigOf();
    const free = rig.freeBytes;
    rig.start(whole([GPU, OTHER_GPU]));
    rig.ask({ do: 'reboot', mode: 'hard', timeoutMs: 1_000 });
    expect(rig.tool('xl', 'pci-list', 'web').split('\n')).toHaveLength(4);
    rig.ask({ do: 'destroy' });
    expect(assignable(rig)).toHaveLength(5);
    expect(rig.tool('xenstore', 'ls', '-f', '/local/domain/0/backend')).not.toContain('pci');
    expect(rig.freeBytes).toBe(free);
  });

  it('leave nothing behind where they are refused', () => {
    const rig = rigOf();
    const before = { free: rig.freeBytes, devices: assignable(rig) };
    expect(rig.start(whole([GPU, { ...OTHER_GPU, address: '0000:00:1f.0' }]))).toEqual({
      code: 'host_device_failed',
      value: "web can't have pci device gpu (0000:00:1f.0) on host-0001: the host has no such device to give",
    });
    expect({ free: rig.freeBytes, devices: assignable(rig) }).toEqual(before);
    expect(rig.tool('xl', 'list')).not.toContain('web');
  });

  it('need an IOMMU for an HVM guest, and none for a PV guest', () => {
    const bare = rigOf({ iommu: false });
    expect(bare.start(whole([GPU]))).toMatchObject({ value: expect.stringContaining('no IOMMU') as string });
    expect(bare.tool('xl', 'info', 'virt_caps')).not.toContain('directio');
    expect(bare.tool('xl', 'dmesg')).toContain('I/O virtualisation disabled');
    expect(rigOf({ iommu: false }).start(whole([GPU], { guestType: 'pv' }))).toMatchObject({ code: 'ok' });
  });

  it('are not for PVH guests, nor for HVM guests with less memory than their maximum', () => {
    expect(rigOf().start(whole([GPU], { guestType: 'pvh' }))).toMatchObject({
      value: expect.stringContaining('pvh') as string,
    });
    expect(rigOf().start(whole([GPU], { staticMaxBytes: 2 * GIBIBYTE }))).toMatchObject({
      value: expect.stringContaining('less memory') as string,
    });
  });

  it('keep their guest from being saved', () => {
    const rig = rigOf();
    rig.start(whole([GPU]));
    expect(rig.ask({ do: 'suspend', timeoutMs: 1_000 })).toMatchObject({ code: 'host_domain_unsupported' });
  });

  it('are all free after a crash of the host', () => {
    const rig = rigOf();
    const before = assignable(rig);
    rig.start(whole([GPU]));
    rig.crash();
    rig.pass(1_000_000);
    expect(assignable(rig)).toEqual(before);
  });
});
