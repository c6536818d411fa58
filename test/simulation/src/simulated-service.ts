import { computeCompanions, type ComputeService } from '@xenolith/compute';
import { Rebalancer, type SchedulingService } from '@xenolith/scheduling';
import { ServiceEngine, type EngineObserver, type ServiceDefinition } from '@xenolith/engine';
import type { MemoryBus, MemoryBusConnection, MemoryConnection, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { faultyLog, LogFault, type LogLuck } from './faulty-log.js';
import { ProcessClock } from './process-clock.js';

interface Life {
  readonly clock: ProcessClock;
  readonly log: MemoryConnection;
  readonly bus: MemoryBusConnection;
  readonly definition: ServiceDefinition;
}

const isScheduling = (definition: ServiceDefinition): definition is SchedulingService => 'rebalancing' in definition;

/** What its supervisor leaves a process that could not start before it starts it again. */
const RESTART_MS = 1_000;

const isCompute = (definition: ServiceDefinition): definition is ComputeService => 'computeIndexes' in definition;

/** One service process that can be killed and started again; nothing of it survives but what is in the log. */
export class SimulatedService {
  private life: Life | null = null;
  private retired = false;

  constructor(
    readonly name: string,
    private readonly define: () => ServiceDefinition,
    private readonly world: {
      readonly clock: VirtualClock;
      readonly log: MemoryEventLog;
      readonly bus: MemoryBus;
      readonly luck: LogLuck;
      readonly observer: EngineObserver;
    },
  ) {}

  get running(): boolean {
    return this.life !== null;
  }

  /** What runs now, with its indexes, beside one that has seen nothing yet; nothing while it does not run. */
  views(): readonly { readonly live: ServiceDefinition; readonly fresh: ServiceDefinition }[] {
    return this.life ? [{ live: this.life.definition, fresh: this.define() }] : [];
  }

  start(): void {
    if (this.life || this.retired) return;
    const connection = this.world.log.connect();
    const life: Life = {
      clock: new ProcessClock(this.world.clock),
      log: connection,
      bus: this.world.bus.connect(this.name),
      definition: this.define(),
    };
    this.life = life;
    this.run(life).catch((error: unknown) => {
      if (!(error instanceof LogFault)) this.world.observer.defect?.(error);
      if (this.life !== life) return;
      this.crash();
      this.world.clock.after(RESTART_MS, () => this.start());
    });
  }

  crash(): void {
    if (!this.life) return;
    this.life.clock.kill();
    this.life.bus.kill();
    this.life.log.kill();
    this.life = null;
  }

  /** Ends it for good, as an upgrade does with the process of the release before. */
  retire(): void {
    this.retired = true;
    this.crash();
  }

  /** The connection that holds the leases breaks; the process goes on. */
  loseLeases(): void {
    this.life?.log.loseLeases();
  }

  private async run({ clock, log, bus, definition }: Life): Promise<void> {
    const lucky = faultyLog(log, this.world.luck);
    const engine = new ServiceEngine(definition, {
      log: lucky,
      feed: lucky,
      bus,
      clock,
      observer: this.world.observer,
    });
    await engine.start();
    if (isCompute(definition)) await computeCompanions(definition, { bus, clock }).start();
    if (isScheduling(definition)) await new Rebalancer(definition.rebalancing, { bus, clock }).start();
  }
}
