import { present } from '@xenolith/kernel';
import {
  accountSlice,
  BOOST,
  burnCredits,
  CREDITS_PER_MS,
  IDLE_PRIORITY,
  OVER,
  startEarning,
} from './credit-accounting.js';
import { CREDIT_DEFAULTS, TICKS_PER_SLICE, UNDER } from './credit-accounting.js';
import type { CreditAccounts, CreditParameters, CreditVcpu } from './credit-accounting.js';
import { pickPcpu } from './credit-pick.js';
import { IDLE, newMachineState } from './machine.js';
import type { MachineSettings, MachineState } from './machine.js';
import { cycle } from './pcpu-mask.js';
import type { PcpuMask } from './pcpu-mask.js';
import { PolicySimulation } from './policy-simulation.js';

const NS_PER_MS = 1_000_000;
/** Never set a timer shorter than this: XEN_SYSCTL_SCHED_RATELIMIT_MIN, 100 µs. */
const MIN_TIMER_NS = 100_000;

interface CreditPcpu {
  /** Waiting vCPUs: by priority, and in order of arrival within one. */
  queue: number[];
  /** The accounting after which the queue was last sorted. */
  sortedAt: number;
  idleBias: number;
  idle: boolean;
  lastBalanceNs: number;
  lastTickled: number;
}

export interface CreditState {
  readonly scheduler: 'credit';
  readonly machine: MachineState;
  readonly parameters: CreditParameters;
  readonly vcpus: readonly CreditVcpu[];
  readonly pcpus: readonly CreditPcpu[];
  readonly accounts: CreditAccounts;
  /** How often the credits were shared. */
  accountings: number;
  /** By NUMA node, the pCPU after which the search for work begins. */
  readonly balanceBias: number[];
}

export interface CreditSettings extends MachineSettings {
  readonly parameters?: Partial<CreditParameters>;
}

/**
 * Xen's credit scheduler, event by event, after xen/common/sched/credit.c: integer credits, priorities BOOST, UNDER and OVER, one
 * run-queue for each pCPU with stealing between them, accounting once a slice, caps by parking.
 */
export class CreditSimulation extends PolicySimulation {
  readonly state: CreditState;
  readonly #nodes: readonly PcpuMask[];
  readonly #creditsPerSlice: number;

  constructor(state: CreditState) {
    super(state.machine);
    this.state = state;
    const { places } = state.machine;
    this.#nodes = state.balanceBias.map((_, node) => Uint8Array.from(places, (place) => (place.node === node ? 1 : 0)));
    this.#creditsPerSlice = (state.parameters.sliceNs / NS_PER_MS) * CREDITS_PER_MS;
  }

  /** A pool whose vCPUs all become runnable at time 0. */
  static start(settings: CreditSettings): CreditSimulation {
    const parameters = { ...CREDIT_DEFAULTS, ...settings.parameters };
    const machine = newMachineState(settings, 1);
    const nodeCount = 1 + Math.max(...settings.places.map((place) => place.node));
    const simulation = new CreditSimulation({
      scheduler: 'credit',
      machine,
      parameters,
      vcpus: machine.vcpus.map(() => ({
        ...{ credit: 0, residual: 0, startNs: 0, priority: UNDER, active: false },
        ...{ leaving: false, moved: false, lastRanNs: 0 },
      })),
      pcpus: machine.pcpus.map(() => ({
        ...{ queue: [], sortedAt: 0, idleBias: machine.pcpus.length - 1, idle: true },
        ...{ lastBalanceNs: -parameters.balanceRateLimitNs - 1, lastTickled: 0 },
      })),
      accounts: { activeDomains: [], activeVcpus: settings.domains.map(() => []), weight: 0, balance: 0 },
      accountings: 0,
      balanceBias: Array.from({ length: nodeCount }, (_, node) => settings.places.findIndex((it) => it.node === node)),
    });
    simulation.#insertAll();
    return simulation;
  }

