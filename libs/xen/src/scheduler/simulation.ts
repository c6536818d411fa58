/** A physical CPU's place, as `xl info -n` prints it in `cpu_topology`. Cores are numbered within their socket. */
export interface PcpuPlace {
  readonly core: number;
  readonly socket: number;
  readonly node: number;
}

/** What a vCPU does when it runs: compute without end, or compute for `runNs` and then wait `blockNs` for I/O. Whole nanoseconds above 0. */
export type Workload =
  { readonly kind: 'busy' } | { readonly kind: 'io'; readonly runNs: number; readonly blockNs: number };

export interface ScheduledVcpu {
  readonly workload: Workload;
  /** Numbers of the pCPUs that it may run on. Absent: all. */
  readonly hardAffinity?: readonly number[];
  /** Numbers of the pCPUs that it prefers. Absent: all. */
  readonly softAffinity?: readonly number[];
}

export interface ScheduledDomain {
  readonly domid: number;
  /** Share against others, for each of its vCPUs: 1 to 65535, 256 unless told (xen/common/sched). */
  readonly weight: number;
  /** Most CPU time of the whole domain, in percent of one pCPU; 0: no bound. */
  readonly cap: number;
  readonly vcpus: readonly ScheduledVcpu[];
}

/** Where the time of one vCPU went, in nanoseconds since the start; the four sum up to the time that passed. */
export interface VcpuTimes {
  readonly domid: number;
  readonly vcpu: number;
  readonly runNs: number;
  /** It could run and had no pCPU. */
  readonly stealNs: number;
  /** Its domain had used up its cap. */
  readonly parkedNs: number;
  /** It waited for I/O. */
  readonly blockedNs: number;
  /** How often it was put on a pCPU. */
  readonly dispatches: number;
}

export interface PcpuTimes {
  readonly busyNs: number;
  readonly idleNs: number;
  readonly contextSwitches: number;
}

/** From `atNs` on, the pCPU runs this vCPU; `domid` null: it idles. */
export interface TraceEntry {
  readonly atNs: number;
  readonly pcpu: number;
  readonly domid: number | null;
  readonly vcpu: number;
}

/** A scheduler of Xen over one CPU pool, moved forward in virtual time. Its `state` is JSON: a new simulation over a copy of it goes on alike. */
export interface SchedulerSimulation {
  readonly state: object;
  readonly nowNs: number;
  /** Lets `durationNs` (a whole number of nanoseconds) pass. */
  runFor(durationNs: number): void;
  /** By domain, then vCPU, in the order in which they were given. */
  vcpuTimes(): readonly VcpuTimes[];
  pcpuTimes(): readonly PcpuTimes[];
  /** The trace recorded since the last call, empty where none was asked for. */
  takeTrace(): readonly TraceEntry[];
}

/** Bounds one trace's memory to some 100 MiB: a busy pCPU makes about 1,000 entries a second. */
export const TRACE_LIMIT = 1_000_000;
