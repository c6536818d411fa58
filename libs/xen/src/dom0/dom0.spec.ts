import { describe, expect, it } from 'vitest';
import {
  bootDurationMs,
  bootParameters,
  bootSequence,
  brctlShow,
  bridgeFor,
  bridgeStart,
  brokenBy,
  commandLine,
  createDaemons,
  createNetwork,
  createVif,
  Daemons,
  forwardingStart,
  legacyBridgeStart,
  natAddress,
  natRouterAddress,
  newLink,
  portsOf,
  RELEASE_PROFILES,
  removeVif,
  runCommand,
  runScript,
  sizeControlDomain,
  tapName,
  vifName,
  vifOffline,
  vifOnline,
  type NetworkState,
  type VifAttachment,
} from './index.js';

const GIBIBYTE = 2 ** 30;
const MEBIBYTE = 2 ** 20;
const OK = { ok: true, value: null };

describe('the size of Dom0', () => {
  // Host GiB; MiB by xenserver-v2, xenserver-v3, huawei: xcp/dom0.py and the vendor's rule, computed by hand.
  it.each([
    [16, 752, 1856, 8192],
    [64, 4096, 4304, 8192],
    [96, 4096, 5952, 8192],
    [128, 4096, 7584, 14745],
    [256, 4096, 8192, 21299],
    [1024, 4096, 8192, 60620],
  ])('of a host with %i GiB', (gibibytes, v2, v3, huawei) => {
    const host = { memoryBytes: gibibytes * GIBIBYTE, threads: 16 };
    const mebibytes = (['xenserver-v2', 'xenserver-v3', 'huawei'] as const).map(
      (policy) => sizeControlDomain(policy, host).memoryBytes / MEBIBYTE,
    );
    expect(mebibytes).toEqual([v2, v3, huawei]);
  });

  const remainder = (threads: number): number => 2 * Math.ceil((threads % 10) / 2);

  // Threads; the printed rule `% 10`, the tenth that is meant, XenServer's.
  it.each([
    [16, 6, 2],
    [20, 0, 2],
    [24, 4, 4],
    [40, 0, 4],
    [48, 8, 6],
    [128, 8, 14],
  ])('of a host with %i threads is not %i vCPUs but %i by Huawei, and 16 by XenServer', (threads, printed, vcpus) => {
    const host = { memoryBytes: 256 * GIBIBYTE, threads };
    expect(remainder(threads)).toBe(printed);
    expect(sizeControlDomain('huawei', host).vcpus).toBe(vcpus);
    expect(sizeControlDomain('xenserver-v3', host).vcpus).toBe(16);
  });

  it('would have no vCPU on hosts with 20, 40 or 80 threads by the printed rule, and always has some by the one that is meant', () => {
    expect([20, 40, 80].map(remainder)).toEqual([0, 0, 0]);
    for (let threads = 1; threads <= 512; threads += 1) {
      const { vcpus } = sizeControlDomain('huawei', { memoryBytes: 64 * GIBIBYTE, threads });
      expect(vcpus % 2).toBe(0);
      expect(vcpus).toBeGreaterThanOrEqual(threads / 10);
      expect(vcpus).toBeLessThan(threads / 10 + 2);
    }
  });

  it('has few vCPUs where it has little memory', () => {
    const small = (gibibytes: number): number =>
      sizeControlDomain('xenserver-v2', { memoryBytes: gibibytes * GIBIBYTE, threads: 64 }).vcpus;
    expect([16, 32, 56, 64].map(small)).toEqual([4, 8, 8, 16]);
  });

  it('stands on Xen’s command line', () => {
    expect(bootParameters({ vcpus: 4, memoryBytes: 1856 * MEBIBYTE })).toBe(
      'dom0_mem=1856M,max:1856M dom0_max_vcpus=1-4',
    );
  });
});

describe('booting', () => {
  it('brings xenstored before all that needs it, and guests last', () => {
    const steps = bootSequence(RELEASE_PROFILES['xen-4.20']).map(({ step }) => step);
    expect(steps).toEqual([
      'firmware',
      'xen',
      'dom0-kernel',
      'network',
      'xenstored',
      'xen-init-dom0',
      'xenconsoled',
      'qemu-dom0',
      'xendomains',
      'agent',
    ]);
    expect(bootSequence(RELEASE_PROFILES['xen-4.0']).map(({ step }) => step)).toContain('xend');
  });

  it('takes about a minute and a half', () => {
    const release = RELEASE_PROFILES['xen-4.20'];
    expect(bootDurationMs(release, 'xen')).toBe(59_000);
    expect(bootDurationMs(release)).toBeGreaterThan(80_000);
    expect(bootDurationMs(release)).toBeLessThan(100_000);
  });
});

