import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIBIBYTE, MEBIBYTE, ModelRig, settingsOf } from '../host/host.spec-fixture.js';
import { timingFor } from '../host-timing.js';
import type { DomainSettings, HostModel, MemorySharing } from '../index.js';
import { kvmHostModel } from './kvm-host.js';
import type { KvmHostState } from './kvm-state.js';
import { doPageStep, pageStep } from '../page-histories.spec-fixture.js';

const HOUR_MS = 3_600_000;
const PAGE_BYTES = 4096;
const GUEST_PAGES = GIBIBYTE / PAGE_BYTES;
/** 300 thousandths of what an idle guest has not written to. */
const EQUAL_PAGES = Math.floor(((GUEST_PAGES - Math.floor(GUEST_PAGES / 100)) * 300) / 1000);
const SAME: Partial<DomainSettings> = { guestType: 'hvm', image: 'debian', workload: 'idle' };
const OVERCOMMITTED = { overcommitPercent: 200 };

const model = kvmHostModel(timingFor(1_000));
type Rig = ModelRig<KvmHostState>;

const rigWith = (uids: readonly string[], sharing: MemorySharing | undefined = { overcommitPercent: 100 }): Rig => {
  const rig = new ModelRig(model, 'kvm-0001', {}, sharing);
  for (const uid of uids) expect(start(rig, uid)).toBe('ok');
  return rig;
};

const start = (rig: Rig, uid: string, change: Partial<DomainSettings> = {}, incarnation = 1): string | undefined =>
  rig.ask({
    do: 'start',
    uid,
    incarnation,
    settings: settingsOf({ ...SAME, staticMaxBytes: GIBIBYTE, name: uid, ...change }),
    paused: false,
  })?.code;

const sized = (bytes: number): Partial<DomainSettings> => ({
  staticMaxBytes: bytes,
  dynamicMinBytes: bytes,
  dynamicMaxBytes: bytes,
});

const counters = (rig: Rig): Record<string, number> =>
  Object.fromEntries(
    rig
      .tool('virsh', 'node-memory-tune')
      .split('\n')
      .flatMap((line) => {
        const [, name, value] = /^\tshm_(\w+) +(\d+)$/.exec(line) ?? [];
        return name === undefined ? [] : [[name, Number(value)]];
      }),
  );

const ended = (rig: Rig): readonly unknown[] =>
  rig.events.flatMap((event) => (event.type === 'guestEnded' ? [[event.uid, event.reason]] : []));

describe('ksmd', () => {
  it('merges what guests of one image have in common, when it has seen it twice', () => {
    const rig = rigWith(['a', 'b', 'c']);
    const free = rig.freeBytes;
    rig.pass(200_000);
    expect(counters(rig)).toMatchObject({ pages_shared: 0, pages_sharing: 0, full_scans: 1 });
    rig.pass(200_000);
    expect(counters(rig)).toEqual({
      pages_to_scan: 100,
      sleep_millisecs: 20,
      pages_shared: EQUAL_PAGES,
      pages_sharing: 2 * EQUAL_PAGES,
      pages_unshared: 3 * (GUEST_PAGES - EQUAL_PAGES - Math.floor(GUEST_PAGES / 100)),
      pages_volatile: 3 * Math.floor(GUEST_PAGES / 100),
      // The first of them had one guest to scan.
      full_scans: 3,
      merge_across_nodes: 1,
    });
    expect(rig.freeBytes - free).toBe(2 * EQUAL_PAGES * PAGE_BYTES);
    expect(rig.model.figures(rig.state).sharing).toEqual({
      sharedBytes: EQUAL_PAGES * PAGE_BYTES,
      savedBytes: 2 * EQUAL_PAGES * PAGE_BYTES,
    });
    expect(rig.model.domainFigures(rig.state, rig.at)[0]?.sharedBytes).toBe(EQUAL_PAGES * PAGE_BYTES);
  });

  it('scans on when there is nothing new, and the host rests all the same', () => {
    const rig = rigWith(['a', 'b']);
    rig.pass(HOUR_MS);
    expect(rig.model.nextDue(rig.state)).toBeNull();
    const before = counters(rig)['full_scans'] ?? 0;
    rig.pass(HOUR_MS);
    // 524,288 pages at 5,000 a second.
    expect((counters(rig)['full_scans'] ?? 0) - before).toBeOneOf([34, 35]);
  });

  it('says that it does nothing where it does not run', () => {
    const rig = new ModelRig(model, 'kvm-0001');
    start(rig, 'a');
    start(rig, 'b');
    rig.pass(HOUR_MS);
    expect(counters(rig)).toMatchObject({ pages_to_scan: 100, pages_sharing: 0, full_scans: 0 });
    expect(rig.model.figures(rig.state).sharing).toBeUndefined();
  });

  it('loses what a guest writes to, and what is written anew when it boots again', () => {
    const rig = rigWith(['b', 'c']);
    start(rig, 'a', { workload: 'build' });
    rig.ask({ do: 'pause', uid: 'a' });
    rig.pass(HOUR_MS);
    expect(counters(rig)['pages_sharing']).toBe(2 * EQUAL_PAGES);
    rig.ask({ do: 'unpause', uid: 'a' });
    rig.pass(HOUR_MS);
    const written = Math.floor(((GUEST_PAGES - Math.floor((GUEST_PAGES * 300) / 1000)) * 300) / 1000);
    expect(counters(rig)['pages_sharing']).toBe(EQUAL_PAGES + written);
    rig.tell({ do: 'reboot', uid: 'b', mode: 'hard', timeoutMs: 60_000 });
    expect(counters(rig)['pages_sharing']).toBe(written);
    rig.pass(HOUR_MS);
    expect(counters(rig)['pages_sharing']).toBe(EQUAL_PAGES + written);
  });

  it('merges nothing of a guest with a function of the host, whose memory is pinned', () => {
    const gpu = { name: 'gpu', kind: 'pci', address: '0000:3b:00.0' } as const;
    const devices = { devices: [{ kind: 'pci', address: gpu.address, model: 'A2', class: 'gpu' } as const] };
    const withGpu: HostModel<KvmHostState> = { ...model, create: (options) => model.create({ ...options, devices }) };
    const rig = new ModelRig(withGpu, 'kvm-0001', {}, { overcommitPercent: 100 });
    for (const uid of ['a', 'b', 'c']) start(rig, uid);
    rig.pass(HOUR_MS);
    expect(counters(rig)['pages_sharing']).toBe(2 * EQUAL_PAGES);
    expect(rig.ask({ do: 'give', uid: 'a', name: 'gpu', devices: [gpu] })?.code).toBe('ok');
    expect(counters(rig)['pages_sharing']).toBe(EQUAL_PAGES);
    rig.pass(HOUR_MS);
    expect(counters(rig)['pages_sharing']).toBe(EQUAL_PAGES);
    rig.ask({ do: 'take', uid: 'a', name: 'gpu' });
    rig.pass(HOUR_MS);
    expect(counters(rig)['pages_sharing']).toBe(2 * EQUAL_PAGES);
  });

  it('begins anew when the host has crashed', () => {
    const rig = rigWith(['a', 'b']);
    rig.pass(HOUR_MS);
    rig.crash();
    rig.pass(HOUR_MS);
    expect(counters(rig)).toMatchObject({ pages_shared: 0, full_scans: 0 });
    expect(rig.state.ksm?.merged).toEqual({});
  });
});

