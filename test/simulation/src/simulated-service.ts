import { ServiceEngine, type EngineObserver, type ServiceDefinition } from '@xenolith/engine';
import type { MemoryBus, MemoryBusConnection, MemoryConnection, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { ProcessClock } from './process-clock.js';

interface Life {
  readonly clock: ProcessClock;
  readonly log: MemoryConnection;
  readonly bus: MemoryBusConnection;
  readonly engine: ServiceEngine;
}

/** One service process that can be killed and started again; nothing of it survives but what is in the log. */
export class SimulatedService {
  private life: Life | null = null;

  constructor(
    readonly name: string,
    private readonly define: () => ServiceDefinition,
    private readonly world: {
      readonly clock: VirtualClock;
      readonly log: MemoryEventLog;
      readonly bus: MemoryBus;
      readonly observer: EngineObserver;
    },
  ) {}

  get running(): boolean {
    return this.life !== null;
  }

  start(): void {
    if (this.life) return;
    const clock = new ProcessClock(this.world.clock);
    const log = this.world.log.connect();
    const bus = this.world.bus.connect(this.name);
    const engine = new ServiceEngine(this.define(), { log, feed: log, bus, clock, observer: this.world.observer });
    this.life = { clock, log, bus, engine };
    engine.start().catch((error: unknown) => this.world.observer.defect?.(error));
  }

  crash(): void {
    if (!this.life) return;
    this.life.clock.kill();
    this.life.bus.kill();
    this.life.log.kill();
    this.life = null;
  }
}
