import { needsOf, type GuestKind } from './guest-kind.js';

/** How a guest uses its host while it runs. Every number is an assumption, of the size that operators see on such machines. */
export interface WorkloadProfile {
  /** Thousandths of each vCPU that it wants to be busy with its own work. */
  readonly cpuPermille: number;
  /** Distinct pages of 4 KiB that it writes per second. */
  readonly dirtyPagesPerSecond: number;
  /** Thousandths of its memory that it writes to again and again (the writable working set). */
  readonly workingSetPermille: number;
  readonly disk: {
    readonly readsPerSecond: number;
    readonly writesPerSecond: number;
    /** Bytes per request. */
    readonly requestBytes: number;
  };
  readonly network: { readonly packetsPerSecond: number; readonly packetBytes: number };
}

export const WORKLOADS = {
  idle: {
    cpuPermille: 5,
    dirtyPagesPerSecond: 200,
    workingSetPermille: 10,
    disk: { readsPerSecond: 0, writesPerSecond: 1, requestBytes: 4096 },
    network: { packetsPerSecond: 2, packetBytes: 128 },
  },
  web: {
    cpuPermille: 250,
    dirtyPagesPerSecond: 15_000,
    workingSetPermille: 80,
    disk: { readsPerSecond: 20, writesPerSecond: 15, requestBytes: 16_384 },
    network: { packetsPerSecond: 4_000, packetBytes: 900 },
  },
  database: {
    cpuPermille: 500,
    dirtyPagesPerSecond: 60_000,
    workingSetPermille: 250,
    disk: { readsPerSecond: 800, writesPerSecond: 600, requestBytes: 8_192 },
    network: { packetsPerSecond: 2_000, packetBytes: 600 },
  },
  build: {
    cpuPermille: 950,
    dirtyPagesPerSecond: 90_000,
    workingSetPermille: 300,
    disk: { readsPerSecond: 200, writesPerSecond: 250, requestBytes: 32_768 },
    network: { packetsPerSecond: 50, packetBytes: 1_000 },
  },
  /** Writes to all of its memory as fast as a vCPU can: the guest that no pre-copy catches up with. */
  'memory-stress': {
    cpuPermille: 1_000,
    dirtyPagesPerSecond: 1_000_000,
    workingSetPermille: 950,
    disk: { readsPerSecond: 0, writesPerSecond: 0, requestBytes: 4096 },
    network: { packetsPerSecond: 2, packetBytes: 128 },
  },
} as const satisfies Readonly<Record<string, WorkloadProfile>>;
export type WorkloadName = keyof typeof WORKLOADS;

/** A guest of which nobody said what it does: like `web`, and as much of that as it keeps its vCPUs busy (`level`, 0 to 1). */
export const profileAtLevel = (level: number): WorkloadProfile => {
  const { cpuPermille, dirtyPagesPerSecond, workingSetPermille, disk, network } = WORKLOADS.web;
  const factor = (1000 * level) / cpuPermille;
  return {
    cpuPermille: 1000 * level,
    dirtyPagesPerSecond: Math.round(dirtyPagesPerSecond * factor),
    workingSetPermille,
    disk: {
      readsPerSecond: disk.readsPerSecond * factor,
      writesPerSecond: disk.writesPerSecond * factor,
      requestBytes: disk.requestBytes,
    },
    network: { packetsPerSecond: network.packetsPerSecond * factor, packetBytes: network.packetBytes },
  };
};

const PAGE_BYTES = 4096;

/** How the guest writes to its memory, in the words of the migration's forecast: pages per second, pages. */
export const memoryWriting = (
  profile: WorkloadProfile,
  memoryBytes: number,
): { readonly pagesPerSecond: number; readonly workingSetPages: number } => ({
  pagesPerSecond: profile.dirtyPagesPerSecond,
  workingSetPages: Math.floor((Math.floor(memoryBytes / PAGE_BYTES) * profile.workingSetPermille) / 1000),
});

/** Dom0's CPU time for one request over a ring, in nanoseconds: grant map or copy, event, kernel I/O path. Assumption. */
export const RING_DISK_REQUEST_NS = 12_000;
/** Likewise for a packet, batches counted in. Assumption. */
export const RING_PACKET_NS = 2_500;
/**
 * Through qemu-dm each request costs several exits to Dom0 and a copy in user space. Assumption, in the middle of the five to ten times that comparisons of emulated and
 * paravirtual drivers report.
 */
export const EMULATION_FACTOR = 8;

/** What a running guest wants of its host. */
export interface Demand {
  /** Nanoseconds of CPU per second of time that its vCPUs want, all together. */
  readonly guestCpuNs: number;
  /** Nanoseconds of CPU per second of time that back-ends or qemu-dm spend in Dom0 for it. */
  readonly dom0CpuNs: number;
  readonly diskBytesPerSecond: number;
  readonly networkBytesPerSecond: number;
  /** Requests and packets per second that go over rings; the rest is emulated. */
  readonly ringEventsPerSecond: number;
  readonly emulatedEventsPerSecond: number;
}

const NS_PER_SECOND = 1_000_000_000;

/** The guest's appetite; what it gets is the scheduler's business. */
export const demandOf = (kind: GuestKind, vcpus: number, profile: WorkloadProfile): Demand => {
  const { disk, network } = profile;
  const requests = disk.readsPerSecond + disk.writesPerSecond;
  const events = requests + network.packetsPerSecond;
  const overRings = needsOf(kind).ioPath === 'ring';
  const ringNs = requests * RING_DISK_REQUEST_NS + network.packetsPerSecond * RING_PACKET_NS;
  return {
    guestCpuNs: Math.floor((vcpus * NS_PER_SECOND * profile.cpuPermille) / 1000),
    dom0CpuNs: overRings ? ringNs : ringNs * EMULATION_FACTOR,
    diskBytesPerSecond: requests * disk.requestBytes,
    networkBytesPerSecond: network.packetsPerSecond * network.packetBytes,
    ringEventsPerSecond: overRings ? events : 0,
    emulatedEventsPerSecond: overRings ? 0 : events,
  };
};
