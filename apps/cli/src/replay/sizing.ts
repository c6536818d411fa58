import { memoryOverheadBytes } from '@xenolith/kernel';
import type { TraceEvent, TraceMachine } from './trace.js';

const MEBIBYTE = 2 ** 20;

/** The server that the Azure packing trace is usually packed on: 96 cores in hundredths, 2250 GB. */
export const TRACE_SERVER = { cores: 9_600, ram: 2_250 } as const;

/** Room left on purpose when sizes are scaled to a fleet: a scheduler that reaches this is good. */
const FILL_TARGET = 0.9;
/** Smaller guests would be nothing but overhead. */
const LEAST_MEMORY_MIB = 16;
/** The most that a machine's spec may ask for. */
const MOST_VCPUS = 128;

/** What one host of the platform offers to machines. */
export interface HostCapacity {
  /** Hardware threads times the cluster's CPU over-commitment. */
  readonly vcpus: number;
  readonly memoryBytes: number;
}

export interface MachineSize {
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Memory with the domain's overhead: what the scheduler counts. */
  readonly reservedBytes: number;
}

/** The most servers of the trace's kind that its machines would fill at one time, in the scarcer of CPU and memory. */
export const peakServers = (machines: readonly TraceMachine[], events: readonly TraceEvent[]): number => {
  let [cores, ram, peak] = [0, 0, 0];
  for (const event of events) {
    const machine = machines[event.machine];
    const sign = event.kind === 'create' ? 1 : -1;
    cores += sign * (machine?.cores ?? 0);
    ram += sign * (machine?.ram ?? 0);
    peak = Math.max(peak, cores / TRACE_SERVER.cores, ram / TRACE_SERVER.ram);
  }
  return peak;
};

/** How many servers of the trace each host stands for so that the trace's peak fills the fleet, without overflowing it; never less than one. */
export const fittingScale = (peak: number, hosts: number): number => Math.max(1, peak / (FILL_TARGET * hosts));

/**
 * A machine that takes the same share of a host as its original takes of `scale` servers of the trace. The overhead is part of the share, so that a host
 * holds as many as the server did. CPUs are rounded, to one at least.
 */
export const sizeOf = (machine: TraceMachine, host: HostCapacity, scale: number): MachineSize => {
  const vcpus = Math.round((machine.cores / (TRACE_SERVER.cores * scale)) * host.vcpus);
  const bounded = Math.min(MOST_VCPUS, Math.max(1, vcpus));
  const shareBytes = (machine.ram / (TRACE_SERVER.ram * scale)) * host.memoryBytes;
  const overheadFor = (staticMaxBytes: number): number =>
    memoryOverheadBytes({ guestType: 'pvh', vcpus: bounded, staticMaxBytes });
  const memoryMiB = Math.max(LEAST_MEMORY_MIB, Math.floor((shareBytes - overheadFor(shareBytes)) / MEBIBYTE));
  const memoryBytes = memoryMiB * MEBIBYTE;
  return { vcpus: bounded, memoryMiB, reservedBytes: memoryBytes + overheadFor(memoryBytes) };
};
