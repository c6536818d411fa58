import fc from 'fast-check';
import { expect } from 'vitest';
import type { DomainSettings, HostEvent, HostInput, HostState, MemorySharing } from '../index.js';
import { migrationNames } from '../migration/index.js';
import { GIBIBYTE, HostRig, settingsOf, type Asked, type ModelRig, type Told } from './host.spec-fixture.js';

export const SOURCE = 'host-0001';
export const TARGET = 'host-0002';
export type HostName = typeof SOURCE | typeof TARGET;
export const UID = '00000000-0000-4000-8000-00000000000a';

interface Posted {
  readonly from: HostName;
  readonly event: HostEvent & { type: 'peer' };
}

/** Two hosts on one clock, and what is on its way between them: in order for each direction and connection, as their agents carry it. */
export abstract class HostPair<State> {
  readonly posted: Posted[] = [];
  /** Nothing is carried while this holds. */
  parted = false;
  private readonly read: Record<HostName, number> = { 'host-0001': 0, 'host-0002': 0 };

  /** `standard`: what the machines of these hosts are when nothing else is said. */
  constructor(
    readonly hosts: Readonly<Record<HostName, ModelRig<State>>>,
    private readonly standard: Partial<DomainSettings> = {},
  ) {}

  /** Whether the guest takes steps on the host. */
  abstract runs(name: HostName, uid?: string): boolean;
  /** It is there in any state, running or not. */
  abstract has(name: HostName, uid?: string): boolean;

  /** The host says that the machine is its own. */
  owns(name: HostName, uid = UID): boolean {
    const { model, state } = this.hosts[name];
    return model.inventory(state).some((view) => view.uid === uid);
  }

  /** What the hosts have said since, in the order of its events; a crashed host says nothing more, a new connection overtakes the old. */
  private collect(): void {
    for (const name of ['host-0001', 'host-0002'] as const) {
      const { events } = this.hosts[name];
      for (const event of events.slice(this.read[name])) {
        if (event.type === 'peer') {
          this.forget((posted) => posted.from === name && posted.event.connection < event.connection);
          this.posted.push({ from: name, event });
        } else if (event.type === 'crashed') this.forget((posted) => posted.from === name);
      }
      this.read[name] = events.length;
    }
  }

  private forget(which: (posted: Posted) => boolean): void {
    for (let index = this.posted.length - 1; index >= 0; index -= 1) {
      const posted = this.posted[index];
      if (posted && which(posted)) this.posted.splice(index, 1);
    }
  }

  /** Messages that could be delivered now: the first of each direction. */
  heads(): readonly Posted[] {
    this.collect();
    return (['host-0001', 'host-0002'] as const).flatMap((name) => {
      const first = this.posted.find(({ from }) => from === name);
      return first ? [first] : [];
    });
  }

  /** Delivers a message; one that is kept comes again. */
  deliver(posted: Posted, keep = false): void {
    const { event, from } = posted;
    const to = this.hosts[event.to as HostName];
    const { uid, incarnation, seq, message, connection } = event;
    const before = to.events.length;
    const ticket = to.tell({ do: 'peer', uid, incarnation, from, seq, message });
    const answered = to.events.slice(before).find((said) => said.type === 'answered' && said.ticket === ticket);
    // A host that is down answers when it has booted: until then it is as if nothing had been sent.
    if (answered === undefined) return;
    if (!keep) this.posted.splice(this.posted.indexOf(posted), 1);
    const told = to.told(ticket);
    if (told?.code === 'ok') return;
    const unknown = told?.code === 'host_unknown_domain';
    this.input(from, { do: 'peerRefused', uid, incarnation, connection, unknown });
  }

  input(name: HostName, input: HostInput): void {
    const rig = this.hosts[name];
    rig.events.push(...rig.model.apply(rig.state, input, rig.at));
  }

  crash(name: HostName): void {
    this.input(name, { do: 'crash' });
  }

  carry(): void {
    for (let heads = this.heads(); !this.parted && heads.length > 0; heads = this.heads()) {
      const before = this.posted.length;
      for (const posted of heads) if (this.posted.includes(posted)) this.deliver(posted);
      if (this.posted.length === before) return;
    }
  }

  /** Both clocks go on together, from event to event. */
  pass(ms: number, look: () => void = () => undefined): void {
    const [one, two] = [this.hosts['host-0001'], this.hosts['host-0002']];
    const until = one.at + ms;
    this.carry();
    look();
    while (one.at < until) {
      const due = [one, two].map((rig) => rig.model.nextDue(rig.state) ?? until);
      const next = Math.min(until, Math.max(one.at + 1, Math.min(...due)));
      for (const rig of [one, two]) rig.pass(next - rig.at);
      this.carry();
      look();
    }
  }

  /** Asks a host and lets both go on until it answers. */
  ask(name: HostName, input: Asked, look?: () => void): Told {
    const rig = this.hosts[name];
    const ticket = rig.tell({ uid: UID, ...input } as Asked);
    for (let passed = 0; rig.told(ticket) === null && passed < 4_000; passed += 1) this.pass(1_000, look);
    return rig.told(ticket);
  }

  start(change: Partial<DomainSettings> = {}): void {
    this.ask('host-0001', { do: 'start', settings: settingsOf({ ...this.standard, ...change }), paused: false });
  }

  receive(change: Partial<DomainSettings> = {}, incarnation = 2): Told {
    const settings = settingsOf({ ...this.standard, ...change });
    return this.ask('host-0002', { do: 'receive', settings, from: 'host-0001', fromIncarnation: 1, incarnation });
  }

