import { reject, type Rejection } from '@xenolith/kernel';
import { checkGuest, type GuestKind, type GuestObstacle, type KernelEntry } from '../guest/index.js';
import type { DomainSettings } from '../host-model.js';

/** How the guest is virtualised, and which way its I/O goes. */
export const kindOf = ({ guestType, pvDrivers }: Pick<DomainSettings, 'guestType' | 'pvDrivers'>): GuestKind =>
  guestType === 'hvm' && pvDrivers ? 'hvm-pv-drivers' : guestType;

/** How kernels of these families can be entered: Linux and the BSDs have both notes, Windows has none. */
const KERNEL_ENTRIES: Readonly<Record<NonNullable<DomainSettings['os']>, readonly KernelEntry[]>> = {
  linux: ['pv', 'pvh'],
  other: ['pv', 'pvh'],
  windows: [],
};

const SENTENCES: Readonly<Record<GuestObstacle, string>> = {
  noVirtualisationExtensions: 'the processor has neither VT-x nor AMD-V, and only PV guests do without',
  windowsNeedsHvm: 'Windows has no paravirtual kernel and runs as HVM only',
  noKernelEntry: 'its kernel has no entry of that kind',
  architectureHasOneKind: 'this architecture has PVH guests only',
  foreignArchitecture: 'it was made for another architecture',
  beyondAddressing: 'a 32-bit guest has addresses for 64 GiB',
};

/** Why a host with these CPU features can't run such a guest; null: it can. */
export const whyUnsupported = (
  settings: DomainSettings,
  host: { readonly name: string; readonly features: readonly string[] },
): { readonly rejection: Rejection } | null => {
  const { os = 'linux', staticMaxBytes, name, guestType } = settings;
  const kernelEntries = KERNEL_ENTRIES[os];
  const guest = { kind: kindOf(settings), os, architecture: 'x86_64', kernelEntries, staticMaxBytes } as const;
  const verdict = checkGuest(guest, host);
  if (verdict.ok) return null;
  const why = 'obstacle' in verdict ? SENTENCES[verdict.obstacle] : 'the hypervisor refused';
  const message = `${host.name} can't run ${name} as ${guestType}: ${why} (${verdict.errno})`;
  return reject('host_domain_unsupported', message, { details: { errno: verdict.errno } });
};
