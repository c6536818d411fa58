import { agentCommands, agentSubject, type AgentCommandType, type HostTool } from '@xenolith/contracts';
import {
  ok,
  randomFrom,
  reject,
  type Clock,
  type CommandMessage,
  type MessageBus,
  type Reply,
  type ServeContext,
  type Subscription,
  type Uuid,
} from '@xenolith/kernel';
import { type GuestEnd, type HostEvent, type ProfileName, type ToolOutput } from '@xenolith/xen';
import { Announcer } from './announcer.js';
import { CommandDesk } from './command-desk.js';
import { isEndOrReboot, runDirectly, type DirectToolCall } from './direct-tools.js';
import { DeviceFaults } from './device-faults.js';
import { FaultRules } from './fault-rules.js';
import { Fleet, type HostSlot, type MadeHost, type TextPacker } from './fleet.js';
import { Heartbeats } from './heartbeats.js';
import { madeEntries, makeHosts } from './host-making.js';
import { inspectionOf, type HostInspection } from './inspection.js';
import type { EntryOf, Journal, JournalEntry, RuleList } from './journal.js';
import { heardWhileOff, inventoryOf, isDomainCommand, parsedData } from './messages.js';
import type { AgentObserver } from './observer.js';
import { Outbox } from './outbox.js';
import { PeerPost } from './peer-post.js';
import { recoverEntry } from './recovery.js';
import { TimerQueue } from './timer-queue.js';

const SWEEP_MS = 10_000;
/** A host to which nothing happens for so long is put away. */
const IDLE_MS = 30_000;
/** A snapshot is worth its writing once the journal is this long, and several times longer than the snapshot; and, for so few hosts, when the agent stops. */
const COMPACT = { atLeast: 20_000, ratio: 4, hostsAtStop: 1_000 } as const;
/** More than a host has domains, so that long work never keeps a short command waiting. */
const COMMANDS_PER_HOST = 1_024;
/** Subscriptions made side by side when a fleet starts. */
const SERVED_AT_ONCE = 256;

export interface AgentOptions {
  /** Names of the hosts that this agent is. */
  readonly hosts: readonly string[];
  /** What those of them are that are not the usual Xen hosts. */
  readonly made?: ReadonlyMap<string, MadeHost>;
  readonly seed: string;
  readonly profile: ProfileName;
  readonly bootTimeMs: number;
  readonly agentVersion: string;
}

export interface AgentPorts {
  /** Asked for when the agent starts, not when it opens. */
  readonly bus: MessageBus;
  readonly clock: Clock;
  readonly journal: Journal;
  readonly observer?: AgentObserver;
  /** Makes hosts at rest small; a fleet of thousands needs it. */
  readonly packer?: TextPacker;
}

/** The agent of a fleet of emulated hosts. */
export class Agent {
  private readonly timers: TimerQueue;
  private readonly fleet: Fleet;
  private readonly faults = new FaultRules();
  private readonly deviceFaults: DeviceFaults;
  private readonly desk: CommandDesk;
  private readonly outbox: Outbox;
  private readonly observer: AgentObserver;
  private readonly announcer: Announcer;
  private readonly subscriptions: Subscription[] = [];
  /** Names of the hosts that are this agent's now; the journal may know more. */
  private readonly served: ReadonlySet<string>;
  private heartbeats: Heartbeats | null = null;
  private origin: EntryOf<'born'> | null = null;
  private readonly peers: PeerPost;
  private lastKept: Promise<void> = Promise.resolve();
  private lines = 0;
  private compacting = false;
  private live = false;

  constructor(
    private readonly options: AgentOptions,
    private readonly ports: AgentPorts,
  ) {
    this.observer = ports.observer ?? {};
    this.served = new Set(options.hosts);
    this.timers = new TimerQueue(ports.clock);
    this.fleet = new Fleet({ clock: ports.clock, timers: this.timers, packer: ports.packer }, (slot, event) =>
      this.onHostEvent(slot, event),
    );
    this.deviceFaults = new DeviceFaults({
      fleet: this.fleet,
      faults: this.faults,
      keep: (entry) => this.keep(entry),
      onFired: (rule) => this.announcer.reportFired(rule),
    });
    this.desk = new CommandDesk({
      fleet: this.fleet,
      faults: this.faults,
      timers: this.timers,
      observer: this.observer,
      keep: (entry) => this.keep(entry),
      prepare: (slot) => this.deviceFaults.prepare(slot),
      onFired: (rule, crashing) => this.announcer.reportFired(rule, crashing),
      onStruckDown: (host, rule) => this.announcer.struckDown(host, rule),
      onDirect: (record, { domid }, at) => {
        if (!isEndOrReboot(record.type)) return;
        this.announcer.endedDirectly(this.fleet.slot(record.host), record, {
          at,
          ...(domid !== undefined && { domid }),
        });
      },
      // As after a break of the line: what was done and not told shows in the inventory.
      onHidden: (host) => {
        if (this.live && this.served.has(host)) this.announcer.register(this.fleet.slot(host));
      },
    });
    this.outbox = new Outbox({
      timers: this.timers,
      random: randomFrom(`${options.seed}/outbox`),
      observer: this.observer,
    });
    this.peers = new PeerPost({
      fleet: this.fleet,
      outbox: this.outbox,
      keep: (entry) => this.keep(entry),
      settled: () => this.lastKept,
    });
    this.announcer = new Announcer({
      fleet: this.fleet,
      faults: this.faults,
      outbox: this.outbox,
      observer: this.observer,
      agentVersion: options.agentVersion,
      keep: (entry) => this.keep(entry),
    });
  }