  /** The ticket of a migration that has been asked for. */
  begin(change: Partial<Extract<Asked, { do: 'migrate' }>> = {}): string {
    const order = { do: 'migrate', to: 'host-0002', toIncarnation: 2, operation: 'op' } as const;
    return this.hosts['host-0001'].tell({ uid: UID, ...order, ...change });
  }

  migrate(change: Partial<Extract<Asked, { do: 'migrate' }>> = {}, look?: () => void): Told {
    const ticket = this.begin(change);
    const rig = this.hosts['host-0001'];
    for (let passed = 0; rig.told(ticket) === null && passed < 4_000; passed += 1) this.pass(1_000, look);
    return rig.told(ticket);
  }
}

/** Two Xen hosts. */
export class Pair extends HostPair<HostState> {
  constructor(bootMs = 1_000, memorySharing?: MemorySharing) {
    const rig = (name: HostName): HostRig => new HostRig(bootMs, name, {}, memorySharing);
    super({ [SOURCE]: rig(SOURCE), [TARGET]: rig(TARGET) });
  }

  /** Its vCPUs are let go and it is in its domain. */
  runs(name: HostName, uid = UID): boolean {
    const { state } = this.hosts[name];
    const machine = state.machines[uid];
    const domain = state.hypervisor.domains[machine?.domid ?? -1];
    if (!machine || !domain || domain.dying !== 'alive') return false;
    return domain.controllerPauses === 0 && domain.shutdownCode === null;
  }

  has(name: HostName, uid = UID): boolean {
    const machine = this.hosts[name].state.machines[uid];
    return machine !== undefined && machine.phase !== 'ending';
  }

  handle(name: HostName, uid = UID): 'final' | 'source' | 'target' | null {
    const { state } = this.hosts[name];
    const handle = state.hypervisor.domains[state.machines[uid]?.domid ?? -1]?.handle;
    const names = migrationNames(uid);
    return (['final', 'source', 'target'] as const).find((which) => names[which] === handle) ?? null;
  }
}

/** Something that happens to two hosts. */
export type Act =
  | { readonly do: 'deliver'; readonly which: number; readonly keep: boolean }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'crash'; readonly host: HostName }
  | { readonly do: 'tell'; readonly host: HostName; readonly input: Asked };

export const anyAct: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant('deliver' as const), which: fc.nat(1), keep: fc.boolean() }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 20_000 })),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('crash' as const), host: fc.constantFrom(SOURCE, TARGET) }),
  },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom<readonly [HostName, Asked]>(
        [SOURCE, { do: 'cancelMigration' }],
        [SOURCE, { do: 'pause' }],
        [SOURCE, { do: 'unpause' }],
        [SOURCE, { do: 'checkpoint', timeoutMs: 1_000 }],
        [SOURCE, { do: 'reboot', mode: 'hard', timeoutMs: 1_000 }],
        [SOURCE, { do: 'change', change: { dynamicMinBytes: GIBIBYTE / 2, vcpus: 3 } }],
        [TARGET, { do: 'settleMigration', incarnation: 2 }],
        [TARGET, { do: 'pause', incarnation: 2 }],
      )
      .map(([host, input]) => ({ do: 'tell' as const, host, input })),
  },
);

/** Plays what may happen while a machine goes from one host to the other: at every step one copy runs at most, and none is lost that a living host has. */
export const checkSchedule = <State>(pair: HostPair<State>, acts: readonly Act[], late: number): void => {
  pair.start();
  expect(pair.receive()?.code).toBe('ok');
  const ticket = pair.begin();
  pair.pass(0);
  const seen = { ranThere: false, goneThere: false };
  const crashed = new Set<string>();
  const look = (): void => {
    const [here, there] = [pair.runs(SOURCE), pair.runs(TARGET)];
    expect(here && there, 'one copy runs').toBe(false);
    expect(here && seen.ranThere, 'an old copy does not run again').toBe(false);
    seen.ranThere ||= there;
  };
  pair.pass(late, look);
  for (const act of acts) {
    if (act.do === 'deliver') {
      const heads = pair.heads();
      const head = heads[act.which % Math.max(1, heads.length)];
      if (head) pair.deliver(head, act.keep);
    } else if (act.do === 'crash') {
      // Whose the machine is changes a moment before the guest takes its first step there.
      seen.goneThere ||= act.host === TARGET && pair.owns(TARGET);
      pair.crash(act.host);
      crashed.add(act.host);
    } else if (act.do === 'tell') pair.hosts[act.host].tell({ uid: UID, ...act.input } as Asked);
    else {
      // What is said meanwhile waits: somebody else decides what arrives.
      pair.parted = true;
      pair.pass(act.ms, look);
      pair.parted = false;
    }
    look();
  }
  // A guest that was paused before it stood still is waited for as long as xenopsd waits, 1230 s.
  pair.pass(1_300_000, look);
  expect(pair.hosts[SOURCE].told(ticket)).not.toBeNull();
  pair.ask(TARGET, { do: 'settleMigration', incarnation: 2 }, look);
  pair.pass(400_000, look);
  for (const [host, incarnation] of [
    [SOURCE, 1],
    [TARGET, 2],
  ] as const)
    pair.ask(host, { do: 'unpause', incarnation }, look);
  pair.pass(10_000, look);
  const copies = Number(pair.runs(SOURCE)) + Number(pair.runs(TARGET));
  if (crashed.size === 0) expect(copies).toBe(1);
  if (!crashed.has(SOURCE) && !seen.ranThere && !seen.goneThere) expect(pair.runs(SOURCE)).toBe(true);
  if (!crashed.has(TARGET) && seen.ranThere) expect(pair.runs(TARGET)).toBe(true);
  if (!pair.runs(TARGET)) expect(pair.has(TARGET)).toBe(false);
};
