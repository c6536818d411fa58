import { z } from 'zod';
import { installedDevice } from './host-device.js';

/** How a Xen host was installed. */
const choices = {
  release: z.enum(['xen-4.0', 'xen-4.20']).describe('Release of Xen, with its limits and its tool: xm or xl.'),
  scheduler: z.enum(['credit', 'credit2']).describe('Scheduler of virtual CPUs.'),
  network: z
    .enum(['bridge', 'openvswitch', 'route', 'nat', 'libvirt'])
    .describe(
      'How guests reach the network: by Linux’ bridges, by those of Open vSwitch, routed, behind Dom0, or by libvirt’s bridge behind it.',
    ),
  driverDomains: z
    .array(z.enum(['network', 'storage']))
    .max(2)
    .optional()
    .describe('What is served by a domain of its own instead of Dom0: interfaces, disks.'),
};
export const hostSetup = z.strictObject(choices);
export type HostSetup = z.infer<typeof hostSetup>;

export const DOM0_POLICIES = ['huawei', 'xenserver-v2', 'xenserver-v3'] as const;

/** Whether equal pages of guests are merged, on hosts of either hypervisor. */
export const memorySharing = z.strictObject({
  overcommitPercent: z
    .number()
    .int()
    .min(100)
    .max(400)
    .default(100)
    .describe(
      'What machines may be promised of the memory that there is for them, in percent. 100: what sharing saves is kept for them. More: machines may end when memory runs out.',
    ),
});

/** Hosts of one agent; more belong to several agents. */
export const HOSTS_MAX = 20_000;

/** What only Xen hosts have. */
const XEN_ONLY = ['release', 'controlDomain', 'scheduler', 'network', 'driverDomains'] as const;

/** Names of a fleet: host-0001, host-0002, … */
export const hostNames = (count: number, prefix = 'host-'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${String(index + 1).padStart(4, '0')}`);

/** What the names of KVM hosts begin with, unless told otherwise. */
export const KVM_PREFIX = 'kvm-';

/** Some emulated hosts that are alike. What is left out is as on hosts that no profile is for. */
export const hostProfile = z
  .strictObject({
    prefix: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,40}$/, 'must be the beginning of a DNS label')
      .describe('What their names begin with; a number follows, such as 0001.'),
    count: z.number().int().min(0).max(HOSTS_MAX).default(1).describe('How many there are.'),
    hypervisor: z.enum(['xen', 'kvm']).optional().describe('Default: xen.'),
    hardware: z.string().optional().describe('Name of the machine that they are, such as 2x24-768.'),
    release: choices.release.optional(),
    controlDomain: z.enum(DOM0_POLICIES).optional().describe('How the size of Dom0 follows from that of the machine.'),
    scheduler: choices.scheduler.optional().describe('Default: credit2; for xen-4.0, which has no other, credit.'),
    network: choices.network.optional(),
    driverDomains: choices.driverDomains,
    devices: z.array(installedDevice).max(256).optional().describe('Cards and USB devices that machines can be given.'),
    iommu: z
      .boolean()
      .optional()
      .describe('False: without it only pv guests can have PCI devices, and on KVM hosts none. Default: true.'),
    memorySharing: memorySharing.optional().describe('Equal pages of guests of one image are merged. Default: not.'),
  })
  .refine((profile) => profile.hypervisor !== 'kvm' || XEN_ONLY.every((field) => profile[field] === undefined), {
    path: ['hypervisor'],
    message: `KVM hosts have none of ${XEN_ONLY.join(', ')}`,
  })
  .refine(({ release, scheduler }) => release !== 'xen-4.0' || scheduler !== 'credit2', {
    path: ['scheduler'],
    message: 'credit2 came with Xen 4.1: hosts of xen-4.0 have credit',
  });
export type HostProfile = z.infer<typeof hostProfile>;

/** What a file of host profiles holds. */
export const hostProfiles = z
  .array(hostProfile)
  .max(64)
  .refine((profiles) => new Set(profiles.map(({ prefix }) => prefix)).size === profiles.length, {
    message: 'each profile needs a prefix of its own',
  });

/** The names of all hosts of a fleet. */
export const fleetHosts = (fleet: {
  readonly hosts: number;
  readonly kvmHosts: number;
  readonly profiles: readonly HostProfile[];
  readonly hostPrefix?: string | undefined;
  readonly kvmPrefix?: string | undefined;
}): readonly string[] => [
  ...hostNames(fleet.hosts, fleet.hostPrefix),
  ...hostNames(fleet.kvmHosts, fleet.kvmPrefix ?? KVM_PREFIX),
  ...fleet.profiles.flatMap(({ count, prefix }) => hostNames(count, prefix)),
];
