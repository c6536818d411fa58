import { describe, expect, it } from 'vitest';
import type { DeviceEffects, DomainSettings, XenSetup } from '../index.js';
import { HostRig, settingsOf } from './host.spec-fixture.js';

/** A host under such a fault, whatever it was under before. */
const strike = (rig: HostRig, effects: DeviceEffects, left: number | null = null): void =>
  rig.setFaults({ rule: 'rule', machines: [], devices: [], effects, probability: 1, seed: 0, left });

const running = (settings: Partial<DomainSettings> = {}, setup: Partial<XenSetup> = {}): HostRig => {
  const rig = new HostRig(0, 'host-0001', setup);
  expect(rig.start(settings)?.code).toBe('ok');
  return rig;
};

const lost = (rig: HostRig): readonly string[] => rig.model.lostDaemons(rig.state);
const told = (rig: HostRig, type: string): number => rig.events.filter((event) => event.type === type).length;
const diskReads = (rig: HostRig): number => rig.model.domainFigures(rig.state, rig.at)[0]?.disks?.[0]?.reads ?? 0;

describe('the death of xenstored', () => {
  it('lets guests and their devices go on, and nothing be done to them', () => {
    const rig = running({ workload: 'database' });
    strike(rig, { killDaemon: 'xenstored' });
    expect([lost(rig), told(rig, 'daemonsChanged')]).toEqual([['xenstored'], 1]);
    const before = diskReads(rig);
    rig.pass(60_000);
    expect(diskReads(rig)).toBeGreaterThan(before);
    for (const ask of [
      { do: 'start', uid: 'b', paused: false, settings: settingsOf({ name: 'b' }) },
      { do: 'pause' },
      { do: 'shutdown', mode: 'hard', timeoutMs: 1_000 },
      { do: 'detach', kind: 'nic', name: 'eth0' },
      { do: 'change', change: { weight: 512 } },
      { do: 'destroy' },
    ] as const)
      expect(rig.ask(ask)).toMatchObject({
        code: 'host_control_plane_lost',
        value: expect.stringContaining('xenstored of host-0001 has died and can not be started again') as string,
      });
    expect(rig.ask({ do: 'destroy', uid: 'nobody' })).toMatchObject({ code: 'ok' });
    // What was refused needs no taking back.
    for (const undo of [
      { do: 'unpause' },
      { do: 'detach', kind: 'disk', name: 'data' },
      { do: 'change', change: { weight: 256 } },
      { do: 'take', name: 'gpu' },
    ] as const)
      expect(rig.ask(undo)).toMatchObject({ code: 'ok' });
    expect(rig.output('xl', 'list')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('xenstored') as string,
    });
    expect(rig.tool('brctl', 'show')).toContain('vif1.0');
  });

  it('leaves what was under way unanswered, and who waited refused', () => {
    const rig = new HostRig(1_000);
    const ticket = rig.tell({ do: 'start', paused: false, settings: settingsOf() });
    strike(rig, { killDaemon: 'xenstored' });
    rig.pass(3_600_000);
    expect(rig.told(ticket)).toMatchObject({ code: 'host_control_plane_lost' });
    expect(rig.model.inventory(rig.state)).toHaveLength(1);
  });

  it('leaves a guest that ends by itself where it is, as nobody hears of it who could do more', () => {
    const rig = running();
    strike(rig, { killDaemon: 'xenstored' });
    rig.tell({ do: 'guestEnds', uid: 'a', reason: 'reboot' });
    rig.pass(60_000);
    expect(rig.model.inventory(rig.state)).toMatchObject([{ domid: 1, state: 'shutdown' }]);
  });

  it('is not over with the rule, but with a boot of the host', () => {
    const rig = running();
    strike(rig, { killDaemon: 'xenstored' }, 1);
    rig.setFaults();
    expect(lost(rig)).toEqual(['xenstored']);
    rig.crash();
    rig.pass(1_000_000);
    expect(lost(rig)).toEqual([]);
    expect(rig.start()).toMatchObject({ code: 'host_stale_incarnation' });
    expect(rig.ask({ do: 'start', uid: 'b', paused: false, settings: settingsOf({ name: 'b' }) })?.code).toBe('ok');
  });

  it('comes again after a boot while the rule is in force and may strike', () => {
    const rig = running();
    strike(rig, { killDaemon: 'xenstored' });
    rig.crash();
    rig.pass(1_000_000);
    expect(lost(rig)).toEqual(['xenstored']);
  });
});

