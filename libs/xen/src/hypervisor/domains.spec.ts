import { describe, expect, it } from 'vitest';
import { HARDWARE_PROFILES } from '../hardware-profile.js';
import { stateLetters, type VcpuActivity } from './domain-info.js';
import { bootedHost, freeHeapPages, runningDomain, SMALL, valueOf } from './hypervisor.spec-fixture.js';
import { SHUTDOWN } from './lifecycle.js';
import { DOMID_FIRST_RESERVED } from './limits.js';

const S = 1_000_000;
const running = (): VcpuActivity => ({ running: true, blocked: false, cpuTimeNs: 5 });
const settings = { type: 'pvh', handle: 'ab', maxVcpus: 2 } as const;
const withoutExtensions = {
  ...SMALL,
  features: SMALL.features.filter((feature) => !['vmx', 'ept', 'hap', 'iommu'].includes(feature)),
};

describe('the flag word of a domain', () => {
  // Bits and letters by hand from public/domctl.h and tools/xl/xl_info.c.
  it.each([
    [0xffff0000 | 0x20, 'r-----'],
    [0xffff0000 | 0x10, '-b----'],
    [0xffff0000 | 0x08, '--p---'],
    [0x0000_0004, '---s--'],
    [0x0001_0004, '---sr-'],
    [0x0002_0004, '---ss-'],
    [0x0003_0004, '---sc-'],
    [0x0004_0004, '---sw-'],
    [0x0005_0004, '---sS-'],
    [0x0006_0004, '---s?-'],
    [0x0000_000d, '--ps-d'],
    [0xffff0000 | 0x09, '--p--d'],
    [0xffff0000, '------'],
  ])('%i shows as %s', (flags, letters) => expect(stateLetters(flags)).toBe(letters));

  it('tells of a new domain that it is paused and waits', () => {
    const host = bootedHost();
    const domid = valueOf(host.domains.create(settings, 0));
    // 31..16 all set: no shutdown code yet; hap 8, blocked 4, paused 3, HVM 1.
    expect(valueOf(host.domains.info(domid, 0)).flags).toBe(0xffff011a);
  });

  it('tells of a PV domain that runs, of its CPU time and of its vCPUs', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 10, 'pv');
    const info = valueOf(host.domains.info(domid, 0, running));
    expect(info).toMatchObject({ flags: 0xffff0020, cpuTimeNs: 10, onlineVcpus: 2, maxVcpuId: 1, totalPages: 10 });
  });

  it('calls a domain blocked only if all its online vCPUs are', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 0, 'pv');
    const one = (_domid: number, vcpu: number): VcpuActivity => ({ running: false, blocked: vcpu === 1, cpuTimeNs: 0 });
    expect(stateLetters(valueOf(host.domains.info(domid, 0, one)).flags)).toBe('------');
    valueOf(host.vcpus.down(domid, 0, 0));
    expect(stateLetters(valueOf(host.domains.info(domid, 0, one)).flags)).toBe('-b----');
  });

  it.each(Object.entries(SHUTDOWN))('holds the code of %s in bits 16 to 23', (reason, code) => {
    const host = bootedHost();
    const domid = runningDomain(host, 0, 'pv');
    valueOf(host.domains.shutdown(domid, code, 0));
    expect(valueOf(host.domains.info(domid, 0, running)).flags, reason).toBe((code << 16) | 0x4);
  });
});

