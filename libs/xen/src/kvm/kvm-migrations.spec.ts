import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GIBIBYTE, ModelRig, settingsOf } from '../host/host.spec-fixture.js';
import { anyAct, checkSchedule, HostPair, SOURCE, TARGET, UID, type HostName } from '../host/migration.spec-fixture.js';
import { xenHostModel } from '../host/xen-host.js';
import { timingFor } from '../host-timing.js';
import type { DomainSettings, HostEvent, HostModel } from '../index.js';
import { kvmHostModel } from './kvm-host.js';
import type { KvmHostState } from './kvm-state.js';

const GUEST = { guestType: 'hvm', workload: 'web' } as const;

class KvmPair extends HostPair<KvmHostState> {
  constructor(bootMs = 1_000) {
    const model = kvmHostModel(timingFor(bootMs));
    super({ [SOURCE]: new ModelRig(model, SOURCE), [TARGET]: new ModelRig(model, TARGET) }, GUEST);
  }

  /** Its vCPUs are let run. */
  runs(name: HostName, uid = UID): boolean {
    const machine = this.hosts[name].state.machines[uid];
    return machine?.phase === 'up' && !machine.paused;
  }

  has(name: HostName, uid = UID): boolean {
    const machine = this.hosts[name].state.machines[uid];
    return machine !== undefined && machine.phase !== 'ending';
  }
}

const started = (change: Partial<DomainSettings> = {}): KvmPair => {
  const pair = new KvmPair();
  pair.start(change);
  expect(pair.receive(change)?.code).toBe('ok');
  return pair;
};

const rounds = (pair: KvmPair): readonly (HostEvent & { type: 'migrationRound' })[] =>
  pair.hosts[SOURCE].events.filter((event) => event.type === 'migrationRound');

/** What a migration was answered with. */
const figuresOf = (value: unknown) =>
  value as { readonly rounds: number; readonly pagesSent: number; readonly downtimeMs: number };

