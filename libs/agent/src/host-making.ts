import type { Fleet } from './fleet.js';
import type { JournalEntry } from './journal.js';

/** Names of a fleet: host-0001, host-0002, … */
export const hostNames = (count: number, prefix = 'host-'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${String(index + 1).padStart(4, '0')}`);

/** What the hosts are that are not Xen's, for a snapshot. */
export const madeEntries = (fleet: Fleet): JournalEntry[] =>
  [...fleet.made()].map(([host, hypervisor]) => ({ k: 'made', host, hypervisor }));

/**
 * Makes the hosts that are asked for, each once: what a host is, it stays. Throws when one is asked for that was made otherwise, as its guests could not
 * live on.
 */
export const makeHosts = (
  fleet: Fleet,
  wanted: { readonly hosts: readonly string[]; readonly kvmHosts?: readonly string[] },
  keep: (entry: JournalEntry) => Promise<void>,
): void => {
  const kvm = new Set(wanted.kvmHosts);
  const known = new Map(fleet.made());
  for (const host of wanted.hosts) {
    const hypervisor = kvm.has(host) ? 'kvm' : 'xen';
    const is = known.get(host) ?? (fleet.slot(host).pristine ? hypervisor : 'xen');
    if (is !== hypervisor)
      throw new Error(`${host} runs ${is} and can not become a host of ${hypervisor}: give that one another name`);
    if (hypervisor === 'xen' || known.has(host)) continue;
    fleet.make(host, hypervisor);
    void keep({ k: 'made', host, hypervisor });
  }
};
