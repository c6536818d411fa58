/** Why a domain shut down, in the order of its codes 0 to 5 (xen/include/public/sched.h). */
export const SHUTDOWN_REASONS = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft_reset'] as const;
export type ShutdownReason = (typeof SHUTDOWN_REASONS)[number];

/** What the tools know of one domain. */
export interface DomainFacts {
  readonly domid: number;
  /** Null: its name is gone from xenstore, as that of a domain which is still dying. */
  readonly name: string | null;
  readonly uuid: string;
  readonly memoryKib: number;
  /** Claimed and not yet populated. */
  readonly outstandingKib: number;
  readonly maxMemoryKib: number;
  readonly vcpusOnline: number;
  readonly running: boolean;
  readonly blocked: boolean;
  readonly paused: boolean;
  readonly dying: boolean;
  /** Null: it did not shut down. */
  readonly shutdown: ShutdownReason | null;
  readonly cpuTimeNs: number;
  readonly cpupool: string;
  /** Numbers of the NUMA nodes that it prefers. */
  readonly nodeAffinity: readonly number[];
  /** Security label; absent: none. */
  readonly label?: string;
}

export interface VcpuFacts {
  readonly vcpu: number;
  readonly pcpu: number;
  readonly online: boolean;
  readonly running: boolean;
  readonly blocked: boolean;
  readonly cpuTimeNs: number;
  readonly hardAffinity: readonly number[];
  readonly softAffinity: readonly number[];
}

export interface NicFacts {
  readonly devid: number;
  readonly backendDomid: number;
  /** Six pairs of hexadecimal digits with colons. */
  readonly mac: string;
  /** XenBus state; -1 where it is not there yet. */
  readonly state: number;
  readonly eventChannel: number;
  readonly txRingRef: number;
  readonly rxRingRef: number;
  readonly backendPath: string;
}

export interface DiskFacts {
  /** Number of the virtual device: 51712 is xvda. */
  readonly devid: number;
  readonly backendDomid: number;
  readonly frontendDomid: number;
  readonly state: number;
  readonly eventChannel: number;
  readonly ringRef: number;
  readonly backendPath: string;
}

/** What a tool printed and how it ended. */
export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export const printed = (stdout: string): ToolOutput => ({ stdout, stderr: '', exitCode: 0 });

/** EXIT_FAILURE. */
export const failed = (stderr: string): ToolOutput => ({ stdout: '', stderr: `${stderr}\n`, exitCode: 1 });
