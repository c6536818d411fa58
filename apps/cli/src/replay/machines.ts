import type { MachineListener, SeenMachine } from './machine-watch.js';
import type { MachineSize } from './sizing.js';
import { Refusals, type Usage } from './statistics.js';

/** How a machine of the replay stands. */
export interface ReplayedMachine {
  readonly name: string;
  readonly size: MachineSize;
  /** Place of its creation among the trace's events. */
  readonly order: number;
  phase: 'new' | 'asked' | 'running' | 'refused' | 'gone';
  askedAt: number;
  host: string | null;
  /** Settles when it runs, is refused or is gone. */
  readonly settled: Promise<void>;
  readonly settle: () => void;
  readonly gone: Promise<void>;
  readonly go: () => void;
}

/** What a platform says of a machine that it has no host for. */
export interface Unplaced {
  readonly message: string;
  /** Of performance.now(). */
  readonly since: number;
}

const deferred = (): { promise: Promise<void>; resolve: () => void } => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  return { promise, resolve: () => resolve(undefined) };
};

export const newMachine = (name: string, size: MachineSize, order: number): ReplayedMachine => {
  const settled = deferred();
  const gone = deferred();
  return {
    name,
    size,
    order,
    phase: 'new',
    askedAt: 0,
    host: null,
    settled: settled.promise,
    settle: settled.resolve,
    gone: gone.promise,
    go: gone.resolve,
  };
};

/** All machines of a replay, kept up to date by a watch, and what is counted of them. */
export class ReplayedMachines implements MachineListener {
  readonly refusals = new Refusals();
  readonly latencies: number[] = [];
  /** Machines that exist, or may. */
  readonly present = new Map<string, ReplayedMachine>();
  /** Machines that no host fits now, why, and since when that is said. */
  readonly unplaced = new Map<ReplayedMachine, Unplaced>();
  accepted = 0;
  running = 0;
  refused = 0;

  constructor(private readonly usage: Usage) {}

  asked(machine: ReplayedMachine): void {
    machine.phase = 'asked';
    machine.askedAt = performance.now();
    this.present.set(machine.name, machine);
  }

  refuse(machine: ReplayedMachine, reason: string, message: string): void {
    if (machine.phase !== 'asked') return;
    machine.phase = 'refused';
    this.refused += 1;
    this.refusals.add(reason, message);
    this.unplaced.delete(machine);
    machine.settle();
  }

  onSeen(seen: SeenMachine): void {
    const machine = this.present.get(seen.name);
    if (machine?.phase !== 'asked') return;
    if (seen.running) this.runs(machine, seen.host);
    else if (seen.reason === 'OperationFailed') this.refuse(machine, 'StartFailed', seen.message);
    else if (seen.reason === 'Unschedulable') this.waits(machine, seen.message);
    else this.unplaced.delete(machine);
  }

  onGone(name: string): void {
    const machine = this.present.get(name);
    if (!machine) return;
    this.refuse(machine, 'Deleted', 'somebody else deleted it before it ran');
    this.present.delete(name);
    if (machine.host !== null) this.usage.remove(machine.host, machine.size);
    machine.phase = 'gone';
    machine.settle();
    machine.go();
  }

  onListed(names: ReadonlySet<string>): void {
    // One that was asked for may not have been created yet.
    for (const machine of [...this.present.values()])
      if (machine.phase !== 'asked' && !names.has(machine.name)) this.onGone(machine.name);
  }

  private waits(machine: ReplayedMachine, message: string): void {
    if (this.unplaced.get(machine)?.message !== message)
      this.unplaced.set(machine, { message, since: performance.now() });
  }

  private runs(machine: ReplayedMachine, host: string | undefined): void {
    machine.phase = 'running';
    machine.host = host ?? null;
    this.running += 1;
    this.latencies.push(performance.now() - machine.askedAt);
    this.unplaced.delete(machine);
    if (host !== undefined) this.usage.add(host, machine.size);
    machine.settle();
  }
}