  /** `csched_unit_wake`. */
  wake(vcpu: number): void {
    const state = this.#vcpu(vcpu);
    const boosted = !state.moved && state.priority === UNDER && !this.machine.vcpu(vcpu).parked;
    state.moved = false;
    if (boosted) state.priority = BOOST;
    this.#enqueue(vcpu);
    this.#tickle(vcpu);
  }

  /** `csched_tick`: charges who runs, and sorts the queue where the accounting changed priorities. */
  tick(pcpu: number): void {
    const current = this.machine.current(pcpu);
    if (current !== IDLE) this.#chargeRunning(current, pcpu);
    const place = this.#pcpu(pcpu);
    if (place.sortedAt !== this.state.accountings) {
      place.sortedAt = this.state.accountings;
      const under = place.queue.filter((vcpu) => this.#vcpu(vcpu).priority >= UNDER);
      if (under.length < place.queue.length)
        place.queue = [...under, ...place.queue.filter((vcpu) => this.#vcpu(vcpu).priority < UNDER)];
    }
    this.machine.setTick(pcpu, this.nowNs + this.#tickNs);
  }

  /** `csched_acct`, once a slice. */
  period(): void {
    const machine = this.machine;
    accountSlice(this.#books, {
      isParked: (vcpu) => machine.vcpu(vcpu).parked,
      park: (vcpu) => this.#park(vcpu),
      unpark: (vcpu) => this.#unpark(vcpu),
    });
    this.state.accountings += 1;
    machine.setPeriod(0, this.nowNs + this.state.parameters.sliceNs);
  }

  /** `csched_schedule`. */
  schedule(pcpu: number): void {
    const machine = this.machine;
    const { rateLimitNs, sliceNs } = this.state.parameters;
    const current = machine.current(pcpu);
    if (current !== IDLE) {
      const state = this.#vcpu(current);
      burnCredits(state, this.nowNs);
      state.lastRanNs = this.nowNs;
      const ranNs = this.nowNs - machine.vcpu(current).sinceNs;
      if (this.#mayGoOn(current) && ranNs < rateLimitNs) {
        machine.switchTo(pcpu, current, ranNs < MIN_TIMER_NS ? MIN_TIMER_NS : rateLimitNs - ranNs);
        return;
      }
      state.startNs -= this.nowNs;
      if (this.#mayGoOn(current)) this.#enqueue(current);
    }
    const next = this.#choose(pcpu);
    this.#pcpu(pcpu).idle = next === IDLE;
    if (next !== IDLE) this.#vcpu(next).startNs += this.nowNs;
    machine.switchTo(pcpu, next, sliceNs);
    // An idle pCPU has no ticks; they begin again on the grid that all share.
    if (next === IDLE) machine.clearTick(pcpu);
    else if (current === IDLE) machine.setTick(pcpu, this.nowNs + this.#tickNs - (this.nowNs % this.#tickNs));
    if (current === IDLE || next === current) return;
    if (this.#vcpu(current).leaving) this.#move(current);
    else if (machine.vcpu(current).mode === 'runnable' && !machine.vcpu(current).parked) this.#callIdler(current);
  }

  get #tickNs(): number {
    return this.state.parameters.sliceNs / TICKS_PER_SLICE;
  }

  get #books(): Parameters<typeof accountSlice>[0] {
    const { accounts, vcpus, machine } = this.state;
    const pcpuCount = machine.pcpus.length;
    return { accounts, vcpus, domains: machine.domains, pcpuCount, creditsPerSlice: this.#creditsPerSlice };
  }

  #vcpu(vcpu: number): CreditVcpu {
    return present(this.state.vcpus[vcpu], 'the vCPU exists');
  }

  #pcpu(pcpu: number): CreditPcpu {
    return present(this.state.pcpus[pcpu], 'the pCPU exists');
  }

  #insertAll(): void {
    const machine = this.machine;
    machine.setPeriod(0, this.state.parameters.sliceNs);
    machine.state.vcpus.forEach((vcpu, index) => {
      vcpu.pcpu = pickPcpu(this.#floor, index, true);
      this.#vcpu(index).moved = true;
      this.wake(index);
      // A new domain's vCPU is on its pCPU before the next one comes.
      machine.runFor(0, this);
    });
  }

  get #floor(): Parameters<typeof pickPcpu>[0] {
    return { machine: this.machine, pcpus: this.state.pcpus };
  }

  /** Runnable where it is: neither waiting for I/O, nor parked, nor on its way to another pCPU. */
  #mayGoOn(vcpu: number): boolean {
    const { mode, parked } = this.machine.vcpu(vcpu);
    return mode === 'running' && !parked && !this.#vcpu(vcpu).leaving;
  }

  #enqueue(vcpu: number): void {
    const { queue } = this.#pcpu(this.machine.vcpu(vcpu).pcpu);
    const { priority } = this.#vcpu(vcpu);
    const behind = queue.findIndex((other) => priority > this.#vcpu(other).priority);
    if (behind === -1) queue.push(vcpu);
    else queue.splice(behind, 0, vcpu);
  }

  #dequeue(vcpu: number): boolean {
    const { queue } = this.#pcpu(this.machine.vcpu(vcpu).pcpu);
    const position = queue.indexOf(vcpu);
    if (position !== -1) queue.splice(position, 1);
    return position !== -1;
  }