describe('the death of another daemon', () => {
  it('takes the consoles while xenconsoled is dead, and nothing else', () => {
    const rig = running();
    strike(rig, { killDaemon: 'xenconsoled' });
    expect(rig.output('xl', 'console', 'web')).toMatchObject({
      exitCode: 1,
      stderr: "xenconsole: Could not open tty `/dev/pts/1': No such file or directory\n",
    });
    expect(rig.ask({ do: 'pause' })).toMatchObject({ code: 'ok' });
    rig.setFaults();
    expect(rig.tool('xl', 'console', 'web')).toContain('login:');
    expect(told(rig, 'daemonsChanged')).toBe(2);
  });

  it('takes xm and all changes while xend is dead, on releases that have it', () => {
    const rig = running({ guestType: 'pv' }, { release: 'xen-4.0', scheduler: 'credit' });
    strike(rig, { killDaemon: 'xend' });
    expect(rig.output('xm', 'list').stderr).toContain('Unable to connect to xend');
    expect(rig.ask({ do: 'pause' })).toMatchObject({ code: 'host_control_plane_lost' });
    rig.setFaults();
    expect(rig.ask({ do: 'pause' })).toMatchObject({ code: 'ok' });
    const newer = running();
    strike(newer, { killDaemon: 'xend' });
    expect([lost(newer), told(newer, 'faultStruck')]).toEqual([[], 0]);
  });
});

describe('the death of a device model', () => {
  it('lets a guest without PV drivers stand still, until a hard reboot starts another', () => {
    const rig = running({ guestType: 'hvm', pvDrivers: false, workload: 'database' });
    strike(rig, { killDeviceModel: true }, 1);
    expect(rig.events.filter(({ type }) => type === 'deviceModelLost')).toMatchObject([{ uid: 'a', domid: 1 }]);
    rig.pass(1_000);
    const before = rig.model.domainFigures(rig.state, rig.at);
    rig.pass(60_000);
    expect(rig.model.domainFigures(rig.state, rig.at)).toEqual(before);
    expect(before[0]?.cpu).toBe(0);
    expect(rig.ask({ do: 'shutdown', mode: 'clean', timeoutMs: 5_000 })).toMatchObject({
      code: 'guest_ignored_shutdown',
    });
    rig.ask({ do: 'pause' });
    rig.ask({ do: 'unpause' });
    rig.pass(60_000);
    expect(rig.model.domainFigures(rig.state, rig.at)[0]?.cpu).toBe(0);
    strike(rig, { killDeviceModel: true }, 0);
    expect(rig.ask({ do: 'reboot', mode: 'hard', timeoutMs: 1_000 })).toMatchObject({ code: 'ok' });
    expect(rig.model.domainFigures(rig.state, rig.at)[0]?.cpu).toBeGreaterThan(0);
  });

  it('lets a guest with PV drivers go on, but be neither saved nor given devices', () => {
    const rig = running({ guestType: 'hvm', workload: 'database' });
    strike(rig, { killDeviceModel: true }, 1);
    const before = diskReads(rig);
    rig.pass(60_000);
    expect(diskReads(rig)).toBeGreaterThan(before);
    for (const ask of [{ do: 'suspend', timeoutMs: 1_000 } as const, { do: 'give', name: 'gpu', devices: [] } as const])
      expect(rig.ask(ask)).toMatchObject({
        code: 'host_device_failed',
        value: expect.stringContaining('its device model has died') as string,
      });
    expect(rig.ask({ do: 'shutdown', mode: 'clean', timeoutMs: 100_000 })).toMatchObject({ code: 'ok' });
  });

  it('strikes one that starts later, and no guest that has none', () => {
    const rig = new HostRig(0);
    strike(rig, { killDeviceModel: true });
    rig.start({ guestType: 'pvh' });
    expect(told(rig, 'deviceModelLost')).toBe(0);
    rig.ask({ do: 'start', uid: 'b', paused: false, settings: settingsOf({ name: 'b', guestType: 'hvm', disks: [] }) });
    expect(told(rig, 'deviceModelLost')).toBe(1);
  });
});
