import { describe, expect, it } from 'vitest';
import type { DeviceFault, HostState } from '../index.js';
import { Xenstore } from '../xenstore/index.js';
import { HostRig, settingsOf, type ModelRig } from './host.spec-fixture.js';
import { Pair, SOURCE, TARGET } from './migration.spec-fixture.js';

type Rig = ModelRig<HostState>;

const fault = (effects: DeviceFault['effects'], devices: string[]): DeviceFault => ({
  rule: 'rule',
  machines: [],
  devices,
  effects,
  probability: 1,
  seed: 0,
  left: null,
});

const modelsOf = (rig: Rig): readonly unknown[] =>
  Object.values(rig.state.daemons.processes).filter(({ what }) => what === 'device-model');

const read = (rig: HostRig, path: string): string => rig.tool('xenstore', 'read', path).trim();

describe('the kind of a guest', () => {
  it('gives each HVM guest a device model and firmware, which go with it', () => {
    const rig = new HostRig();
    expect(rig.start({ guestType: 'hvm' })?.code).toBe('ok');
    expect(modelsOf(rig)).toMatchObject([{ domid: 1, program: 'qemu-system-i386', firmware: 'seabios' }]);
    expect(read(rig, '/local/domain/0/device-model/1/state')).toBe('running');
    expect(read(rig, '/local/domain/1/hvmloader/bios')).toBe('seabios');
    expect(rig.ask({ do: 'destroy' })?.code).toBe('ok');
    expect(modelsOf(rig)).toEqual([]);
    expect(rig.tool('xenstore', 'ls', '-f')).not.toContain('device-model');
  });

  it('is refused when Dom0 has no memory left for its device model, which Linux ends', () => {
    // 752 MiB of which Dom0 needs 400, and 8 for each: 44 guests.
    const rig = new HostRig(0, 'host-0001', { controlDomain: 'xenserver-v2' });
    const small = 16 * 2 ** 20;
    const sizes = { staticMaxBytes: small, dynamicMinBytes: small, dynamicMaxBytes: small, vcpus: 1, maxVcpus: 1 };
    const starts = (nth: number) =>
      rig.ask({
        do: 'start',
        uid: `vm-${nth}`,
        incarnation: 1,
        settings: settingsOf({ name: `vm-${nth}`, guestType: 'hvm', nics: [], ...sizes }),
        paused: false,
      });
    const told = Array.from({ length: 44 }, (_, nth) => starts(nth)?.code);
    expect(new Set(told)).toEqual(new Set(['ok']));
    const { memoryBytes, usedBytes } = rig.model.figures(rig.state).controlDomain ?? {};
    expect([memoryBytes, usedBytes]).toEqual([752 * 2 ** 20, 752 * 2 ** 20]);
    const free = rig.freeBytes;
    expect(starts(44)).toEqual({
      code: 'host_device_failed',
      value:
        'vm-44 could not be started on host-0001: domain 45 device model: spawn failed (rc=-3): out of memory, Dom0 uses 752 MiB of its 752',
    });
    rig.pass(60_000);
    expect(rig.freeBytes).toBe(free);
    rig.ask({ do: 'destroy', uid: 'vm-7' });
    expect(starts(45)?.code).toBe('ok');
  });

  it('gives PV and PVH guests none', () => {
    for (const guestType of ['pv', 'pvh'] as const) {
      const rig = new HostRig();
      expect(rig.start({ guestType })?.code).toBe('ok');
      expect(modelsOf(rig)).toEqual([]);
    }
  });

  it('refuses what can’t run', () => {
    const rig = new HostRig();
    const free = rig.freeBytes;
    expect(rig.start({ os: 'windows', guestType: 'pv' })).toEqual({
      code: 'host_domain_unsupported',
      value: "host-0001 can't run web as pv: Windows has no paravirtual kernel and runs as HVM only (EINVAL)",
    });
    expect(rig.freeBytes).toBe(free);
    expect(rig.start({ os: 'windows', guestType: 'hvm' })?.code).toBe('ok');
  });

  it('costs Dom0 the device model’s CPU time', () => {
    const [alone, one] = [new HostRig(), new HostRig()];
    one.start({ guestType: 'hvm', workload: 'memory-stress', disks: [], nics: [] });
    const cpu = (rig: HostRig): number => rig.model.figures(rig.state).controlDomain?.cpu ?? 0;
    expect(cpu(one) - cpu(alone)).toBeCloseTo(0.002, 3);
  });

  it('lets libxl give up after 60 seconds on a device model that does not say that it runs', () => {
    const rig = new HostRig();
    rig.tell({ do: 'setFaults', faults: [fault({ stallDeviceModel: true }, ['device-model'])] });
    const began = rig.at;
    expect(rig.start({ guestType: 'hvm' })).toEqual({
      code: 'host_device_failed',
      value: 'web could not be started on host-0001: domain 1 device model: startup timed out',
    });
    expect(rig.at - began).toBeGreaterThan(60_000);
    rig.pass(60_000);
    expect(modelsOf(rig)).toEqual([]);
    expect(rig.freeBytes).toBe(new HostRig().freeBytes);
  });

  it('loses its device models with Dom0', () => {
    const rig = new HostRig();
    rig.start({ guestType: 'hvm' });
    rig.crash();
    expect(modelsOf(rig)).toEqual([]);
    expect(Object.values(rig.state.daemons.processes).map(({ program }) => program)).toEqual([
      'xenstored',
      'xenconsoled',
      'qemu-system-i386',
    ]);
  });
});

