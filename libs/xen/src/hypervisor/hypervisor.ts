import { assert } from '@xenolith/kernel';
import { threadsOf, type HardwareProfile } from '../hardware-profile.js';
import { balloonDueUs, beginMove, dropBalloon, pagesByNode, settleBalloons, totalPages } from './balloon-motion.js';
import { Domains, newDomain } from './domains.js';
import type { CpuNumbers } from './cpu-set.js';
import { EventChannels } from './event-channels.js';
import { FIFO_PORTS } from './event-channel-state.js';
import { GrantTables } from './grant-tables.js';
import { shutDown, SHUTDOWN } from './lifecycle.js';
import { limitsOf, PAGE_BYTES, type LimitsName } from './limits.js';
import { Memory } from './memory.js';
import { givePages, planAllocation } from './node-memory.js';
import { PageSharing } from './page-sharing.js';
import {
  knownDomain,
  sum,
  type HypervisorState,
  type MachineEffect,
  type SchedulerName,
  type Upcall,
  type WatchdogState,
} from './state.js';
import {
  cpuNumbersOf,
  cpuTopology,
  hostCapabilities,
  nodeDistances,
  nodeHeaps,
  onlineCpuCount,
  usedHardware,
  type CpuTopology,
  type HostCapabilities,
} from './topology.js';
import { Vcpus } from './vcpus.js';
import { Watchdogs } from './watchdogs.js';

/** How a host is booted. */
export interface HypervisorOptions {
  readonly profile: HardwareProfile;
  readonly limits: LimitsName;
  readonly scheduler: SchedulerName;
  /** `dom0_max_vcpus` and `dom0_mem`; the memory is rounded down to pages and clamped to what there is. */
  readonly dom0: { readonly vcpus: number; readonly memoryBytes: number };
}

/** XEN_SYSCTL_physinfo. Pages are of 4 KiB. */
export interface PhysicalInfo {
  readonly onlineCpus: number;
  readonly maxCpuId: number;
  readonly nodes: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
  readonly cpuKhz: number;
  readonly totalPages: number;
  readonly freePages: number;
  /** Always 0, as Xen has answered since it scrubs when idle. */
  readonly scrubPages: number;
  /** Claimed, or on its way into a balloon that deflates; `xl info` shows free less these. */
  readonly outstandingPages: number;
  /** CPUID words as `xl info` prints them in hw_caps. */
  readonly hwCaps: readonly number[];
  readonly capabilities: HostCapabilities;
  readonly grantVersion2: boolean;
}

/** A node of XEN_SYSCTL_numainfo. */
export interface NumaNodeInfo {
  readonly node: number;
  readonly memoryBytes: number;
  readonly freeBytes: number;
  readonly distances: readonly number[];
}

/** What happened by itself as time went on. */
export type Expiry =
  | {
      readonly what: 'watchdog';
      readonly domid: number;
      readonly id: number;
      readonly machine: MachineEffect | null;
      readonly upcalls: readonly Upcall[];
      readonly atUs: number;
    }
  /** The balloon is where it shall be, with that many pages left to the domain. */
  | { readonly what: 'ballooned'; readonly domid: number; readonly pages: number; readonly atUs: number };

/**
 * CPUID words of an Intel server of the profiles' generation as Xen prints them. Assumption: one set for all; what matters, virtualisation, follows
 * the profile's features.
 */
const HW_CAPS = [0xbfebfbff, 0x77fef3df, 0x2c100800, 0x00000121, 0x0000000f, 0xd19fffbb, 0x00000008, 0x00000100];
/** CPUID leaf 1 ECX bit 5, and leaf 0x80000001 ECX bit 2. */
const VMX_BIT = 1 << 5;
const SVM_BIT = 1 << 2;

/** Dom0's handle is zero, as Xen makes it. */
const CONTROL_DOMAIN_HANDLE = '00000000-0000-0000-0000-000000000000';

/** Steps that one advance takes at most; more is a defect, as each step ends a wait of seconds. */
const MAX_STEPS = 10_000_000;

