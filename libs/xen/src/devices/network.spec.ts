import { randomFrom } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import type { Device } from './device.js';
import type { HotplugHost } from './hotplug.js';
import { hotplugRunOf, runHotplug } from './hotplug.js';
import type { NetworkSettings } from './network.js';
import { networkDeviceNodes, networkTypeFor, parseRate, randomMac } from './network.js';
import { packetSlots, slotsVerdict } from './packet.js';

const VIF: Device = { kind: 'vif', domid: 7, devid: 1, backendKind: 'vif', backendDomid: 0 };
const CARD: NetworkSettings = {
  mac: '00:16:3e:12:34:56',
  bridge: 'xenbr0',
  script: null,
  type: 'vif',
  ip: null,
  vifname: null,
  gatewaydev: null,
  mtu: null,
  rate: null,
};
const BACK = '/local/domain/0/backend/vif/7/1';

const hostOf = (card: NetworkSettings, more: Partial<HotplugHost> = {}): HotplugHost => {
  const nodes = Object.fromEntries(
    networkDeviceNodes(VIF, card).backend.map(([name, value]) => [`${BACK}/${name}`, value]),
  );
  const store: Record<string, string> = { ...nodes, [`${BACK}/frontend`]: '/local/domain/7/device/vif/1' };
  return {
    read: (path) => store[path] ?? null,
    hasLink: () => false,
    bridgeKind: (name) => (name === 'xenbr0' ? 'linux' : name === 'ovs0' ? 'openvswitch' : null),
    addressOf: (link) => (link === 'eth0' ? '192.0.2.1' : null),
    mtuOf: () => 9000,
    findDisk: () => null,
    sharedWith: () => null,
    ...more,
  };
};

const attach = (card: NetworkSettings, more: Partial<HotplugHost> = {}): ReturnType<typeof runHotplug> => {
  const host = hostOf(card, more);
  const run = hotplugRunOf(VIF, 'add', 0, host);
  if (run === null || run === 'noScript') throw new Error('a card has a script');
  return runHotplug(run, host);
};
const failure = (message: string): unknown => ({
  exit: 1,
  operations: [
    { op: 'write', path: `${BACK}/hotplug-error`, value: message },
    { op: 'write', path: `${BACK}/hotplug-status`, value: 'error' },
  ],
  link: null,
});

describe('the rate of a card', () => {
  it.each([
    ['10Mb/s', { bytesPerInterval: 62_500, intervalUs: 50_000 }],
    ['250KB/s', { bytesPerInterval: 12_500, intervalUs: 50_000 }],
    ['1MB/s@20ms', { bytesPerInterval: 20_000, intervalUs: 20_000 }],
    ['1GB/s@1s', { bytesPerInterval: 1_000_000_000, intervalUs: 1_000_000 }],
  ])('%s', (text, value) => {
    expect(parseRate(text)).toEqual({ ok: true, value });
  });
  it.each(['', '10', '0B/s', '10Mb', '10Xb/s', '10Mb/s@'])('refuses %s', (text) => {
    expect(parseRate(text).ok).toBe(false);
  });
});

describe('a card', () => {
  it("gets an address with Xen's prefix", () => {
    for (let seed = 0; seed < 100; seed += 1)
      expect(randomMac(randomFrom(seed))).toMatch(/^00:16:3e:[0-7][0-9a-f]:[0-9a-f]{2}:[0-9a-f]{2}$/);
  });

  it('is emulated only for HVM, and there unless it is plugged in later', () => {
    expect(networkTypeFor('hvm', { asked: null, hotplug: false })).toEqual({ ok: true, value: 'vif_ioemu' });
    expect(networkTypeFor('hvm', { asked: null, hotplug: true })).toEqual({ ok: true, value: 'vif' });
    expect(networkTypeFor('pv', { asked: 'vif_ioemu', hotplug: false })).toEqual({ ok: false, errno: 'EINVAL' });
  });
});