  /** Reads the journal and goes on where it stopped, for whoever operates its hosts directly; nobody else hears of them yet. */
  async open(): Promise<void> {
    await this.recover();
    this.live = true;
    this.fleet.goLive();
    this.deviceFaults.goLive(this.fleet.all());
    this.desk.goLive();
    this.announcer.goLive(this.origin?.at ?? 0);
    this.peers.goLive();
    this.sweepLater();
  }

  /** Opens it if need be, serves commands, registers every host. Settles when commands are taken. */
  async start(): Promise<void> {
    if (!this.live) await this.open();
    const { bus, clock } = this.ports;
    const slots = this.options.hosts.map((name) => this.fleet.slot(name));
    await this.serve(slots);
    for (const slot of slots) this.announcer.register(slot);
    this.outbox.start(bus);
    this.heartbeats = new Heartbeats(slots, this.fleet, this.announcer, { bus, clock });
    this.heartbeats.start();
  }

  /** As root on a host: what a tool prints, and what it does. Null: the host is not this agent's. Throws when the agent stops first, or a fault rule wills that nobody answers. */
  async direct(host: string, call: DirectToolCall): Promise<ToolOutput | null> {
    if (!this.served.has(host)) return null;
    return runDirectly({ fleet: this.fleet, desk: this.desk }, this.fleet.slot(host), call);
  }

  /** Its hosts, for whoever operates them directly. */
  directHosts(): readonly { readonly name: string; readonly up: boolean }[] {
    return this.options.hosts.map((name) => ({ name, up: this.fleet.isUp(this.fleet.slot(name)) }));
  }

  /** Stops answering. What is under way goes on, in the journal, until the next start. */
  async stop(): Promise<void> {
    this.heartbeats?.stop();
    this.outbox.stop();
    this.desk.close();
    await Promise.all(this.subscriptions.splice(0).map((subscription) => subscription.stop()));
    this.timers.clear();
    if (this.lines > this.hosts && this.hosts <= COMPACT.hostsAtStop) await this.compact();
  }

  /** The bus is back after a break: compute may have missed what happened, so every host says again what it runs. */
  reconnected(): void {
    this.announcer.forgetRegistrations();
    for (const name of this.options.hosts) this.announcer.register(this.fleet.slot(name));
  }

  /** Hosts whose registration compute has answered since they booted or the bus came back, or that are powered off. None until the journal has been read. */
  get registered(): number {
    return this.live ? this.announcer.registeredOf(this.options.hosts) : 0;
  }

  get hosts(): number {
    return this.options.hosts.length;
  }

  /** Domains on all hosts. */
  get domains(): number {
    let domains = 0;
    for (const slot of this.fleet.all()) domains += this.fleet.inventory(slot).length;
    return domains;
  }

  /** Things said that nobody has answered yet. */
  get unanswered(): number {
    return this.outbox.size;
  }

  /** What each host really runs, whatever anybody was told. */
  inspect(): readonly HostInspection[] {
    return [...this.fleet.all()].map((slot) => inspectionOf(this.fleet, slot));
  }

  /** Power loss of a host. */
  crashHost(name: string): void {
    const at = this.fleet.now();
    void this.keep({ k: 'crashed', at, host: name });
    this.fleet.apply(this.fleet.slot(name), { do: 'crash' }, at);
  }

  /** A guest ends by itself. Nothing happens when it does not run. */
  endGuest(name: string, uid: Uuid, reason: GuestEnd): void {
    const at = this.fleet.now();
    void this.keep({ k: 'guest', at, host: name, uid, reason });
    this.fleet.apply(this.fleet.slot(name), { do: 'guestEnds', uid, reason }, at);
  }

  private async serve(slots: readonly HostSlot[]): Promise<void> {
    for (let first = 0; first < slots.length; first += SERVED_AT_ONCE) {
      const some = slots.slice(first, first + SERVED_AT_ONCE).map((slot) =>
        this.ports.bus.serve(agentSubject(slot.name, '*'), (message, context) => this.handle(slot, message, context), {
          concurrency: COMMANDS_PER_HOST,
        }),
      );
      this.subscriptions.push(...(await Promise.all(some)));
    }
  }

