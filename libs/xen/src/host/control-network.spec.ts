import { describe, expect, it } from 'vitest';
import { HostRig } from './host.spec-fixture.js';

const nic = (name: string, bridge: string) => ({ name, mac: '00:16:3e:00:00:01', bridge, ips: [] });

/** Each bridge with its ports, as brctl prints them. */
const bridges = (rig: HostRig): Record<string, string[]> => {
  const found: Record<string, string[]> = {};
  let last = '';
  for (const line of rig.tool('brctl', 'show').split('\n').slice(1)) {
    const [name = '', ...rest] = line.split('\t');
    const port = rest.at(-1) ?? '';
    if (name !== '') found[(last = name)] = [];
    if (port !== '') found[last]?.push(port);
  }
  return found;
};

describe('the network of Dom0', () => {
  it('has its card under Xen’s bridge, which has its address', () => {
    const rig = new HostRig();
    expect(bridges(rig)).toEqual({ xenbr0: ['eth0'] });
    const { links } = rig.state.network;
    expect(links['xenbr0']?.addresses).toHaveLength(1);
    expect(links['eth0']).toMatchObject({ addresses: [], master: 'xenbr0', up: true });
    expect(links['xenbr0']?.mac).toBe(links['eth0']?.mac);
  });

  it('gets a port for each interface of a guest, on its bridge, and loses it with the guest', () => {
    const rig = new HostRig();
    rig.start({ nics: [nic('eth0', 'xenbr0'), nic('eth1', 'vlan7')] });
    expect(bridges(rig)).toEqual({ xenbr0: ['eth0', 'vif1.0'], vlan7: ['vif1.1'] });
    expect(rig.state.network.links['vif1.1']).toMatchObject({ mac: 'fe:ff:ff:ff:ff:ff', arp: false, up: true });
    expect(rig.tool('xl', 'network-list', '1')).toContain('/local/domain/0/backend/vif/1/1');
    rig.ask({ do: 'destroy' });
    expect(bridges(rig)).toEqual({ xenbr0: ['eth0'] });
    expect(Object.keys(rig.state.network.links)).toEqual(['eth0', 'xenbr0']);
  });

  it('follows interfaces that come and go while the guest runs', () => {
    const rig = new HostRig();
    rig.start({ nics: [] });
    rig.ask({ do: 'attach', device: { kind: 'nic', settings: nic('eth0', 'web') } });
    expect(bridges(rig)).toEqual({ xenbr0: ['eth0'], web: ['vif1.0'] });
    rig.ask({ do: 'detach', kind: 'nic', name: 'eth0' });
    rig.pass(1_000);
    expect(bridges(rig)).toEqual({ xenbr0: ['eth0'] });
  });

  it('mixes no bridge of Open vSwitch with one of Linux', () => {
    const rig = new HostRig();
    const { links } = rig.state.network;
    const xenbr0 = links['xenbr0'];
    if (xenbr0) links['ovs0'] = { ...xenbr0, kind: 'openvswitch' };
    expect(rig.start({ nics: [nic('eth0', 'ovs0')] })).toMatchObject({
      code: 'host_device_failed',
      value: expect.stringMatching(/nic eth0: Could not find bridge device ovs0$/) as string,
    });
  });

  it('is as new after a crash of the host', () => {
    const rig = new HostRig();
    const before = JSON.stringify(rig.state.network);
    rig.start({ nics: [nic('eth0', 'web')] });
    rig.crash();
    expect(JSON.stringify(rig.state.network)).toBe(before);
  });
});
