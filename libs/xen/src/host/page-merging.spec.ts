import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accountedPages, heapPages } from '../hypervisor/hypervisor.spec-fixture.js';
import { Hypervisor } from '../hypervisor/index.js';
import type { DomainSettings, HostState, MemorySharing, XenSetup } from '../index.js';
import type { SavedGuestImage } from '../host-model.js';
import { GIBIBYTE, HostRig, MEBIBYTE, type ModelRig } from './host.spec-fixture.js';
import { Pair, SOURCE, TARGET } from './migration.spec-fixture.js';
import { doPageStep, pageStep } from '../page-histories.spec-fixture.js';

const KEPT = { overcommitPercent: 100 };
const OVERCOMMITTED = { overcommitPercent: 200 };
const HOUR_MS = 3_600_000;
const PAGE_BYTES = 4096;
const GUEST_PAGES = GIBIBYTE / PAGE_BYTES;
/** 300 thousandths of what the guest has not written to: an idle one writes to 10 thousandths of its memory. */
const EQUAL_BYTES = Math.floor(((GUEST_PAGES - Math.floor(GUEST_PAGES / 100)) * 300) / 1000) * PAGE_BYTES;

type Rig = ModelRig<HostState>;

const SAME: Partial<DomainSettings> = { image: 'debian', workload: 'idle' };

const rigWith = (
  machines: Readonly<Record<string, Partial<DomainSettings>>>,
  memorySharing: MemorySharing | undefined = KEPT,
  setup: Partial<XenSetup> = {},
) => {
  const rig = new HostRig(1_000, 'host-0001', setup, memorySharing);
  for (const [uid, change] of Object.entries(machines)) start(rig, uid, change);
  return rig;
};

const start = (rig: Rig, uid: string, change: Partial<DomainSettings> = SAME, incarnation = 1) =>
  rig.ask({ do: 'start', uid, incarnation, settings: { ...settingsOf(change), name: uid }, paused: false });

const settingsOf = (change: Partial<DomainSettings>): DomainSettings => ({
  name: 'web',
  guestType: 'hvm',
  vcpus: 1,
  maxVcpus: 1,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE / 2,
  dynamicMaxBytes: GIBIBYTE,
  disks: [{ name: 'root', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false }],
  nics: [],
  pvDrivers: true,
  ignoresShutdown: false,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  ...change,
});

const sharing = (rig: Rig) => rig.model.figures(rig.state).sharing;
const sharedOf = (rig: Rig): Record<string, number> =>
  Object.fromEntries(
    rig.model.domainFigures(rig.state, rig.at).map(({ uid, sharedBytes = 0 }) => [uid, sharedBytes / EQUAL_BYTES]),
  );

const conserves = ({ state }: Rig): void => {
  const hypervisor = new Hypervisor(state.hypervisor);
  expect(accountedPages(hypervisor)).toEqual(heapPages(hypervisor));
};

/** Starts guests until none of 16 MiB fits any more. */
const fill = (rig: HostRig): void => {
  for (let bytes = 8 * GIBIBYTE, nth = 0; bytes >= 16 * MEBIBYTE; nth += 1) {
    const sizes = { staticMaxBytes: bytes, dynamicMinBytes: bytes, dynamicMaxBytes: bytes };
    if (start(rig, `filler-${nth}`, { guestType: 'pv', ...sizes })?.code !== 'ok') bytes /= 2;
  }
};