describe('a guest that boots', () => {
  const endsOf = (rig: HostRig): readonly string[] =>
    rig.events.flatMap((event) => (event.type === 'guestEnded' ? [event.reason] : []));

  it('panics after 270 seconds when its root disk does not come', () => {
    const rig = new HostRig();
    rig.start({}, true);
    new Xenstore(rig.state.xenstore).rm(0, '/local/domain/0/backend/vbd/1/51712');
    rig.ask({ do: 'unpause' });
    rig.pass(269_000);
    expect(endsOf(rig)).toEqual([]);
    rig.pass(3_000);
    expect(endsOf(rig)).toEqual(['crash']);
    expect(rig.model.inventory(rig.state)).toEqual([]);
  });

  it('takes as long as it is told to, whatever its kind', () => {
    for (const guestType of ['pv', 'hvm'] as const) {
      const [slow, fast] = [20_000, 10_000].map((bootMs) => {
        const rig = new HostRig();
        const began = rig.at;
        rig.start({ guestType, bootMs });
        return rig.at - began;
      });
      const factor = ((slow ?? 0) - (fast ?? 0)) / 10_000;
      expect(factor).toBeGreaterThan(0.85);
      expect(factor).toBeLessThan(1.15);
    }
  });
});

describe('the device model of a guest that goes to another host', () => {
  const hvm = { guestType: 'hvm', pvDrivers: true } as const;
  const usedBytes = (rig: Rig): number => rig.model.figures(rig.state).controlDomain?.usedBytes ?? 0;
  const left = (): Pair => {
    const pair = new Pair();
    pair.start(hvm);
    expect(pair.receive(hvm)?.code).toBe('ok');
    return pair;
  };

  it('is another one there, of that Dom0’s memory', () => {
    const pair = left();
    const [source, target] = [pair.hosts[SOURCE], pair.hosts[TARGET]];
    const [before, after] = [usedBytes(source), usedBytes(target)];
    expect(pair.migrate()?.code).toBe('ok');
    pair.pass(10_000);
    expect(modelsOf(source)).toEqual([]);
    expect(modelsOf(target)).toMatchObject([{ domid: 1, program: 'qemu-system-i386' }]);
    expect(target.tool('xenstore', 'read', '/local/domain/0/device-model/1/state')).toBe('running\n');
    expect([before - usedBytes(source), usedBytes(target) - after]).toEqual([8 * 2 ** 20, 8 * 2 ** 20]);
  });

  it('is tried again, and gone without, where it does not start', () => {
    const pair = left();
    pair.hosts[TARGET].setFaults(fault({ stallDeviceModel: true }, ['device-model']));
    expect(pair.migrate()?.code).toBe('ok');
    pair.pass(600_000);
    expect([pair.runs(SOURCE), pair.runs(TARGET)]).toEqual([false, true]);
    expect(modelsOf(pair.hosts[TARGET])).toEqual([]);
  });
});
