import { assert, present } from '@xenolith/kernel';
import { affinityOf, neighboursOf } from './pcpu-mask.js';
import type { Affinity, Neighbours } from './pcpu-mask.js';
import { TRACE_LIMIT } from './simulation.js';
import type { PcpuPlace, PcpuTimes, ScheduledDomain, ScheduledVcpu, TraceEntry, VcpuTimes } from './simulation.js';
import { OFF, Timers } from './timers.js';

/** No vCPU: the pCPU idles. */
export const IDLE = -1;

/** A vCPU of the machine. vCPUs are numbered through all domains. */
export interface MachineVcpu {
  /** Index of its domain in `domains`. */
  readonly domain: number;
  readonly vcpu: number;
  /** Where it runs, ran last, or waits to run. */
  pcpu: number;
  mode: 'running' | 'runnable' | 'blocked';
  /** Held back by its domain's cap. */
  parked: boolean;
  /** Since when it is in this mode. */
  sinceNs: number;
  runNs: number;
  stealNs: number;
  parkedNs: number;
  blockedNs: number;
  dispatches: number;
  /** CPU time until it waits for I/O again. */
  workLeftNs: number;
}

export interface MachinePcpu {
  /** The vCPU that it runs, or `IDLE`. */
  current: number;
  sinceNs: number;
  busyNs: number;
  contextSwitches: number;
}

export interface MachineState {
  nowNs: number;
  readonly places: readonly PcpuPlace[];
  readonly domains: readonly ScheduledDomain[];
  readonly vcpus: readonly MachineVcpu[];
  readonly pcpus: readonly MachinePcpu[];
  /**
   * Periods, ticks by pCPU, vCPUs' waits, ends of slices by pCPU: at one time they fire in this order. Xen sets each of them again when it fires, a little
   * late; what is set again most often falls behind the others.
   */
  readonly due: number[];
  readonly periods: number;
  trace: TraceEntry[] | null;
}

export interface MachineSettings {
  readonly places: readonly PcpuPlace[];
  readonly domains: readonly ScheduledDomain[];
  readonly trace?: boolean;
}

/** What a scheduler does when the machine calls it. */
export interface Policy {
  /** Chooses what the pCPU runs now (Xen's `do_schedule`). */
  schedule(pcpu: number): void;
  /** A vCPU's wait is over. */
  wake(vcpu: number): void;
  tick(pcpu: number): void;
  period(index: number): void;
}

export const newMachineState = (settings: MachineSettings, periods: number): MachineState => {
  const { places, domains } = settings;
  assert(places.length > 0, 'a machine has a pCPU');
  const vcpus = domains.flatMap((domain, index) =>
    domain.vcpus.map(({ workload }, vcpu): MachineVcpu => ({
      ...{ domain: index, vcpu, pcpu: 0, mode: 'runnable', parked: false, sinceNs: 0 },
      ...{ runNs: 0, stealNs: 0, parkedNs: 0, blockedNs: 0, dispatches: 0 },
      workLeftNs: workload.kind === 'io' ? workload.runNs : OFF,
    })),
  );
  return {
    nowNs: 0,
    places,
    domains,
    vcpus,
    pcpus: places.map(() => ({ current: IDLE, sinceNs: 0, busyNs: 0, contextSwitches: 0 })),
    due: Array.from({ length: 2 * places.length + periods + vcpus.length }, () => OFF),
    periods,
    trace: settings.trace === true ? [] : null,
  };
};

/** pCPUs, vCPUs with their workloads, and time: all that a scheduler works on and does not decide. */
export class Machine {
  readonly state: MachineState;
  readonly affinities: readonly Affinity[];
  readonly neighbours: Neighbours;
  readonly #timers: Timers;
  readonly #settings: readonly ScheduledVcpu[];
  readonly #raised: number[] = [];
  readonly #isRaised: boolean[] = [];