describe('daemons', () => {
  const booted = (name: keyof typeof RELEASE_PROFILES = 'xen-4.20'): Daemons => {
    const daemons = new Daemons(createDaemons(), RELEASE_PROFILES[name]);
    for (const daemon of ['xenstored', 'xenconsoled', 'qemu-dom0'] as const) daemons.start(daemon);
    return daemons;
  };
  const pidOf = (daemons: Daemons, name: 'xenstored' | 'xenconsoled' | 'qemu-dom0'): number =>
    daemons.running(name)?.pid ?? -1;

  it('need xenstored', () => {
    const daemons = new Daemons(createDaemons(), RELEASE_PROFILES['xen-4.20']);
    expect(daemons.start('xenconsoled')).toEqual({ ok: false, errno: 'EIO' });
    expect(daemons.startDeviceModel(1)).toEqual({ ok: false, errno: 'EIO' });
    expect(daemons.start('xend')).toEqual({ ok: false, errno: 'ENOENT' });
  });

  it('stop the control plane for good when xenstored dies, while guests keep their device models', () => {
    const daemons = booted();
    daemons.startDeviceModel(3);
    expect(daemons.kill(pidOf(daemons, 'xenstored'))).toMatchObject({
      value: { lost: 'control-plane', restartable: false },
    });
    expect(daemons.start('xenstored')).toEqual({ ok: false, errno: 'EIO' });
    expect(daemons.startDeviceModel(4)).toEqual({ ok: false, errno: 'EIO' });
    expect(daemons.deviceModelOf(3)).not.toBeNull();
  });

  it('let xenconsoled be started again', () => {
    const daemons = booted();
    const before = pidOf(daemons, 'xenconsoled');
    expect(daemons.kill(before)).toMatchObject({ value: { lost: 'consoles', restartable: true } });
    expect(daemons.kill(before)).toEqual({ ok: false, errno: 'ESRCH' });
    expect(daemons.start('xenconsoled')).toMatchObject({ ok: true });
    expect(pidOf(daemons, 'xenconsoled')).toBeGreaterThan(before);
    expect(daemons.start('xenconsoled')).toEqual({ ok: false, errno: 'EEXIST' });
  });

  it('are one device model with one firmware for each HVM guest, whose death is that guest’s alone', () => {
    const daemons = booted();
    const three = daemons.startDeviceModel(3);
    daemons.startDeviceModel(4, 'ovmf');
    expect(three).toMatchObject({ value: { program: 'qemu-system-i386', firmware: 'seabios' } });
    expect(daemons.startDeviceModel(3)).toEqual({ ok: false, errno: 'EEXIST' });
    expect(daemons.kill(three.ok ? three.value.pid : -1)).toMatchObject({
      value: { lost: 'emulated-devices', domid: 3 },
    });
    expect(daemons.deviceModelOf(4)).toMatchObject({ firmware: 'ovmf' });
    daemons.stopDeviceModel(4);
    expect(Object.values(daemons.state.processes).map(({ what }) => what)).toEqual([
      'xenstored',
      'xenconsoled',
      'qemu-dom0',
    ]);
  });

  it('of old releases know rombios only, and its program by the old name', () => {
    const daemons = booted('xen-4.0');
    expect(daemons.startDeviceModel(3, 'ovmf')).toEqual({ ok: false, errno: 'ENOENT' });
    expect(daemons.startDeviceModel(3)).toMatchObject({ value: { program: 'qemu-dm', firmware: 'rombios' } });
    expect(daemons.start('xend')).toMatchObject({ ok: true });
  });

  it('leave a driver domain’s crash to its own devices', () => {
    const devices = [
      { backend: 0, frontend: 5, kind: 'vbd', devid: 51712 },
      { backend: 2, frontend: 5, kind: 'vif', devid: 0 },
      { backend: 2, frontend: 6, kind: 'vif', devid: 0 },
    ];
    expect(brokenBy(devices, 2)).toEqual(devices.slice(1));
  });
});

