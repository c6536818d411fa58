import type { PlannedMachine, Stay } from './planned-machine.js';
import type { WhatIf } from './what-if.js';

/** One migration that is possible when those before it are done. */
export interface Step {
  readonly machine: PlannedMachine;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
  readonly gain: number;
}

/** Moves that are tried one after the other, and taken back. */
export class Trial {
  readonly steps: Step[] = [];
  private readonly stays: Stay[] = [];

  constructor(private readonly whatIf: WhatIf) {}

  move(machine: PlannedMachine, to: number, why: { readonly reason: string; readonly gain?: number }): void {
    this.steps.push({ machine, from: machine.slot, to, reason: why.reason, gain: why.gain ?? 0 });
    this.stays.push(this.whatIf.move(machine, to));
  }

  /** Takes back all but the first so many moves. */
  backTo(count: number): void {
    while (this.stays.length > count) {
      const stay = this.stays.pop();
      this.steps.pop();
      if (stay) this.whatIf.back(stay);
    }
  }
}
