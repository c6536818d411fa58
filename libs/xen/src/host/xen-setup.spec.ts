import { describe, expect, it } from 'vitest';
import type { XenSetup } from '../index.js';
import { HostRig } from './host.spec-fixture.js';

const rigOf = (setup: Partial<XenSetup>): HostRig => new HostRig(0, 'host-0001', setup);

const nic = { name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'web', ips: ['192.0.2.7'] };

describe('a host of Xen 4.0', () => {
  const legacy = (): HostRig => rigOf({ release: 'xen-4.0', scheduler: 'credit' });

  it('has xend’s tool and no other', () => {
    const rig = legacy();
    rig.start({ guestType: 'pv' });
    const [header, , web] = rig.tool('xm', 'list').split('\n');
    expect(header).toBe('Name                                        ID   Mem VCPUs      State   Time(s)');
    expect(web).toMatch(/^web {42}1 {2}1024 {5}2 {5}(?:r-|-b)---- {3,}\d+\.\d$/);
    expect(rig.tool('xm', 'info')).toMatch(/xen_major {14}: 4\nxen_minor {14}: 0\nxen_extra {14}: \.1\n/);
    expect(rig.tool('xm', 'info')).toContain('xen_scheduler          : credit\n');
    expect(rig.output('xl', 'list')).toMatchObject({ stdout: '', exitCode: 1 });
    expect(rig.output('xl', 'list').stderr).toMatch(/^xend is running, which may cause unpredictable results/);
    expect(new HostRig().output('xm', 'list').stderr).toContain('which has no xm: ask xl there');
  });

  // xend's network-bridge: peth0 and vif0.0 are the ports, and eth0 is the other end of the pair.
  it('builds its bridge by xend’s recipe', () => {
    const rig = legacy();
    rig.start({ guestType: 'pv', nics: [{ ...nic, bridge: 'xenbr0' }] });
    const { links } = rig.state.network;
    expect(links['peth0']).toMatchObject({ kind: 'physical', mac: 'fe:ff:ff:ff:ff:ff', arp: false, master: 'xenbr0' });
    expect(links['eth0']).toMatchObject({ kind: 'loop-pair', master: null, up: true });
    expect(rig.tool('brctl', 'show').match(/peth0|vif\d\.\d/g)).toEqual(['peth0', 'vif0.0', 'vif1.0']);
  });

  it('runs HVM guests under qemu-dm with rombios', () => {
    const rig = legacy();
    rig.start({ guestType: 'hvm' });
    expect(rig.tool('xenstore', 'read', '/local/domain/1/hvmloader/bios')).toBe('rombios\n');
    const programs = Object.values(rig.state.daemons.processes).map(({ program }) => program);
    expect(programs).toEqual(['xenstored', 'xenconsoled', 'qemu-dm', 'xend', 'qemu-dm']);
  });

  it('refuses what the release has not: more than 64 vCPUs, and PVH', () => {
    expect(legacy().start({ guestType: 'hvm', vcpus: 64, maxVcpus: 64 })).toMatchObject({ code: 'ok' });
    expect(legacy().start({ guestType: 'hvm', vcpus: 65, maxVcpus: 65 })).toEqual({
      code: 'host_domain_unsupported',
      value: expect.stringContaining('65 vCPUs') as string,
    });
    expect(legacy().start({ guestType: 'pvh' })).toMatchObject({ code: 'host_domain_unsupported' });
  });
});

describe('the size of Dom0', () => {
  // Of a machine with 16 GiB and 4 threads: xcp/dom0.py and the vendor's rule.
  it.each([
    ['xenserver-v2', 752, 4],
    ['xenserver-v3', 1856, 4],
    ['huawei', 8192, 2],
  ] as const)('is what %s makes of the machine', (controlDomain, mebibytes, vcpus) => {
    const rig = rigOf({ controlDomain });
    expect(rig.tool('xl', 'list')).toMatch(new RegExp(`Domain-0 +0 +${mebibytes} +${vcpus} `));
    const usual = new HostRig();
    expect((rig.freeBytes - usual.freeBytes) / 2 ** 20).toBe(1856 - mebibytes);
  });
});

describe('the scheduler', () => {
  it('is the one that its own command speaks of', () => {
    const rig = rigOf({ scheduler: 'credit' });
    rig.start({ weight: 512 });
    expect(rig.tool('xl', 'sched-credit')).toMatch(
      /^Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n/,
    );
    expect(rig.tool('xl', 'sched-credit', '-d', 'web')).toMatch(/web +1 +512 +0\n/);
    expect(rig.output('xl', 'sched-credit2')).toEqual({ stdout: '', stderr: '', exitCode: 0 });
    expect(rig.output('xl', 'sched-credit2', '-d', 'web').stderr).toBe(
      'libxl_domain_sched_params_get returned credit not credit2.\n',
    );
    expect(rig.tool('xl', 'dmesg')).toContain('Using scheduler: SMP Credit Scheduler (credit)');
  });
});