  #park(vcpu: number): void {
    this.machine.setParked(vcpu, true);
    const { mode, pcpu } = this.machine.vcpu(vcpu);
    if (mode === 'running') this.machine.raise(pcpu);
    else this.#dequeue(vcpu);
  }

  #unpark(vcpu: number): void {
    this.machine.setParked(vcpu, false);
    const { mode } = this.machine.vcpu(vcpu);
    if (mode !== 'runnable') return;
    this.#vcpu(vcpu).moved = false;
    this.#enqueue(vcpu);
    this.#tickle(vcpu);
  }

  /** `csched_unit_acct`: ends a boost, charges, and sees whether it would be better off elsewhere. */
  #chargeRunning(vcpu: number, pcpu: number): void {
    const state = this.#vcpu(vcpu);
    if (state.priority === BOOST) state.priority = UNDER;
    burnCredits(state, this.nowNs);
    if (!state.active) {
      startEarning(this.#books, vcpu, this.machine.vcpu(vcpu).domain);
      return;
    }
    if (pickPcpu(this.#floor, vcpu, false) === pcpu) return;
    state.leaving = true;
    this.machine.raise(pcpu);
  }

  /** What follows a switch away from a vCPU that was told to leave. */
  #move(vcpu: number): void {
    const state = this.#vcpu(vcpu);
    const machine = this.machine.vcpu(vcpu);
    state.leaving = false;
    state.moved = true;
    machine.pcpu = pickPcpu(this.#floor, vcpu, true);
    if (machine.mode === 'runnable' && !machine.parked) this.wake(vcpu);
  }

  #priorityOf(vcpu: number): number {
    return vcpu === IDLE ? IDLE_PRIORITY : this.#vcpu(vcpu).priority;
  }

  /** The head of the queue, or what it is worth stealing instead. Removed from its queue. */
  #choose(pcpu: number): number {
    const place = this.#pcpu(pcpu);
    const head = place.queue[0] ?? IDLE;
    const priority = this.#priorityOf(head);
    // The limit keeps busy pCPUs from stealing all the time. An idle one always looks, so that no work waits for the limit to pass.
    const mayLook = head === IDLE || this.nowNs - place.lastBalanceNs > this.state.parameters.balanceRateLimitNs;
    if (priority <= OVER && mayLook) {
      place.lastBalanceNs = this.nowNs;
      const stolen = this.#steal(pcpu, priority);
      if (stolen !== IDLE) return stolen;
    }
    if (head !== IDLE) place.queue.shift();
    return head;
  }

  /** `csched_load_balance`: work of a higher priority from busy pCPUs, those of its own node first, what prefers this pCPU first. */
  #steal(pcpu: number, priority: number): number {
    const { balanceBias, machine } = this.state;
    const own = present(machine.places[pcpu], 'the pCPU exists').node;
    for (const kind of ['soft', 'hard'] as const) {
      for (let step = 0; step < balanceBias.length; step += 1) {
        const node = (own + step) % balanceBias.length;
        const workers = this.#workers(node, pcpu);
        const first = cycle(present(balanceBias[node], 'the node exists'), workers);
        for (let peer = first; peer !== -1;) {
          const stolen = this.#stealFrom(peer, pcpu, { priority, kind });
          if (stolen !== IDLE) {
            balanceBias[node] = peer;
            return stolen;
          }
          peer = cycle(peer, workers);
          if (peer === first) break;
        }
      }
    }
    return IDLE;
  }

  #workers(node: number, except: number): PcpuMask {
    const workers = Uint8Array.from(present(this.#nodes[node], 'the node exists'));
    for (const [pcpu, place] of this.state.pcpus.entries()) if (place.idle || pcpu === except) workers[pcpu] = 0;
    return workers;
  }

  #stealFrom(peer: number, pcpu: number, want: { priority: number; kind: 'soft' | 'hard' }): number {
    const place = this.#pcpu(peer);
    // What runs nothing yet is about to take what waits there.
    if (place.queue.length === 0 || this.machine.current(peer) === IDLE) return IDLE;
    const { migrationDelayNs } = this.state.parameters;
    for (const [position, vcpu] of place.queue.entries()) {
      const state = this.#vcpu(vcpu);
      if (state.priority <= want.priority) break;
      const isHot = migrationDelayNs > 0 && this.nowNs - state.lastRanNs < migrationDelayNs;
      if (isHot || this.machine.affinity(vcpu)[want.kind]?.[pcpu] !== 1) continue;
      place.queue.splice(position, 1);
      return vcpu;
    }
    return IDLE;
  }

  /** `__runq_tickle`: makes the pCPU choose that should run a vCPU which became runnable. */
  #tickle(vcpu: number): void {
    const machine = this.machine;
    const { pcpu } = machine.vcpu(vcpu);
    const current = machine.current(pcpu);
    const outranks = this.#vcpu(vcpu).priority > this.#priorityOf(current);
    const someIdle = this.state.pcpus.some((place) => place.idle);
    if (current === IDLE || (!someIdle && outranks)) {
      this.#call(pcpu);
      return;
    }
    if (!someIdle) return;
    if (this.#callIdler(vcpu)) return;
    if (!outranks) return;
    const canMove = this.state.pcpus.some((place, number) => place.idle && machine.mayRun(current, number));
    if (canMove) this.#vcpu(current).leaving = true;
    this.#call(pcpu);
  }

  /**
   * Makes an idle pCPU look for this vCPU, one that it prefers first. Called for what woke, and also for what was preempted: Xen leaves the latter to the
   * next tick, which can keep a pCPU idle for some slices.
   */
  #callIdler(vcpu: number): boolean {
    const { soft, hard } = this.machine.affinity(vcpu);
    const home = this.#pcpu(this.machine.vcpu(vcpu).pcpu);
    for (const mask of [soft, hard]) {
      if (mask === null) continue;
      const idlers = mask.map((member, number) => (this.#pcpu(number).idle ? member : 0));
      const chosen = cycle(home.lastTickled, idlers);
      if (chosen === -1) continue;
      home.lastTickled = chosen;
      this.#call(chosen);
      return true;
    }
    return false;
  }

  #call(pcpu: number): void {
    this.#pcpu(pcpu).idle = false;
    this.machine.raise(pcpu);
  }
}
