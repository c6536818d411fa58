import { describe, expect, it } from 'vitest';
import type { DeviceFault, HostEvent } from '../index.js';
import { DEFAULT_XEN_SETUP } from '../index.js';
import { HARDWARE_PROFILES } from '../hardware-profile.js';
import { xenFacts } from '../xen-setup.js';
import { HostRig, settingsOf } from './host.spec-fixture.js';

const BOTH = { driverDomains: ['network', 'storage'] } as const;

const rigOf = (bootMs = 0): HostRig => new HostRig(bootMs, 'host-0001', BOTH);

const crashRule = (devices: readonly string[]): DeviceFault => ({
  rule: 'r',
  machines: [],
  devices,
  effects: { crashDriverDomain: true },
  probability: 1,
  seed: 0,
  left: 1,
});

const read = (rig: HostRig, path: string): string => rig.tool('xenstore', 'read', path).trim();

const states = (rig: HostRig, domid: number) => ({
  vif: read(rig, `/local/domain/${domid}/device/vif/0/state`),
  vbd: read(rig, `/local/domain/${domid}/device/vbd/51712/state`),
});

const domids = (rig: HostRig): Record<string, string> =>
  Object.fromEntries(
    [...rig.tool('xl', 'list').matchAll(/^(\S+) +(\d+) /gm)].map(([, name = '', domid = '']) => [name, domid]),
  );

const ends = (rig: HostRig): HostEvent[] =>
  rig.events.filter(({ type }) => type === 'guestEnded' || type === 'crashed');

describe('driver domains', () => {
  it('are there before any guest, and take their memory from guests', () => {
    const rig = rigOf();
    expect(domids(rig)).toEqual({ 'Domain-0': '0', 'driver-network': '1', 'driver-storage': '2' });
    const facts = xenFacts({ ...DEFAULT_XEN_SETUP, ...BOTH }, HARDWARE_PROFILES['1x4-16']);
    expect(rig.freeBytes).toBe(facts.allocatableBytes);
  });

  it('serve guests’ devices, whose nodes name them and whose ports are in their network', () => {
    const rig = rigOf();
    expect(rig.start()).toMatchObject({ code: 'ok' });
    expect(states(rig, 3)).toEqual({ vif: '4', vbd: '4' });
    expect(read(rig, '/local/domain/3/device/vif/0/backend')).toBe('/local/domain/1/backend/vif/3/0');
    expect(read(rig, '/local/domain/3/device/vif/0/backend-id')).toBe('1');
    expect(read(rig, '/local/domain/3/device/vbd/51712/backend-id')).toBe('2');
    expect(read(rig, '/local/domain/2/backend/vbd/3/51712/state')).toBe('4');
    expect(rig.tool('xl', 'network-list', 'web')).toMatch(/^0 +1 +00:16:3e/m);
    expect(rig.tool('xl', 'block-list', 'web')).toMatch(/^51712 2 +3 +4 /m);
    expect(rig.tool('brctl', 'show')).not.toContain('vif3.0');
    expect(rig.state.drivers?.network?.network?.links['vif3.0']).toMatchObject({ master: 'xenbr0', up: true });
  });

  it('let devices go with their guest', () => {
    const rig = rigOf();
    const free = rig.freeBytes;
    rig.start();
    rig.ask({ do: 'shutdown', mode: 'clean', timeoutMs: 60_000 });
    expect(rig.freeBytes).toBe(free);
    expect(rig.tool('xenstore', 'ls', '-f')).not.toMatch(/\/(?:vif|vbd)/);
    expect(Object.keys(rig.state.drivers?.network?.network?.links ?? {})).toEqual(['eth0', 'xenbr0']);
  });

  it('take hot-plugged devices, and give them back', () => {
    const rig = rigOf();
    rig.start({ nics: [] });
    const settings = { name: 'eth0', mac: '00:16:3e:00:00:02', bridge: 'web', ips: [] };
    expect(rig.ask({ do: 'attach', device: { kind: 'nic', settings } })).toMatchObject({ code: 'ok' });
    expect(read(rig, '/local/domain/1/backend/vif/3/0/state')).toBe('4');
    expect(rig.ask({ do: 'detach', kind: 'nic', name: 'eth0' })).toMatchObject({ code: 'ok' });
    expect(rig.tool('xenstore', 'ls', '-f', '/local/domain/1/backend')).not.toContain('vif');
  });

  it('break their own devices alone when they crash; the guest and the host live on', () => {
    const rig = rigOf(5_000);
    rig.start();
    rig.setFaults(crashRule(['eth0']));
    expect(rig.events.some((event) => event.type === 'faultStruck')).toBe(true);
    expect(Object.keys(domids(rig))).toEqual(['Domain-0', 'driver-storage', 'web']);
    // The front-end hears nothing of it: its back-end's node is gone.
    expect(states(rig, 3)).toEqual({ vif: '4', vbd: '4' });
    expect(read(rig, '/local/domain/1/backend/vif/3/0/state')).toBe('');
    const nic = () => rig.model.domainFigures(rig.state, rig.at)[0]?.nics?.[0];
    const disk = () => rig.model.domainFigures(rig.state, rig.at)[0]?.disks?.[0];
    const [packets, writes] = [nic()?.sentPackets, disk()?.writes ?? 0];
    rig.pass(1_000);
    expect(nic()?.sentPackets).toBe(packets);
    expect(disk()?.writes).toBeGreaterThan(writes);
    expect(ends(rig)).toEqual([]);
  });

  it('serve the same devices again when they are back', () => {
    const rig = rigOf(5_000);
    rig.start();
    rig.setFaults(crashRule(['eth0']));
    rig.setFaults(crashRule(['root']));
    expect(Object.keys(domids(rig))).toEqual(['Domain-0', 'web']);
    rig.pass(60_000);
    expect(domids(rig)).toMatchObject({ 'driver-network': '4', 'driver-storage': '5' });
    expect(states(rig, 3)).toEqual({ vif: '4', vbd: '4' });
    expect(read(rig, '/local/domain/3/device/vif/0/backend-id')).toBe('4');
    expect(read(rig, '/local/domain/3/device/vbd/51712/backend-id')).toBe('5');
    expect(ends(rig)).toEqual([]);
    rig.ask({ do: 'destroy' });
    expect(Object.keys(domids(rig)).sort()).toEqual(['Domain-0', 'driver-network', 'driver-storage']);
  });

  it('keep a machine from starting while they are down', () => {
    const rig = rigOf(60_000);
    rig.start();
    rig.setFaults(crashRule(['root']));
    expect(rig.ask({ do: 'start', uid: 'b', settings: settingsOf(), paused: false })).toMatchObject({
      code: 'host_device_failed',
      value: expect.stringMatching(/unable to add device with path \/local\/domain\/2\/backend\/vbd/) as string,
    });
  });

  it('go down with Dom0, which takes the host, and come back with it', () => {
    const rig = rigOf(5_000);
    rig.start();
    rig.crash();
    rig.pass(1_000_000);
    expect(domids(rig)).toEqual({ 'Domain-0': '0', 'driver-network': '1', 'driver-storage': '2' });
    expect(rig.ask({ do: 'start', uid: 'b', settings: settingsOf(), paused: false })).toMatchObject({ code: 'ok' });
  });
});
