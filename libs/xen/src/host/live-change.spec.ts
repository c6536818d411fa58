import { describe, expect, it } from 'vitest';
import { balloonFloorPages } from './guest-resources.js';
import { GIBIBYTE, HostRig, MEBIBYTE, settingsOf } from './host.spec-fixture.js';

const vcpusOnline = (rig: HostRig): boolean[] =>
  rig.state.hypervisor.domains['1']?.vcpus.map(({ online }) => online) ?? [];
const memoryBytes = (rig: HostRig): number => {
  const pages = rig.model.domainFigures(rig.state, rig.at)[0]?.memoryBytes ?? 0;
  return Math.round(pages / MEBIBYTE) * MEBIBYTE;
};

describe('a machine that is changed while it runs', () => {
  it('takes vCPUs on line and off line as its guest reads its nodes', () => {
    const rig = new HostRig();
    rig.start();
    expect(rig.ask({ do: 'change', change: { vcpus: 4 } })?.code).toBe('ok');
    expect(rig.tool('xenstore', 'read', '/local/domain/1/cpu/3/availability')).toBe('online\n');
    expect(vcpusOnline(rig)).toEqual([true, true, false, false]);
    rig.pass(1_000);
    expect(vcpusOnline(rig)).toEqual([true, true, true, true]);
    rig.ask({ do: 'change', change: { vcpus: 1 } });
    rig.pass(1_000);
    expect(vcpusOnline(rig)).toEqual([true, false, false, false]);
  });

  it('waits with them until a paused guest runs again', () => {
    const rig = new HostRig();
    rig.start();
    rig.ask({ do: 'pause' });
    rig.ask({ do: 'change', change: { vcpus: 3 } });
    rig.pass(1_000);
    expect(vcpusOnline(rig)).toEqual([true, true, false, false]);
    rig.ask({ do: 'unpause' });
    expect(vcpusOnline(rig)).toEqual([true, true, true, false]);
  });

  it('changes its share of the CPUs and where it may run at once', () => {
    const rig = new HostRig();
    rig.start();
    rig.ask({ do: 'change', change: { weight: 512, cap: 50, pin: '1-2' } });
    expect(rig.tool('xl', 'sched-credit2', '-d', 'web')).toMatch(/512\s+50/);
    expect(rig.tool('xl', 'vcpu-list', 'web')).toMatch(/1-2 \/ all/);
    rig.ask({ do: 'change', change: { pin: '' } });
    expect(rig.tool('xl', 'vcpu-list', 'web')).toMatch(/all \/ all/);
  });

  it('moves its balloon to the new target at its own rate, and gives memory back', () => {
    const rig = new HostRig();
    rig.start();
    const free = rig.freeBytes;
    rig.ask({ do: 'change', change: { dynamicMinBytes: 512 * MEBIBYTE, dynamicMaxBytes: 512 * MEBIBYTE } });
    rig.pass(100);
    expect(memoryBytes(rig)).toBeGreaterThan(512 * MEBIBYTE);
    rig.pass(10_000);
    expect(rig.freeBytes - free).toBe(512 * MEBIBYTE);
    rig.ask({ do: 'change', change: { dynamicMaxBytes: 2 * GIBIBYTE } });
    rig.pass(10_000);
    expect(free - rig.freeBytes).toBe(GIBIBYTE);
    expect(rig.model.nextDue(rig.state)).toBeNull();
  });

  it('keeps what its guest can’t do without', () => {
    const rig = new HostRig();
    rig.start();
    const free = rig.freeBytes;
    rig.ask({ do: 'change', change: { dynamicMinBytes: MEBIBYTE, dynamicMaxBytes: MEBIBYTE } });
    rig.pass(60_000);
    const floor = balloonFloorPages((2 * GIBIBYTE) / 4096) * 4096;
    expect(rig.freeBytes - free).toBe(GIBIBYTE - floor);
  });

  it('refuses what the host or the domain can’t do, and changes nothing then', () => {
    const rig = new HostRig();
    rig.start({ staticMaxBytes: 64 * GIBIBYTE });
    const before = JSON.stringify(rig.state);
    const refused = (change: object): unknown => rig.ask({ do: 'change', change })?.code;
    expect(refused({ weight: 300, vcpus: 5 })).toBe('host_domain_unsupported');
    expect(refused({ weight: 300, pin: '77' })).toBe('host_domain_unsupported');
    expect(refused({ weight: 0 })).toBe('host_domain_unsupported');
    expect(refused({ weight: 300, dynamicMaxBytes: 65 * GIBIBYTE })).toBe('host_domain_unsupported');
    expect(refused({ weight: 300, dynamicMaxBytes: 60 * GIBIBYTE })).toBe('host_out_of_memory');
    expect(JSON.stringify(rig.state)).toBe(before);
    expect(rig.ask({ do: 'change', change: { vcpus: 3 }, uid: 'nobody' })?.code).toBe('host_unknown_domain');
  });

  it('keeps the change over a reboot', () => {
    const rig = new HostRig();
    rig.start();
    rig.ask({ do: 'change', change: { vcpus: 3, dynamicMaxBytes: 2 * GIBIBYTE } });
    rig.ask({ do: 'reboot', mode: 'clean', timeoutMs: 60_000 });
    const domain = rig.state.hypervisor.domains['2'];
    expect(domain?.vcpus.filter(({ online }) => online)).toHaveLength(3);
    expect(memoryBytes(rig)).toBeGreaterThanOrEqual(2 * GIBIBYTE);
  });

  it('gets by qemu what a guest without drivers never reads, and keeps its memory', () => {
    const rig = new HostRig();
    rig.start({ guestType: 'hvm', pvDrivers: false });
    rig.ask({ do: 'change', change: { vcpus: 3 } });
    expect(vcpusOnline(rig)).toEqual([true, true, true, false]);
    expect(rig.ask({ do: 'change', change: { dynamicMaxBytes: 2 * GIBIBYTE } })?.code).toBe('host_domain_unsupported');
  });

  it('is built as it shall be when the change comes before its guest', () => {
    const rig = new HostRig();
    const started = rig.tell({ do: 'start', settings: settingsOf(), paused: false });
    rig.ask({ do: 'change', change: { vcpus: 1, dynamicMaxBytes: 2 * GIBIBYTE } });
    rig.pass(60_000);
    expect(rig.told(started)?.code).toBe('ok');
    expect(vcpusOnline(rig)).toEqual([true, false, false, false]);
    expect(memoryBytes(rig)).toBeGreaterThanOrEqual(2 * GIBIBYTE);
  });
});
