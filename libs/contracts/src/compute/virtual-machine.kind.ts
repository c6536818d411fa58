import { z } from 'zod';
import { conditions, defineKind, dnsLabel, quantity } from '../resource.js';
import { affinity, countedResources, numaPolicy, toleration } from '../scheduling/affinity.js';
import { wishedDevice } from './host-device.js';
import { VIRTUAL_MACHINE_ACTIONS } from './virtual-machine.actions.js';

export const POWER_STATES = ['Running', 'Paused', 'Suspended', 'Halted'] as const;
export const powerState = z.enum(POWER_STATES);
export type PowerState = z.infer<typeof powerState>;

const cpu = z.strictObject({
  vcpus: z.number().int().min(1).max(128).default(1).describe('Virtual CPUs that are on line at boot.'),
  max: z
    .number()
    .int()
    .min(1)
    .max(128)
    .optional()
    .describe('Virtual CPUs that may be plugged in while running. Default: vcpus.'),
  weight: z
    .number()
    .int()
    .min(1)
    .max(65535)
    .default(256)
    .describe('Share of CPU under contention (credit and credit2 scheduler).'),
  cap: z.number().int().min(0).max(12800).default(0).describe('Upper bound in percent of one CPU; 0 is none.'),
  reservation: z
    .number()
    .int()
    .min(0)
    .max(12800)
    .optional()
    .describe(
      'What placement keeps for it of the host’s hardware threads, however they are over-committed, in percent of one of them. Default: nothing. Memory is kept for it whole, but on hosts whose profile promises more than there is.',
    ),
  pin: z
    .string()
    .regex(/^(\d+(-\d+)?(,\^?\d+(-\d+)?)*)?$/, 'must be a CPU list such as 0-3,^1')
    .default('')
    .describe('Hard affinity in xl’s syntax; empty is none.'),
});

const memory = z
  .union([
    quantity,
    z.strictObject({
      staticMax: quantity.describe('The most memory that the guest can ever see; fixed while it runs.'),
      dynamicMin: quantity.optional().describe('The least that ballooning may leave it. Default: dynamicMax.'),
      dynamicMax: quantity.optional().describe('The most that it gets now. Default: staticMax.'),
    }),
  ])
  .describe('A quantity, or an object with staticMax, dynamicMin and dynamicMax.');

/** The sizes that a spec's memory means: dynamicMax is staticMax and dynamicMin is dynamicMax unless they are given. The spec keeps what was given. */
export const memorySizes = (
  given: z.infer<typeof memory>,
): { readonly staticMax: string; readonly dynamicMin: string; readonly dynamicMax: string } => {
  const { staticMax, dynamicMin, dynamicMax } =
    typeof given === 'string' ? { staticMax: given, dynamicMin: undefined, dynamicMax: undefined } : given;
  return { staticMax, dynamicMin: dynamicMin ?? dynamicMax ?? staticMax, dynamicMax: dynamicMax ?? staticMax };
};

const disk = z.strictObject({
  name: dnsLabel.describe('Name of the disk within the virtual machine.'),
  volume: dnsLabel.optional().describe('An existing volume, which outlives the virtual machine.'),
  source: z
    .strictObject({ image: z.string().min(1).describe('Image that the new disk is a copy of.') })
    .optional()
    .describe('Where a new disk’s content comes from; absent: empty.'),
  size: quantity.optional().describe('Size of a new disk. Default: the image’s.'),
  storageDomain: z
    .string()
    .optional()
    .describe('Where a new disk lives. Default: the platform’s default storage domain.'),
  // No default: kubectl apply compares lists whole, and an entry that gained a member would differ from what was applied.
  readOnly: z.boolean().optional().describe('True keeps the machine from writing to it. Default: false.'),
});

const nic = z.strictObject({
  name: dnsLabel.describe('Name of the interface within the virtual machine.'),
  network: z.string().min(1).describe('Network that the interface is on.'),
  mac: z
    .string()
    .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'must be a MAC address in lower case, such as 00:16:3e:00:00:01')
    .optional()
    .describe('Default: the next free one of the platform’s range.'),
  ip: z.string().optional().describe('Default: the next free address of the network’s subnet.'),
});

/** What an emulated guest can be busy with. */
export const WORKLOADS = ['idle', 'web', 'database', 'build', 'memory-stress'] as const;