describe('guests of one image on a host that shares pages', () => {
  it('have what the image made equal once, when two scans have seen it', () => {
    const rig = rigWith({ a: SAME, b: SAME, c: SAME });
    const free = rig.freeBytes;
    // 786,432 pages, 100 in each 20 ms: 157 s.
    rig.pass(200_000);
    expect(sharing(rig)).toEqual({ sharedBytes: 0, savedBytes: 0 });
    rig.pass(200_000);
    expect(sharing(rig)).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: 2 * EQUAL_BYTES });
    expect(sharedOf(rig)).toEqual({ a: 1, b: 1, c: 1 });
    expect(rig.freeBytes - free).toBe(2 * EQUAL_BYTES);
    expect(rig.tool('xl', 'info')).toMatch(/sharing_freed_memory +: 608\nsharing_used_memory +: 304\n/);
    conserves(rig);
  });

  it('are joined by later ones', () => {
    const rig = rigWith({ a: SAME, b: SAME });
    rig.pass(HOUR_MS);
    start(rig, 'c');
    rig.pass(HOUR_MS);
    expect(sharing(rig)).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: 2 * EQUAL_BYTES });
    conserves(rig);
  });

  it('write to what they share, and to more of it the busier they are', () => {
    const rig = rigWith({ a: SAME, b: SAME, c: { ...SAME, workload: 'memory-stress' } });
    rig.pass(HOUR_MS);
    const { a, b, c } = sharedOf(rig);
    expect([a, b]).toEqual([1, 1]);
    // It writes to 950 thousandths, the others to 10.
    expect(c).toBeCloseTo(0.05 / 0.99, 3);
    conserves(rig);
  });

  it('get copies of what they write to when it is merged already', () => {
    const rig = rigWith({ b: SAME, a: { ...SAME, workload: 'build' } });
    rig.ask({ do: 'pause', uid: 'a' });
    rig.pass(HOUR_MS);
    const { freeBytes } = rig;
    expect(sharedOf(rig).a).toBe(1);
    rig.ask({ do: 'unpause', uid: 'a' });
    rig.pass(300);
    const [half = 0, free] = [sharedOf(rig).a, rig.freeBytes];
    expect(half).toBeLessThan(1);
    rig.pass(HOUR_MS);
    // It writes to 300 thousandths of its memory, and so of these pages.
    expect(sharedOf(rig).a).toBeCloseTo(0.7 / 0.99, 2);
    expect(rig.freeBytes).toBeLessThan(free);
    expect(freeBytes - rig.freeBytes).toBe((sharing(rig)?.sharedBytes ?? 0) - (sharing(rig)?.savedBytes ?? 0));
    conserves(rig);
  });

  it('are at rest when nothing new can be found', () => {
    const rig = rigWith({ a: SAME, b: SAME });
    rig.pass(HOUR_MS);
    expect(rig.model.nextDue(rig.state)).toBeNull();
  });

  it('share nothing as pv, with devices of the host, of other images, or on other hosts', () => {
    const devices = [{ kind: 'pci', address: '0000:18:00.0', model: 'X710', class: 'net' }] as const;
    const given: Partial<DomainSettings> = {
      ...SAME,
      devices: [{ name: 'net', kind: 'pci', address: '0000:18:00.0' }],
    };
    const rig = rigWith({ a: SAME, b: { ...SAME, guestType: 'pv' }, c: given, d: { ...SAME, image: 'other' } }, KEPT, {
      devices,
    });
    rig.pass(HOUR_MS);
    expect(Object.keys(sharedOf(rig))).toHaveLength(4);
    expect(sharing(rig)).toEqual({ sharedBytes: 0, savedBytes: 0 });
    const usual = new HostRig();
    for (const uid of ['a', 'b']) start(usual, uid);
    usual.pass(HOUR_MS);
    expect(sharing(usual)).toBeUndefined();
  });

  it('leave the frames to the others', () => {
    const rig = rigWith({ a: SAME, b: SAME, c: SAME });
    rig.pass(HOUR_MS);
    rig.ask({ do: 'destroy', uid: 'b' });
    rig.pass(60_000);
    expect(sharing(rig)).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: EQUAL_BYTES });
    rig.ask({ do: 'shutdown', uid: 'a', mode: 'clean', timeoutMs: 60_000 });
    rig.pass(60_000);
    expect(sharing(rig)).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: 0 });
    rig.ask({ do: 'destroy', uid: 'c' });
    rig.pass(60_000);
    expect(sharing(rig)).toEqual({ sharedBytes: 0, savedBytes: 0 });
    expect(rig.freeBytes).toBe(new HostRig().freeBytes);
  });

  it('are saved and balloon with all that is theirs', () => {
    const rig = rigWith({ a: SAME, b: SAME });
    const before = rig.ask({ do: 'checkpoint', uid: 'a', timeoutMs: 60_000 })?.value;
    rig.pass(HOUR_MS);
    const after = rig.ask({ do: 'checkpoint', uid: 'a', timeoutMs: 60_000 })?.value;
    expect((after as { sizeBytes: number }).sizeBytes).toBe((before as { sizeBytes: number }).sizeBytes);
    rig.ask({ do: 'change', uid: 'a', change: { dynamicMaxBytes: GIBIBYTE / 2 } });
    rig.pass(HOUR_MS);
    expect(rig.model.domainFigures(rig.state, rig.at)[0]?.memoryBytes).toBeCloseTo(GIBIBYTE / 2 + 14 * MEBIBYTE, -7);
    rig.ask({ do: 'change', uid: 'a', change: { dynamicMaxBytes: GIBIBYTE } });
    rig.pass(HOUR_MS);
    expect(sharing(rig)).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: EQUAL_BYTES });
    conserves(rig);
  });

  it('begin anew when the host has crashed', () => {
    const rig = rigWith({ a: SAME, b: SAME });
    rig.pass(HOUR_MS);
    rig.crash();
    rig.pass(HOUR_MS);
    expect(sharing(rig)).toEqual({ sharedBytes: 0, savedBytes: 0 });
    start(rig, 'a', SAME, 2);
    start(rig, 'b', SAME, 2);
    rig.pass(HOUR_MS);
    expect(sharing(rig)?.savedBytes).toBe(EQUAL_BYTES);
  });
});

