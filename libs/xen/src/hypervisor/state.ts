import { present, type GuestType } from '@xenolith/kernel';
import type { HardwareProfile } from '../hardware-profile.js';
import { done, fail, type Outcome } from '../outcome.js';
import type { CpuSet } from './cpu-set.js';
import type { EventChannelsState } from './event-channel-state.js';
import type { GrantTableState } from './grant-state.js';
import type { LimitsName } from './limits.js';

/** Xen's schedulers that a host may be booted with (`sched=`); what they do is the scheduler layer's. */
export type SchedulerName = 'credit2' | 'credit';

export interface VcpuState {
  online: boolean;
  /** CPUs that it may run on; null: all, as at creation. */
  hardAffinity: CpuSet | null;
  /** CPUs that it prefers; null: all. */
  softAffinity: CpuSet | null;
}

/** `alive`; `dying` while it gives its resources back; `dead` when it has, and only others' references keep it (xen/include/xen/sched.h). */
export type Dying = 'alive' | 'dying' | 'dead';

/** A balloon driver under way, or one that waits. Pages are counted as Xen counts the domain's: `pages` of DomainState. */
export interface BalloonState {
  /** What xenstore's memory/target asks for. */
  targetPages: number;
  /** The guest cannot do without these. */
  floorPages: number;
  ratePagesPerSecond: number;
  fromPages: number;
  sinceUs: number;
  /** Where the present move ends, for want of more or because the target is reached. */
  toPages: number;
  /** When the driver asks Xen again for what it did not get; null: it wants no more than `toPages`. */
  retryUs: number | null;
  /** Requests that failed one after the other; the delay doubles with each. */
  failures: number;
  /** The domain is paused or shut down, so that its driver does not run. */
  frozen: boolean;
}

/** Frames that several domains have the same content in; each member has `pages` of them mapped. */
export interface SharedFrames {
  /** Backing frames by node. */
  pages: number[];
  /** Domain ids, ascending. */
  members: number[];
}

export interface DomainState {
  readonly domid: number;
  /** `xen_domain_handle_t`: the uuid that the toolstack gave. */
  handle: string;
  readonly type: GuestType;
  /** Hardware-assisted paging; never for PV. */
  readonly hap: boolean;
  /** May be given pass-through devices. */
  readonly iommu: boolean;
  /** It runs xenstored for the others. */
  readonly xenstore: boolean;
  /** Control and hardware domain: Dom0. */
  readonly privileged: boolean;
  /** The HVM guest whose device model this stub domain is. */
  target: number | null;
  /** Pauses by the toolstack that were not taken back; 1 at creation. */
  controllerPauses: number;
  debugged: boolean;
  /** SHUTDOWN_* of public/sched.h, or null while it runs. */
  shutdownCode: number | null;
  dying: Dying;
  maxPages: number;
  /** Pages that it owns, by node; with a balloon that inflates, those that it gave back up to the last change of the host's memory. */
  pages: number[];
  /** Pages that Xen and the toolstack spend on it, by node. */
  overheadPages: number[];
  /** `outstanding_pages`: what is left of its claim. */
  claimedPages: number;
  /** Its entries that point to shared frames. */
  sharedPages: number;
  /** Node that last gave it memory; -1: none did. */
  lastNode: number;
  /** Nodes that its memory shall come from, ascending; null: those of its vCPUs' affinity. */
  nodeAffinity: number[] | null;
  vcpus: VcpuState[];
  weight: number;
  /** Percent of one CPU; 0: no cap. */
  cap: number;
  balloon: BalloonState | null;
  events: EventChannelsState;
  grants: GrantTableState;
  /** Physical interrupts that a PV guest may bind. */
  pirqs: number[];
}

export interface NodeState {
  /** Pages that can be handed out: the node's less Xen's own. */
  readonly heapPages: number;
  freePages: number;
}

export interface WatchdogState {
  readonly domid: number;
  /** 1 or 2, as the hypercall numbers them. */
  readonly id: number;
  /** null: it has fired and was not set again. */
  dueUs: number | null;
}

/** Everything that the hypervisor of one host knows. Plain JSON. */
export interface HypervisorState {
  /** The machine as far as Xen uses it. */
  readonly hardware: HardwareProfile;
  readonly limits: LimitsName;
  readonly scheduler: SchedulerName;
  nodes: NodeState[];
  /** Sum of all domains' claims, in pages. */
  claimedPages: number;
  shared: SharedFrames[];
  /** By domain id. */
  domains: Record<string, DomainState>;
  domainCount: number;
  lastDomid: number;
  /** Ids of destroyed domains with the second of their end, oldest first; older than the reuse time-out are dropped. */
  recentDomids: { domid: number; endedS: number }[];
  /** Ids of the domains whose balloon moves or waits. */
  ballooning: number[];
  watchdogs: WatchdogState[];
  /** Who gets a global VIRQ, where that is not Dom0. */
  virqHandlers: Record<string, number>;
}

/** An interrupt that a vCPU gets through an event channel. */
export interface Upcall {
  readonly domid: number;
  readonly vcpu: number;
  readonly port: number;
}

/** What follows for the machine when Dom0 shuts down (xen/common/shutdown.c `hwdom_shutdown`). */
export type MachineEffect = 'halt' | 'reboot';

/** The domain, zombies included; ESRCH where there is none (xen/common/domctl.c). */
export const domainOf = (state: HypervisorState, domid: number): Outcome<DomainState> => {
  const domain = state.domains[domid];
  return domain ? done(domain) : fail('ESRCH');
};

/** The domain, where a caller knows that it exists. */
export const knownDomain = (state: HypervisorState, domid: number): DomainState =>
  present(state.domains[domid], `domain ${domid} exists`);

export const sum = (numbers: readonly number[]): number => {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
};