export const virtualMachineSpec = z.strictObject({
  powerState: powerState.default('Running').describe('The wished power state; acted on when it changes.'),
  hypervisor: z.enum(['xen', 'kvm', 'any']).default('any').describe('Kind of hypervisor that the machine needs.'),
  guestType: z.enum(['pv', 'hvm', 'pvh']).default('pvh').describe('How the guest is virtualised.'),
  guest: z
    .strictObject({
      os: z.enum(['linux', 'windows', 'other']).default('linux').describe('Family of its operating system.'),
      pvDrivers: z.boolean().default(true).describe('True when the guest has paravirtual drivers.'),
      ignoresShutdown: z.boolean().default(false).describe('Emulated guests only: never answers a clean shutdown.'),
      bootSeconds: z
        .number()
        .min(0)
        .max(3600)
        .optional()
        .describe('Emulated guests only: how long the guest boots. Default: the host’s.'),
      workload: z
        .enum(WORKLOADS)
        .optional()
        .describe(
          'Emulated guests only: what the guest does with its CPUs, memory, disks and NICs. Default: like web, at a level drawn for it.',
        ),
    })
    .prefault({})
    .describe('What runs inside the machine.'),
  cpu: cpu.prefault({}).describe('CPU.'),
  memory,
  disks: z.array(disk).max(64).default([]).describe('Disks, in the order of their device numbers.'),
  nics: z.array(nic).max(16).default([]).describe('Network interfaces, in the order of their device numbers.'),
  devices: z
    .array(wishedDevice)
    .max(16)
    .optional()
    .describe('Devices of its host that the machine is given. It can’t be suspended or migrated while it has them.'),
  passthrough: z
    .literal('enabled')
    .optional()
    .describe(
      'On Xen hosts: build the domain so that it can be given PCI devices while it runs. Default: only if it starts with one, as xl.cfg has it.',
    ),
  ha: z
    .strictObject({
      restart: z
        .enum(['always', 'best-effort', 'never'])
        .default('never')
        .describe('Whether it is to be started elsewhere when its host fails.'),
      priority: z
        .number()
        .int()
        .min(0)
        .max(65535)
        .default(0)
        .describe('Rank among the machines to be restarted: higher ones first.'),
      order: z
        .number()
        .int()
        .min(0)
        .max(65535)
        .optional()
        .describe('Among machines of one priority, lower ones are restarted first. Default: 0.'),
      startDelaySeconds: z
        .number()
        .int()
        .min(0)
        .max(3600)
        .optional()
        .describe('How long after its restart those wait that come after it in priority or order. Default: 0.'),
    })
    .prefault({})
    .describe('High availability.'),
  placement: z
    .strictObject({
      cluster: z.string().optional().describe('Only hosts of this cluster.'),
      host: z.string().optional().describe('Only this host.'),
      antiAffinity: z
        .string()
        .optional()
        .describe('Machines of one namespace with the same word here never share a host.'),
      hostSelector: z.record(z.string(), z.string()).optional().describe('Only hosts with these labels.'),
      affinity: affinity.optional().describe('Hosts and machines that it is to be near to, or far from.'),
      tolerations: z.array(toleration).max(32).optional().describe('Taints of hosts that do not keep it away.'),
      numa: numaPolicy
        .optional()
        .describe('Whether its CPU and memory must be, or are liked to be, on one NUMA node. Default: none.'),
      cpuFeatures: z.array(z.string()).max(64).optional().describe('What the host’s processor must be able to do.'),
      resources: countedResources.optional().describe('Counted things of the host that it needs, by name.'),
    })
    .prefault({})
    .describe('Where it may run; what is left out is free.'),
  onPoweroff: z
    .enum(['destroy', 'restart', 'preserve'])
    .default('destroy')
    .describe('What follows when the guest powers itself off, in xl’s words; destroy sets powerState to Halted.'),
  onReboot: z
    .enum(['destroy', 'restart', 'preserve'])
    .default('restart')
    .describe('What follows when the guest reboots itself.'),
  onCrash: z
    .enum(['destroy', 'restart', 'preserve'])
    .default('destroy')
    .describe('What follows when the guest crashes.'),
});
export type VirtualMachineSpec = z.infer<typeof virtualMachineSpec>;

