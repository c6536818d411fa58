import { hostNames, type HostProfile } from '@xenolith/contracts';
import { sameJson } from '@xenolith/kernel';
import { DEFAULT_XEN_SETUP, isProfileName, type XenSetup } from '@xenolith/xen';
import type { Fleet, MadeHost } from './fleet.js';
import type { EntryOf, JournalEntry } from './journal.js';

const USUAL: MadeHost = { hypervisor: 'xen' };

const setupOf = ({ release, controlDomain, scheduler, network, ...more }: HostProfile): XenSetup => ({
  release: release ?? DEFAULT_XEN_SETUP.release,
  controlDomain: controlDomain ?? DEFAULT_XEN_SETUP.controlDomain,
  scheduler: scheduler ?? (release === 'xen-4.0' ? 'credit' : DEFAULT_XEN_SETUP.scheduler),
  network: network ?? DEFAULT_XEN_SETUP.network,
  ...(more.driverDomains && { driverDomains: [...new Set(more.driverDomains)] }),
  ...(more.devices && { devices: more.devices }),
  ...(more.iommu === false && { iommu: false }),
});

/** Of a KVM host. */
const devicesOf = ({ devices, iommu }: HostProfile): Pick<MadeHost, 'devices'> =>
  devices ? { devices: { devices, ...(iommu === false && { iommu }) } } : {};

/** The hosts of profiles, with what they are. Throws where a profile names hardware that nobody knows. */
export const profiledHosts = (profiles: readonly HostProfile[]): readonly (readonly [string, MadeHost])[] =>
  profiles.flatMap((profile) => {
    const { hardware, count, prefix, hypervisor = 'xen', memorySharing } = profile;
    if (hardware !== undefined && !isProfileName(hardware))
      throw new Error(`the profile of ${prefix} hosts names unknown hardware: ${hardware}`);
    const chosen = { ...(hardware && { profile: hardware }), ...(memorySharing && { memorySharing }) };
    const made: MadeHost =
      hypervisor === 'kvm'
        ? { hypervisor, ...devicesOf(profile), ...chosen }
        : { hypervisor, setup: setupOf(profile), ...chosen };
    return hostNames(count, prefix).map((name) => [name, made] as const);
  });

/** What the hosts are that are not the usual ones, for a snapshot. */
export const madeEntries = (fleet: Fleet): JournalEntry[] =>
  [...fleet.made()].map(([host, made]) => ({ k: 'made', host, ...made }));

export const madeHostOf = ({ hypervisor, profile, setup, devices, memorySharing }: EntryOf<'made'>): MadeHost => ({
  hypervisor,
  ...(profile && { profile }),
  ...(setup && { setup }),
  ...(devices && { devices }),
  ...(memorySharing && { memorySharing }),
});

/**
 * Makes the hosts that are asked for, each once: what a host is, it stays. Throws when one is asked for that was made otherwise, as its guests could not
 * live on.
 */
export const makeHosts = (
  fleet: Fleet,
  wanted: { readonly hosts: readonly string[]; readonly made?: ReadonlyMap<string, MadeHost> },
  keep: (entry: JournalEntry) => Promise<void>,
): void => {
  const known = new Map(fleet.made());
  for (const host of wanted.hosts) {
    const made = wanted.made?.get(host) ?? USUAL;
    const is = known.get(host) ?? (fleet.slot(host).pristine ? made : USUAL);
    if (is.hypervisor !== made.hypervisor)
      throw new Error(
        `${host} runs ${is.hypervisor} and can not become a host of ${made.hypervisor}: give that one another name`,
      );
    if (!sameJson(is, made))
      throw new Error(
        `${host} was made as ${JSON.stringify(is)} and can not become ${JSON.stringify(made)}: give that one another name`,
      );
    if (made === USUAL || known.has(host)) continue;
    fleet.make(host, made);
    void keep({ k: 'made', host, ...made });
  }
};
