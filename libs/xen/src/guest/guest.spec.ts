import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { advanceBoot, beginBoot, bootStages, ROOT_DISK_PATIENCE_US, type Boot } from './boot.js';
import { answerRequest, controlFeatures, type ControlledGuest } from './control.js';
import { DEFAULT_END_POLICY, END_ACTIONS, stepsAfterEnd } from './guest-end.js';
import { checkGuest, type GuestDescription, type GuestKind } from './guest-kind.js';
import { demandOf, EMULATION_FACTOR, memoryWriting, WORKLOADS } from './workload.js';

const GIBIBYTE = 2 ** 30;
const KINDS: readonly GuestKind[] = ['pv', 'pvh', 'hvm', 'hvm-pv-drivers'];
const INTEL = { features: ['vmx', 'ept'] };
const OLD = { features: [] };

const guest = (change: Partial<GuestDescription>): GuestDescription => ({
  kind: 'pvh',
  os: 'linux',
  architecture: 'x86_64',
  kernelEntries: ['pv', 'pvh'],
  staticMaxBytes: GIBIBYTE,
  ...change,
});

describe('kinds of guests', () => {
  it('run any Linux where the CPU can virtualise, of either maker', () => {
    for (const kind of KINDS) {
      expect(checkGuest(guest({ kind }), INTEL).ok).toBe(true);
      expect(checkGuest(guest({ kind }), { features: ['svm'] }).ok).toBe(true);
    }
  });

  it('run only PV guests where the CPU cannot', () => {
    expect(KINDS.map((kind) => checkGuest(guest({ kind }), OLD).ok)).toEqual([true, false, false, false]);
    expect(checkGuest(guest({ kind: 'hvm' }), OLD)).toEqual({
      ok: false,
      errno: 'EINVAL',
      obstacle: 'noVirtualisationExtensions',
    });
  });

  it('refuse Windows as anything but HVM', () => {
    const verdicts = KINDS.map((kind) => checkGuest(guest({ kind, os: 'windows' }), INTEL));
    expect(verdicts.map(({ ok }) => ok)).toEqual([false, false, true, true]);
    expect(verdicts[0]).toMatchObject({ obstacle: 'windowsNeedsHvm' });
  });

  it('refuse a kernel that cannot be entered', () => {
    expect(checkGuest(guest({ kind: 'pv', kernelEntries: ['pvh'] }), INTEL)).toMatchObject({
      obstacle: 'noKernelEntry',
    });
    expect(checkGuest(guest({ kind: 'pvh', kernelEntries: ['pv'] }), INTEL)).toMatchObject({
      obstacle: 'noKernelEntry',
    });
    expect(checkGuest(guest({ kind: 'hvm', kernelEntries: [] }), INTEL).ok).toBe(true);
  });

  it('know one kind on ARM and no machine of another architecture', () => {
    const arm = { features: [], architecture: 'arm64' as const };
    expect(KINDS.map((kind) => checkGuest(guest({ kind, architecture: 'arm64' }), arm).ok)).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect(checkGuest(guest({}), arm)).toMatchObject({ obstacle: 'foreignArchitecture' });
    expect(checkGuest(guest({ architecture: 'arm64' }), INTEL)).toMatchObject({ obstacle: 'foreignArchitecture' });
  });

  it('give a 32-bit guest no more than 64 GiB', () => {
    const bits32 = { architecture: 'x86_32' as const };
    expect(checkGuest(guest({ ...bits32, staticMaxBytes: 64 * GIBIBYTE }), INTEL).ok).toBe(true);
    expect(checkGuest(guest({ ...bits32, staticMaxBytes: 65 * GIBIBYTE }), INTEL).ok).toBe(false);
  });

  it('cost a device model where they are HVM', () => {
    const needs = KINDS.map((kind) => checkGuest(guest({ kind }), INTEL));
    expect(needs.map((verdict) => verdict.ok && verdict.value.deviceModel)).toEqual([false, false, true, true]);
    expect(needs.map((verdict) => verdict.ok && verdict.value.ioPath)).toEqual(['ring', 'ring', 'emulated', 'ring']);
  });
});

