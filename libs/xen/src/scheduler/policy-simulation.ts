import { Machine, type MachineState, type Policy } from './machine.js';
import type { PcpuTimes, SchedulerSimulation, TraceEntry, VcpuTimes } from './simulation.js';

/** A scheduler over its machine: what passes time and counts it is the machine's, what chooses is the policy's. */
export abstract class PolicySimulation implements SchedulerSimulation, Policy {
  abstract readonly state: object;
  protected readonly machine: Machine;

  protected constructor(machine: MachineState) {
    this.machine = new Machine(machine);
  }

  abstract schedule(pcpu: number): void;
  abstract wake(vcpu: number): void;
  abstract tick(pcpu: number): void;
  abstract period(index: number): void;

  get nowNs(): number {
    return this.machine.nowNs;
  }

  runFor(durationNs: number): void {
    this.machine.runFor(durationNs, this);
  }

  vcpuTimes(): readonly VcpuTimes[] {
    return this.machine.vcpuTimes();
  }

  pcpuTimes(): readonly PcpuTimes[] {
    return this.machine.pcpuTimes();
  }

  takeTrace(): readonly TraceEntry[] {
    return this.machine.takeTrace();
  }
}
