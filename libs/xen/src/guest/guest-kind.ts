import { done, type Errno, type Outcome } from '../outcome.js';

/** How a guest is virtualised; HVM guests are told apart by whether they have paravirtual drivers, as that decides the path of their I/O. */
export type GuestKind = 'pv' | 'pvh' | 'hvm' | 'hvm-pv-drivers';

export type GuestOs = 'linux' | 'windows' | 'other';
export type GuestArchitecture = 'x86_64' | 'x86_32' | 'arm64';

/** How its kernel can be entered: a PV kernel by Xen's ELF notes, a PVH one by `XEN_ELFNOTE_PHYS32_ENTRY` (public/elfnote.h). */
export type KernelEntry = 'pv' | 'pvh';

/** What a host needs to know of a guest before it builds a domain for it. */
export interface GuestDescription {
  readonly kind: GuestKind;
  readonly os: GuestOs;
  readonly architecture: GuestArchitecture;
  /** Entries of the kernel that is loaded, from a file or by a boot loader such as pygrub; HVM guests find theirs by their firmware. */
  readonly kernelEntries: readonly KernelEntry[];
  readonly staticMaxBytes: number;
}

/** What a guest of the kind takes of the host beside memory and vCPUs. */
export interface GuestNeeds {
  /** Intel VT-x or AMD-V. */
  readonly virtualisationExtensions: boolean;
  /** The domain builder enters this kind of kernel; null: firmware boots a disk. */
  readonly kernel: KernelEntry | null;
  /** One qemu-dm in Dom0. */
  readonly deviceModel: boolean;
  /** One hvmloader with BIOS or UEFI in the guest's memory. */
  readonly firmware: boolean;
  /** Whether block and network I/O goes over shared rings, or through emulated devices. */
  readonly ioPath: 'ring' | 'emulated';
}

const NEEDS: Readonly<Record<GuestKind, GuestNeeds>> = {
  pv: { virtualisationExtensions: false, kernel: 'pv', deviceModel: false, firmware: false, ioPath: 'ring' },
  pvh: { virtualisationExtensions: true, kernel: 'pvh', deviceModel: false, firmware: false, ioPath: 'ring' },
  hvm: { virtualisationExtensions: true, kernel: null, deviceModel: true, firmware: true, ioPath: 'emulated' },
  'hvm-pv-drivers': {
    virtualisationExtensions: true,
    kernel: null,
    deviceModel: true,
    firmware: true,
    ioPath: 'ring',
  },
};

/** Source: Xen's wiki "Xen Project Software Overview" and docs/man/xl.cfg.5.pod.in (`type`, `kernel`, `firmware`). */
export const needsOf = (kind: GuestKind): GuestNeeds => NEEDS[kind];

/** What stands against a guest, for the host's sentence. */
export type GuestObstacle =
  | 'noVirtualisationExtensions'
  | 'windowsNeedsHvm'
  | 'noKernelEntry'
  | 'architectureHasOneKind'
  | 'foreignArchitecture'
  | 'beyondAddressing';

export type GuestVerdict =
  Outcome<GuestNeeds> | { readonly ok: false; readonly errno: Errno; readonly obstacle: GuestObstacle };

const GIBIBYTE = 2 ** 30;
/** PAE gives a 32-bit guest 36 address bits. */
const X86_32_MAX_BYTES = 64 * GIBIBYTE;

const against = (errno: Errno, obstacle: GuestObstacle): GuestVerdict => ({ ok: false, errno, obstacle });

/**
 * Whether a host with such CPU features could run such a guest. EINVAL: Xen would refuse the domain (xen/common/domain.c, `sanitise_domain_config`;
 * libxl_create.c) or its builder the kernel (libelf: no matching ELF note). ENOSYS: there is no such thing on that architecture.
 */
export const checkGuest = (
  guest: GuestDescription,
  host: { readonly features: readonly string[]; readonly architecture?: 'x86_64' | 'arm64' },
): GuestVerdict => {
  const architecture = host.architecture ?? 'x86_64';
  const isArm = guest.architecture === 'arm64';
  if (isArm !== (architecture === 'arm64')) return against('ENOSYS', 'foreignArchitecture');
  // Xen on ARM knows one kind, which libxl calls PVH: hardware virtualisation, no device model.
  if (isArm && guest.kind !== 'pvh') return against('ENOSYS', 'architectureHasOneKind');
  const needs = NEEDS[guest.kind];
  const canHvm = isArm || host.features.includes('vmx') || host.features.includes('svm');
  if (needs.virtualisationExtensions && !canHvm) return against('EINVAL', 'noVirtualisationExtensions');
  if (guest.os === 'windows' && needs.kernel !== null) return against('EINVAL', 'windowsNeedsHvm');
  if (needs.kernel !== null && !isArm && !guest.kernelEntries.includes(needs.kernel))
    return against('EINVAL', 'noKernelEntry');
  if (guest.architecture === 'x86_32' && guest.staticMaxBytes > X86_32_MAX_BYTES)
    return against('EINVAL', 'beyondAddressing');
  return done(needs);
};