describe('a boot', () => {
  const all = (): boolean => true;

  it('takes its time exactly, whatever the kind', () => {
    for (const kind of KINDS)
      for (const bootUs of [0, 1, 999, 5_000_000]) {
        expect(bootStages(kind, bootUs).reduce((sum, { durationUs }) => sum + durationUs, 0)).toBe(bootUs);
        expect(advanceBoot(beginBoot(kind, bootUs, 100), 100 + bootUs, all)).toEqual({
          state: 'booted',
          atUs: 100 + bootUs,
        });
      }
  });

  it('comes to the same end however its time is cut', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...KINDS),
        fc.integer({ min: 0, max: 10_000_000 }),
        fc.array(fc.integer({ min: 0, max: 3_000_000 }), { maxLength: 10 }),
        (kind, bootUs, cuts) => {
          let boot: Boot = beginBoot(kind, bootUs, 0);
          let nowUs = 0;
          for (const cut of cuts) {
            nowUs += cut;
            const progress = advanceBoot(boot, nowUs, all);
            expect(progress.state).toBe(nowUs < bootUs ? 'booting' : 'booted');
            if (progress.state !== 'booting') return;
            boot = progress.boot;
          }
          expect(advanceBoot(boot, bootUs, all)).toEqual({ state: 'booted', atUs: bootUs });
        },
      ),
    );
  });

  it('waits for its root disk and goes on from there', () => {
    const waiting = advanceBoot(beginBoot('pvh', 4_000_000, 0), 2_000_000, () => false);
    expect(waiting).toMatchObject({ state: 'booting', dueUs: 1_000_000 + ROOT_DISK_PATIENCE_US });
    if (waiting.state !== 'booting') throw new Error('it boots');
    // A quarter was done; the rest begins when the disk connects.
    expect(advanceBoot(waiting.boot, 9_000_000, all)).toMatchObject({ state: 'booting', dueUs: 9_200_000 });
    expect(advanceBoot(waiting.boot, 9_000_000 + 3_000_000, all).state).toBe('booting');
    const connected = advanceBoot(waiting.boot, 9_000_000, all);
    if (connected.state !== 'booting') throw new Error('it boots');
    expect(advanceBoot(connected.boot, 20_000_000, all)).toEqual({ state: 'booted', atUs: 12_000_000 });
  });

  it('panics without a root disk after 270 s', () => {
    const dies = advanceBoot(beginBoot('pv', 4_000_000, 0), 1_000_000 + 270_000_000, () => false);
    expect(dies).toEqual({ state: 'crashed', atUs: 271_000_000 });
  });

  it('needs its device model first when it is HVM, and waits for that as long as it takes', () => {
    const waiting = advanceBoot(beginBoot('hvm', 4_000_000, 0), 500_000_000, (need) => need === 'rootDisk');
    expect(waiting).toMatchObject({ state: 'booting', dueUs: null });
    expect(advanceBoot(beginBoot('hvm', 4_000_000, 0), 5_000_000, (need) => need === 'deviceModel').state).toBe(
      'booted',
    );
  });
});

describe('control nodes', () => {
  const running: ControlledGuest = { kind: 'pvh', ignoresRequests: false, upSinceUs: 0, paused: false };
  const times = { nowUs: 1_000_000, shutdownTakesUs: 2_000_000 };

  it('are written by guests with a driver only', () => {
    expect(controlFeatures('hvm')).toEqual([]);
    expect(controlFeatures('pv').map(([path]) => path)).toEqual([
      'control/feature-poweroff',
      'control/feature-reboot',
      'control/feature-suspend',
    ]);
  });

  it('are acknowledged before the guest obeys', () => {
    const poweroff = answerRequest(running, 'poweroff', times);
    expect(poweroff).toEqual({ acknowledgedUs: 1_002_000, shutdownUs: 3_002_000, reason: 'poweroff' });
    expect(answerRequest(running, 'halt', times)?.reason).toBe('poweroff');
    expect(answerRequest(running, 'reboot', times)?.reason).toBe('reboot');
    expect(answerRequest(running, 'suspend', times)?.shutdownUs).toBe(1_022_000);
  });

  it('stay as they are where nobody reads them', () => {
    for (const deaf of [{ ignoresRequests: true }, { paused: true }, { upSinceUs: null }, { kind: 'hvm' as const }])
      expect(answerRequest({ ...running, ...deaf }, 'poweroff', times)).toBeNull();
  });
});

describe('the end of a guest', () => {
  const words = (reason: Parameters<typeof stepsAfterEnd>[0], policy = DEFAULT_END_POLICY): string =>
    stepsAfterEnd(reason, policy)
      .map((step) => step.do)
      .join(' ');

  it('follows xl’s defaults', () => {
    expect(words('poweroff')).toBe('destroy');
    expect(words('reboot')).toBe('destroy restart');
    expect(words('crash')).toBe('destroy');
    expect(words('watchdog')).toBe('destroy');
    expect(words('soft_reset')).toBe('softReset');
    expect(words('suspend')).toBe('');
  });

  it('follows each of xl’s words after a crash', () => {
    const after = END_ACTIONS.map((onCrash) => words('crash', { ...DEFAULT_END_POLICY, onCrash }));
    expect(after).toEqual([
      'destroy',
      'destroy restart',
      'renamePreserved restart',
      '',
      'dumpCore destroy',
      'dumpCore destroy restart',
      'softReset',
    ]);
  });
});

describe('workloads', () => {
  it('cost Dom0 five to ten times as much without paravirtual drivers', () => {
    expect(EMULATION_FACTOR).toBeGreaterThanOrEqual(5);
    expect(EMULATION_FACTOR).toBeLessThanOrEqual(10);
    for (const profile of Object.values(WORKLOADS)) {
      const ring = demandOf('hvm-pv-drivers', 2, profile);
      const emulated = demandOf('hvm', 2, profile);
      expect(emulated.dom0CpuNs).toBe(ring.dom0CpuNs * EMULATION_FACTOR);
      expect(emulated.guestCpuNs).toBe(ring.guestCpuNs);
      expect([emulated.ringEventsPerSecond, ring.emulatedEventsPerSecond]).toEqual([0, 0]);
    }
  });

  it('write to a share of the memory', () => {
    expect(memoryWriting(WORKLOADS.database, GIBIBYTE)).toEqual({ pagesPerSecond: 60_000, workingSetPages: 65_536 });
    for (const profile of Object.values(WORKLOADS))
      expect(memoryWriting(profile, GIBIBYTE).workingSetPages).toBeLessThan(262_144);
  });

  it('want whole nanoseconds of CPU', () => {
    expect(demandOf('pv', 4, WORKLOADS.database)).toMatchObject({
      guestCpuNs: 2_000_000_000,
      dom0CpuNs: 1_400 * 12_000 + 2_000 * 2_500,
      diskBytesPerSecond: 1_400 * 8_192,
    });
  });
});
