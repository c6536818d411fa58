import { describe, expect, it } from 'vitest';
import { HARDWARE_PROFILES } from '../hardware-profile.js';
import { stateLetters } from './domain-info.js';
import { Hypervisor } from './hypervisor.js';
import { bootedHost, runningDomain, SMALL, TWO_NODES, valueOf } from './hypervisor.spec-fixture.js';

const S = 1_000_000;
const refusal = (errno: string): object => ({ ok: false, errno });

describe('what Xen tells of the machine', () => {
  it('are its CPUs, nodes and memory', () => {
    expect(bootedHost(TWO_NODES).physicalInfo(0)).toMatchObject({
      onlineCpus: 32,
      maxCpuId: 31,
      nodes: 2,
      coresPerSocket: 8,
      threadsPerCore: 2,
      cpuKhz: 3_200_000,
      totalPages: 128 * 262_144,
      scrubPages: 0,
      outstandingPages: 0,
      capabilities: { hvm: true, pv: true, directio: true, hap: true, shadow: true, iommuHapPtShare: true },
    });
  });

  it('is virtualisation only where the CPU has it', () => {
    const plain = { ...SMALL, features: ['aes'] };
    const { capabilities, hwCaps } = bootedHost(plain).physicalInfo(0);
    expect(capabilities).toEqual({
      hvm: false,
      pv: true,
      directio: false,
      hap: false,
      shadow: true,
      iommuHapPtShare: false,
    });
    // CPUID leaf 1 ECX bit 5 is VMX.
    expect([hwCaps[1], bootedHost().physicalInfo(0).hwCaps[1]].map((word) => ((word ?? 0) >> 5) & 1)).toEqual([0, 1]);
    const amd = { ...SMALL, features: ['svm', 'npt'] };
    expect(bootedHost(amd).physicalInfo(0).capabilities).toMatchObject({ hvm: true, hap: true, directio: false });
  });

  it('are the places of its CPUs: threads of a core side by side, then cores, sockets and nodes', () => {
    const topology = bootedHost(HARDWARE_PROFILES['2x24-768']).cpuTopology();
    expect(topology).toHaveLength(96);
    expect([0, 1, 2, 47, 48, 95].map((cpu) => topology[cpu])).toEqual([
      { cpu: 0, core: 0, socket: 0, node: 0 },
      { cpu: 1, core: 0, socket: 0, node: 0 },
      { cpu: 2, core: 1, socket: 0, node: 0 },
      { cpu: 47, core: 23, socket: 0, node: 0 },
      { cpu: 48, core: 0, socket: 1, node: 1 },
      { cpu: 95, core: 23, socket: 1, node: 1 },
    ]);
  });

  it('are its nodes with distances 10 and 20 and what is free on each', () => {
    const host = bootedHost(TWO_NODES);
    const before = host.numaInfo(0);
    expect(before.map(({ distances }) => distances)).toEqual([
      [10, 20],
      [20, 10],
    ]);
    expect(before.map(({ memoryBytes }) => memoryBytes)).toEqual([2 ** 36, 2 ** 36]);
    runningDomain(host, 1024);
    expect(host.numaInfo(0).map(({ freeBytes }, node) => (before[node]?.freeBytes ?? 0) - freeBytes)).toEqual([
      512 * 4096,
      512 * 4096,
    ]);
  });
});

