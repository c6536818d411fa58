import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HostEvent } from '../index.js';
import { GIBIBYTE, settingsOf } from './host.spec-fixture.js';
import { anyAct, checkSchedule, Pair, SOURCE, TARGET, UID } from './migration.spec-fixture.js';

const rounds = (pair: Pair): readonly (HostEvent & { type: 'migrationRound' })[] =>
  pair.hosts[SOURCE].events.filter((event) => event.type === 'migrationRound');

const started = (change: Parameters<Pair['start']>[0] = {}): Pair => {
  const pair = new Pair();
  pair.start(change);
  expect(pair.receive(change)?.code).toBe('ok');
  return pair;
};

describe('a live migration between two hosts', () => {
  it('takes the guest over as it is, and leaves nothing at the source', () => {
    const pair = started();
    const free = pair.hosts[SOURCE].freeBytes;
    let copies = 1;
    const told = pair.migrate({}, () => {
      copies = Number(pair.runs(SOURCE)) + Number(pair.runs(TARGET));
      expect(copies).toBeLessThanOrEqual(1);
    });
    expect(told).toMatchObject({ code: 'ok', value: { rounds: rounds(pair).length } });
    expect(copies).toBe(1);
    expect(pair.runs(TARGET)).toBe(true);
    expect(pair.hosts[SOURCE].model.inventory(pair.hosts[SOURCE].state)).toEqual([]);
    expect(pair.hosts[SOURCE].freeBytes).toBeGreaterThan(free);
    expect(pair.hosts[TARGET].model.inventory(pair.hosts[TARGET].state)).toMatchObject([
      { uid: UID, incarnation: 2, state: 'running' },
    ]);
    pair.pass(120_000);
    expect(pair.hosts[TARGET].state.machines[UID]?.guest).toMatchObject({ phase: 'up', stopping: null });
    expect(pair.hosts[TARGET].tool('xl', 'block-list', 'web').split('\n')[1]).toMatch(/^51712\s+0\s+1\s+4/);
    expect(pair.handle(TARGET)).toBe('final');
    expect(Object.keys(pair.hosts[SOURCE].state.migrations)).toEqual([]);
    expect(Object.keys(pair.hosts[TARGET].state.migrations)).toEqual([]);
    const down = { do: 'shutdown', mode: 'clean', timeoutMs: 60_000, incarnation: 2 } as const;
    expect(pair.ask(TARGET, down)?.code).toBe('ok');
  });

  it('reports each round, and figures that follow from pages, link and guest', () => {
    const pair = started();
    const told = pair.migrate();
    const told2 = told?.value as { pagesSent: number; downtimeMs: number; durationMs: number };
    const [first, ...more] = rounds(pair);
    expect(first).toMatchObject({ round: 1, pagesSent: GIBIBYTE / 4096, operation: 'op' });
    expect(Math.abs((first?.pagesPerSecond ?? 0) - 305_175)).toBeLessThan(10);
    for (const [index, round] of more.entries())
      expect(round.pagesSent).toBe(index === 0 ? first?.remainingPages : more[index - 1]?.remainingPages);
    const live = rounds(pair).reduce((sum, { pagesSent }) => sum + pagesSent, 0);
    expect(told2.pagesSent).toBe(live + (rounds(pair).at(-1)?.remainingPages ?? 0));
    expect(told2.durationMs).toBeGreaterThan(800);
    expect(told2.downtimeMs).toBeGreaterThan(0);
    expect(told2.downtimeMs).toBeLessThan(1_000);
  });

  it('shares the link of the host, two at a time, and lets others wait', () => {
    const pair = new Pair();
    const machines = ['a', 'b', 'c'].map((last) => UID.slice(0, -1) + last);
    for (const uid of machines)
      pair.ask(SOURCE, { do: 'start', settings: settingsOf({ name: uid }), paused: false, uid });
    for (const uid of machines) {
      const settings = settingsOf({ name: uid });
      pair.ask(TARGET, { do: 'receive', settings, from: SOURCE, fromIncarnation: 1, incarnation: 2, uid });
    }
    const tickets = machines.map((uid) => pair.begin({ uid }));
    expect(Object.values(pair.hosts[SOURCE].state.migrations).map(({ end }) => end !== null)).toEqual([
      true,
      true,
      false,
    ]);
    pair.pass(60_000);
    expect(tickets.map((ticket) => pair.hosts[SOURCE].told(ticket)?.code)).toEqual(['ok', 'ok', 'ok']);
    const firsts = rounds(pair).filter(({ round }) => round === 1);
    expect(firsts[0]?.pagesPerSecond).toBeLessThan(160_000);
    expect(firsts[2]?.pagesPerSecond).toBeGreaterThan(300_000);
    for (const uid of machines) expect(pair.runs(TARGET, uid)).toBe(true);
  });

  it('does not list what it receives before it is there for good', () => {
    const pair = started();
    expect(pair.has(TARGET)).toBe(true);
    expect(pair.hosts[TARGET].model.inventory(pair.hosts[TARGET].state)).toEqual([]);
    expect(pair.ask(TARGET, { do: 'pause', incarnation: 2 })?.code).toBe('host_unknown_domain');
    expect(pair.ask(TARGET, { do: 'destroy', incarnation: 2 })?.code).toBe('ok');
    expect(pair.migrate()?.code).toBe('migration_failed');
    expect(pair.runs(SOURCE)).toBe(true);
  });

  it('is cancelled at any moment, or refuses because it is too late', () => {
    const answers = new Set<string>();
    for (let ms = 0; ms < 2_500; ms += 50) {
      const pair = started();
      const ticket = pair.begin();
      pair.pass(ms);
      const cancelled = pair.ask(SOURCE, { do: 'cancelMigration' })?.code ?? '';
      pair.pass(120_000);
      const told = pair.hosts[SOURCE].told(ticket)?.code ?? '';
      answers.add(`${cancelled} ${told}`);
      expect(pair.runs(SOURCE), `after ${ms} ms: ${told}`).toBe(told !== 'ok');
      expect(pair.runs(TARGET), `after ${ms} ms: ${told}`).toBe(told === 'ok');
      if (told !== 'ok') {
        expect(pair.has(TARGET)).toBe(false);
        expect(pair.handle(SOURCE)).toBe('final');
        expect(pair.ask(TARGET, { do: 'settleMigration', incarnation: 2 })?.code).toBe('migration_failed');
        expect(pair.ask(SOURCE, { do: 'shutdown', mode: 'clean', timeoutMs: 60_000 })?.code).toBe('ok');
      }
    }
    expect([...answers].sort()).toEqual(['migration_switched ok', 'ok migration_cancelled', 'ok ok']);
  });

  it('is not rebooted where it was once another host may run it', () => {
    const codes = new Set<string>();
    // The switch lies between 1.2 and 1.3 s.
    for (let ms = 1_200; ms < 1_300; ms += 1) {
      const pair = started();
      pair.begin();
      pair.pass(ms);
      const reboot = pair.hosts[SOURCE].tell({ do: 'reboot', uid: UID, mode: 'hard', timeoutMs: 1_000 });
      pair.pass(120_000, () => expect(pair.runs(SOURCE) && pair.runs(TARGET), `after ${ms} ms`).toBe(false));
      const code = pair.hosts[SOURCE].told(reboot)?.code ?? '';
      codes.add(code);
      expect(pair.runs(code === 'ok' ? SOURCE : TARGET), `after ${ms} ms: ${code}`).toBe(true);
    }
    expect(codes).toContain('migration_switched');
  });

  it('fails for a guest that ignores it, which runs on', () => {
    const pair = started({ ignoresShutdown: true });
    expect(pair.migrate()?.code).toBe('migration_failed');
    pair.pass(120_000);
    expect(pair.runs(SOURCE)).toBe(true);
    expect(pair.has(TARGET)).toBe(false);
    expect(pair.hosts[SOURCE].tool('xenstore', 'read', '/local/domain/1/control/shutdown')).toBe('\n');
  });

  it('fails for one that does not run, ends meanwhile, or has no drivers', () => {
    const pair = started();
    pair.ask(SOURCE, { do: 'pause' });
    expect(pair.migrate()?.code).toBe('migration_failed');
    pair.ask(SOURCE, { do: 'unpause' });
    const ticket = pair.begin();
    pair.pass(700);
    expect(pair.ask(SOURCE, { do: 'shutdown', mode: 'clean', timeoutMs: 60_000 })?.code).toBe('ok');
    pair.pass(120_000);
    expect(pair.hosts[SOURCE].told(ticket)?.code).toBe('migration_failed');
    expect(pair.has(TARGET)).toBe(false);
    const plain = started({ guestType: 'hvm', pvDrivers: false });
    expect(plain.migrate()?.code).toBe('migration_failed');
  });

  it('gives way to an end by force', () => {
    for (let ms = 0; ms < 2_000; ms += 100) {
      const pair = started();
      const ticket = pair.begin();
      pair.pass(ms);
      expect(pair.ask(SOURCE, { do: 'destroy' })?.code).toBe('ok');
      pair.pass(200_000);
      const told = pair.hosts[SOURCE].told(ticket)?.code;
      expect(['ok', 'migration_failed', 'host_unknown_domain']).toContain(told);
      expect(pair.has(SOURCE)).toBe(false);
      expect(pair.runs(TARGET)).toBe(told === 'ok');
    }
  });

  it('survives the crash of either host at any moment, and parting them', () => {
    for (const what of ['source', 'target', 'parted'] as const)
      for (let ms = 0; ms < 2_500; ms += 50) {
        const pair = started();
        const ticket = pair.begin();
        pair.pass(ms);
        if (what === 'parted') {
          pair.parted = true;
          pair.pass(100_000);
          pair.parted = false;
        } else pair.crash(what === 'source' ? SOURCE : TARGET);
        pair.pass(300_000);
        const told = pair.hosts[SOURCE].told(ticket)?.code;
        const where = `${what} after ${ms} ms: ${told}`;
        expect(told, where).toBeDefined();
        expect(Number(pair.runs(SOURCE)) + Number(pair.runs(TARGET)), where).toBeLessThanOrEqual(1);
        if (what === 'parted') expect(Number(pair.runs(SOURCE)) + Number(pair.runs(TARGET)), where).toBe(1);
        if (what === 'target') expect(pair.runs(SOURCE), where).toBe(told !== 'ok');
        const settled = pair.ask(TARGET, { do: 'settleMigration', incarnation: 2 })?.code;
        if (what === 'source') expect(pair.runs(TARGET), where).toBe(settled === 'ok');
        pair.pass(300_000);
        if (settled !== 'ok') expect(pair.has(TARGET), where).toBe(false);
      }
  });

  it('goes on to a third host, and back', () => {
    const pair = started();
    pair.migrate();
    const back = { settings: settingsOf(), from: TARGET, fromIncarnation: 2, incarnation: 3 };
    expect(pair.ask(SOURCE, { do: 'receive', ...back })?.code).toBe('ok');
    const order = { to: SOURCE, toIncarnation: 3, operation: 'op', policy: 'xen-legacy', incarnation: 2 } as const;
    expect(pair.ask(TARGET, { do: 'migrate', ...order })?.code).toBe('ok');
    expect([pair.runs(SOURCE), pair.has(TARGET)]).toEqual([true, false]);
  });

  it('takes no time on hosts without time', () => {
    const pair = new Pair(0);
    pair.start();
    pair.receive();
    const ticket = pair.begin();
    pair.carry();
    expect(pair.hosts[SOURCE].told(ticket)?.code).toBe('ok');
    expect([pair.has(SOURCE), pair.runs(TARGET)]).toEqual([false, true]);
  });
});

describe('two hosts and whatever may happen between them', () => {
  it('never let two copies run, and lose none that a host which lives still has', () => {
    fc.assert(
      fc.property(fc.array(anyAct, { maxLength: 60 }), fc.nat(2_000), (acts, late) => {
        checkSchedule(new Pair(), acts, late);
      }),
      { numRuns: 300 },
    );
  });
});