  constructor(state: MachineState) {
    this.state = state;
    this.#settings = state.domains.flatMap((domain) => domain.vcpus);
    this.affinities = this.#settings.map((vcpu) =>
      affinityOf(state.places.length, vcpu.hardAffinity, vcpu.softAffinity),
    );
    this.neighbours = neighboursOf(state.places);
    this.#timers = new Timers(state.due);
  }

  get nowNs(): number {
    return this.state.nowNs;
  }

  get pcpuCount(): number {
    return this.state.pcpus.length;
  }

  vcpu(vcpu: number): MachineVcpu {
    return present(this.state.vcpus[vcpu], 'the vCPU exists');
  }

  domainOf(vcpu: number): ScheduledDomain {
    return present(this.state.domains[this.vcpu(vcpu).domain], 'the domain exists');
  }

  affinity(vcpu: number): Affinity {
    return present(this.affinities[vcpu], 'the vCPU exists');
  }

  current(pcpu: number): number {
    return this.#pcpu(pcpu).current;
  }

  mayRun(vcpu: number, pcpu: number): boolean {
    return this.affinity(vcpu).hard[pcpu] === 1;
  }

  setTick(pcpu: number, whenNs: number): void {
    this.#timers.set(this.state.periods + pcpu, whenNs);
  }

  clearTick(pcpu: number): void {
    this.#timers.clear(this.state.periods + pcpu);
  }

  setPeriod(index: number, whenNs: number): void {
    this.#timers.set(index, whenNs);
  }

  /** Asks that the pCPU chooses anew, once what happens now is done (Xen's SCHEDULE_SOFTIRQ). */
  raise(pcpu: number): void {
    if (this.#isRaised[pcpu] === true) return;
    this.#isRaised[pcpu] = true;
    this.#raised.push(pcpu);
  }

  setParked(vcpu: number, parked: boolean): void {
    const state = this.vcpu(vcpu);
    this.#account(state);
    state.parked = parked;
  }

  /** Puts `next` on the pCPU, for `sliceNs` at most where it is not `IDLE`. What ran there is runnable from now on, or blocked. */
  switchTo(pcpu: number, next: number, sliceNs: number): void {
    const place = this.#pcpu(pcpu);
    const slice = this.#sliceTimer(pcpu);
    if (next === IDLE) this.#timers.clear(slice);
    else this.#timers.set(slice, this.nowNs + sliceNs);
    const previous = place.current;
    if (previous === next) return;
    if (previous !== IDLE) {
      place.busyNs += this.nowNs - place.sinceNs;
      this.#stop(previous);
    }
    place.current = next;
    place.sinceNs = this.nowNs;
    place.contextSwitches += 1;
    if (next !== IDLE) this.#start(next, pcpu);
    this.#record(pcpu, next);
  }

  runFor(durationNs: number, policy: Policy): void {
    assert(Number.isSafeInteger(durationNs) && durationNs >= 0, 'time is a whole number of nanoseconds');
    const untilNs = this.nowNs + durationNs;
    this.#settle(policy);
    for (let timer = this.#timers.next(); timer !== OFF; timer = this.#timers.next()) {
      const dueNs = this.#timers.dueOf(timer);
      if (dueNs > untilNs) break;
      this.state.nowNs = dueNs;
      this.#timers.clear(timer);
      this.#fire(timer, policy);
      this.#settle(policy);
    }
    this.state.nowNs = untilNs;
  }

  vcpuTimes(): readonly VcpuTimes[] {
    return this.state.vcpus.map((vcpu) => {
      const elapsedNs = this.nowNs - vcpu.sinceNs;
      const waits = vcpu.mode === 'runnable' ? elapsedNs : 0;
      return {
        domid: present(this.state.domains[vcpu.domain], 'the domain exists').domid,
        vcpu: vcpu.vcpu,
        runNs: vcpu.runNs + (vcpu.mode === 'running' ? elapsedNs : 0),
        stealNs: vcpu.stealNs + (vcpu.parked ? 0 : waits),
        parkedNs: vcpu.parkedNs + (vcpu.parked ? waits : 0),
        blockedNs: vcpu.blockedNs + (vcpu.mode === 'blocked' ? elapsedNs : 0),
        dispatches: vcpu.dispatches,
      };
    });
  }

  pcpuTimes(): readonly PcpuTimes[] {
    return this.state.pcpus.map((pcpu) => {
      const busyNs = pcpu.busyNs + (pcpu.current === IDLE ? 0 : this.nowNs - pcpu.sinceNs);
      return { busyNs, idleNs: this.nowNs - busyNs, contextSwitches: pcpu.contextSwitches };
    });
  }

  takeTrace(): readonly TraceEntry[] {
    const trace = this.state.trace ?? [];
    if (this.state.trace !== null) this.state.trace = [];
    return trace;
  }

  #pcpu(pcpu: number): MachinePcpu {
    return present(this.state.pcpus[pcpu], 'the pCPU exists');
  }

  #waitTimer(vcpu: number): number {
    return this.pcpuCount + this.state.periods + vcpu;
  }

  #sliceTimer(pcpu: number): number {
    return this.pcpuCount + this.state.periods + this.state.vcpus.length + pcpu;
  }

  #account(vcpu: MachineVcpu): void {
    const elapsedNs = this.nowNs - vcpu.sinceNs;
    vcpu.sinceNs = this.nowNs;
    if (vcpu.mode === 'running') vcpu.runNs += elapsedNs;
    else if (vcpu.mode === 'blocked') vcpu.blockedNs += elapsedNs;
    else if (vcpu.parked) vcpu.parkedNs += elapsedNs;
    else vcpu.stealNs += elapsedNs;
  }

  #start(vcpu: number, pcpu: number): void {
    const state = this.vcpu(vcpu);
    assert(state.mode === 'runnable', 'a vCPU that starts to run was runnable');
    this.#account(state);
    state.mode = 'running';
    state.pcpu = pcpu;
    state.dispatches += 1;
    if (state.workLeftNs !== OFF) this.#timers.set(this.#waitTimer(vcpu), this.nowNs + state.workLeftNs);
  }

  #stop(vcpu: number): void {
    const state = this.vcpu(vcpu);
    if (state.mode !== 'running') return;
    this.#account(state);
    state.mode = 'runnable';
    if (state.workLeftNs === OFF) return;
    const timer = this.#waitTimer(vcpu);
    state.workLeftNs = this.#timers.dueOf(timer) - this.nowNs;
    this.#timers.clear(timer);
  }

  #fire(timer: number, policy: Policy): void {
    const tick = timer - this.state.periods;
    const vcpu = tick - this.pcpuCount;
    const pcpu = vcpu - this.state.vcpus.length;
    if (pcpu >= 0) this.raise(pcpu);
    else if (vcpu >= 0) this.#turn(vcpu, policy);
    else if (tick >= 0) policy.tick(tick);
    else policy.period(timer);
  }

  /** A vCPU comes to its wait for I/O, or to the end of it. */
  #turn(vcpu: number, policy: Policy): void {
    const state = this.vcpu(vcpu);
    const { workload } = present(this.#settings[vcpu], 'the vCPU exists');
    assert(workload.kind === 'io', 'only I/O waits');
    this.#account(state);
    if (state.mode === 'running') {
      state.mode = 'blocked';
      state.workLeftNs = workload.runNs;
      this.#timers.set(this.#waitTimer(vcpu), this.nowNs + workload.blockNs);
      this.raise(state.pcpu);
      return;
    }
    assert(state.mode === 'blocked', 'a vCPU that waits in a queue has no wait of its own');
    state.mode = 'runnable';
    if (!state.parked) policy.wake(vcpu);
  }

  #settle(policy: Policy): void {
    for (const pcpu of this.#raised) {
      this.#isRaised[pcpu] = false;
      policy.schedule(pcpu);
    }
    this.#raised.length = 0;
  }

  #record(pcpu: number, next: number): void {
    const { trace } = this.state;
    if (trace === null || trace.length >= TRACE_LIMIT) return;
    const vcpu = next === IDLE ? null : this.vcpu(next);
    trace.push({
      atNs: this.nowNs,
      pcpu,
      domid: vcpu === null ? null : this.domainOf(next).domid,
      vcpu: vcpu?.vcpu ?? 0,
    });
  }
}
