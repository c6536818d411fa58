import { computeService } from '@xenolith/compute';
import {
  agentRights,
  DEFAULT_FLEET,
  fleetHosts,
  SERVICE_NAMES,
  serviceRights,
  type BusRights,
} from '@xenolith/contracts';
import type { EngineObserver, ServiceDefinition } from '@xenolith/engine';
import {
  assert,
  BusFault,
  NewerEvent,
  randomFrom,
  subjectMatches,
  type CommandMessage,
  type Random,
} from '@xenolith/kernel';
import { networkService } from '@xenolith/network';
import { schedulingService } from '@xenolith/scheduling';
import { storageService } from '@xenolith/storage';
import { tenancyService } from '@xenolith/tenancy';
import { MemoryBus, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { AnswerBook } from './answers.js';
import type { Evidence } from './evidence.js';
import { LogFault } from './faulty-log.js';
import type { Mutant } from './mutants.js';
import { Network } from './network.js';
import { SimulatedAgent } from './simulated-agent.js';
import { SimulatedService } from './simulated-service.js';
import { Users } from './users.js';

/** Few enough to fill. */
const HOSTS = 3;
/** Beside them, for machines that either kind can run. */
const KVM_HOSTS = 2;
/** How often the log's timers are looked at. */
const TIMER_LOOK_MS = 250;
const TIMER_PATIENCE_MS = 10_000;
/** Journals, appends and reads take this long at most, in milliseconds. */
const SLOWEST_CALL_MS = 4;
/** Chance that a service runs twice, side by side. */
const TWICE = 0.4;

/** What sets the processes of one service apart. */
const INSTANCE = /-(a|b|next)$/;

export const DEFINITIONS: readonly (() => ServiceDefinition)[] = [
  tenancyService,
  computeService,
  storageService,
  networkService,
  schedulingService,
];

/** What each process may send on a real bus. Simulated users ask more directly than the gateway does; timers are each service's own. */
const RIGHTS: ReadonlyMap<string, BusRights> = new Map([
  ...SERVICE_NAMES.map((name) => [name, serviceRights(name)] as const),
  ['agent', agentRights(DEFAULT_FLEET, fleetHosts({ hosts: HOSTS, kvmHosts: KVM_HOSTS, profiles: [] }))],
]);

/** The whole platform in one process on one virtual clock, all chance from one seed. */
export class World {
  readonly clock = new VirtualClock();
  readonly log: MemoryEventLog;
  readonly network: Network;
  services: readonly SimulatedService[];
  readonly agent: SimulatedAgent;
  readonly users: Users;
  readonly random: Random;
  private readonly defects: string[] = [];
  private readonly agentAnswers = new AnswerBook((what) => this.defects.push(what));
  private readonly bus: MemoryBus;
  private replayed: readonly ServiceDefinition[] = DEFINITIONS.map((define) => define());

  constructor(seed: number | string, mutant?: Mutant) {
    this.random = randomFrom(seed);
    const latency = this.random.fork('latency');
    const call = (): number => 0.1 + latency.next() * SLOWEST_CALL_MS;
    this.log = new MemoryEventLog(
      this.clock,
      { append: call, read: call, sequence: call },
      new Set(mutant?.store ? [mutant.store] : []),
    );
    this.network = new Network(this.random.fork('network'));
    this.bus = new MemoryBus(this.clock, (message) => {
      this.requireRight(message);
      return this.network.policy(message);
    });
    this.services = this.newServices(mutant);
    this.agent = new SimulatedAgent(
      { hosts: HOSTS, kvmHosts: KVM_HOSTS, seed: String(seed), forgetful: mutant?.forgetfulJournal === true },
      {
        clock: this.clock,
        bus: this.bus,
        through: (bus) => (mutant?.agentBus ?? ((same) => same))(this.agentAnswers.over(bus)),
        observer: { defect: (error) => this.defect(error) },
      },
    );
    this.users = new Users(
      this.bus.connect('users'),
      this.clock,
      (category) => this.log.documents([category]).documents,
    );
  }

  /** Starts a process of a release beside those of a service, and answers what ends those. From then on that release reads the log for whoever looks. */
  upgrade(service: string, release: (definition: ServiceDefinition) => ServiceDefinition): () => void {
    const before = this.services.filter(({ name }) => name.replace(INSTANCE, '') === service);
    const [define] = DEFINITIONS.filter((candidate) => candidate().name === service);
    assert(define !== undefined && before.length > 0, `${service} runs`);
    const after = this.newService(`${service}-next`, () => release(define()));
    this.services = [...this.services, after];
    this.replayed = this.replayed.map((definition) => (definition.name === service ? release(define()) : definition));
    after.start();
    return () => {
      for (const process of before) process.retire();
      this.services = this.services.filter((process) => !before.includes(process));
    };
  }

  start(): void {
    for (const service of this.services) service.start();
    this.agent.start();
    this.runTimers();
  }

  evidence(): Evidence {
    return {
      log: this.log,
      hosts: () => this.agent.truth(),
      sent: this.users.sent,
      definitions: () => this.replayed,
      running: () => this.services.flatMap((service) => service.views()),
      defects: this.defects,
    };
  }

  private newServices(mutant: Mutant | undefined): readonly SimulatedService[] {
    const dice = this.random.fork('instances');
    return DEFINITIONS.flatMap((define) => {
      const { name } = define();
      const mutated = (): ServiceDefinition => (mutant?.service ? mutant.service(define()) : define());
      const names = dice.chance(TWICE) ? [`${name}-a`, `${name}-b`] : [name];
      return names.map((instance) => this.newService(instance, mutated));
    });
  }

  private newService(instance: string, define: () => ServiceDefinition): SimulatedService {
    const observer: EngineObserver = { defect: (error) => this.defect(error) };
    const { clock, log, bus } = this;
    return new SimulatedService(instance, define, { clock, log, bus, luck: this.network.logLuck, observer });
  }

  /** Whoever asks what a real server would forget: the list of rights lacks something, or the sender oversteps. */
  private requireRight({ from, subject, kind }: { from: string; subject: string; kind: string }): void {
    if (kind === 'reply') return;
    const rights = RIGHTS.get(from.replace(INSTANCE, ''));
    if (rights && !rights.publish.some((pattern) => subjectMatches(pattern, subject)))
      this.defects.push(`${from} may not send to ${subject}`);
  }

  /** Faults of bus and log are part of the weather, streams of a newer release are part of an upgrade; everything else is a bug. */
  private defect(error: unknown): void {
    if (error instanceof BusFault || error instanceof LogFault || error instanceof NewerEvent) return;
    this.defects.push(`defect: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }

  /** Sends the commands of timers that are due, as the services' timer runner does; each stays until somebody answered. */
  private runTimers(): void {
    const line = this.bus.connect('timers');
    const underWay = new Set<string>();
    const look = (): void => {
      for (const timer of this.log.dueTimers(this.clock.now())) {
        if (underWay.has(timer.id)) continue;
        underWay.add(timer.id);
        void line
          .request(timer.subject, timer.command as unknown as CommandMessage, { timeoutMs: TIMER_PATIENCE_MS })
          .then(() => this.log.timerSent(timer.id))
          .catch((error: unknown) => this.defect(error))
          .finally(() => underWay.delete(timer.id));
      }
      this.clock.after(TIMER_LOOK_MS, look);
    };
    look();
  }
}