describe('affinity', () => {
  it('answers what the scheduler will use', () => {
    const host = bootedHost(TWO_NODES);
    const domid = runningDomain(host);
    expect(valueOf(host.vcpus.affinity(domid, 0))).toEqual({ hard: [[0, 31]], soft: [[0, 31]] });
    expect(valueOf(host.vcpus.setAffinity(domid, 0, { hard: [[16, 99]], soft: [[0, 20]] }))).toEqual({
      hard: [[16, 31]],
      soft: [[16, 20]],
    });
    expect(valueOf(host.vcpus.affinity(domid, 0))).toEqual({ hard: [[16, 99]], soft: [[0, 20]] });
  });

  it('must leave a CPU to run on, but may prefer none', () => {
    const host = bootedHost(TWO_NODES);
    const domid = runningDomain(host);
    expect(host.vcpus.setAffinity(domid, 0, { hard: [[32, 40]] })).toEqual(refusal('EINVAL'));
    expect(host.vcpus.setAffinity(domid, 0, {})).toEqual(refusal('EINVAL'));
    expect(host.vcpus.setAffinity(domid, 2, { hard: [[0, 0]] })).toEqual(refusal('EINVAL'));
    expect(host.vcpus.setAffinity(99, 0, { hard: [[0, 0]] })).toEqual(refusal('ESRCH'));
    expect(valueOf(host.vcpus.setAffinity(domid, 0, { soft: [] })).soft).toEqual([]);
  });

  it('makes the nodes of the memory, unless they are given', () => {
    const host = bootedHost(TWO_NODES);
    const domid = runningDomain(host);
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([0, 1]);
    valueOf(host.vcpus.setAffinity(domid, 0, { hard: [[0, 3]] }));
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([0, 1]);
    valueOf(host.vcpus.setAffinity(domid, 1, { hard: [[4, 20]], soft: [[8, 9]] }));
    // The first vCPU prefers all CPUs, so that all it may run on count.
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([0, 1]);
    valueOf(host.vcpus.setAffinity(domid, 0, { soft: [[0, 3]] }));
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([0]);
    valueOf(host.vcpus.setNodeAffinity(domid, [[1, 1]]));
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([1]);
    valueOf(host.vcpus.setNodeAffinity(domid, [[0, 7]]));
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([0]);
    expect(host.vcpus.setNodeAffinity(domid, [[2, 3]])).toEqual(refusal('EINVAL'));
  });
});

describe('vCPUs', () => {
  it('go offline and online, and the last one that goes powers the domain off', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 0, 'pv');
    expect(valueOf(host.vcpus.down(domid, 0, 0))).toBeNull();
    expect(valueOf(host.domains.info(domid, 0))).toMatchObject({ onlineVcpus: 1, maxVcpuId: 1 });
    valueOf(host.vcpus.up(domid, 0));
    valueOf(host.vcpus.down(domid, 0, 0));
    expect(valueOf(host.vcpus.down(domid, 1, 0))).toEqual({ machine: null, upcalls: [] });
    expect(stateLetters(valueOf(host.domains.info(domid, 0)).flags)).toBe('---s--');
    expect(host.vcpus.up(domid, 2)).toEqual(refusal('ENOENT'));
    expect(host.vcpus.down(domid, 2, 0)).toEqual(refusal('ENOENT'));
  });

  it.each([
    [{ weight: 1 }, true],
    [{ weight: 65_535 }, true],
    [{ weight: 0 }, false],
    [{ weight: 65_536 }, false],
    [{ weight: 1.5 }, false],
    [{ cap: 0 }, true],
    [{ cap: 200 }, true],
    [{ cap: 201 }, false],
    [{ cap: -1 }, false],
    [{ weight: 512, cap: 999 }, false],
  ])('take %j: %s', (parameters, taken) => {
    const host = bootedHost();
    const domid = runningDomain(host);
    expect(host.vcpus.setSchedulerParameters(domid, parameters).ok).toBe(taken);
    expect(valueOf(host.domains.info(domid, 0))).toMatchObject({ weight: 256, cap: 0, ...(taken ? parameters : {}) });
  });
});

