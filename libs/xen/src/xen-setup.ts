import { memoryOverheadBytes, type GuestType } from '@xenolith/kernel';
import type { NetworkMode } from './dom0/networking.js';
import { RELEASE_PROFILES, type ReleaseProfile } from './dom0/release-profile.js';
import type { SizingPolicy } from './dom0/sizing.js';
import {
  allocatableBytesOf,
  controlDomainOf,
  DEFAULT_SIZING,
  type ControlDomainSize,
  type HardwareProfile,
} from './hardware-profile.js';
import { limitsOf, type LimitsName } from './hypervisor/limits.js';
import type { SchedulerName } from './hypervisor/state.js';
import { usedHardware } from './hypervisor/topology.js';

/** What is chosen when a Xen host is installed, beside its hardware. The host keeps it for life. */
export interface XenSetup {
  /** With its limits, its tools and its recipe of bridges. */
  readonly release: LimitsName;
  /** How Dom0's size follows from the machine's. */
  readonly controlDomain: SizingPolicy;
  readonly scheduler: SchedulerName;
  /** How guests reach the network. */
  readonly network: NetworkMode;
  /** Devices that guests can be given; absent: none. */
  readonly devices?: readonly InstalledDevice[];
  /** What is served by domains of their own instead of Dom0; absent: nothing. */
  readonly driverDomains?: readonly DriverRole[];
  /** Set where it is switched off. */
  readonly iommu?: false;
}

/** Disks are a storage driver domain's, interfaces a network driver domain's. */
export type DriverRole = 'network' | 'storage';

/** Of each driver domain. Assumption: a small Linux. */
export const DRIVER_DOMAIN_BYTES = 512 * 2 ** 20;
export const DRIVER_DOMAIN_VCPUS = 1;

/** What a driver domain takes of the memory that guests could have. */
const DRIVER_DOMAIN_TAKES =
  DRIVER_DOMAIN_BYTES +
  memoryOverheadBytes({ guestType: 'pv', vcpus: DRIVER_DOMAIN_VCPUS, staticMaxBytes: DRIVER_DOMAIN_BYTES });

/** A device in the machine, or on a cable of it. */
export type InstalledDevice = {
  readonly address: string;
  readonly model: string;
  /** Vendor and device; absent: not told. */
  readonly id?: string | undefined;
  /** What the site calls devices of its kind. */
  readonly class: string;
} & (
  | { readonly kind: 'usb'; readonly virtualFunctions?: never }
  /** A PCI function; with `virtualFunctions` it is parted into so many. */
  | { readonly kind: 'pci'; readonly virtualFunctions?: number | undefined }
);

/** What a host has to give to guests, and what keeps that from the others. */
export type HostDevices = Pick<XenSetup, 'devices' | 'iommu'>;

/** The machine as it is set up. */
export const hardwareWith = (setup: Pick<XenSetup, 'iommu'>, profile: HardwareProfile): HardwareProfile =>
  setup.iommu === false ? { ...profile, features: profile.features.filter((feature) => feature !== 'iommu') } : profile;

/** A host that nothing else is said of. */
export const DEFAULT_XEN_SETUP: XenSetup = {
  release: 'xen-4.20',
  controlDomain: DEFAULT_SIZING,
  scheduler: 'credit2',
  network: 'bridge',
};

export const releaseOf = ({ release }: XenSetup): ReleaseProfile => RELEASE_PROFILES[release];

/** What a setup makes of a machine. */
export interface XenFacts {
  readonly setup: XenSetup;
  /** Bytes that guests can have, overhead included. */
  readonly allocatableBytes: number;
  readonly controlDomain: ControlDomainSize;
  /** vCPUs of one guest at most, by its type; 0: the release has no such guests. */
  readonly maxVcpus: Readonly<Record<GuestType, number>>;
}

/** Dom0 and guests share the memory that the release can use, which may be less than is installed. */
export const xenFacts = (setup: XenSetup, profile: HardwareProfile): XenFacts => {
  const limits = limitsOf(setup.release);
  const hardware = usedHardware(profile, limits);
  return {
    setup,
    allocatableBytes:
      allocatableBytesOf(hardware, setup.controlDomain) - (setup.driverDomains?.length ?? 0) * DRIVER_DOMAIN_TAKES,
    controlDomain: controlDomainOf(hardware, setup.controlDomain),
    maxVcpus: limits.maxVcpus,
  };
};
