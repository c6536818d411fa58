import type { GuestType } from '@xenolith/kernel';

const TEBIBYTE = 2 ** 40;

/** Bytes of an x86 page, the unit in which Xen hands out memory. */
export const PAGE_BYTES = 4096;

/** `DOMID_FIRST_RESERVED` of xen/include/public/xen.h: ids from here on name no ordinary domain. */
export const DOMID_FIRST_RESERVED = 0x7ff0;

/** For how many seconds libxl does not give a destroyed domain's id to another (`LIBXL_DOMID_REUSE_TIMEOUT`, tools/libs/light/libxl_internal.h). */
export const DOMID_REUSE_TIMEOUT_S = 60;

/** What libxl lets a domain have beyond its static maximum, in bytes (`LIBXL_MAXMEM_CONSTANT`, tools/libs/light/libxl_internal.h). */
export const MAXMEM_SLACK_BYTES = 1024 * 1024;

/** The most pauses that a toolstack may hold on one domain (xen/common/domain.c `_domain_pause_by_systemcontroller`). */
export const MAX_CONTROLLER_PAUSES = 255;

/** Highest port that libxl allows a guest by default (`event_channels`, tools/libs/light/libxl_create.c). */
export const DEFAULT_MAX_EVENT_PORT = 1023;

/** Watchdog timers of a domain (`NR_DOMAIN_WATCHDOG_TIMERS`, xen/include/xen/sched.h). */
export const WATCHDOGS_PER_DOMAIN = 2;

/** What one release of the hypervisor supports. */
export interface HypervisorLimits {
  /** vCPUs of one guest; 0: the release has no such guests. */
  readonly maxVcpus: Readonly<Record<GuestType, number>>;
  /** CPUs that Xen brings up; it leaves the others alone. */
  readonly physicalCpus: number;
  /** Memory that Xen uses; it ignores the rest. */
  readonly hostMemoryBytes: number;
  readonly guestMemoryBytes: number;
  /** `gnttab_max_frames` where the toolstack states none. */
  readonly grantFrames: number;
  /** Whether guests may change to the FIFO event channels, new in Xen 4.4. */
  readonly fifoEventChannels: boolean;
  /** Whether guests may change to version 2 of grant tables, new in Xen 4.0. */
  readonly grantVersion2: boolean;
}

/** Limits by release; createHypervisor takes one of these names. */
export const HYPERVISOR_LIMITS = {
  // The figures of the requirements; Xen 4.0's announcement says 1 TiB and 128 CPUs for a host too. Grant frames: its xen/common/grant_table.c.
  'xen-4.0': {
    maxVcpus: { pv: 64, hvm: 64, pvh: 0 },
    physicalCpus: 128,
    hostMemoryBytes: TEBIBYTE,
    guestMemoryBytes: TEBIBYTE,
    grantFrames: 32,
    fifoEventChannels: false,
    grantVersion2: true,
  },
  // SUPPORT.md (hosts and guests' memory), HVM_MAX_VCPUS of public/hvm/hvm_info_table.h, MAX_VIRT_CPUS of arch/x86/include/asm/config.h
  // (1024 MiB of 128 KiB each) and opt_max_grant_frames of common/grant_table.c, at c447b7308b.
  'xen-4.20': {
    maxVcpus: { pv: 8192, hvm: 128, pvh: 128 },
    physicalCpus: 4096,
    hostMemoryBytes: 12 * TEBIBYTE,
    guestMemoryBytes: 8 * TEBIBYTE,
    grantFrames: 64,
    fifoEventChannels: true,
    grantVersion2: true,
  },
} as const satisfies Readonly<Record<string, HypervisorLimits>>;
export type LimitsName = keyof typeof HYPERVISOR_LIMITS;

export const limitsOf = (name: LimitsName): HypervisorLimits => HYPERVISOR_LIMITS[name];
