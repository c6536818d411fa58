import type { DomainFigures, HostFigures } from '../host-model.js';
import { memoryWriting } from '../guest/index.js';
import { plan } from '../host/agenda.js';
import { nowMs } from '../host/answers.js';
import { workloadOf } from '../host/device-work.js';
import {
  contentOf,
  groupsOf,
  lookAtPages,
  newScan,
  SCAN,
  scansAt,
  type Merging,
  type ScannedGuest,
} from '../host/page-scan.js';
import { isCard } from '../host/passed-devices.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import { keepsSpared } from '../memory-sharing.js';
import { neededBytes } from './kvm-admission.js';
import { quit } from './kvm-guest.js';
import { kvmAllocatableBytes } from './kvm-profile.js';
import { profileOf, runs, type KvmHost, type KvmHostState, type KvmMachine } from './kvm-state.js';

// Kernel same-page merging: ksmd merges equal pages of QEMU's processes, which libvirt lets it (`mem-merge=on`).

type Ksm = NonNullable<KvmHostState['ksm']>;

export const newKsm = (): Ksm => ({ scan: newScan(), merged: {} });

interface KsmGuest extends ScannedGuest {
  readonly machine: KvmMachine;
}

const guestOf = ({ state }: KvmHost, { merged }: Ksm, machine: KvmMachine): KsmGuest => {
  const { pid, settings } = machine;
  const memoryPages = Math.floor(settings.dynamicMaxBytes / PAGE_BYTES);
  const mergedPages = merged[pid] ?? 0;
  return {
    id: pid,
    machine,
    content: contentOf(settings, pid),
    runs: runs(machine),
    workload: workloadOf(state, machine),
    memoryPages,
    mergedPages,
    privatePages: memoryPages - mergedPages,
  };
};

/** VFIO pins all memory of a guest that has functions of the host, and what is pinned is not merged (mm/ksm.c, `write_protect_page`). */
const isPinned = ({ settings: { devices = [] } }: KvmMachine): boolean => devices.some(isCard);

/** Processes whose guests have come so far that their pages stay as they are. */
const scanned = (host: KvmHost, ksm: Ksm): readonly KsmGuest[] =>
  Object.values(host.state.machines)
    .filter((machine) => machine.phase === 'up' && machine.guest.phase === 'up' && !isPinned(machine))
    .map((machine) => guestOf(host, ksm, machine));

/** Nothing is merged any more of a process that is gone, of a guest that boots again, as it writes to all of its memory, and of what is pinned. */
const forgetUnmerged = (host: KvmHost, ksm: Ksm): void => {
  const kept = Object.values(host.state.machines).filter(
    (machine) => machine.guest.phase !== 'off' && machine.guest.phase !== 'booting' && !isPinned(machine),
  );
  ksm.merged = Object.fromEntries(
    kept.flatMap(({ pid }) => {
      const pages = ksm.merged[pid];
      return pages === undefined ? [] : [[pid, pages]];
    }),
  );
};

/** `pages_shared`: frames that stand for merged pages. `pages_sharing`: the pages beyond one for each of them, which is what is saved. */
const counts = (host: KvmHost): { readonly shared: number; readonly sharing: number } => {
  const { ksm } = host.state;
  let [shared, all] = [0, 0];
  if (!ksm) return { shared, sharing: 0 };
  const guests = Object.values(host.state.machines).map((machine) => guestOf(host, ksm, machine));
  for (const group of groupsOf(guests)) {
    // Pages of content are merged from the first on, so that who has most has all that are.
    shared += Math.max(...group.map(({ mergedPages }) => mergedPages));
    all += group.reduce((sum, { mergedPages }) => sum + mergedPages, 0);
  }
  return { shared, sharing: all - shared };
};

/** Memory that nobody uses. Assumption: a guest has touched all of its memory as soon as it boots. Below zero: the kernel is about to end a process. */
export const unusedBytes = (host: KvmHost): number => {
  const machines = Object.values(host.state.machines).filter(({ phase }) => phase !== 'ending');
  const used = machines.reduce((sum, { settings }) => sum + neededBytes(settings), 0);
  return kvmAllocatableBytes(profileOf(host)) - used + counts(host).sharing * PAGE_BYTES;
};