describe('watchdogs', () => {
  it('are two for each domain, and end', () => {
    const host = bootedHost();
    const domid = runningDomain(host);
    expect(valueOf(host.watchdogs.watchdog(domid, 0, 10, 0))).toBe(1);
    expect(valueOf(host.watchdogs.watchdog(domid, 0, 10, 0))).toBe(2);
    expect(host.watchdogs.watchdog(domid, 0, 10, 0)).toEqual(refusal('ENOSPC'));
    expect(valueOf(host.watchdogs.watchdog(domid, 1, 0, 0))).toBe(0);
    expect(host.watchdogs.watchdog(domid, 1, 5, 0)).toEqual(refusal('EINVAL'));
    expect(host.watchdogs.watchdog(domid, 3, 5, 0)).toEqual(refusal('EINVAL'));
    expect(valueOf(host.watchdogs.watchdog(0, 0, 10, 0))).toBe(1);
    expect(valueOf(host.watchdogs.watchdog(domid, 0, 10, 0))).toBe(1);
  });

  it('shut a domain down with code 4 unless they are set again in time, also while it is paused', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 0, 'pv');
    const id = valueOf(host.watchdogs.watchdog(domid, 0, 10, 0));
    host.advance(9 * S);
    valueOf(host.watchdogs.watchdog(domid, id, 10, 9 * S));
    valueOf(host.domains.pause(domid, 10 * S));
    expect(host.advance(18 * S)).toEqual([]);
    expect(host.nextDueUs()).toBe(19 * S);
    const saved = new Hypervisor(JSON.parse(JSON.stringify(host.state)) as Hypervisor['state']);
    expect(saved.advance(99 * S)).toEqual([
      { what: 'watchdog', domid, id: 1, machine: null, upcalls: [], atUs: 19 * S },
    ]);
    expect(stateLetters(valueOf(saved.domains.info(domid, 99 * S)).flags)).toBe('--psw-');
    expect(saved.nextDueUs()).toBeNull();
  });

  it('of Dom0 reboot the host', () => {
    const host = bootedHost();
    valueOf(host.watchdogs.watchdog(0, 0, 60, 0));
    expect(host.advance(60 * S)).toMatchObject([{ domid: 0, machine: 'reboot', atUs: 60 * S }]);
  });

  it('do nothing to a domain that has shut down already, or is gone', () => {
    const host = bootedHost();
    const [down, gone] = [runningDomain(host), runningDomain(host)];
    for (const domid of [down, gone]) valueOf(host.watchdogs.watchdog(domid, 0, 5, 0));
    valueOf(host.domains.shutdown(down, 1, 0));
    valueOf(host.domains.destroy(gone, 0));
    expect(host.advance(9 * S)).toEqual([]);
    expect(stateLetters(valueOf(host.domains.info(down, 0)).flags)).toBe('---sr-');
  });

  it('fire in the order of their time, not of their age', () => {
    const host = bootedHost();
    const [first, second] = [runningDomain(host), runningDomain(host)];
    valueOf(host.watchdogs.watchdog(first, 0, 20, 0));
    valueOf(host.watchdogs.watchdog(second, 0, 10, 0));
    expect(host.advance(30 * S).map(({ domid, atUs }) => [domid, atUs])).toEqual([
      [second, 10 * S],
      [first, 20 * S],
    ]);
  });
});

describe('other operations on domains', () => {
  it('change its uuid, and show a debugger', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 0, 'pv');
    valueOf(host.domains.setHandle(domid, 'cd'));
    valueOf(host.domains.setDebugging(domid, true));
    expect(valueOf(host.domains.info(domid, 0))).toMatchObject({ handle: 'cd', flags: 0xffff0050 });
    expect(host.domains.setDebugging(0, true)).toEqual(refusal('EINVAL'));
  });

  it('reset a domain softly once it asked for that', () => {
    const host = bootedHost();
    const domid = runningDomain(host, 10);
    const port = valueOf(host.events.bindIpi(domid, 0));
    expect(host.domains.softReset(domid, 0)).toEqual(refusal('EINVAL'));
    valueOf(host.domains.shutdown(domid, 5, 0));
    valueOf(host.domains.pause(domid, 0));
    valueOf(host.domains.softReset(domid, 0));
    expect(valueOf(host.events.status(0, domid, port)).status).toBe('closed');
    expect(stateLetters(valueOf(host.domains.info(domid, 0)).flags)).toBe('-bp---');
  });

  it('name the guest of a device model, which is HVM', () => {
    const host = bootedHost();
    const [hvm, pv, stub] = [runningDomain(host, 0, 'hvm'), runningDomain(host, 0, 'pv'), runningDomain(host)];
    expect(host.domains.setTarget(stub, stub)).toEqual(refusal('EINVAL'));
    expect(host.domains.setTarget(stub, pv)).toEqual(refusal('EOPNOTSUPP'));
    expect(host.domains.setTarget(stub, 99)).toEqual(refusal('ESRCH'));
    valueOf(host.domains.setTarget(stub, hvm));
    expect(host.domains.setTarget(stub, hvm)).toEqual(refusal('EINVAL'));
  });
});