/** Xen as it is when Dom0 begins to run: Dom0 has its memory, all else is free. */
export const createHypervisor = ({ profile, limits: name, scheduler, dom0 }: HypervisorOptions): HypervisorState => {
  const limits = limitsOf(name);
  const hardware = usedHardware(profile, limits);
  const nodes = nodeHeaps(hardware);
  assert(Number.isInteger(dom0.vcpus) && dom0.vcpus >= 1, 'Dom0 has a vCPU');
  const control = newDomain(
    0,
    {
      type: 'pv',
      handle: CONTROL_DOMAIN_HANDLE,
      maxVcpus: Math.min(dom0.vcpus, limits.maxVcpus.pv),
      maxEventPort: FIFO_PORTS - 1,
      hap: false,
      privileged: true,
    },
    { nodes: nodes.length, limits },
  );
  control.controllerPauses = 0;
  const state: HypervisorState = {
    hardware,
    limits: name,
    scheduler,
    nodes,
    claimedPages: 0,
    shared: [],
    domains: { '0': control },
    domainCount: 1,
    lastDomid: 0,
    recentDomids: [],
    ballooning: [],
    watchdogs: [],
    virqHandlers: {},
  };
  const preferred = nodes.map((_node, index) => index);
  const pages = Math.floor(dom0.memoryBytes / PAGE_BYTES);
  const plan = planAllocation(nodes, pages, { preferred, lastNode: -1, exact: false });
  givePages(state, control, plan);
  control.maxPages = plan.pages;
  return state;
};

const earliestWatchdog = (
  state: HypervisorState,
): { readonly watchdog: WatchdogState; readonly dueUs: number } | null => {
  let found: { readonly watchdog: WatchdogState; readonly dueUs: number } | null = null;
  for (const watchdog of state.watchdogs) {
    const { dueUs } = watchdog;
    if (dueUs !== null && (found === null || dueUs < found.dueUs)) found = { watchdog, dueUs };
  }
  return found;
};

const earliestBalloon = (state: HypervisorState): { readonly domid: number; readonly dueUs: number } | null => {
  let found: { readonly domid: number; readonly dueUs: number } | null = null;
  for (const domid of state.ballooning) {
    const dueUs = balloonDueUs(knownDomain(state, domid));
    if (dueUs !== null && (found === null || dueUs < found.dueUs)) found = { domid, dueUs };
  }
  return found;
};

/** The hypervisor of one host. `new Hypervisor(state)` goes on where a saved state stopped. */
export class Hypervisor {
  readonly domains: Domains;
  readonly vcpus: Vcpus;
  readonly memory: Memory;
  readonly sharing: PageSharing;
  readonly events: EventChannels;
  readonly grants: GrantTables;
  readonly watchdogs: Watchdogs;

  constructor(readonly state: HypervisorState) {
    this.domains = new Domains(state);
    this.vcpus = new Vcpus(state);
    this.memory = new Memory(state);
    this.sharing = new PageSharing(state);
    this.events = new EventChannels(state);
    this.grants = new GrantTables(state);
    this.watchdogs = new Watchdogs(state);
  }

  /** When something will happen by itself next, in microseconds; null: never. */
  nextDueUs(): number | null {
    const watchdog = earliestWatchdog(this.state)?.dueUs ?? null;
    const balloon = earliestBalloon(this.state)?.dueUs ?? null;
    return watchdog === null || balloon === null ? (watchdog ?? balloon) : Math.min(watchdog, balloon);
  }

  /**
   * Lets happen what falls due up to `nowUs`, in order of time: watchdogs fire, balloons arrive or ask for memory again. To be called before anything is done at a later
   * time; how often it is called changes nothing.
   */
  advance(nowUs: number): readonly Expiry[] {
    const happened: Expiry[] = [];
    for (let step = 0; ; step += 1) {
      assert(step < MAX_STEPS, 'time goes on between what happens by itself');
      const watchdog = earliestWatchdog(this.state);
      const balloon = earliestBalloon(this.state);
      if (watchdog && watchdog.dueUs <= nowUs && (!balloon || watchdog.dueUs <= balloon.dueUs)) {
        const fired = this.fire(watchdog.watchdog, watchdog.dueUs);
        if (fired) happened.push(fired);
      } else if (balloon && balloon.dueUs <= nowUs) {
        const arrived = this.continueBalloon(balloon.domid, balloon.dueUs);
        if (arrived) happened.push(arrived);
      } else return happened;
    }
  }