/**
 * Memory has run out: the kernel ends the process that has most of it, of equal ones the youngest (mm/oom_kill.c, `oom_evaluate_task`). Assumption: the host has no swap. One
 * that a guest is on its way to is spared, as its end is the migration's.
 */
const endLargest = (host: KvmHost): boolean => {
  const living = Object.values(host.state.machines).filter(({ phase }) => phase !== 'ending' && phase !== 'arriving');
  const [victim] = living.sort((a, b) => neededBytes(b.settings) - neededBytes(a.settings) || b.number - a.number);
  if (!victim) return false;
  const { uid, incarnation, pid } = victim;
  if (victim.phase !== 'shutdown')
    host.events.push({ type: 'guestEnded', at: nowMs(host), uid, incarnation, reason: 'crash', endedDomid: pid });
  quit(host, victim);
  return true;
};

/** Looks which pages of guests are equal, on a host where ksmd runs, and whether the host's memory is enough for those that are not. */
export const followPages = (host: KvmHost): void => {
  const { ksm, nowUs } = host.state;
  if (!ksm) return;
  const { scan } = ksm;
  const { dueUs } = scan;
  forgetUnmerged(host, ksm);
  const merging: Merging<KsmGuest> = {
    guests: () => scanned(host, ksm),
    merge: (targets) => {
      for (const { guest, pages } of targets) ksm.merged[guest.id] = pages;
    },
    unmerge: ({ id, mergedPages }, pages) => {
      ksm.merged[id] = mergedPages - pages;
    },
  };
  lookAtPages(scan, merging, nowUs);
  if (!keepsSpared(host.state.memorySharing)) while (unusedBytes(host) < 0 && endLargest(host));
  if (scan.dueUs !== null && scan.dueUs !== dueUs)
    plan(host.state.agenda, scan.dueUs, { do: 'pages', dueUs: scan.dueUs });
};

export const sharingFigures = (host: KvmHost): NonNullable<HostFigures['sharing']> => {
  const { shared, sharing } = counts(host);
  return { sharedBytes: shared * PAGE_BYTES, savedBytes: sharing * PAGE_BYTES };
};

/** Of the machine's memory, what is merged. */
export const sharedFigure = ({ ksm }: KvmHostState, { pid }: KvmMachine): Pick<DomainFigures, 'sharedBytes'> => {
  const pages = ksm?.merged[pid] ?? 0;
  return pages === 0 ? {} : { sharedBytes: pages * PAGE_BYTES };
};

/** The kernel's counters of /sys/kernel/mm/ksm (Documentation/admin-guide/mm/ksm.rst), as libvirt names them. `volatile`: pages that a guest writes to all the time. */
export const ksmCounters = (host: KvmHost, nowUs: number): Readonly<Record<string, number>> => {
  const { ksm } = host.state;
  const guests = ksm ? scanned(host, ksm) : [];
  const seen = guests.filter(({ id }) => (ksm?.scan.guests[id]?.scans ?? 0) > 0);
  const writes = ({ runs: running, workload, memoryPages, privatePages }: KsmGuest): number =>
    running ? Math.min(privatePages, memoryWriting(workload, memoryPages * PAGE_BYTES).workingSetPages) : 0;
  const written = seen.reduce((sum, guest) => sum + writes(guest), 0);
  const { shared, sharing } = counts(host);
  return {
    pages_to_scan: SCAN.pagesToScan,
    sleep_millisecs: SCAN.sleepMs,
    pages_shared: shared,
    pages_sharing: sharing,
    pages_unshared: seen.reduce((sum, { privatePages }) => sum + privatePages, 0) - written,
    pages_volatile: written,
    full_scans: ksm ? scansAt(ksm.scan, guests, nowUs) : 0,
    merge_across_nodes: 1,
  };
};
