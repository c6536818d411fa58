import { present } from '@xenolith/kernel';
import { grabBudget, newBudget, replenish, returnBudget } from './credit2-budget.js';
import { updateLoad, updateQueueLoad } from './credit2-load.js';
import { LOAD_ONE } from './credit2-load.js';
import { arrangeQueues, assignTo, balanceLoad, migrate, pickQueue } from './credit2-queues.js';
import { CARRYOVER_MAX, Credit2Core, CREDIT2_DEFAULTS, CREDIT_INIT, CREDIT_MIN, IDLE_CREDIT } from './credit2-state.js';
import { MAX_TIMER_NS, MIGRATE_COMPENSATION, MIN_TIMER_NS } from './credit2-state.js';
import type { Credit2Parameters, Credit2State, RunQueue } from './credit2-state.js';
import { tickle } from './credit2-tickle.js';
import { IDLE, newMachineState } from './machine.js';
import type { MachineSettings } from './machine.js';
import { neighboursOf } from './pcpu-mask.js';
import { PolicySimulation } from './policy-simulation.js';

export interface Credit2Settings extends MachineSettings {
  readonly parameters?: Partial<Credit2Parameters>;
}

const newQueue = (pcpus: number[]): RunQueue => ({
  ...{ pcpus, waiting: [], members: [], maxWeight: 1 },
  ...{ load: 0, averageLoad: 0, balanceLoad: 0, loadAt: 0, pickBias: pcpus[0] ?? 0 },
});

/**
 * Xen's credit2 scheduler, event by event, after xen/common/sched/credit2.c: credits in nanoseconds of the heaviest vCPU, run-queues shared by several
 * pCPUs, a reset when the first in a queue has none left, caps by budgets, load balanced between queues.
 */
export class Credit2Simulation extends PolicySimulation {
  readonly state: Credit2State;
  readonly #core: Credit2Core;
  readonly #vcpusOf: readonly (readonly number[])[];