describe('a live migration between two KVM hosts', () => {
  it('takes the guest over as it is, and leaves no process at the source', () => {
    const pair = started();
    const [{ domid: before } = { domid: 0 }] = pair.hosts[SOURCE].model.inventory(pair.hosts[SOURCE].state);
    const told = pair.migrate({}, () => {
      expect(pair.runs(SOURCE) && pair.runs(TARGET)).toBe(false);
    });
    expect(told).toMatchObject({ code: 'ok', value: { rounds: rounds(pair).length } });
    expect([pair.runs(TARGET), pair.has(SOURCE)]).toEqual([true, false]);
    const [there] = pair.hosts[TARGET].model.inventory(pair.hosts[TARGET].state);
    expect(there).toMatchObject({ uid: UID, incarnation: 2, state: 'running' });
    expect(there?.domid).not.toBe(before);
    pair.pass(120_000);
    expect(pair.hosts[TARGET].state.machines[UID]?.guest).toMatchObject({ phase: 'up', stopping: null });
    expect(([SOURCE, TARGET] as const).map((name) => pair.hosts[name].state.migrations)).toEqual([{}, {}]);
    const down = { do: 'shutdown', mode: 'clean', timeoutMs: 60_000, incarnation: 2 } as const;
    expect(pair.ask(TARGET, down)?.code).toBe('ok');
  });

  it('stops the guest once what is left fits into 300 ms of the link', () => {
    const pair = started();
    const { pagesSent, downtimeMs } = figuresOf(pair.migrate()?.value);
    const all = rounds(pair);
    const link = all[0]?.pagesPerSecond ?? 0;
    for (const [index, { remainingPages }] of all.entries())
      expect(remainingPages * 1_000 <= link * 300).toBe(index === all.length - 1);
    const left = all.at(-1)?.remainingPages ?? 0;
    expect(pagesSent).toBe(all.reduce((sum, round) => sum + round.pagesSent, 0) + left);
    // The rest over the link, and the state of devices.
    expect(Math.abs(downtimeMs - (1_000 * left) / link - 20)).toBeLessThan(3);
  });

  it('lets a guest that dirties faster than the link be, unless a policy slows it down', () => {
    const busy = { workload: 'memory-stress' } as const;
    const pair = started(busy);
    expect(pair.migrate()).toMatchObject({ code: 'migration_failed' });
    expect(pair.runs(SOURCE)).toBe(true);
    const slowed = started(busy);
    expect(slowed.migrate({ policy: 'suspend-workload-if-needed' })?.code).toBe('ok');
    for (const policy of ['xen-v2', 'xen-legacy'] as const)
      expect(started().migrate({ policy })).toMatchObject({
        code: 'migration_failed',
        value: expect.stringContaining('its hypervisor knows no policy') as unknown,
      });
  });

  it('shares the link, two at a time, and lets others wait', () => {
    const pair = new KvmPair();
    const machines = ['a', 'b', 'c'].map((last) => UID.slice(0, -1) + last);
    for (const uid of machines) {
      const settings = settingsOf({ ...GUEST, name: uid });
      pair.ask(SOURCE, { do: 'start', settings, paused: false, uid });
      pair.ask(TARGET, { do: 'receive', settings, from: SOURCE, fromIncarnation: 1, incarnation: 2, uid });
    }
    const tickets = machines.map((uid) => pair.begin({ uid }));
    expect(pair.hosts[SOURCE].model.figures(pair.hosts[SOURCE].state).migrations).toEqual({ incoming: 0, outgoing: 2 });
    pair.pass(60_000);
    expect(tickets.map((ticket) => pair.hosts[SOURCE].told(ticket)?.code)).toEqual(['ok', 'ok', 'ok']);
    const firsts = rounds(pair).filter(({ round }) => round === 1);
    expect(firsts[0]?.pagesPerSecond).toBeLessThan(160_000);
    expect(firsts[2]?.pagesPerSecond).toBeGreaterThan(300_000);
  });

  it('asks no guest: one that ignores everything, boots, or is paused on its way goes over', () => {
    const deaf = started({ ignoresShutdown: true, pvDrivers: false });
    expect(deaf.migrate()?.code).toBe('ok');
    const paused = started();
    const ticket = paused.begin();
    paused.pass(300);
    expect(paused.ask(SOURCE, { do: 'pause' })?.code).toBe('ok');
    paused.pass(60_000);
    expect(paused.hosts[SOURCE].told(ticket)?.code).toBe('ok');
    expect(paused.ask(TARGET, { do: 'settleMigration', incarnation: 2 })?.value).toMatchObject({ state: 'paused' });
    paused.ask(TARGET, { do: 'unpause', incarnation: 2 });
    expect(paused.runs(TARGET)).toBe(true);
  });

  it('lets a guest that was told to stop do so where it is then', () => {
    const pair = started();
    pair.begin();
    pair.pass(700);
    const down = pair.hosts[SOURCE].tell({ do: 'shutdown', uid: UID, mode: 'clean', timeoutMs: 600_000 });
    pair.pass(300_000);
    expect(pair.hosts[SOURCE].told(down)?.code).toBe('guest_ignored_shutdown');
    expect(pair.hosts[TARGET].events).toContainEqual(
      expect.objectContaining({ type: 'guestEnded', reason: 'poweroff', incarnation: 2 }),
    );
    expect([pair.has(SOURCE), pair.has(TARGET)]).toEqual([false, false]);
  });

  it('refuses what would change the machine meanwhile', () => {
    const pair = started();
    const ticket = pair.begin();
    pair.pass(100);
    const disk = { name: 'data', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false };
    for (const input of [
      { do: 'change', change: { vcpus: 1 } },
      { do: 'attach', device: { kind: 'disk', settings: disk } },
      { do: 'detach', kind: 'disk', name: 'root' },
      { do: 'checkpoint', timeoutMs: 1_000 },
      { do: 'suspend', timeoutMs: 1_000 },
    ] as const)
      expect(pair.ask(SOURCE, input)).toMatchObject({
        code: 'host_domain_unsupported',
        value: expect.stringContaining('it is being migrated') as unknown,
      });
    pair.pass(60_000);
    expect(pair.hosts[SOURCE].told(ticket)?.code).toBe('ok');
  });

  it('is cancelled at any moment, or refuses because it is too late', () => {
    const answers = new Set<string>();
    for (let ms = 0; ms < 2_000; ms += 20) {
      const pair = started();
      const ticket = pair.begin();
      pair.pass(ms);
      const cancelled = pair.ask(SOURCE, { do: 'cancelMigration' })?.code ?? '';
      pair.pass(120_000);
      const told = pair.hosts[SOURCE].told(ticket)?.code ?? '';
      answers.add(`${cancelled} ${told}`);
      expect([pair.runs(SOURCE), pair.runs(TARGET)], `after ${ms} ms: ${told}`).toEqual([told !== 'ok', told === 'ok']);
      if (told !== 'ok') expect(pair.has(TARGET)).toBe(false);
    }
    expect(answers).toContain('ok migration_cancelled');
    expect(answers).toContain('ok ok');
  });

  it('is not rebooted where it was once its guest stands still to go over', () => {
    const codes = new Set<string>();
    for (let ms = 0; ms < 1_500; ms += 4) {
      const pair = started();
      pair.begin();
      pair.pass(ms);
      const reboot = pair.hosts[SOURCE].tell({ do: 'reboot', uid: UID, mode: 'hard', timeoutMs: 1_000 });
      pair.pass(120_000, () => expect(pair.runs(SOURCE) && pair.runs(TARGET), `after ${ms} ms`).toBe(false));
      codes.add(pair.hosts[SOURCE].told(reboot)?.code ?? '');
      expect(pair.runs(TARGET), `after ${ms} ms`).toBe(true);
    }
    expect([...codes].sort()).toEqual(['command_cancelled', 'host_unknown_domain', 'migration_switched', 'ok']);
  });

  it('survives the crash of either host at any moment, and parting them', () => {
    for (const what of ['source', 'target', 'parted'] as const)
      for (let ms = 0; ms < 1_500; ms += 50) {
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
        const copies = Number(pair.runs(SOURCE)) + Number(pair.runs(TARGET));
        if (what === 'parted') expect(copies, where).toBe(1);
        expect(copies, where).toBeLessThanOrEqual(1);
        if (what === 'target') expect(pair.runs(SOURCE), where).toBe(told !== 'ok');
      }
  });

  it('takes no guest from a Xen host, nor gives one there', () => {
    const xen = xenHostModel(timingFor(1_000)) as unknown as HostModel<KvmHostState>;
    const kvm = kvmHostModel(timingFor(1_000));
    for (const [here, there] of [
      [xen, kvm],
      [kvm, xen],
    ] as const) {
      const pair = new KvmPair();
      Object.assign(pair.hosts, { [SOURCE]: new ModelRig(here, SOURCE), [TARGET]: new ModelRig(there, TARGET) });
      pair.start();
      pair.receive();
      expect(pair.migrate()?.code).toBe('migration_failed');
      expect(rounds(pair)).toEqual([]);
      pair.pass(60_000);
      expect([pair.owns(SOURCE), pair.has(TARGET)]).toEqual([true, false]);
    }
  });

  it('takes no time on hosts without time', () => {
    const pair = new KvmPair(0);
    pair.start();
    pair.receive();
    const ticket = pair.begin();
    pair.carry();
    expect(pair.hosts[SOURCE].told(ticket)?.code).toBe('ok');
    expect([pair.has(SOURCE), pair.runs(TARGET)]).toEqual([false, true]);
  });

  it('never lets two copies run, and loses none that a host which lives still has', () => {
    fc.assert(
      fc.property(fc.array(anyAct, { maxLength: 60 }), fc.nat(1_500), (acts, late) => {
        checkSchedule(new KvmPair(), acts, late);
      }),
      { numRuns: 300 },
    );
  });
});