describe('the life of a domain', () => {
  it('is paused as often as it was unpaused less', () => {
    const host = bootedHost();
    const domid = valueOf(host.domains.create(settings, 0));
    valueOf(host.domains.pause(domid, 0));
    valueOf(host.domains.unpause(domid, 0));
    expect(stateLetters(valueOf(host.domains.info(domid, 0, running)).flags)).toBe('--p---');
    valueOf(host.domains.unpause(domid, 0));
    expect(stateLetters(valueOf(host.domains.info(domid, 0, running)).flags)).toBe('r-----');
    expect(host.domains.unpause(domid, 0)).toEqual({ ok: false, errno: 'EINVAL' });
  });

  it('is never paused more than 255 times', () => {
    const host = bootedHost();
    const domid = runningDomain(host);
    for (let pause = 0; pause < 255; pause += 1) valueOf(host.domains.pause(domid, 0));
    expect(host.domains.pause(domid, 0)).toEqual({ ok: false, errno: 'EOVERFLOW' });
  });

  it('keeps the first shutdown code, and forgets it when it is resumed', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 0, 'pv');
    valueOf(host.domains.shutdown(domid, SHUTDOWN.suspend, 0));
    valueOf(host.domains.shutdown(domid, SHUTDOWN.crash, 0));
    expect(stateLetters(valueOf(host.domains.info(domid, 0)).flags)).toBe('---ss-');
    valueOf(host.domains.resume(domid, 0));
    expect(stateLetters(valueOf(host.domains.info(domid, 0, running)).flags)).toBe('r-----');
  });

  it('takes the machine with it when it is Dom0', () => {
    for (const [code, machine] of [
      [SHUTDOWN.poweroff, 'halt'],
      [SHUTDOWN.reboot, 'reboot'],
      [SHUTDOWN.crash, 'reboot'],
      [SHUTDOWN.watchdog, 'reboot'],
    ] as const)
      expect(valueOf(bootedHost().domains.shutdown(0, code, 0)).machine).toBe(machine);
    const host = bootedHost();
    expect(valueOf(host.domains.shutdown(runningDomain(host), SHUTDOWN.crash, 0)).machine).toBeNull();
  });

  it('does not let Dom0 be paused, resumed or destroyed', () => {
    const host = bootedHost();
    for (const refused of [host.domains.pause(0, 0), host.domains.resume(0, 0), host.domains.destroy(0, 0)])
      expect(refused).toEqual({ ok: false, errno: 'EINVAL' });
  });

  it('gives its memory back in as many steps as it is asked in, and is gone then', () => {
    const host = bootedHost();
    const free = freeHeapPages(host);
    const domid = runningDomain(host, 1000);
    valueOf(host.memory.setOverhead(domid, { staticMaxBytes: 2 ** 30 }, 0));
    expect(valueOf(host.domains.destroy(domid, 0, 600)).phase).toBe('dying');
    expect(stateLetters(valueOf(host.domains.info(domid, 0)).flags)).toBe('-b----');
    expect(valueOf(host.domains.info(domid, 0)).totalPages).toBe(400);
    expect(valueOf(host.domains.destroy(domid, 0, 600)).phase).toBe('gone');
    expect(host.domains.info(domid, 0)).toEqual({ ok: false, errno: 'ESRCH' });
    expect(freeHeapPages(host)).toBe(free);
  });

  it('stays as a zombie with the pages that others have mapped, until they unmap them', () => {
    const host = bootedHost();
    const free = freeHeapPages(host);
    const domid = runningDomain(host, 1000, 'pv');
    const ref = valueOf(host.grants.permitAccess(domid, { to: 0, frame: 7 }));
    const mapped = host.grants.map(0, { granter: domid, ref, readonly: false });
    expect(mapped.status).toBe(0);
    valueOf(host.domains.pause(domid, 0));
    valueOf(host.domains.shutdown(domid, SHUTDOWN.poweroff, 0));
    expect(valueOf(host.domains.destroy(domid, 0)).phase).toBe('dead');
    const zombie = valueOf(host.domains.info(domid, 0));
    expect(stateLetters(zombie.flags)).toBe('--ps-d');
    expect(zombie.totalPages).toBe(1);
    expect(freeHeapPages(host)).toBe(free - 1);
    expect(valueOf(host.domains.destroy(domid, 0)).phase).toBe('dead');
    expect(host.grants.unmap(0, mapped.status === 0 ? mapped.value : -1).status).toBe(0);
    expect(host.domains.info(domid, 0)).toEqual({ ok: false, errno: 'ESRCH' });
    expect(freeHeapPages(host)).toBe(free);
  });

  it('lets go of what it has mapped when it dies, so that a zombie goes with its last user', () => {
    const host = bootedHost();
    const frontEnd = runningDomain(host, 10);
    const driverDomain = runningDomain(host, 10);
    const ref = valueOf(host.grants.permitAccess(frontEnd, { to: driverDomain, frame: 1 }));
    host.grants.map(driverDomain, { granter: frontEnd, ref, readonly: true });
    expect(valueOf(host.domains.destroy(frontEnd, 0)).phase).toBe('dead');
    expect(valueOf(host.domains.destroy(driverDomain, 0)).phase).toBe('gone');
    expect(Object.keys(host.state.domains)).toEqual(['0']);
  });

  it('tells Dom0 by VIRQ_DOM_EXC when a domain has shut down and when it is gone', () => {
    const host = bootedHost();
    const port = valueOf(host.events.bindVirq(0, 3, 0));
    const domid = runningDomain(host);
    const upcall = { domid: 0, vcpu: 0, port };
    expect(valueOf(host.domains.shutdown(domid, 0, 0)).upcalls).toEqual([upcall]);
    expect(valueOf(host.events.takePending(0, port))).toBe(true);
    expect(valueOf(host.domains.destroy(domid, 0)).upcalls).toEqual([upcall]);
  });
});

