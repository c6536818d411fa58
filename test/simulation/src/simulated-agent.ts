import { hostNames } from '@xenolith/contracts';
import { Agent, MemoryJournal, type AgentObserver } from '@xenolith/agent';
import type { MessageBus, Uuid } from '@xenolith/kernel';
import type { MemoryBus, MemoryBusConnection, VirtualClock } from '@xenolith/testing';
import type { GuestEnd } from '@xenolith/xen';
import type { HostTruth } from './evidence.js';
import { ProcessClock } from './process-clock.js';

/** Time that a line takes to reach the disk, in milliseconds: a crash in between loses the line. */
const FLUSH_MS = 2;

interface Life {
  readonly clock: ProcessClock;
  readonly bus: MemoryBusConnection;
  readonly agent: Agent;
}

/** The agent of all hosts: killed, it comes back with its journal; its hosts and their domains go on meanwhile. */
export class SimulatedAgent {
  readonly name = 'agent';
  readonly hosts: readonly string[];
  private readonly kvmHosts: readonly string[];
  private journal: MemoryJournal;
  private life: Life | null = null;
  /** What ran when the agent was last alive: a dead agent stops no domain. */
  private last: readonly HostTruth[] = [];

  constructor(
    private readonly options: {
      readonly hosts: number;
      readonly kvmHosts: number;
      readonly seed: string;
      readonly forgetful: boolean;
    },
    private readonly world: {
      readonly clock: VirtualClock;
      readonly bus: MemoryBus;
      readonly through: (bus: MessageBus) => MessageBus;
      readonly observer: AgentObserver;
    },
  ) {
    this.kvmHosts = hostNames(options.kvmHosts, 'kvm-');
    this.hosts = [...hostNames(options.hosts), ...this.kvmHosts];
    this.journal = this.newJournal();
  }

  get running(): boolean {
    return this.life !== null;
  }

  start(): void {
    if (this.life) return;
    if (this.options.forgetful) this.journal = this.newJournal();
    const clock = new ProcessClock(this.world.clock);
    const bus = this.world.bus.connect(this.name);
    const agent = new Agent(
      {
        hosts: this.hosts,
        made: new Map(this.kvmHosts.map((name) => [name, { hypervisor: 'kvm' }] as const)),
        seed: this.options.seed,
        profile: '2x8-128',
        bootTimeMs: 5_000,
        agentVersion: '0.1.0',
      },
      { bus: this.world.through(bus), clock, journal: this.journal, observer: this.world.observer },
    );
    this.life = { clock, bus, agent };
    agent.start().catch((error: unknown) => this.world.observer.defect?.(error));
  }

  crash(): void {
    if (!this.life) return;
    this.last = this.life.agent.inspect();
    this.life.clock.kill();
    this.life.bus.kill();
    this.journal.crash();
    this.life = null;
  }

  /** Power loss of one host. */
  crashHost(name: string): void {
    this.life?.agent.crashHost(name);
  }

  /** A guest on one of the hosts ends by itself. */
  endGuest(host: string, machine: Uuid, reason: GuestEnd): void {
    this.life?.agent.endGuest(host, machine, reason);
  }

  truth(): readonly HostTruth[] {
    return this.life ? this.life.agent.inspect() : this.last;
  }

  private newJournal(): MemoryJournal {
    return new MemoryJournal((done) => void this.world.clock.after(FLUSH_MS, done));
  }
}