describe('the script of a card', () => {
  it('is started with the environment that libxl gives', () => {
    expect(hotplugRunOf(VIF, 'add', 0, hostOf(CARD))).toMatchObject({
      script: '/etc/xen/scripts/vif-bridge',
      args: ['online', 'type_if=vif'],
      env: [
        ['script', '/etc/xen/scripts/vif-bridge'],
        ['XENBUS_TYPE', 'vif'],
        ['XENBUS_PATH', 'backend/vif/7/1'],
        ['XENBUS_BASE_PATH', 'backend'],
        ['netdev', ''],
        ['vif', 'vif7.1'],
      ],
    });
    expect(hotplugRunOf(VIF, 'add', 1, hostOf(CARD))).toBeNull();
  });

  it('runs a second time for the emulated card, by another name', () => {
    const host = hostOf({ ...CARD, type: 'vif_ioemu' });
    const run = hotplugRunOf(VIF, 'add', 1, host);
    expect(run).toMatchObject({ args: ['add', 'type_if=tap'] });
    if (run === null || run === 'noScript') throw new Error('there is a second run');
    expect(runHotplug(run, host)).toEqual({
      exit: 0,
      operations: [],
      link: { name: 'vif7.1-emu', bridge: 'xenbr0', up: true },
    });
  });

  it('tells the guest the MTU of the bridge, and that it is connected', () => {
    expect(attach(CARD)).toEqual({
      exit: 0,
      operations: [
        { op: 'write', path: '/local/domain/7/device/vif/1/mtu', value: '9000' },
        { op: 'write', path: `${BACK}/hotplug-status`, value: 'connected' },
      ],
      link: { name: 'vif7.1', bridge: 'xenbr0', up: true },
    });
  });

  it.each([
    ['a bridge that is not there', { bridge: 'xenbr9' }, 'Could not find bridge device xenbr9'],
    ['a bridge of the other kind', { bridge: 'ovs0' }, 'Could not find bridge device ovs0'],
    ['no bridge for Open vSwitch', { script: 'vif-openvswitch', bridge: ':x' }, 'No valid bridge was specified'],
  ])('fails for %s', (_name, change, message) => {
    expect(attach({ ...CARD, ...change })).toEqual(failure(message));
  });

  it('fails when the chosen name is taken', () => {
    expect(attach({ ...CARD, vifname: 'web' }, { hasLink: () => true })).toEqual(
      failure('Cannot rename interface vif7.1. An interface with name web already exists.'),
    );
  });

  it('finds the bridge of old configurations under its old name', () => {
    const found = attach(CARD, { bridgeKind: (name) => (name === 'eth0' ? 'linux' : null) });
    expect(found?.link?.bridge).toBe('eth0');
  });

  it('takes a VLAN tag and trunks for Open vSwitch', () => {
    for (const bridge of ['ovs0', 'ovs0.7', 'ovs0:1:2'])
      expect(attach({ ...CARD, script: 'vif-openvswitch', bridge })?.link?.bridge).toBe('ovs0');
  });
});

describe('the script of a disk', () => {
  const VBD: Device = { kind: 'vbd', domid: 7, devid: 51_712, backendKind: 'vbd', backendDomid: 0 };
  const path = '/local/domain/0/backend/vbd/7/51712';
  const block = (mode: string, more: Partial<HotplugHost>): ReturnType<typeof runHotplug> => {
    const store: Record<string, string> = {
      [`${path}/params`]: '/dev/sdb',
      [`${path}/script`]: '/etc/xen/scripts/block',
      [`${path}/mode`]: mode,
      [`${path}/state`]: '2',
    };
    const host = { ...hostOf(CARD, more), read: (node: string) => store[node] ?? null };
    const run = hotplugRunOf(VBD, 'add', 0, host);
    if (run === null || run === 'noScript') throw new Error('a disk has a script');
    return runHotplug(run, host);
  };
  const sdb = { kind: 'phy', numbers: '8:10', node: '/dev/sdb' } as const;

  it.each([
    ['w', 'guest', 'Device /dev/sdb is mounted in a guest domain,\nand so cannot be mounted now.'],
    ['w', 'local', 'Device /dev/sdb is mounted in the privileged domain,\nand so cannot be mounted by a guest.'],
    ['r', 'guest', 'Device /dev/sdb is mounted read-write in a guest domain,\nand so cannot be mounted read-only now.'],
  ] as const)('is busy in mode %s for a disk of %s', (mode, owner, message) => {
    expect(block(mode, { findDisk: () => sdb, sharedWith: () => owner })).toEqual({
      exit: 1,
      operations: [
        { op: 'write', path: `${path}/hotplug-error`, value: message },
        { op: 'write', path: `${path}/hotplug-status`, value: 'busy' },
      ],
      link: null,
    });
  });

  it('shares a disk that is asked for by force', () => {
    expect(block('w!', { findDisk: () => sdb, sharedWith: () => 'guest' })?.exit).toBe(0);
  });

  it('fails for a disk that is not there', () => {
    expect(block('w', { findDisk: () => null })?.operations[0]).toMatchObject({ value: '/dev/sdb does not exist.' });
  });
});

describe('a packet', () => {
  it('takes a slot for each page it touches, and one for segmentation', () => {
    expect(packetSlots({ parts: [{ offset: 0, bytes: 1500 }], gso: false })).toBe(1);
    expect(packetSlots({ parts: [{ offset: 4000, bytes: 1500 }], gso: false })).toBe(2);
    expect(packetSlots({ parts: [{ offset: 0, bytes: 65_536 }], gso: true })).toBe(17);
  });

  it('of 18 slots is always taken; beyond, netback first drops it, then disables the card', () => {
    expect([1, 18, 19, 20, 21, 22].map(slotsVerdict)).toEqual([
      'forward',
      'forward',
      'forward',
      'drop',
      'drop',
      'disable',
    ]);
  });
});
