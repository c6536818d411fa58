import { assert } from '@xenolith/kernel';
import { sizeControlDomain, type ControlDomainSize, type SizingPolicy } from './dom0/sizing.js';

const GIBIBYTE = 2 ** 30;
const MEBIBYTE = 2 ** 20;

/** The machine under an emulated host. */
export interface HardwareProfile {
  readonly model: string;
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
  readonly mhz: number;
  readonly features: readonly string[];
  /** Installed memory in bytes, the same on each NUMA node. */
  readonly memoryBytes: number;
  readonly numaNodes: number;
}

const FEATURES = ['vmx', 'ept', 'vpid', 'hap', 'iommu', 'aes', 'avx2', 'xsave'];

/** Machines as racks hold them; the names say sockets × cores and memory in GiB. */
export const HARDWARE_PROFILES = {
  '2x8-128': {
    model: 'Intel(R) Xeon(R) Silver 4215R CPU @ 3.20GHz',
    sockets: 2,
    coresPerSocket: 8,
    threadsPerCore: 2,
    mhz: 3200,
    features: FEATURES,
    memoryBytes: 128 * GIBIBYTE,
    numaNodes: 2,
  },
  '1x4-16': {
    model: 'Intel(R) Xeon(R) E-2224 CPU @ 3.40GHz',
    sockets: 1,
    coresPerSocket: 4,
    threadsPerCore: 1,
    mhz: 3400,
    features: FEATURES,
    memoryBytes: 16 * GIBIBYTE,
    numaNodes: 1,
  },
  '2x24-768': {
    model: 'Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz',
    sockets: 2,
    coresPerSocket: 24,
    threadsPerCore: 2,
    mhz: 3000,
    features: FEATURES,
    memoryBytes: 768 * GIBIBYTE,
    numaNodes: 2,
  },
  '2x24-2250': {
    // The server of the Azure packing trace: 96 threads, 2250 GiB.
    model: 'Intel(R) Xeon(R) Platinum 8268 CPU @ 2.90GHz',
    sockets: 2,
    coresPerSocket: 24,
    threadsPerCore: 2,
    mhz: 2900,
    features: FEATURES,
    memoryBytes: 2250 * GIBIBYTE,
    numaNodes: 2,
  },
} as const satisfies Readonly<Record<string, HardwareProfile>>;
export type ProfileName = keyof typeof HARDWARE_PROFILES;

/** What a host's cables carry. Assumptions: a network of 10 Gbit/s of their own for migrations, and storage that takes the images of several guests at once. */
const LINKS: Readonly<
  Record<ProfileName, { readonly migrationBitsPerSecond: number; readonly imageBytesPerSecond: number }>
> = {
  '1x4-16': { migrationBitsPerSecond: 10e9, imageBytesPerSecond: 200e6 },
  '2x8-128': { migrationBitsPerSecond: 10e9, imageBytesPerSecond: 600e6 },
  '2x24-768': { migrationBitsPerSecond: 10e9, imageBytesPerSecond: 600e6 },
  '2x24-2250': { migrationBitsPerSecond: 10e9, imageBytesPerSecond: 600e6 },
};

export const migrationBitsPerSecondOf = (profile: ProfileName): number => LINKS[profile].migrationBitsPerSecond;

/** What the storage of images takes and gives. */
export const imageBytesPerSecondOf = (profile: ProfileName): number => LINKS[profile].imageBytesPerSecond;

export const DEFAULT_PROFILE: ProfileName = '2x8-128';

export const isProfileName = (name: string): name is ProfileName => Object.hasOwn(HARDWARE_PROFILES, name);

export const threadsOf = (profile: HardwareProfile): number =>
  profile.sockets * profile.coresPerSocket * profile.threadsPerCore;

export interface NumaNode {
  readonly id: number;
  readonly memoryBytes: number;
  readonly threads: readonly number[];
}

/** Nodes with equal memory and consecutive threads, as Xen numbers them: the siblings of a core are neighbours. */
export const numaNodesOf = (profile: HardwareProfile): readonly NumaNode[] => {
  const threadsPerNode = threadsOf(profile) / profile.numaNodes;
  assert(Number.isInteger(threadsPerNode), `${profile.model}: threads are spread evenly over NUMA nodes`);
  return Array.from({ length: profile.numaNodes }, (_, id) => ({
    id,
    memoryBytes: profile.memoryBytes / profile.numaNodes,
    threads: Array.from({ length: threadsPerNode }, (_unused, index) => id * threadsPerNode + index),
  }));
};

export type { ControlDomainSize } from './dom0/sizing.js';

/** As XenServer's installer chooses it since platform 2.9.0. */
export const DEFAULT_SIZING: SizingPolicy = 'xenserver-v3';

export const controlDomainOf = (profile: HardwareProfile, policy: SizingPolicy = DEFAULT_SIZING): ControlDomainSize =>
  sizeControlDomain(policy, { memoryBytes: profile.memoryBytes, threads: threadsOf(profile) });

/** Xen's own heap and text. Assumption: rounded up from what `xl info` leaves unexplained on a small host. */
const XEN_FIXED_BYTES = 128 * MEBIBYTE;
/** One `struct page_info` (32 bytes on x86-64, xen/arch/x86/include/asm/mm.h) for each 4 KiB page. */
const FRAME_TABLE_SHARE = 32 / 4096;

/** Bytes that guests can have, overhead included: installed memory less Xen's and Dom0's, in whole MiB. */
export const allocatableBytesOf = (profile: HardwareProfile, policy: SizingPolicy = DEFAULT_SIZING): number => {
  const xenBytes = XEN_FIXED_BYTES + profile.memoryBytes * FRAME_TABLE_SHARE;
  const free = profile.memoryBytes - xenBytes - controlDomainOf(profile, policy).memoryBytes;
  return Math.floor(free / MEBIBYTE) * MEBIBYTE;
};
