import type { GuestType } from '@xenolith/kernel';
import { totalPages } from './balloon-motion.js';
import type { DomainState } from './state.js';

/** What a vCPU does at the moment, as the scheduler knows it. */
export interface VcpuActivity {
  /** It has a CPU now. */
  readonly running: boolean;
  /** It waits for an event. */
  readonly blocked: boolean;
  readonly cpuTimeNs: number;
}

/** Answers a vCPU's activity; the hypervisor layer does not schedule by itself. */
export type ActivityOf = (domid: number, vcpu: number) => VcpuActivity;

const IDLE: VcpuActivity = { running: false, blocked: true, cpuTimeNs: 0 };
/** Every vCPU waits and has used nothing. */
export const allIdle: ActivityOf = () => IDLE;

/** XEN_DOMINF_* of public/domctl.h. */
export const DOMINF = {
  dying: 1 << 0,
  hvm_guest: 1 << 1,
  shutdown: 1 << 2,
  paused: 1 << 3,
  blocked: 1 << 4,
  running: 1 << 5,
  debugged: 1 << 6,
  xs_domain: 1 << 7,
  hap: 1 << 8,
} as const;
/** Where the shutdown code stands in the flag word (`XEN_DOMINF_shutdownshift`), and its width. */
export const DOMINF_SHUTDOWN_SHIFT = 16;
export const DOMINF_SHUTDOWN_MASK = 255;
/** `SHUTDOWN_CODE_INVALID` of xen/include/xen/sched.h has all bits set: a domain that runs has them in the upper half of its flag word. */
const NO_SHUTDOWN_CODE = 0xffff;

/** XEN_DOMCTL_getdomaininfo. */
export interface DomainInfo {
  readonly domid: number;
  readonly handle: string;
  readonly type: GuestType;
  /** DOMINF bits, and the shutdown code from bit 16. Unsigned 32 bits. */
  readonly flags: number;
  /** `tot_pages`, of 4 KiB. */
  readonly totalPages: number;
  readonly maxPages: number;
  /** What is left of its claim. */
  readonly outstandingPages: number;
  readonly sharedPages: number;
  /** Pages that Xen spends on it beyond its own; not part of Xen's answer. */
  readonly overheadPages: number;
  readonly cpuTimeNs: number;
  readonly onlineVcpus: number;
  readonly maxVcpuId: number;
  readonly weight: number;
  readonly cap: number;
}

interface RunState {
  readonly flags: number;
  readonly online: number;
  readonly cpuTimeNs: number;
}

/** A domain runs if one of its vCPUs does and is blocked if all are; without online vCPUs it is neither (xen/common/domctl.c `getdomaininfo`). */
const runStateOf = (domain: DomainState, activityOf: ActivityOf): RunState => {
  const halted = domain.controllerPauses > 0 || domain.shutdownCode !== null || domain.dying !== 'alive';
  let [running, allBlocked, online, cpuTimeNs] = [false, true, 0, 0];
  for (const [id, vcpu] of domain.vcpus.entries()) {
    const activity = activityOf(domain.domid, id);
    cpuTimeNs += activity.cpuTimeNs;
    if (!vcpu.online) continue;
    online += 1;
    running ||= activity.running && !halted;
    // The vCPU that shuts its domain down does not wait for anything.
    allBlocked &&= activity.blocked && domain.shutdownCode === null;
  }
  const flags = online === 0 ? 0 : (running ? DOMINF.running : 0) | (allBlocked ? DOMINF.blocked : 0);
  return { flags, online, cpuTimeNs };
};

const flagsOf = (domain: DomainState, run: RunState): number => {
  const bits =
    run.flags |
    (domain.dying === 'dead' ? DOMINF.dying : 0) |
    (domain.shutdownCode === null ? 0 : DOMINF.shutdown) |
    (domain.controllerPauses > 0 ? DOMINF.paused : 0) |
    (domain.debugged ? DOMINF.debugged : 0) |
    (domain.xenstore ? DOMINF.xs_domain : 0) |
    (domain.type === 'pv' ? 0 : DOMINF.hvm_guest) |
    (domain.hap ? DOMINF.hap : 0);
  // Unsigned, as the word is in C.
  return (bits | ((domain.shutdownCode ?? NO_SHUTDOWN_CODE) << DOMINF_SHUTDOWN_SHIFT)) >>> 0;
};

/** What Xen tells of a domain. Changes nothing. */
export const domainInfoOf = (domain: DomainState, activityOf: ActivityOf, nowUs: number): DomainInfo => {
  const run = runStateOf(domain, activityOf);
  let overheadPages = 0;
  for (const pages of domain.overheadPages) overheadPages += pages;
  return {
    domid: domain.domid,
    handle: domain.handle,
    type: domain.type,
    flags: flagsOf(domain, run),
    totalPages: totalPages(domain, nowUs),
    maxPages: domain.maxPages,
    outstandingPages: domain.claimedPages,
    sharedPages: domain.sharedPages,
    overheadPages,
    cpuTimeNs: run.cpuTimeNs,
    onlineVcpus: run.online,
    maxVcpuId: domain.vcpus.length - 1,
    weight: domain.weight,
    cap: domain.cap,
  };
};

/** By shutdown code: poweroff, reboot, suspend, crash, watchdog, soft_reset (tools/xl/xl_info.c). */
const SHUTDOWN_LETTERS = '-rscwS';

/** The shutdown code in a flag word; null: the domain is not shut down. */
export const shutdownCodeOf = (flags: number): number | null =>
  (flags & DOMINF.shutdown) === 0 ? null : (flags >>> DOMINF_SHUTDOWN_SHIFT) & DOMINF_SHUTDOWN_MASK;

/** The six letters of `xl list` (tools/xl/xl_info.c): running, blocked, paused, shut down, why it is shut down, dying. */
export const stateLetters = (flags: number): string =>
  ((flags & DOMINF.running) === 0 ? '-' : 'r') +
  ((flags & DOMINF.blocked) === 0 ? '-' : 'b') +
  ((flags & DOMINF.paused) === 0 ? '-' : 'p') +
  ((flags & DOMINF.shutdown) === 0 ? '-' : 's') +
  (SHUTDOWN_LETTERS[shutdownCodeOf(flags) ?? 0] ?? '?') +
  ((flags & DOMINF.dying) === 0 ? '-' : 'd');
