import { present } from '@xenolith/kernel';
import type { Machine, MachineState } from './machine.js';

const NS_PER_MS = 1_000_000;
const NS_PER_US = 1_000;

/** Constants of xen/common/sched/credit2.c; credits are nanoseconds of the heaviest vCPU in a run-queue. */
export const MIN_TIMER_NS = 500 * NS_PER_US;
export const CREDIT_INIT = 10 * NS_PER_MS;
export const CREDIT_MIN = -CREDIT_INIT;
export const IDLE_CREDIT = CREDIT_MIN - 1;
/** How much credit may be carried over a reset. */
export const CARRYOVER_MAX = MIN_TIMER_NS;
export const MAX_TIMER_NS = CREDIT_INIT;
/** What a vCPU gets for coming to another pCPU. */
export const MIGRATE_COMPENSATION = 50 * NS_PER_US;
/** How much less than the rate limit may have passed for a preemption. */
export const TICKLE_TOLERANCE_NS = 50 * NS_PER_US;

/** credit2_runqueue: which pCPUs share a run-queue. */
export type QueueArrangement = 'cpu' | 'core' | 'socket' | 'node' | 'all';

/** Boot parameters of credit2 (docs/misc/xen-command-line.pandoc). */
export interface Credit2Parameters {
  readonly arrangement: QueueArrangement;
  /** sched_credit2_max_cpus_runqueue: 16. */
  readonly maxPcpusPerQueue: number;
  /** sched_ratelimit_us: 1 ms. */
  readonly rateLimitNs: number;
  /** sched_credit2_migrate_resist: 500 µs. */
  readonly migrateResistNs: number;
  /** credit2_cap_period_ms: 10 ms. */
  readonly capPeriodNs: number;
  /** credit2_balance_under: load is moved where queues differ by 2 to the power of this, while there is room. */
  readonly balanceUnder: number;
  /** credit2_balance_over: the same where there is more work than pCPUs. */
  readonly balanceOver: number;
}

export const CREDIT2_DEFAULTS: Credit2Parameters = {
  arrangement: 'socket',
  maxPcpusPerQueue: 16,
  rateLimitNs: NS_PER_MS,
  migrateResistNs: 500 * NS_PER_US,
  capPeriodNs: 10 * NS_PER_MS,
  balanceUnder: 0,
  balanceOver: -3,
};

export interface Credit2Vcpu {
  readonly weight: number;
  credit: number;
  /** Burnt time times weight that did not make a whole credit. */
  residual: number;
  startNs: number;
  /** Part of its domain's budget that it holds; meaningless without a cap. */
  budgetNs: number;
  /** Its run-queue. */
  queue: number;
  /** Runs, or is just being taken from its pCPU. */
  scheduled: boolean;
  /** The pCPU that was told to take it; -1: none. */
  tickled: number;
  /** Run-queue that it was told to go to; -1: none. */
  leavingTo: number;
  /** Average load, 1 is 2^18. */
  averageLoad: number;
  loadAt: number;
}

export interface RunQueue {
  readonly pcpus: number[];
  /** Waiting vCPUs, the one with the most credit first. */
  readonly waiting: number[];
  /** All that belong to it. */
  readonly members: number[];
  maxWeight: number;
  /** vCPUs that run or wait. */
  load: number;
  averageLoad: number;
  /** Average load as it will be after the moves that were decided. */
  balanceLoad: number;
  loadAt: number;
  /** pCPU that was chosen last. */
  pickBias: number;
}

export interface Credit2Pcpu {
  readonly queue: number;
  idle: boolean;
  tickled: boolean;
}

/** The budget of a capped domain. */
export interface DomainBudget {
  /** What may be grabbed in this period. */
  poolNs: number;
  /** What there is in a period. */
  readonly totalNs: number;
  /** How much a vCPU grabs. */
  readonly quotaNs: number;
  /** Parked vCPUs, the last one first. */
  parked: number[];
}

export interface Credit2State {
  readonly scheduler: 'credit2';
  readonly machine: MachineState;
  readonly parameters: Credit2Parameters;
  readonly vcpus: readonly Credit2Vcpu[];
  readonly queues: readonly RunQueue[];
  readonly pcpus: readonly Credit2Pcpu[];
  /** By domain; null: no cap. */
  readonly budgets: readonly (DomainBudget | null)[];
}

/** The state with what all parts of the scheduler ask of it. */
export class Credit2Core {
  readonly state: Credit2State;
  readonly machine: Machine;

  constructor(state: Credit2State, machine: Machine) {
    this.state = state;
    this.machine = machine;
  }

  get nowNs(): number {
    return this.machine.nowNs;
  }

  vcpu(vcpu: number): Credit2Vcpu {
    return present(this.state.vcpus[vcpu], 'the vCPU exists');
  }

  pcpu(pcpu: number): Credit2Pcpu {
    return present(this.state.pcpus[pcpu], 'the pCPU exists');
  }

  queue(queue: number): RunQueue {
    return present(this.state.queues[queue], 'the run-queue exists');
  }

  queueOf(vcpu: number): RunQueue {
    return this.queue(this.vcpu(vcpu).queue);
  }

  /** Null: its domain has no cap. */
  budgetOf(vcpu: number): DomainBudget | null {
    return this.state.budgets[this.machine.vcpu(vcpu).domain] ?? null;
  }

  /** Runs and may go on: neither waiting for I/O, nor parked, nor on its way to another queue. */
  mayGoOn(vcpu: number): boolean {
    const { mode, parked } = this.machine.vcpu(vcpu);
    return mode === 'running' && !parked && this.vcpu(vcpu).leavingTo === -1;
  }

  /** Tells the pCPU to choose anew; until it did, nobody counts on it. */
  call(pcpu: number): void {
    this.pcpu(pcpu).tickled = true;
    this.machine.raise(pcpu);
  }

  /** Charges a vCPU that runs: credit by weight (`t2c_update`), budget by time. */
  burn(vcpu: number): void {
    const state = this.vcpu(vcpu);
    const elapsedNs = this.nowNs - state.startNs;
    if (elapsedNs <= 0) return;
    const owed = elapsedNs * this.queueOf(vcpu).maxWeight + state.residual;
    const credits = Math.floor(owed / state.weight);
    state.residual = owed - credits * state.weight;
    state.credit = Math.max(state.credit - credits, CREDIT_MIN);
    if (this.budgetOf(vcpu) !== null) state.budgetNs -= elapsedNs;
    state.startNs = this.nowNs;
  }

  /** Into the queue, behind all with at least as much credit. */
  insert(vcpu: number): void {
    const { waiting } = this.queueOf(vcpu);
    const { credit } = this.vcpu(vcpu);
    const position = waiting.findIndex((other) => credit > this.vcpu(other).credit);
    if (position === -1) waiting.push(vcpu);
    else waiting.splice(position, 0, vcpu);
  }

  /** Out of the queue; false: it did not wait there. */
  remove(vcpu: number): boolean {
    const { waiting } = this.queueOf(vcpu);
    const position = waiting.indexOf(vcpu);
    if (position !== -1) waiting.splice(position, 1);
    return position !== -1;
  }
}
