import { describe, expect, it } from 'vitest';
import { GIBIBYTE, HostRig, settingsOf } from './host.spec-fixture.js';

const disk = (name: string) =>
  ({ kind: 'disk', settings: { name, volume: `v-${name}`, sizeBytes: GIBIBYTE, readOnly: false } }) as const;
const nic = (name: string) =>
  ({ kind: 'nic', settings: { name, mac: '00:16:3e:00:00:02', bridge: 'xenbr0', ips: [] } }) as const;

const backendStates = (rig: HostRig, kind: 'vbd' | 'vif', domid = 1): string[] =>
  rig
    .tool('xenstore', 'ls', '-f', `/local/domain/0/backend/${kind}`)
    .split('\n')
    .filter((line) => line.includes(`/${kind}/${domid}/`) && line.includes('/state = '))
    .map((line) => line.slice(-2, -1));

/** All devices, but for what went through them. */
const devices = (rig: HostRig): string =>
  JSON.stringify(
    rig.state.machines['a']?.devices.map((device) => ({
      ...device,
      flows: device.flows.map(({ rates }) => rates),
    })),
  );

describe('a device that comes or goes while its machine lives', () => {
  it('refuses a device that is named as one of another kind', () => {
    const rig = new HostRig();
    rig.start();
    const settings = { name: 'eth0', volume: 'w', sizeBytes: 1, readOnly: false };
    expect(rig.ask({ do: 'attach', device: { kind: 'disk', settings } })).toMatchObject({
      code: 'host_device_failed',
      value: expect.stringContaining('a nic of the machine has the same name') as string,
    });
  });

  it('connects both ends, and leaves nothing behind when it goes', () => {
    const rig = new HostRig();
    rig.start();
    const before = rig.tool('xenstore', 'ls', '-f');
    const state = devices(rig);
    expect(rig.ask({ do: 'attach', device: disk('data') })?.code).toBe('ok');
    expect(rig.ask({ do: 'attach', device: nic('eth1') })?.code).toBe('ok');
    expect(backendStates(rig, 'vbd')).toEqual(['4', '4']);
    expect(backendStates(rig, 'vif')).toEqual(['4', '4']);
    expect(rig.tool('xenstore', 'ls', '-f')).toContain('/dev = "xvdb"');
    expect(rig.ask({ do: 'detach', kind: 'disk', name: 'data' })?.code).toBe('ok');
    expect(rig.ask({ do: 'detach', kind: 'nic', name: 'eth1' })?.code).toBe('ok');
    rig.pass(1_000);
    expect(rig.tool('xenstore', 'ls', '-f')).toBe(before);
    expect(devices(rig)).toBe(state);
    expect(Object.keys(rig.state.hypervisor.domains['1']?.grants.mappings ?? {})).toEqual([]);
    expect(rig.model.nextDue(rig.state)).toBeNull();
  });

  it('has nothing to do for one that is there, or gone', () => {
    const rig = new HostRig();
    rig.start();
    expect(rig.ask({ do: 'attach', device: disk('root') })?.code).toBe('ok');
    expect(rig.ask({ do: 'detach', kind: 'disk', name: 'nothing' })?.code).toBe('ok');
    expect(rig.ask({ do: 'detach', kind: 'nic', name: 'eth0', uid: 'nobody' })?.code).toBe('host_unknown_domain');
    expect(backendStates(rig, 'vbd')).toEqual(['4']);
  });

  it('answers two who want the same', () => {
    const rig = new HostRig();
    rig.start();
    const tickets = [1, 2].map(() => rig.tell({ do: 'attach', device: disk('data') }));
    rig.pass(1_000);
    expect(tickets.map((ticket) => rig.told(ticket)?.code)).toEqual(['ok', 'ok']);
    const gone = [1, 2].map(() => rig.tell({ do: 'detach', kind: 'disk', name: 'data' }));
    rig.pass(1_000);
    expect(gone.map((ticket) => rig.told(ticket)?.code)).toEqual(['ok', 'ok']);
  });

  it('waits in vain for a guest that is paused to let go, and lets go when it runs', () => {
    const rig = new HostRig();
    rig.start();
    rig.ask({ do: 'attach', device: disk('data') });
    rig.ask({ do: 'pause' });
    expect(rig.ask({ do: 'detach', kind: 'disk', name: 'data' })).toMatchObject({ code: 'host_device_failed' });
    rig.ask({ do: 'unpause' });
    rig.pass(1_000);
    expect(rig.ask({ do: 'detach', kind: 'disk', name: 'data' })?.code).toBe('ok');
    expect(backendStates(rig, 'vbd')).toEqual(['4']);
  });

  it('comes to a paused guest, which finds it when it runs again', () => {
    const rig = new HostRig();
    rig.start({}, true);
    expect(rig.ask({ do: 'attach', device: disk('data') })?.code).toBe('ok');
    expect(backendStates(rig, 'vbd')).toEqual(['2', '2']);
    rig.ask({ do: 'unpause' });
    rig.pass(10_000);
    expect(backendStates(rig, 'vbd')).toEqual(['4', '4']);
    rig.ask({ do: 'pause' });
    expect(rig.ask({ do: 'attach', device: nic('eth1') })?.code).toBe('ok');
    rig.ask({ do: 'unpause' });
    rig.pass(1_000);
    expect(backendStates(rig, 'vif')).toEqual(['4', '4']);
  });

  it('comes to a guest that boots, at any moment of its boot', () => {
    for (const ms of [0, 50, 250, 300, 500, 900, 1_200]) {
      const rig = new HostRig();
      const started = rig.tell({ do: 'start', settings: settingsOf(), paused: false });
      rig.pass(ms);
      const plugged = rig.tell({ do: 'attach', device: disk('data') });
      rig.pass(60_000);
      expect([rig.told(started)?.code, rig.told(plugged)?.code], `after ${ms} ms`).toEqual(['ok', 'ok']);
      expect(backendStates(rig, 'vbd')).toEqual(['4', '4']);
    }
  });

  it('goes from a guest that boots, at any moment of its boot', () => {
    for (const ms of [0, 50, 250, 300, 500, 900, 1_200]) {
      const rig = new HostRig();
      const started = rig.tell({ do: 'start', settings: settingsOf(), paused: false });
      rig.pass(ms);
      const gone = rig.tell({ do: 'detach', kind: 'nic', name: 'eth0' });
      rig.pass(60_000);
      expect([rig.told(started)?.code, rig.told(gone)?.code], `after ${ms} ms`).toEqual(['ok', 'ok']);
      expect(backendStates(rig, 'vif')).toEqual([]);
      expect(rig.state.machines['a']?.settings.nics).toEqual([]);
    }
  });

  it('is refused, and taken back, where its script fails', () => {
    const rig = new HostRig();
    rig.start();
    const broken = { ...nic('eth1'), settings: { ...nic('eth1').settings, bridge: '' } };
    expect(rig.ask({ do: 'attach', device: broken })).toMatchObject({ code: 'host_device_failed' });
    rig.pass(60_000);
    expect(backendStates(rig, 'vif')).toEqual(['4']);
    expect(rig.state.machines['a']?.settings.nics).toHaveLength(1);
    expect(rig.ask({ do: 'attach', device: nic('eth1') })?.code).toBe('ok');
  });

  it('comes and goes with a machine that reboots or ends meanwhile', () => {
    const rig = new HostRig();
    rig.start();
    const plugged = rig.tell({ do: 'attach', device: disk('data') });
    const unplugged = rig.tell({ do: 'detach', kind: 'nic', name: 'eth0' });
    expect(rig.ask({ do: 'reboot', mode: 'hard', timeoutMs: 1 })?.code).toBe('ok');
    expect([rig.told(plugged)?.code, rig.told(unplugged)?.code]).toEqual(['ok', 'ok']);
    expect(backendStates(rig, 'vbd', 2)).toEqual(['4', '4']);
    expect(backendStates(rig, 'vif', 2)).toEqual([]);
    const late = rig.tell({ do: 'attach', device: disk('more') });
    expect(rig.ask({ do: 'destroy' })?.code).toBe('ok');
    expect(rig.told(late)?.code).toBe('command_cancelled');
  });

  it('is there at once on a host without time', () => {
    const rig = new HostRig(0);
    rig.start();
    expect(rig.told(rig.tell({ do: 'attach', device: disk('data') }))?.code).toBe('ok');
    expect(rig.told(rig.tell({ do: 'detach', kind: 'disk', name: 'data' }))?.code).toBe('ok');
  });
});
