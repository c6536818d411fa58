import type { DomainSettings, HostEvent, HostInput } from '../index.js';
import { migrationNames } from '../migration/index.js';
import { HostRig, settingsOf, type Asked, type Told } from './host.spec-fixture.js';

export type HostName = 'host-0001' | 'host-0002';
export const UID = '00000000-0000-4000-8000-00000000000a';

interface Posted {
  readonly from: HostName;
  readonly event: HostEvent & { type: 'peer' };
}

/** Two hosts on one clock, and what is on its way between them: in order for each direction and connection, as their agents carry it. */
export class Pair {
  readonly hosts: Readonly<Record<HostName, HostRig>>;
  readonly posted: Posted[] = [];
  /** Nothing is carried while this holds. */
  parted = false;
  private readonly read: Record<HostName, number> = { 'host-0001': 0, 'host-0002': 0 };

  constructor(bootMs = 1_000) {
    this.hosts = { 'host-0001': new HostRig(bootMs, 'host-0001'), 'host-0002': new HostRig(bootMs, 'host-0002') };
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
    this.ask('host-0001', { do: 'start', settings: settingsOf(change), paused: false });
  }

  receive(change: Partial<DomainSettings> = {}, incarnation = 2): Told {
    const settings = settingsOf(change);
    return this.ask('host-0002', { do: 'receive', settings, from: 'host-0001', fromIncarnation: 1, incarnation });
  }

  /** The ticket of a migration that has been asked for. */
  begin(change: Partial<Extract<Asked, { do: 'migrate' }>> = {}): string {
    const order = { do: 'migrate', to: 'host-0002', toIncarnation: 2, operation: 'op', policy: 'xen-v2' } as const;
    return this.hosts['host-0001'].tell({ uid: UID, ...order, ...change });
  }

  migrate(change: Partial<Extract<Asked, { do: 'migrate' }>> = {}, look?: () => void): Told {
    const ticket = this.begin(change);
    const rig = this.hosts['host-0001'];
    for (let passed = 0; rig.told(ticket) === null && passed < 4_000; passed += 1) this.pass(1_000, look);
    return rig.told(ticket);
  }

  /** Whether the guest takes steps on the host: its vCPUs are let go and it is in its domain. */
  runs(name: HostName, uid = UID): boolean {
    const { state } = this.hosts[name];
    const machine = state.machines[uid];
    const domain = state.hypervisor.domains[machine?.domid ?? -1];
    if (!machine || !domain || domain.dying !== 'alive') return false;
    return domain.controllerPauses === 0 && domain.shutdownCode === null;
  }

  /** It is there in any state, running or not. */
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