  private async handle(slot: HostSlot, message: CommandMessage, context: ServeContext): Promise<Reply> {
    if (!Object.hasOwn(agentCommands, message.type))
      return reject('command_unknown', `the agent of ${slot.name} knows no command ${message.type}`);
    const type = message.type as AgentCommandType;
    const parsed = parsedData(type, message.data);
    if (!parsed.ok) return parsed;
    if (this.fleet.isOff(slot)) heardWhileOff(slot.name, type);
    if (isDomainCommand(type)) return this.desk.handle(slot, { ...message, data: parsed.value }, context);
    if (type === 'SetFaultRules') return this.setFaultRules(slot, parsed.value['rules'] as unknown as RuleList);
    if (type === 'GetInventory')
      return ok({ ...inventoryOf(this.fleet, slot), unreported: this.announcer.unreportedOn(slot.name) });
    const { tool, args } = parsed.value as unknown as { tool: HostTool; args: string[] };
    return ok({ ...this.fleet.tool(slot, tool, args) });
  }

  private async setFaultRules(slot: HostSlot, rules: RuleList): Promise<Reply> {
    const entry = this.faults.set(slot.name, rules);
    if (entry === null) return ok({});
    const kept = this.keep(entry);
    this.deviceFaults.rulesChanged(slot);
    await kept;
    return ok({});
  }

  private onHostEvent(slot: HostSlot, event: HostEvent): void {
    switch (event.type) {
      case 'answered':
        this.desk.hostAnswered(event.ticket, event.result, event.at);
        return;
      case 'guestEnded':
      case 'deviceModelLost':
      case 'migrationRound':
        this.announcer.happened(slot, event);
        return;
      case 'faultStruck':
        this.deviceFaults.struck(slot, event, this.live);
        return;
      case 'peer':
        this.peers.said(slot, event);
        return;
      case 'poweredOff':
      case 'crashed':
        this.peers.lostPower(slot);
        if (this.live && event.type === 'crashed') this.observer.crashed?.(slot.name);
        return;
      case 'booted':
      case 'daemonsChanged':
        if (this.live && this.served.has(slot.name)) this.announcer.register(slot);
        return;
    }
  }

  private keep(entry: JournalEntry): Promise<void> {
    this.lines += 1;
    const kept = this.ports.journal.append(entry);
    this.lastKept = kept;
    kept.catch((error: unknown) => this.observer.defect?.(error));
    return kept;
  }

  private sweepLater(): void {
    this.timers.after(SWEEP_MS, () => {
      this.desk.book.sweep(this.fleet.now());
      this.fleet.packIdle(this.fleet.now() - IDLE_MS);
      const worth = Math.max(COMPACT.atLeast, COMPACT.ratio * (this.desk.book.size + this.hosts));
      if (this.lines > worth) void this.compact();
      this.sweepLater();
    });
  }

  private async compact(): Promise<void> {
    if (this.compacting) return;
    this.compacting = true;
    this.lines = 0;
    try {
      await this.ports.journal.compact(this.snapshot());
    } catch (error) {
      this.observer.defect?.(error);
    }
    this.compacting = false;
  }

  /** The lines that bring back this moment. Nothing that they hold changes any more, so that they may be written later. */
  snapshot(): JournalEntry[] {
    const hosts = [...this.fleet.all()].filter((slot) => !slot.pristine);
    return [
      ...(this.origin ? [this.origin] : []),
      ...madeEntries(this.fleet),
      { k: 'opened', at: this.fleet.now(), bootTimeMs: this.options.bootTimeMs },
      ...hosts.map((slot): JournalEntry => {
        const told = this.deviceFaults.toldTo(slot.name);
        return { k: 'host', name: slot.name, state: this.fleet.save(slot), ...(told === undefined ? {} : { told }) };
      }),
      ...this.faults.snapshot(),
      ...this.desk.book.snapshot(),
      ...this.announcer.snapshot(),
      ...this.peers.snapshot(),
    ];
  }

  private async recover(): Promise<void> {
    const { fleet, desk, faults, deviceFaults, announcer, peers } = this;
    const parts = { fleet, desk, faults, deviceFaults, announcer, peers };
    for await (const entry of this.ports.journal.read()) {
      this.lines += 1;
      if (entry.k === 'born') this.origin = entry;
      recoverEntry(parts, entry);
    }
    const at = this.fleet.now();
    if (!this.origin) {
      this.origin = { k: 'born', at, seed: this.options.seed, profile: this.options.profile };
      this.fleet.born(this.origin);
      void this.keep(this.origin);
    }
    makeHosts(this.fleet, this.options, (entry) => this.keep(entry));
    this.fleet.setBootTime(this.options.bootTimeMs, at);
    await this.keep({ k: 'opened', at, bootTimeMs: this.options.bootTimeMs });
  }
}
