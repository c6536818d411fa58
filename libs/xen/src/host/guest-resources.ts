import { PAGE_BYTES } from '../hypervisor/index.js';
import { cpuAvailabilityPath, domainNode, memoryTargetPath } from '../xenstore/index.js';
import { plan } from './agenda.js';
import { accountCpu } from './cpu-account.js';
import { hasFrontends } from './machine-devices.js';
import type { Host, Machine } from './host-state.js';
import { DEVICES_TOKEN } from './store-access.js';

/** The guest's own words for what it watches: its vCPUs (drivers/xen/cpu_hotplug.c) and its memory (drivers/xen/xen-balloon.c of Linux). */
export const CPU_TOKEN = 'cpu';
export const BALLOON_TOKEN = 'memory/target';

const KIB_PER_PAGE = PAGE_BYTES / 1024;

export const watchResources = (host: Host, machine: Machine): void => {
  const { domid } = machine;
  host.xenstore.watch(domid, domainNode(domid, 'cpu'), CPU_TOKEN);
  host.xenstore.watch(domid, memoryTargetPath(domid), BALLOON_TOKEN);
  host.xenstore.watch(domid, domainNode(domid, 'device'), DEVICES_TOKEN);
};

const PAGES_PER_MIB = 2 ** 20 / PAGE_BYTES;
/**
 * What a guest keeps for itself whatever the toolstack asks: MiB + 2^-shift of its memory, for guests below so many MiB (Linux 2.6.18-xen drivers/xen/balloon/balloon.c
 * `minimum_target`, "simple continuous piecewise linear function"). Later kernels have no floor of their own and begin to kill instead.
 */
const FLOORS: readonly (readonly [belowMib: number, mib: number, shift: number])[] = [
  [128, 8, 1],
  [512, 40, 2],
  [2048, 104, 3],
  [Infinity, 296, 5],
];

/** Pages that a guest of so many pages does not give up. */
export const balloonFloorPages = (maxPages: number): number => {
  const [, mib, shift] = FLOORS.find(([belowMib]) => maxPages < belowMib * PAGES_PER_MIB) ?? [0, 0, 0];
  return Math.min(maxPages, mib * PAGES_PER_MIB + (maxPages >> shift));
};

/** Plans the next moment at which a balloon needs the hypervisor. */
export const followBalloons = (host: Host): void => {
  const dueUs = host.hypervisor.nextDueUs();
  if (dueUs !== null) plan(host.state.agenda, Math.max(dueUs, host.state.nowUs), { do: 'hypervisor', dueUs });
};

export const balloonsMove = (host: Host): void => {
  host.hypervisor.advance(host.state.nowUs);
  followBalloons(host);
};

const obeyCpus = (host: Host, machine: Machine): void => {
  const { domid } = machine;
  let changed = false;
  for (const [vcpu, { online }] of (host.state.hypervisor.domains[domid]?.vcpus ?? []).entries()) {
    const found = host.xenstore.read(domid, cpuAvailabilityPath(domid, vcpu));
    if (!found.ok || (found.value === 'online') === online) continue;
    changed = true;
    if (online) host.hypervisor.vcpus.down(domid, vcpu, host.state.nowUs);
    else host.hypervisor.vcpus.up(domid, vcpu);
  }
  if (changed) accountCpu(host);
};

const obeyTarget = (host: Host, machine: Machine): void => {
  const { domid, settings } = machine;
  const found = host.xenstore.read(domid, memoryTargetPath(domid));
  const domain = host.state.hypervisor.domains[domid];
  if (!found.ok || !domain) return;
  const targetPages = Math.floor(Number(found.value) / KIB_PER_PAGE);
  const current =
    domain.balloon?.targetPages ?? domain.pages.reduce((total, pages) => total + pages, domain.sharedPages);
  if (targetPages === current) return;
  const floorPages = balloonFloorPages(Math.floor(settings.staticMaxBytes / PAGE_BYTES));
  host.hypervisor.memory.setBalloonTarget(domid, { targetPages, floorPages }, host.state.nowUs);
  followBalloons(host);
};

/** The guest looks how many vCPUs and how much memory it is to use. One without drivers never does. */
export const obeyResources = (host: Host, machine: Machine): void => {
  if (machine.phase !== 'up' || machine.paused || machine.guest.phase !== 'up' || !hasFrontends(machine)) return;
  obeyCpus(host, machine);
  obeyTarget(host, machine);
};