const MAC = '0c:c4:7a:00:00:01';

const wired = (): NetworkState => {
  const state = createNetwork();
  state.links['eth0'] = { ...newLink('physical', MAC), up: true, addresses: ['192.0.2.10/24'] };
  state.routes.push({ to: 'default', dev: 'eth0', src: null, metric: null });
  return state;
};

const attach = (of: Partial<VifAttachment> = {}): VifAttachment => ({
  mode: 'bridge',
  vif: { domid: 5, devid: 0 },
  kind: 'vif',
  bridge: 'xenbr0',
  ...of,
});

const online = (state: NetworkState, attachment: VifAttachment): unknown => {
  createVif(state, attachment);
  return runScript(state, vifOnline(attachment));
};

describe('networking', () => {
  it('names interfaces by domain and device', () => {
    const vif = { domid: 5, devid: 1 };
    expect([vifName(vif), tapName(vif), tapName(vif, 'xm')]).toEqual(['vif5.1', 'vif5.1-emu', 'tap5.1']);
  });

  it('bridges: the bridge takes the address, guests’ interfaces become ports with the dummy MAC and no ARP', () => {
    const state = wired();
    expect(runScript(state, bridgeStart(state, { nic: 'eth0', bridge: 'xenbr0', by: 'linux' }))).toEqual(OK);
    expect(state.links['xenbr0']).toMatchObject({ up: true, mac: MAC, addresses: ['192.0.2.10/24'] });
    expect(state.links['eth0']).toMatchObject({ addresses: [], master: 'xenbr0' });
    expect(state.routes).toEqual([{ to: 'default', dev: 'xenbr0', src: null, metric: null }]);
    expect(online(state, attach())).toEqual(OK);
    expect(state.links['vif5.0']).toMatchObject({ up: true, arp: false, mac: 'fe:ff:ff:ff:ff:ff', master: 'xenbr0' });
    expect(brctlShow(state)).toBe(
      'bridge name\tbridge id\t\tSTP enabled\tinterfaces\nxenbr0\t\t8000.0cc47a000001\tno\t\teth0\n\t\t\t\t\t\t\tvif5.0\n',
    );
    expect(runScript(state, vifOffline(attach()))).toEqual(OK);
    removeVif(state, attach());
    expect(portsOf(state, 'xenbr0')).toEqual(['eth0']);
  });

  // The commands of tools/hotplug/Linux/vif-bridge and xen-network-common.sh, in their order.
  it('runs the script’s commands', () => {
    expect(vifOnline(attach()).map(commandLine)).toEqual([
      'ip link set dev vif5.0 down',
      'ip link set dev vif5.0 arp off',
      'ip link set dev vif5.0 address fe:ff:ff:ff:ff:ff',
      'ip address flush dev vif5.0',
      'ip link set dev vif5.0 mtu 1500',
      'brctl addif xenbr0 vif5.0',
      'ip link set dev vif5.0 up',
    ]);
    expect(vifOnline(attach({ mode: 'openvswitch', tag: 7 })).map(commandLine)).toContain(
      'ovs-vsctl --timeout=30 -- --if-exists del-port vif5.0 -- add-port xenbr0 vif5.0 tag=7',
    );
  });

  it('never mixes Linux’ bridge and Open vSwitch on one bridge', () => {
    for (const [by, other] of [
      ['linux', 'openvswitch'],
      ['openvswitch', 'bridge'],
    ] as const) {
      const state = wired();
      runScript(state, bridgeStart(state, { nic: 'eth0', bridge: 'xenbr0', by }));
      expect(online(state, attach({ mode: other }))).toEqual({ ok: false, errno: 'EINVAL' });
      expect(portsOf(state, 'xenbr0')).toEqual(['eth0']);
    }
  });

  it('follows xend’s recipe: peth0 without ARP, eth0 in its place, both ends on the bridge', () => {
    const state = wired();
    expect(runScript(state, legacyBridgeStart(state, 'eth0'))).toEqual(OK);
    expect(Object.keys(state.links)).toEqual(['peth0', 'xenbr0', 'eth0', 'vif0.0']);
    expect(state.links['peth0']).toMatchObject({
      kind: 'physical',
      up: true,
      arp: false,
      mac: 'fe:ff:ff:ff:ff:ff',
      addresses: [],
    });
    expect(state.links['eth0']).toMatchObject({ kind: 'loop-pair', up: true, mac: MAC, addresses: ['192.0.2.10/24'] });
    expect(portsOf(state, 'xenbr0')).toEqual(['peth0', 'vif0.0']);
    expect(state.routes).toEqual([{ to: 'default', dev: 'eth0', src: null, metric: null }]);
  });

  it('routes: Dom0’s address on each interface, proxy ARP, a host route with the metric of its kind', () => {
    const state = wired();
    runScript(state, forwardingStart('route'));
    const route = { mode: 'route', dom0Address: '192.0.2.10', guestAddresses: ['192.0.2.55'] } as const;
    for (const kind of ['vif', 'tap'] as const) expect(online(state, attach({ ...route, kind }))).toEqual(OK);
    expect(state.links['vif5.0']).toMatchObject({ proxyArp: true, addresses: ['192.0.2.10/32'], master: null });
    expect(state.routes.slice(1)).toEqual([
      { to: '192.0.2.55', dev: 'vif5.0', src: '192.0.2.10', metric: 2 },
      { to: '192.0.2.55', dev: 'vif5.0-emu', src: '192.0.2.10', metric: 1 },
    ]);
    expect(runScript(state, vifOffline(attach(route)))).toEqual(OK);
    expect(state.routes.map(({ dev }) => dev)).toEqual(['eth0', 'vif5.0-emu']);
    expect(state.forwarding).toBe(true);
  });

  // tools/hotplug/Linux/vif-nat: 10.(domid / 256).(domid % 256).(vif + 1), the router 127 above.
  it.each([
    [{ domid: 5, devid: 0 }, '10.0.5.1/16', '10.0.5.128'],
    [{ domid: 300, devid: 2 }, '10.1.44.3/16', '10.1.44.130'],
  ])('translates %j to %s behind %s', (vif, guest, router) => {
    expect([natAddress(vif), natRouterAddress(vif)]).toEqual([guest, router]);
    const state = wired();
    runScript(state, forwardingStart('nat'));
    const attachment = attach({ mode: 'nat', vif });
    expect(online(state, attachment)).toEqual(OK);
    expect(state.routes.at(-1)).toMatchObject({ to: guest.split('/')[0], src: router });
    runScript(state, vifOffline(attachment));
    expect(state.routes).toHaveLength(1);
  });

  it('has libvirt’s private bridge too', () => {
    const state = wired();
    expect(runScript(state, forwardingStart('libvirt'))).toEqual(OK);
    expect(state.links['virbr0']).toMatchObject({ up: true, addresses: ['192.168.122.1/24'] });
  });

  it('finds the bridge that a configuration means', () => {
    const state = wired();
    expect(bridgeFor(state, null)).toBeNull();
    runCommand(state, { do: 'addBridge', bridge: 'eth1', by: 'linux' });
    expect([null, 'xenbr1', 'xenbr0', 'eth1', 'br9'].map((asked) => bridgeFor(state, asked))).toEqual([
      'eth1',
      'eth1',
      null,
      'eth1',
      null,
    ]);
  });

  it('refuses what the kernel refuses', () => {
    const state = wired();
    runCommand(state, { do: 'addBridge', bridge: 'a', by: 'linux' });
    runCommand(state, { do: 'addBridge', bridge: 'b', by: 'linux' });
    runCommand(state, { do: 'addPort', bridge: 'a', dev: 'eth0', by: 'linux' });
    const refusals = [
      runCommand(state, { do: 'addBridge', bridge: 'a', by: 'linux' }),
      runCommand(state, { do: 'addBridge', bridge: 'a', by: 'openvswitch' }),
      runCommand(state, { do: 'addPort', bridge: 'b', dev: 'eth0', by: 'linux' }),
      runCommand(state, { do: 'addPort', bridge: 'b', dev: 'eth9', by: 'linux' }),
      runCommand(state, { do: 'rename', dev: 'eth0', name: 'x' }),
      runCommand(state, { do: 'up', dev: 'eth9' }),
      runCommand(state, { do: 'addAddress', dev: 'eth0', address: '192.0.2.10/24' }),
    ];
    expect(refusals.map((outcome) => (outcome.ok ? null : outcome.errno))).toEqual([
      'EEXIST',
      'EINVAL',
      'EBUSY',
      'ENODEV',
      'EBUSY',
      'ENODEV',
      'EEXIST',
    ]);
  });
});
