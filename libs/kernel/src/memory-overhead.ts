/** Domain types of a Xen guest. */
export type GuestType = 'pv' | 'hvm' | 'pvh';

const MEBIBYTE = 2 ** 20;
const PAGES_PER_MEBIBYTE = 256;

/** What a process of QEMU takes beside its guest's memory: itself, an I/O thread, each vCPU, and page tables for every 512th byte. */
const QEMU_MIB = 30;
const QEMU_THREAD_MIB = 8;
const QEMU_PAGE_TABLE_SHARE = 1 / 512;

const mebibytesOfPages = (pages: number): number => Math.ceil(pages / PAGES_PER_MEBIBYTE);

/**
 * Memory in bytes that a host needs for a domain beyond the guest's own, as xenopsd counts it (xen-api
 * `ocaml/xapi-idl/memory/memory.ml`): internal and external pages, shadow memory and a share for each vCPU.
 * `staticMaxBytes` is rounded up to whole MiB.
 */
export const memoryOverheadBytes = (domain: {
  guestType: GuestType;
  vcpus: number;
  staticMaxBytes: number;
  shadowMultiplier?: number;
}): number => {
  const staticMaxMiB = Math.ceil(domain.staticMaxBytes / MEBIBYTE);
  const shadowPages = 256 * domain.vcpus + staticMaxMiB + staticMaxMiB;
  const shadowMiB = Math.max(1, Math.floor((domain.shadowMultiplier ?? 1) * mebibytesOfPages(shadowPages)));
  const internalMiB = domain.guestType === 'pv' ? 0 : 1;
  const externalMiB = 1;
  return (internalMiB + externalMiB + shadowMiB + mebibytesOfPages(38 * domain.vcpus)) * MEBIBYTE;
};

/**
 * The same for a guest on KVM, as KubeVirt counts it (`GetMemoryOverhead`, its own launcher and graphics left out): a QEMU process, its threads and its page
 * tables. In whole MiB.
 */
export const qemuOverheadBytes = (domain: { vcpus: number; staticMaxBytes: number }): number => {
  const staticMaxMiB = Math.ceil(domain.staticMaxBytes / MEBIBYTE);
  return (QEMU_MIB + QEMU_THREAD_MIB * (1 + domain.vcpus) + Math.ceil(staticMaxMiB * QEMU_PAGE_TABLE_SHARE)) * MEBIBYTE;
};
