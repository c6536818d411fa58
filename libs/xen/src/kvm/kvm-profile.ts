import type { HardwareProfile } from '../hardware-profile.js';
import { PAGE_BYTES } from '../hypervisor/index.js';

const GIBIBYTE = 2 ** 30;
const MEBIBYTE = 2 ** 20;

/** What a KVM host runs. The module comes with its kernel and QEMU with its package: neither tells the other's version. */
export interface KvmRelease {
  readonly kernel: string;
  readonly qemu: string;
  readonly libvirt: string;
}

/** Versions as the distributions' stable releases have them. */
export const KVM_RELEASES = {
  'debian-12': { kernel: '6.1.0', qemu: '7.2.17', libvirt: '9.0.0' },
  'debian-13': { kernel: '6.12.48', qemu: '10.0.3', libvirt: '11.3.0' },
} as const satisfies Readonly<Record<string, KvmRelease>>;

export const EMULATED_KVM_RELEASE: KvmRelease = KVM_RELEASES['debian-13'];

/** What such a host says of its hypervisor: both parts of it. */
export const kvmVersion = ({ kernel, qemu }: KvmRelease): string => `QEMU ${qemu}, Linux ${kernel}`;

/** Assumption: a host's own kernel, libvirt, sshd and the page cache that keeps them quick. */
const HOST_BYTES = GIBIBYTE;
/** One `struct page` (64 bytes on x86-64, include/linux/mm_types.h) for each page. */
const PAGE_TABLE_SHARE = 64 / PAGE_BYTES;

/** Bytes that guests can have, their processes' own included, in whole MiB. */
export const kvmAllocatableBytes = ({ memoryBytes }: HardwareProfile): number =>
  Math.floor((memoryBytes * (1 - PAGE_TABLE_SHARE) - HOST_BYTES) / MEBIBYTE) * MEBIBYTE;