  constructor(state: Credit2State) {
    super(state.machine);
    this.state = state;
    this.#core = new Credit2Core(state, this.machine);
    const numbers = state.vcpus.map((_, vcpu) => vcpu);
    this.#vcpusOf = state.machine.domains.map((_, domain) =>
      numbers.filter((vcpu) => this.machine.vcpu(vcpu).domain === domain),
    );
  }

  /** A pool whose vCPUs all become runnable at time 0. */
  static start(settings: Credit2Settings): Credit2Simulation {
    const parameters = { ...CREDIT2_DEFAULTS, ...settings.parameters };
    const { places, domains } = settings;
    const machine = newMachineState(settings, domains.length);
    const queues = arrangeQueues(places, neighboursOf(places), parameters).map(newQueue);
    const simulation = new Credit2Simulation({
      scheduler: 'credit2',
      machine,
      parameters,
      vcpus: machine.vcpus.map((vcpu) => ({
        weight: present(domains[vcpu.domain], 'the domain exists').weight,
        ...{ credit: CREDIT_INIT, residual: 0, startNs: 0, budgetNs: 0, queue: -1, scheduled: false, tickled: -1 },
        // A new vCPU counts as half a load until it shows what it does.
        ...{ leavingTo: -1, averageLoad: LOAD_ONE / 2, loadAt: 0 },
      })),
      queues,
      pcpus: places.map((_, pcpu) => ({
        ...{ queue: queues.findIndex((queue) => queue.pcpus.includes(pcpu)), idle: true, tickled: false },
      })),
      budgets: domains.map((domain) => newBudget(domain, parameters.capPeriodNs)),
    });
    simulation.#insertAll();
    return simulation;
  }

  /** `csched2_unit_wake`. */
  wake(vcpu: number): void {
    updateLoad(this.#core, vcpu, 1);
    this.#enter(vcpu);
  }

  /** credit2 has no ticks. */
  tick(): void {
    return;
  }

  /** A capped domain's period is over. */
  period(domain: number): void {
    const core = this.#core;
    const budget = present(this.state.budgets[domain], 'a domain with periods has a budget');
    this.#unpark(replenish(core, budget, present(this.#vcpusOf[domain], 'the domain exists')));
    this.machine.setPeriod(domain, this.nowNs + this.state.parameters.capPeriodNs);
  }

  /** `csched2_schedule`, and what follows the switch (`csched2_context_saved`). */
  schedule(pcpu: number): void {
    const core = this.#core;
    const place = core.pcpu(pcpu);
    const queue = core.queue(place.queue);
    place.tickled = false;
    const current = this.machine.current(pcpu);
    if (current !== IDLE) this.#charge(current);
    const next = this.#candidate(queue, current, pcpu);
    const goesBack = next !== current && current !== IDLE && core.mayGoOn(current);
    place.idle = next === IDLE;
    if (next === IDLE) {
      updateQueueLoad(core, queue, 0);
      this.machine.switchTo(pcpu, IDLE, 0);
    } else {
      this.#prepare(pcpu, next, current);
      const inFlight = goesBack ? core.vcpu(current).credit : 0;
      this.machine.switchTo(pcpu, next, this.#sliceOf(queue, next, { inFlight, goesOn: next === current }));
    }
    if (next !== current && current !== IDLE) this.#leave(current, goesBack);
  }

  #insertAll(): void {
    const core = this.#core;
    this.state.machine.domains.forEach((_, domain) => {
      const vcpus = present(this.#vcpusOf[domain], 'the domain exists');
      for (const vcpu of vcpus) {
        const { queue, pcpu } = pickQueue(core, vcpu, -1);
        this.machine.vcpu(vcpu).pcpu = pcpu;
        assignTo(core, vcpu, queue);
      }
      if (this.state.budgets[domain] !== null) this.machine.setPeriod(domain, this.state.parameters.capPeriodNs);
      for (const vcpu of vcpus) {
        this.wake(vcpu);
        this.machine.runFor(0, this);
      }
    });
  }

  readonly #enter = (vcpu: number): void => {
    this.#core.insert(vcpu);
    tickle(this.#core, vcpu);
  };

  /** Burns what it ran, and gets it new budget or parks it. */
  #charge(vcpu: number): void {
    const core = this.#core;
    core.burn(vcpu);
    const budget = core.budgetOf(vcpu);
    if (budget !== null && core.vcpu(vcpu).budgetNs <= 0 && core.mayGoOn(vcpu)) grabBudget(core, vcpu, budget);
  }

  /** `runq_candidate`: who runs next on the pCPU; still in the queue, if it waits there. */
  #candidate(queue: RunQueue, current: number, pcpu: number): number {
    const core = this.#core;
    const { rateLimitNs, migrateResistNs } = this.state.parameters;
    let next = IDLE;
    if (current !== IDLE && core.mayGoOn(current)) {
      if (this.nowNs - this.machine.vcpu(current).sinceNs < rateLimitNs) return current;
      if (!this.#betterElsewhere(current, pcpu)) next = current;
    }
    const credit = next === IDLE ? IDLE_CREDIT : core.vcpu(next).credit;
    // Resistance keeps caches warm; a pCPU that would idle takes whatever it may run.
    const resistNs = next === IDLE ? 0 : migrateResistNs;
    for (let position = 0; position < queue.waiting.length;) {
      const waiting = present(queue.waiting[position], 'the position is in the queue');
      const state = core.vcpu(waiting);
      if (state.credit <= credit) break;
      position += 1;
      if (!this.machine.mayRun(waiting, pcpu)) continue;
      const called = state.tickled;
      if (called !== -1 && called !== pcpu && core.pcpu(called).tickled) continue;
      if (this.machine.vcpu(waiting).pcpu !== pcpu && credit + resistNs > state.credit) continue;
      const budget = core.budgetOf(waiting);
      if (budget === null || grabBudget(core, waiting, budget)) return waiting;
      // Without budget it was taken from the queue.
      position -= 1;
    }
    return next;
  }

  /** Runs outside its soft affinity while a pCPU inside it idles. */
  #betterElsewhere(vcpu: number, pcpu: number): boolean {
    const { soft } = this.machine.affinity(vcpu);
    if (soft === null || soft[pcpu] === 1) return false;
    return this.#core.queueOf(vcpu).pcpus.some((other) => {
      const place = this.#core.pcpu(other);
      return soft[other] === 1 && place.idle && !place.tickled;
    });
  }

  /** Takes the chosen vCPU from its queue, and begins a new epoch where nobody there has credit left. */
  #prepare(pcpu: number, next: number, current: number): void {
    const core = this.#core;
    const state = core.vcpu(next);
    const queueIndex = state.queue;
    const queue = core.queue(queueIndex);
    if (next === current) updateLoad(core, next, 0);
    else {
      core.remove(next);
      state.scheduled = true;
    }
    const head = queue.waiting[0];
    const top = head === undefined ? state.credit : Math.max(state.credit, core.vcpu(head).credit);
    state.tickled = -1;
    if (top <= 0) {
      this.#reset(queue, state.credit);
      balanceLoad(core, queueIndex, this.#enter);
    }
    state.startNs = this.nowNs;
    if (this.machine.vcpu(next).pcpu === pcpu) return;
    state.credit += MIGRATE_COMPENSATION;
    this.machine.vcpu(next).pcpu = pcpu;
  }

  /** `reset_credit`: everybody in the queue gets the same, and keeps little of what was left. */
  #reset(queue: RunQueue, creditOfNext: number): void {
    const core = this.#core;
    const gift = creditOfNext === CREDIT_MIN ? 2 * CREDIT_INIT : CREDIT_INIT;
    for (const vcpu of queue.members) {
      const state = core.vcpu(vcpu);
      const { pcpu } = this.machine.vcpu(vcpu);
      if (this.machine.current(pcpu) === vcpu) {
        core.burn(vcpu);
        if (core.budgetOf(vcpu) !== null && state.budgetNs <= 0) core.call(pcpu);
      }
      state.credit = Math.min(state.credit + gift, CREDIT_INIT + CARRYOVER_MAX);
      state.startNs = this.nowNs;
    }
  }

  /** `csched2_runtime`: for how long the vCPU runs if nothing comes between. */
  #sliceOf(queue: RunQueue, next: number, at: { inFlight: number; goesOn: boolean }): number {
    const core = this.#core;
    const state = core.vcpu(next);
    const { rateLimitNs } = this.state.parameters;
    const ranNs = at.goesOn ? this.nowNs - this.machine.vcpu(next).sinceNs : 0;
    const atLeastNs = Math.max(MIN_TIMER_NS, rateLimitNs - ranNs);
    const head = queue.waiting[0];
    const rival = Math.max(head === undefined ? 0 : core.vcpu(head).credit, at.inFlight, 0);
    const ahead = Math.max(state.credit - rival, 0);
    const untilEvenNs = Math.floor((ahead * state.weight) / queue.maxWeight);
    const sliceNs = Math.min(Math.max(untilEvenNs, atLeastNs), MAX_TIMER_NS);
    // Never above the budget, even where that makes a slice shorter than the shortest.
    return core.budgetOf(next) === null ? sliceNs : Math.min(sliceNs, state.budgetNs);
  }

  /** A vCPU was taken from its pCPU: its budget goes back, and it waits, blocks, or goes to the queue that it was sent to. */
  #leave(vcpu: number, goesBack: boolean): void {
    const core = this.#core;
    const state = core.vcpu(vcpu);
    state.scheduled = false;
    const released = returnBudget(core, vcpu);
    const { leavingTo } = state;
    if (goesBack && leavingTo === -1) this.#enter(vcpu);
    else updateLoad(core, vcpu, -1);
    this.#unpark(released);
    if (leavingTo === -1) return;
    state.leavingTo = -1;
    const { mode, parked } = this.machine.vcpu(vcpu);
    migrate(core, vcpu, leavingTo, this.#enter);
    if (mode === 'runnable' && !parked) this.wake(vcpu);
  }

  #unpark(vcpus: readonly number[]): void {
    for (const vcpu of vcpus) {
      this.machine.setParked(vcpu, false);
      updateLoad(this.#core, vcpu, 1);
      this.#enter(vcpu);
    }
  }
}