describe('domain ids', () => {
  const create = (host: ReturnType<typeof bootedHost>, second: number): number =>
    valueOf(host.domains.create({ ...settings, maxVcpus: 1 }, second * S));

  it('go up, also where lower ones are free', () => {
    const host = bootedHost();
    expect([create(host, 0), create(host, 0)]).toEqual([1, 2]);
    valueOf(host.domains.destroy(1, 0));
    expect(create(host, 1000)).toBe(3);
  });

  it('begin again at 1 behind the last one, without those in use and those of the last 60 seconds', () => {
    const host = bootedHost();
    expect([create(host, 0), create(host, 0), create(host, 0)]).toEqual([1, 2, 3]);
    valueOf(host.domains.destroy(2, 100 * S));
    valueOf(host.domains.destroy(3, 101 * S));
    host.state.lastDomid = DOMID_FIRST_RESERVED - 2;
    expect(create(host, 160)).toBe(DOMID_FIRST_RESERVED - 1);
    // 1 runs; 2 and 3 were destroyed 60 and 59 seconds ago.
    expect(create(host, 160)).toBe(4);
    host.state.lastDomid = 0;
    expect(create(host, 161)).toBe(2);
    expect(create(host, 162)).toBe(3);
    expect(host.state.recentDomids).toEqual([]);
  });

  it('can be asked for, if they are free', () => {
    const host = bootedHost();
    expect(valueOf(host.domains.create({ ...settings, domid: 77 }, 0))).toBe(77);
    for (const domid of [0, 77, DOMID_FIRST_RESERVED, -1])
      expect(host.domains.create({ ...settings, domid }, 0)).toEqual({ ok: false, errno: 'EEXIST' });
    valueOf(host.domains.destroy(77, 0));
    expect(host.domains.create({ ...settings, domid: 77 }, 60 * S)).toEqual({ ok: false, errno: 'EEXIST' });
    expect(valueOf(host.domains.create({ ...settings, domid: 77 }, 61 * S))).toBe(77);
  });

  it('run out', () => {
    const host = bootedHost();
    const some = valueOf(host.domains.create({ ...settings, maxVcpus: 1 }, 0));
    const any = host.state.domains[some];
    expect(any).toBeDefined();
    if (any) for (let domid = 1; domid < DOMID_FIRST_RESERVED; domid += 1) host.state.domains[domid] = any;
    expect(host.domains.create(settings, 0)).toEqual({ ok: false, errno: 'EEXIST' });
  });
});

describe('what a host refuses to create', () => {
  const refused = { ok: false, errno: 'EINVAL' };

  it('HVM and PVH without the extensions of the CPU, but never PV', () => {
    const host = bootedHost(withoutExtensions);
    expect(host.domains.create({ ...settings, type: 'hvm' }, 0)).toEqual(refused);
    expect(host.domains.create(settings, 0)).toEqual(refused);
    expect(host.domains.create({ ...settings, type: 'pv' }, 0).ok).toBe(true);
  });

  it('hardware-assisted paging for a PV guest', () => {
    expect(bootedHost().domains.create({ ...settings, type: 'pv', hap: true }, 0)).toEqual(refused);
  });

  it('pass-through without an IOMMU, and nested virtualisation without hap', () => {
    expect(bootedHost(withoutExtensions).domains.create({ ...settings, type: 'pv', iommu: true }, 0)).toEqual(refused);
    expect(bootedHost().domains.create({ ...settings, hap: false, nestedVirt: true }, 0)).toEqual(refused);
  });

  it.each([
    ['xen-4.20', 'hvm', 128],
    ['xen-4.20', 'pvh', 128],
    ['xen-4.20', 'pv', 8192],
    ['xen-4.0', 'hvm', 64],
    ['xen-4.0', 'pv', 64],
    ['xen-4.0', 'pvh', 0],
  ] as const)('in %s a %s guest of more than %i vCPUs', (limits, type, most) => {
    const host = bootedHost(SMALL, { limits });
    if (most > 0) expect(host.domains.create({ ...settings, type, maxVcpus: most }, 0).ok).toBe(true);
    expect(host.domains.create({ ...settings, type, maxVcpus: most + 1 }, 0)).toEqual(refused);
    expect(host.domains.create({ ...settings, type, maxVcpus: 0 }, 0)).toEqual(refused);
  });

  it('uses 1 TiB of a larger machine with Xen 4.0', () => {
    const host = bootedHost(HARDWARE_PROFILES['2x24-2250'], { limits: 'xen-4.0' });
    expect(host.physicalInfo(0)).toMatchObject({ totalPages: 2 ** 28, onlineCpus: 96 });
    expect(bootedHost(HARDWARE_PROFILES['2x24-2250']).physicalInfo(0).totalPages).toBe(2250 * 2 ** 18);
  });

  it('brings up 128 CPUs of a larger machine with Xen 4.0', () => {
    const large = { ...HARDWARE_PROFILES['2x24-768'], coresPerSocket: 64 };
    const host = bootedHost(large, { limits: 'xen-4.0' });
    expect(host.physicalInfo(0)).toMatchObject({ onlineCpus: 128, maxCpuId: 255 });
    expect(host.cpuTopology()).toHaveLength(128);
  });
});