describe('a guest that shares pages and goes to another host', () => {
  /** It and another one of its image share at the source; a third one waits at the target. */
  const sharingPair = (): Pair => {
    const pair = new Pair(1_000, KEPT);
    start(pair.hosts[SOURCE], 'stays');
    start(pair.hosts[TARGET], 'waits');
    pair.start(settingsOf(SAME));
    pair.pass(HOUR_MS);
    expect(sharing(pair.hosts[SOURCE])?.savedBytes).toBe(EQUAL_BYTES);
    return pair;
  };

  it('goes with all of its memory, leaves frames to the other, and shares there as it did here', () => {
    const pair = sharingPair();
    expect(pair.receive(settingsOf(SAME))?.code).toBe('ok');
    const { pagesSent } = pair.migrate()?.value as { readonly pagesSent: number };
    // Its balloon gave half of it back first.
    expect(pagesSent).toBeGreaterThanOrEqual(GUEST_PAGES / 2);
    expect([pair.runs(SOURCE), pair.runs(TARGET)]).toEqual([false, true]);
    pair.pass(60_000);
    expect(sharing(pair.hosts[SOURCE])).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: 0 });
    pair.pass(HOUR_MS);
    expect(sharing(pair.hosts[TARGET])).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: EQUAL_BYTES });
    for (const name of [SOURCE, TARGET] as const) conserves(pair.hosts[name]);
  });

  it('shares on when it stays after all', () => {
    const pair = sharingPair();
    expect(pair.receive(settingsOf(SAME))?.code).toBe('ok');
    pair.begin();
    pair.pass(200);
    expect(pair.ask(SOURCE, { do: 'cancelMigration' })?.code).toBe('ok');
    pair.pass(HOUR_MS);
    expect(pair.runs(SOURCE)).toBe(true);
    expect(sharing(pair.hosts[SOURCE])?.savedBytes).toBe(EQUAL_BYTES);
    expect(sharing(pair.hosts[TARGET])).toEqual({ sharedBytes: 0, savedBytes: 0 });
    for (const name of [SOURCE, TARGET] as const) conserves(pair.hosts[name]);
  });

  it('has memory of its own when it is woken from its image', () => {
    const rig = rigWith({ a: SAME, b: SAME });
    rig.pass(HOUR_MS);
    const told = rig.ask({ do: 'suspend', uid: 'a', timeoutMs: 60_000 });
    expect(sharing(rig)).toEqual({ sharedBytes: EQUAL_BYTES, savedBytes: 0 });
    const image = told?.value as SavedGuestImage;
    const settings = { ...settingsOf(SAME), name: 'a' };
    expect(rig.ask({ do: 'resume', uid: 'a', incarnation: 2, settings, image, paused: false })?.code).toBe('ok');
    expect(sharing(rig)?.savedBytes).toBe(0);
    rig.pass(HOUR_MS);
    expect(sharing(rig)?.savedBytes).toBe(EQUAL_BYTES);
    conserves(rig);
  });
});