export const virtualMachineStatus = z.looseObject({
  powerState: powerState.describe('The power state as the host last reported it.'),
  phase: z
    .string()
    .describe(
      'Pending, Starting, Running, Paused, Migrating, Suspending, Suspended, Resuming, Reverting, Stopping, Halted, Deleting: for people.',
    ),
  host: z.string().optional().describe('The host that runs it.'),
  domid: z.number().int().optional().describe('Domain id on the host.'),
  startTime: z
    .string()
    .optional()
    .describe('When it was started, while it is on a host; a reboot or a migration changes nothing about that.'),
  memory: z.string().describe('Static maximum of memory.'),
  vcpus: z.number().int().describe('Virtual CPUs that are on line, or will be at the next start.'),
  memoryTarget: z.string().describe('Where the guest’s balloon is to go: the most memory that it gets now.'),
  incarnation: z.number().int().describe('Which run of the machine this is.'),
  suspendImage: z
    .looseObject({
      volume: z.string().describe('The volume that holds it.'),
      size: z.string().describe('Its size.'),
    })
    .optional()
    .describe('The saved guest of a suspended machine.'),
  allowedOperations: z.array(z.string()).describe('What may be asked of it now, in XAPI’s words.'),
  currentOperations: z.record(z.string(), z.string()).describe('Operations under way: name to action.'),
  disks: z
    .array(
      z.looseObject({
        name: z.string().describe('Name of the disk.'),
        volume: z.string().optional().describe('The volume behind it.'),
        attached: z.boolean().describe('Whether the running domain has it.'),
      }),
    )
    .describe('Disks, with their volumes.'),
  nics: z
    .array(
      z.looseObject({
        name: z.string().describe('Name of the interface.'),
        port: z.string().optional().describe('The port behind it.'),
        mac: z.string().optional().describe('Its MAC address.'),
        ips: z.array(z.string()).describe('Its IP addresses.'),
        attached: z.boolean().describe('Whether the running domain has it.'),
      }),
    )
    .describe('Network interfaces, with their addresses.'),
  devices: z
    .array(
      z.looseObject({
        name: z.string().describe('Name of the wish.'),
        kind: z.string().describe('A PCI function, a virtual function of one, or a USB device.'),
        address: z.string().optional().describe('The device’s address on the host.'),
        model: z.string().optional().describe('What it is.'),
        attached: z.boolean().describe('Whether the running domain has it.'),
      }),
    )
    .optional()
    .describe('Devices of the host.'),
  conditions,
});

export const virtualMachineKind = defineKind({
  group: 'compute.xenolith.dev',
  version: 'v1alpha1',
  kind: 'VirtualMachine',
  plural: 'virtualmachines',
  singular: 'virtualmachine',
  shortNames: ['vm', 'vms'],
  categories: ['xen', 'all'],
  namespaced: true,
  service: 'compute',
  description: 'A virtual machine: CPU, memory, disks and interfaces, and the power state that is wished for.',
  spec: virtualMachineSpec,
  status: virtualMachineStatus,
  actions: Object.keys(VIRTUAL_MACHINE_ACTIONS),
  fieldSelectors: ['spec.powerState', 'status.powerState', 'status.phase', 'status.host'],
  listMapKeys: { 'spec.disks': ['name'], 'spec.nics': ['name'], 'spec.devices': ['name'] },
  columns: [
    { name: 'State', type: 'string', path: '.status.phase', description: 'What the machine is doing.' },
    { name: 'CPU', type: 'integer', path: '.spec.cpu.vcpus', description: 'Virtual CPUs.' },
    { name: 'Memory', type: 'string', path: '.status.memory', description: 'Static maximum of memory.' },
    { name: 'Host', type: 'string', path: '.status.host', description: 'The host that runs it.' },
    { name: 'IP', type: 'string', path: '.status.nics[0].ips[0]', description: 'First address.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
    { name: 'Domid', type: 'integer', path: '.status.domid', description: 'Domain id on the host.', priority: 1 },
    { name: 'Type', type: 'string', path: '.spec.guestType', description: 'Guest type.', priority: 1 },
    { name: 'Wished', type: 'string', path: '.spec.powerState', description: 'The wished power state.', priority: 1 },
    {
      name: 'Reason',
      type: 'string',
      path: '.status.conditions[?(@.type=="Ready")].reason',
      description: 'Why it is, or is not, ready.',
      priority: 1,
    },
  ],
});
