/** What one vCPU wants: `demand` is the share of a pCPU that it uses when nothing keeps it from running, 0 to 1. */
export interface DemandingVcpu {
  readonly demand: number;
  /** Numbers of the pCPUs that it may run on. Absent: all. */
  readonly hardAffinity?: readonly number[];
}

export interface DemandingDomain {
  readonly weight: number;
  /** Percent of one pCPU; 0: none. */
  readonly cap: number;
  readonly vcpus: readonly DemandingVcpu[];
}

/** Shares of time, 0 to 1. */
export interface VcpuShare {
  /** Of one pCPU. */
  readonly share: number;
  /** Runnable without a pCPU. */
  readonly steal: number;
  /** Kept from running by its domain's cap. */
  readonly parked: number;
}