describe('memory that ksmd saves', () => {
  it('lets nobody in by default', () => {
    const rig = rigWith(['a', 'b', 'c']);
    start(rig, 'filler', sized(8 * GIBIBYTE));
    rig.pass(HOUR_MS);
    const promised = rig.freeBytes - 2 * EQUAL_PAGES * PAGE_BYTES;
    expect(start(rig, 'more', sized(promised))).toBe('host_out_of_memory');
    expect(start(rig, 'other', sized(promised - 400 * MEBIBYTE))).toBe('ok');
    expect(ended(rig)).toEqual([]);
  });

  it('can be promised to others, and the largest of the processes ends when it is not enough', () => {
    const rig = rigWith(['a', 'b', 'c'], OVERCOMMITTED);
    rig.pass(HOUR_MS);
    start(rig, 'filler', sized(10 * GIBIBYTE));
    expect(start(rig, 'd')).toBe('ok');
    expect(ended(rig)).toEqual([]);
    expect(rig.tool('virsh', 'nodememstats')).toMatch(/^total {2}: {13}16777216 KiB\nfree {3}: +\d+ KiB\nbuffers:/);
    expect(start(rig, 'e', sized(3 * GIBIBYTE))).toBe('ok');
    expect(ended(rig)).toEqual([['filler', 'crash']]);
    rig.pass(60_000);
    expect(rig.model.inventory(rig.state).map(({ uid }) => uid)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(start(rig, 'f', sized(28 * GIBIBYTE))).toBe('host_out_of_memory');
  });
});

describe('ksmd over random histories', () => {
  const step = fc.record({
    ...pageStep,
    gibibytes: fc.constantFrom(0.5, 1, 2, 6, 12),
  });
  type Step = typeof step extends fc.Arbitrary<infer Each> ? Each : never;

  const live = (rig: Rig, steps: readonly Step[], cutMs: number): void => {
    const runs = new Map<string, number>();
    for (const { pauseMs, workload, gibibytes, ...step } of steps) {
      for (let left = pauseMs; left > 0; left -= cutMs) rig.pass(Math.min(left, cutMs));
      const bytes = gibibytes * GIBIBYTE;
      const settings = settingsOf({ ...SAME, ...sized(bytes), name: step.uid, workload });
      doPageStep(rig, step, {
        runs,
        settings,
        change: { dynamicMinBytes: bytes / 2, dynamicMaxBytes: bytes / 2 },
      });
      const { sharing, freeMemoryBytes } = rig.model.figures(rig.state);
      expect(freeMemoryBytes).toBeGreaterThanOrEqual(0);
      const all = rig.model.domainFigures(rig.state, rig.at).reduce((sum, { sharedBytes = 0 }) => sum + sharedBytes, 0);
      expect((sharing?.sharedBytes ?? 0) + (sharing?.savedBytes ?? 0)).toBe(all);
    }
  };

  it('comes to the same however time is cut, rests in the end, and ends nobody where nothing is over-committed', () => {
    const anySharing = fc.constantFrom({ overcommitPercent: 100 }, OVERCOMMITTED);
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 20 }),
        fc.integer({ min: 1_000, max: 50_000 }),
        anySharing,
        (steps, cutMs, sharing) => {
          const [whole, pieces] = [rigWith([], sharing), rigWith([], sharing)];
          live(whole, steps, HOUR_MS);
          live(pieces, steps, cutMs);
          for (const rig of [whole, pieces]) rig.pass(100 * HOUR_MS);
          expect(JSON.parse(JSON.stringify(pieces.state))).toEqual(JSON.parse(JSON.stringify(whole.state)));
          expect(whole.model.nextDue(whole.state)).toBeNull();
          if (sharing !== OVERCOMMITTED) expect(ended(whole)).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });
});
