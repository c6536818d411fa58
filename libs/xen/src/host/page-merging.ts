import { PAGE_BYTES } from '../hypervisor/index.js';
import { plan } from './agenda.js';
import { workloadOf } from './device-work.js';
import { stopGuest } from './guest-life.js';
import { toolstack } from './guest-watcher.js';
import { works } from './guest-work.js';
import type { Host, Machine } from './host-state.js';
import { contentOf, lookAtPages, type Merging, type ScannedGuest } from './page-scan.js';

interface XenGuest extends ScannedGuest {
  readonly machine: Machine;
}

/** Guests whose pages Xen can share: those with hardware-assisted paging that have no devices of the host (xen/arch/x86/mm/mem_sharing.c). */
const sharingGuests = (host: Host): readonly XenGuest[] =>
  Object.values(host.state.machines).flatMap((machine) => {
    const { domid, settings, phase, guest } = machine;
    const domain = host.state.hypervisor.domains[domid];
    if (phase !== 'up' || guest.phase !== 'up' || !domain?.hap || domain.iommu) return [];
    return [
      {
        id: domid,
        machine,
        content: contentOf(settings, domid),
        runs: works(machine),
        workload: workloadOf(host.state, machine),
        memoryPages: Math.floor(settings.dynamicMaxBytes / PAGE_BYTES),
        mergedPages: domain.sharedPages,
        privatePages: host.hypervisor.memory.guestPages(domid, host.state.nowUs) - domain.sharedPages,
      },
    ];
  });

/** Joins guests to the frames that one of them has, then makes frames of what is equal beyond them. */
const merge = (host: Host, targets: readonly { readonly guest: XenGuest; readonly pages: number }[]): void => {
  const { sharing } = host.hypervisor;
  const { nowUs } = host.state;
  const [most] = [...targets].sort((a, b) => b.guest.mergedPages - a.guest.mergedPages);
  if (!most) return;
  let merged = most.guest.mergedPages;
  for (const { guest, pages } of targets) {
    const missing = Math.min(pages, merged) - guest.mergedPages;
    if (missing > 0) sharing.join(guest.id, most.guest.id, missing, nowUs);
  }
  const beyond = targets.filter(({ pages }) => pages > merged).sort((a, b) => a.pages - b.pages);
  for (const [index, { pages }] of beyond.entries()) {
    const among = beyond.slice(index).map(({ guest }) => guest.id);
    if (pages > merged && among.length > 1) sharing.share(among, pages - merged, nowUs);
    merged = pages;
  }
};

/**
 * The guest writes to pages that it shares and gets copies. Where the host has none left, nobody listens for it (`vm_event_check_ring` of the sharing ring) and Xen crashes the domain
 * (xen/arch/x86/hvm/hvm.c, "ENOMEM and no helper").
 */
const unmerge = (host: Host, { id, machine }: XenGuest, pages: number): void => {
  if (host.hypervisor.sharing.breakSharing(id, pages, host.state.nowUs).ok) return;
  stopGuest(host, machine, 'crash', toolstack);
};

/** Looks which pages of guests are equal, on a host that shares them. Xen has the operations and no scanner: who asks for them is assumed to do it as ksmd does. */
export const followPages = (host: Host): void => {
  const { scan, nowUs } = host.state;
  if (!scan) return;
  const { dueUs } = scan;
  const merging: Merging<XenGuest> = {
    guests: () => sharingGuests(host),
    merge: (targets) => merge(host, targets),
    unmerge: (guest, pages) => unmerge(host, guest, pages),
  };
  lookAtPages(scan, merging, nowUs);
  if (scan.dueUs !== null && scan.dueUs !== dueUs)
    plan(host.state.agenda, scan.dueUs, { do: 'pages', dueUs: scan.dueUs });
};