  private fire(watchdog: WatchdogState, atUs: number): Expiry | null {
    watchdog.dueUs = null;
    const domain = knownDomain(this.state, watchdog.domid);
    if (domain.shutdownCode !== null) return null;
    const effect = shutDown(this.state, domain, SHUTDOWN.watchdog, atUs);
    return { what: 'watchdog', domid: watchdog.domid, id: watchdog.id, ...effect, atUs };
  }

  private continueBalloon(domid: number, atUs: number): Expiry | null {
    const domain = knownDomain(this.state, domid);
    settleBalloons(this.state, atUs);
    if (domain.balloon?.retryUs !== null) {
      beginMove(this.state, domain, atUs);
      return null;
    }
    dropBalloon(this.state, domain, atUs);
    return { what: 'ballooned', domid, pages: sum(domain.pages), atUs };
  }

  /** XEN_SYSCTL_physinfo. */
  physicalInfo(nowUs: number): PhysicalInfo {
    const { hardware } = this.state;
    const limits = limitsOf(this.state.limits);
    const moving = this.movingPages(nowUs);
    return {
      onlineCpus: onlineCpuCount(hardware, limits),
      maxCpuId: threadsOf(hardware) - 1,
      nodes: hardware.numaNodes,
      coresPerSocket: hardware.coresPerSocket,
      threadsPerCore: hardware.threadsPerCore,
      cpuKhz: hardware.mhz * 1000,
      totalPages: Math.floor(hardware.memoryBytes / PAGE_BYTES),
      freePages: sum(this.state.nodes.map((node) => node.freePages)) + moving.released + moving.reserved,
      scrubPages: 0,
      outstandingPages: this.state.claimedPages + moving.reserved,
      hwCaps: HW_CAPS.map((word, index) => {
        if (index === 1 && hardware.features.includes('vmx')) return word | VMX_BIT;
        return index === 3 && hardware.features.includes('svm') ? word | SVM_BIT : word;
      }),
      capabilities: hostCapabilities(hardware),
      grantVersion2: limits.grantVersion2,
    };
  }

  /** Pages that balloons gave back and the heap does not count yet, and those that it gave away and that have not arrived. */
  private movingPages(nowUs: number): { readonly released: number; readonly reserved: number } {
    let [released, reserved] = [0, 0];
    for (const domid of this.state.ballooning) {
      const domain = knownDomain(this.state, domid);
      const behind = sum(domain.pages) - totalPages(domain, nowUs);
      if (domain.balloon && domain.balloon.toPages < domain.balloon.fromPages) released += behind;
      else reserved += behind;
    }
    return { released, reserved };
  }

  /** XEN_SYSCTL_numainfo. */
  numaInfo(nowUs: number): readonly NumaNodeInfo[] {
    const { hardware, nodes } = this.state;
    const free = nodes.map((node) => node.freePages);
    for (const domid of this.state.ballooning) {
      const domain = knownDomain(this.state, domid);
      for (const [node, pages] of pagesByNode(domain, nowUs).entries())
        free[node] = (free[node] ?? 0) + (domain.pages[node] ?? 0) - pages;
    }
    return free.map((pages, node) => ({
      node,
      memoryBytes: hardware.memoryBytes / hardware.numaNodes,
      freeBytes: pages * PAGE_BYTES,
      distances: nodeDistances(hardware, node),
    }));
  }

  /** XEN_SYSCTL_cputopoinfo: every online CPU. */
  cpuTopology(): readonly CpuTopology[] {
    return cpuTopology(this.state.hardware, limitsOf(this.state.limits));
  }

  /** What lists of CPUs in xl's syntax may speak of on this host: for parseCpuSet. */
  cpuNumbers(): CpuNumbers {
    return cpuNumbersOf(this.state.hardware, limitsOf(this.state.limits));
  }
}