describe('the network', () => {
  it('of Open vSwitch has its bridges and none of Linux', () => {
    const rig = rigOf({ network: 'openvswitch' });
    rig.start({ nics: [nic] });
    expect(rig.tool('brctl', 'show')).toBe('bridge name\tbridge id\t\tSTP enabled\tinterfaces\n');
    const [uuid, ...lines] = rig.tool('ovs-vsctl', 'show').split('\n');
    expect(uuid).toMatch(/^[0-9a-f-]{36}$/);
    expect(lines).toEqual([
      '    Bridge xenbr0',
      '        Port xenbr0',
      '            Interface xenbr0',
      '                type: internal',
      '        Port eth0',
      '            Interface eth0',
      '    Bridge web',
      '        Port web',
      '            Interface web',
      '                type: internal',
      '        Port vif1.0',
      '            Interface vif1.0',
      '    ovs_version: "3.5.0"',
      '',
    ]);
    expect(rig.tool('xenstore', 'read', '/local/domain/0/backend/vif/1/0/script')).toBe(
      '/etc/xen/scripts/vif-openvswitch\n',
    );
    rig.ask({ do: 'destroy' });
    expect(rig.tool('ovs-vsctl', 'show')).not.toContain('web');
    expect(new HostRig().output('ovs-vsctl', 'show').stderr).toContain('no Open vSwitch');
  });

  // tools/hotplug/Linux/vif-route: Dom0's address on the interface, and a host route to the guest.
  it('that is routed has no bridge, and a route to each guest', () => {
    const rig = rigOf({ network: 'route' });
    rig.start({ nics: [nic] });
    const { network } = rig.state;
    const own = network.links['eth0']?.addresses[0]?.split('/')[0] ?? '';
    expect(network).toMatchObject({ forwarding: true, masquerade: [] });
    expect(Object.keys(network.links)).toEqual(['eth0', 'vif1.0']);
    expect(network.links['vif1.0']).toMatchObject({ addresses: [`${own}/32`], proxyArp: true, up: true });
    expect(network.routes).toEqual([{ to: '192.0.2.7', dev: 'vif1.0', src: own, metric: 2 }]);
    expect(rig.tool('ip', 'route')).toBe(
      `10.0.0.0/16 dev eth0 proto kernel scope link src ${own} \n192.0.2.7 dev vif1.0 scope link src ${own} metric 2 \n`,
    );
    expect(rig.tool('ip', 'addr')).toContain(`    inet ${own}/32 scope global vif1.0\n`);
    rig.ask({ do: 'destroy' });
    expect(network).toMatchObject({ routes: [] });
    expect(Object.keys(rig.state.network.links)).toEqual(['eth0']);
  });

  // tools/hotplug/Linux/vif-nat: 10.<domid / 256>.<domid % 256>.<devid + 1>, and Dom0's end of it.
  it('behind Dom0 is its own', () => {
    const rig = rigOf({ network: 'nat' });
    rig.start({ nics: [nic] });
    const { network } = rig.state;
    expect(network).toMatchObject({ forwarding: true, masquerade: ['10.0.0.0/8'] });
    expect(network.links['vif1.0']?.addresses).toEqual(['10.0.1.128']);
    expect(network.routes).toEqual([{ to: '10.0.1.1', dev: 'vif1.0', src: '10.0.1.128', metric: null }]);
  });

  // libvirt's default network, which its guests are on by vif-bridge.
  it('of libvirt is a bridge behind Dom0', () => {
    const rig = rigOf({ network: 'libvirt' });
    rig.start({ nics: [nic] });
    const { network } = rig.state;
    expect(network).toMatchObject({ forwarding: true, masquerade: ['192.168.122.0/24'] });
    expect(rig.tool('brctl', 'show')).toMatch(/^virbr0\t\t8000\.feffffffffff\tno\t\tvif1\.0$/m);
    expect(rig.tool('ip', 'addr')).toContain('    inet 192.168.122.1/24 scope global virbr0\n');
    expect(rig.tool('ip', 'link')).toMatch(
      /^4: vif1\.0: <BROADCAST,NOARP,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc pfifo_fast master virbr0 state UP mode DEFAULT group default qlen 32\n {4}link\/ether fe:ff:ff:ff:ff:ff /m,
    );
    rig.ask({ do: 'destroy' });
    expect(rig.tool('brctl', 'show')).toContain('virbr0');
  });

  it('is as new after a crash, as all that the host was made with', () => {
    const rig = rigOf({ network: 'openvswitch', release: 'xen-4.0', scheduler: 'credit', controlDomain: 'huawei' });
    const before = JSON.stringify([rig.state.network, rig.tool('xm', 'info')]);
    rig.start({ guestType: 'pv', nics: [nic] });
    rig.crash();
    rig.pass(1_000_000);
    expect(JSON.stringify([rig.state.network, rig.tool('xm', 'info')])).toBe(before);
  });
});

describe('a tool that would change something', () => {
  it('says what does the same through the platform', () => {
    const rig = new HostRig(0);
    rig.start();
    expect(rig.output('xl', 'destroy', 'web')).toEqual({
      stdout: '',
      stderr:
        'xl destroy: tools only look from here; instead: kubectl xen hard-shutdown NAME, or, while the control plane is down: ./xenolith xl --direct host-0001 destroy NAME\n',
      exitCode: 1,
    });
    expect(rig.output('xl', 'sched-credit2', '-d', 'web', '-w', '512').stderr).toContain('"weight":W');
    expect(rig.output('xl', 'nonsense').stderr).toContain('there is no such command');
  });
});