describe('what sharing spares', () => {
  it('is kept for the guests that may write to it', () => {
    const rig = rigWith({ b: SAME, a: { ...SAME, workload: 'build' } });
    rig.ask({ do: 'pause', uid: 'a' });
    rig.pass(HOUR_MS);
    fill(rig);
    expect(rig.freeBytes).toBeGreaterThanOrEqual(EQUAL_BYTES);
    rig.ask({ do: 'unpause', uid: 'a' });
    rig.pass(HOUR_MS);
    expect(rig.events.some(({ type }) => type === 'guestEnded')).toBe(false);
    // A guest that boots again gets all of its memory anew.
    expect(rig.ask({ do: 'reboot', uid: 'b', mode: 'clean', timeoutMs: 60_000 })?.code).toBe('ok');
    conserves(rig);
  });

  it('lets more guests in where memory is over-committed, and one that writes when none is left crashes', () => {
    const rig = rigWith({ b: SAME, a: { ...SAME, workload: 'build' } }, OVERCOMMITTED);
    rig.ask({ do: 'pause', uid: 'a' });
    rig.pass(HOUR_MS);
    fill(rig);
    expect(rig.freeBytes).toBeLessThan(EQUAL_BYTES / 4);
    rig.ask({ do: 'unpause', uid: 'a' });
    rig.pass(HOUR_MS);
    const ended = rig.events.flatMap((event) => (event.type === 'guestEnded' ? [[event.uid, event.reason]] : []));
    expect(ended).toEqual([['a', 'crash']]);
    expect(rig.model.inventory(rig.state).map(({ uid }) => uid)).not.toContain('a');
    conserves(rig);
  });
});

/** Its time passes in pieces. */
class CutRig extends HostRig {
  constructor(private readonly cutMs: number) {
    super(1_000, 'host-0001', {}, OVERCOMMITTED);
  }

  override pass(ms: number): void {
    for (let left = ms; left > 0; left -= this.cutMs) super.pass(Math.min(left, this.cutMs));
  }
}

describe('sharing over random histories', () => {
  const step = fc.record({
    ...pageStep,
    gibibytes: fc.constantFrom(0.5, 1, 2, 6),
    guestType: fc.constantFrom('hvm', 'pvh', 'pv'),
  });
  const setups = fc.constantFrom(KEPT, OVERCOMMITTED);

  const live = (
    rig: HostRig,
    steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[],
  ): void => {
    const runs = new Map<string, number>();
    for (const { pauseMs, workload, gibibytes, guestType, ...step } of steps) {
      rig.pass(pauseMs);
      const bytes = gibibytes * GIBIBYTE;
      const settings = settingsOf({
        image: 'debian',
        name: step.uid,
        workload,
        guestType,
        staticMaxBytes: bytes,
        dynamicMinBytes: bytes / 2,
        dynamicMaxBytes: bytes,
      });
      doPageStep(rig, step, { runs, settings, change: { dynamicMaxBytes: bytes / 2 } });
      conserves(rig);
      const { sharing: figures, freeMemoryBytes } = rig.model.figures(rig.state);
      expect(freeMemoryBytes).toBeGreaterThanOrEqual(0);
      const shared = rig.model
        .domainFigures(rig.state, rig.at)
        .reduce((sum, { sharedBytes = 0 }) => sum + sharedBytes, 0);
      expect(shared).toBe((figures?.sharedBytes ?? 0) + (figures?.savedBytes ?? 0));
    }
  };

  it('keeps memory conserved, and at rest in the end', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), setups, (steps, setup) => {
        const rig = new HostRig(1_000, 'host-0001', {}, setup);
        live(rig, steps);
        rig.pass(100 * HOUR_MS);
        expect(rig.model.nextDue(rig.state)).toBeNull();
        conserves(rig);
      }),
      { numRuns: 60 },
    );
  });

  it('never lacks a frame for a guest that writes where what was spared is kept', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const rig = new HostRig(1_000, 'host-0001', {}, KEPT);
        live(rig, steps);
        rig.pass(100 * HOUR_MS);
        expect(rig.events.filter((event) => event.type === 'guestEnded' && event.reason === 'crash')).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it('comes to the same however time is cut, and through JSON', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), fc.integer({ min: 1_000, max: 50_000 }), (steps, cutMs) => {
        const [whole, pieces] = [new HostRig(1_000, 'host-0001', {}, OVERCOMMITTED), new CutRig(cutMs)];
        live(whole, steps);
        live(pieces, steps);
        whole.pass(HOUR_MS);
        pieces.pass(HOUR_MS);
        expect(JSON.parse(JSON.stringify(pieces.state))).toEqual(JSON.parse(JSON.stringify(whole.state)));
      }),
      { numRuns: 30 },
    );
  });
});
