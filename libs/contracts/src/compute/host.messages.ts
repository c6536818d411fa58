import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { conditions, defineKind } from '../resource.js';
import { countedResources, taint } from '../scheduling/affinity.js';
import { MORTAL_DAEMONS } from './fault-rule.messages.js';
import { hostDevice } from './host-device.js';
import { hostPowerCommands, hostPowerEvents, hostPowerStatus } from './host-power.js';
import { DOM0_POLICIES, hostSetup, memorySharing } from './host-profile.js';

/** Tools of a control domain, and of a KVM host (`virsh`), that may be called from afar, as subresources of the Host. */
export const HOST_TOOLS = ['xl', 'xm', 'xenstore', 'brctl', 'ip', 'ovs-vsctl', 'virsh'] as const;
export type HostTool = (typeof HOST_TOOLS)[number];

/** What an agent says of its machine when it registers. */
export const hardware = z.strictObject({
  cpu: z
    .strictObject({
      model: z.string().describe('Name of the processor, as it gives it itself.'),
      sockets: z.number().int().positive().describe('Processors.'),
      coresPerSocket: z.number().int().positive().describe('Cores of each processor.'),
      threadsPerCore: z.number().int().positive().describe('Hardware threads of each core.'),
      threads: z.number().int().positive().describe('Hardware threads in all.'),
      mhz: z.number().positive().describe('Nominal clock in MHz.'),
      features: z.array(z.string()).describe('Such as vmx, ept, hap.'),
    })
    .describe('The processors.'),
  memoryBytes: z.number().int().positive().describe('Installed memory in bytes.'),
  numaNodes: z
    .array(
      z.strictObject({
        id: z.number().int().nonnegative().describe('Number of the node.'),
        memoryBytes: z.number().int().positive().describe('Memory of the node in bytes.'),
        threads: z.array(z.number().int().nonnegative()).describe('Numbers of its hardware threads.'),
      }),
    )
    .describe('NUMA nodes: memory, and the threads that are near to it.'),
  devices: z.array(hostDevice).optional().describe('Devices that machines can be given.'),
});
export type Hardware = z.infer<typeof hardware>;

export const controlDomain = z.strictObject({
  vcpus: z.number().int().positive().describe('Dom0’s virtual CPUs.'),
  memoryBytes: z.number().int().positive().describe('Dom0’s memory in bytes; guests cannot have it.'),
  policy: z.enum(DOM0_POLICIES).optional().describe('The rule by which it was sized.'),
});

/** By guest type; a type that is 0 is refused. */
const maxVcpus = z.strictObject({
  pv: z.number().int().nonnegative().describe('Of a paravirtual guest.'),
  hvm: z.number().int().nonnegative().describe('Of a guest with hardware virtualisation.'),
  pvh: z.number().int().nonnegative().describe('Of a guest with both.'),
});

/** Storage domains and networks that a host names: more than one rack is connected to. */
const REACHED_MAX = 256;

export const hostSpec = z.strictObject({
  cluster: z.string().default('default').describe('The cluster that the host belongs to.'),
  unschedulable: z.boolean().default(false).describe('True keeps new virtual machines away; those that run stay.'),
  maintenance: z
    .boolean()
    .optional()
    .describe('True keeps new virtual machines away and moves those that run to other hosts, until none is left.'),
  parked: z
    .boolean()
    .optional()
    .describe(
      'True keeps new virtual machines away, moves those that run to other hosts, and powers the host off once none is left; false powers it on again. Its cluster’s power management sets it, too.',
    ),
  taints: z.array(taint).max(32).optional().describe('What keeps virtual machines away that do not tolerate it.'),
  resources: countedResources
    .optional()
    .describe('Counted things of the host, such as licences, by name; placement counts them and does no more.'),
  reach: z
    .strictObject({
      storageDomains: z
        .array(z.string().min(1))
        .max(REACHED_MAX)
        .optional()
        .describe('Names of the storage domains that it reaches beside local ones. Default: all.'),
      networks: z
        .array(z.string().regex(/^[^/]+\/[^/]+$/, 'must be a namespace and a name such as default/web'))
        .max(REACHED_MAX)
        .optional()
        .describe('Networks that it reaches, each as namespace/name. Default: all.'),
    })
    .optional()
    .describe('What of storage and networks the host can get at; placement keeps machines away that need more.'),
});
export type HostSpec = z.infer<typeof hostSpec>;

/** A virtual machine as other objects name it. */
export const machineReference = z
  .strictObject({
    uid: z.string().describe('Its UID.'),
    name: z.string().describe('Its name.'),
    namespace: z.string().describe('Its namespace.'),
  })
  .describe('A virtual machine.');
export type MachineReference = z.infer<typeof machineReference>;

/** A machine that can't leave its host now, and why. */
export const blockedMachine = z.strictObject({
  virtualMachine: machineReference,
  message: z.string().describe('Why it can’t move.'),
});
export type BlockedMachine = z.infer<typeof blockedMachine>;

/** Machines that can't leave a host and are named; the others are counted only. */
export const BLOCKED_MACHINES_NAMED = 32;

/** How far a host is on its way to being empty. */
const evacuation = {
  remaining: z.number().int().nonnegative().describe('Virtual machines that still have room on the host.'),
  blocked: z
    .array(blockedMachine)
    .max(BLOCKED_MACHINES_NAMED)
    .describe('Those of them that can’t move, and why: the first 32.'),
};

export const hostMaintenanceStatus = z.looseObject({
  phase: z.enum(['Evacuating', 'InMaintenance']).describe('InMaintenance: no machine is left on the host.'),
  uid: z.string().describe('Tells this maintenance from earlier ones.'),
  startTime: z.string().describe('When it began.'),
  remaining: evacuation.remaining.optional(),
  blocked: evacuation.blocked.optional(),
});

export const hostStatus = z.looseObject({
  maintenance: hostMaintenanceStatus.optional().describe('How far the host is on its way to being empty.'),
  power: hostPowerStatus.optional().describe('Whether the machine is powered on, and why.'),
  conditions,
  hypervisor: z.enum(['xen', 'kvm']).describe('Kind of hypervisor.'),
  version: z.string().describe('Version of the hypervisor.'),
  agentVersion: z.string().describe('Version of the agent on the host.'),
  bootId: z.string().describe('Changes with each boot of the host.'),
  hardware: hardware.optional().describe('What the machine is made of.'),
  controlDomain: controlDomain.optional().describe('Dom0, which runs the host’s own software.'),
  setup: hostSetup.optional().describe('How the Xen host was installed.'),
  memorySharing: memorySharing.optional().describe('Equal pages of guests are merged; absent: they are not.'),
  maxVcpus: maxVcpus.optional().describe('Virtual CPUs that one guest can have; 0: the release has no such guests.'),
  cpus: z.number().int().describe('Hardware threads.'),
  memory: z.string().describe('Installed memory.'),
  allocatableMemory: z
    .string()
    .describe(
      'Memory that guests can be promised: installed less the hypervisor’s and Dom0’s, or more where memory is over-committed.',
    ),
  numaNodes: z.number().int().describe('NUMA nodes.'),
});

export const hostKind = defineKind({
  group: 'compute.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Host',
  plural: 'hosts',
  singular: 'host',
  shortNames: ['ho'],
  categories: ['xen'],
  namespaced: false,
  service: 'compute',
  description:
    'A physical machine with a hypervisor and a control domain. Hosts register themselves through their agent.',
  spec: hostSpec,
  status: hostStatus,
  verbs: ['update', 'delete'],
  tools: HOST_TOOLS,
  fieldSelectors: ['spec.cluster', 'spec.unschedulable', 'spec.maintenance', 'spec.parked'],
  columns: [
    {
      name: 'Status',
      type: 'string',
      path: '.status.summary',
      description:
        'Ready, NotReady, Parked, ShuttingDown or Starting, with Unschedulable, Evacuating, Parking or Maintenance where they apply.',
    },
    { name: 'Cluster', type: 'string', path: '.spec.cluster', description: 'The host’s cluster.' },
    { name: 'CPU', type: 'integer', path: '.status.cpus', description: 'Hardware threads.' },
    { name: 'Memory', type: 'string', path: '.status.memory', description: 'Installed memory.' },
    { name: 'NUMA', type: 'integer', path: '.status.numaNodes', description: 'NUMA nodes.' },
    { name: 'Hypervisor', type: 'string', path: '.status.hypervisor', description: 'Kind of hypervisor.' },
    { name: 'Version', type: 'string', path: '.status.version', description: 'Version of the hypervisor.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since registration.' },
    {
      name: 'Allocatable',
      type: 'string',
      path: '.status.allocatableMemory',
      description: 'Memory that guests can have.',
      priority: 1,
    },
    {
      name: 'Power',
      type: 'string',
      path: '.status.power.state',
      description: 'Whether the machine is powered on.',
      priority: 1,
    },
    { name: 'Boot ID', type: 'string', path: '.status.bootId', description: 'Changes with each boot.', priority: 1 },
  ],
});

/** One domain that a host runs, as its inventory lists it. */
export const domainReport = z.strictObject({
  virtualMachine: z.string().describe('UID of the virtual machine.'),
  incarnation: z
    .number()
    .int()
    .positive()
    .describe('Which run of the machine this is: grows with each start, fences older ones.'),
  /** On KVM: the process id. */
  domid: z.number().int().nonnegative(),
  state: z.enum(['running', 'paused', 'shutdown']),
});
export type DomainReport = z.infer<typeof domainReport>;

/** Data of `RegisterHost`, sent by an agent to `cmd.compute.RegisterHost` whenever it connects. The stream id is the host's uid. */
export const registerHostData = z.strictObject({
  name: z.string(),
  bootId: z.string(),
  hypervisor: z.enum(['xen', 'kvm']),
  version: z.string(),
  agentVersion: z.string(),
  hardware,
  /** A KVM host has none. */
  controlDomain: controlDomain.optional(),
  setup: hostSetup.optional(),
  memorySharing: memorySharing.optional(),
  maxVcpus: maxVcpus.optional(),
  /** Bytes that guests can be promised. */
  allocatableMemoryBytes: z.number().int().nonnegative(),
  /** Daemons that should run on the host and do not; absent: all run. */
  lostDaemons: z.array(z.enum(MORTAL_DAEMONS)).optional(),
  domains: z.array(domainReport).describe('Everything that runs or is paused: the full inventory.'),
});
export type RegisterHostData = z.infer<typeof registerHostData>;

const runOfMachine = z.strictObject({ virtualMachine: z.string(), incarnation: z.number().int() });

/** `version`: of the machine's stream before the host was asked; what the machine has learned since is newer than the inventory. */
const missingRun = runOfMachine.extend({ version: z.number().int().optional() });
/** A domain that is where its machine says, but not as it says. */
const changedRun = runOfMachine.extend({
  version: z.number().int(),
  domid: z.number().int().nonnegative(),
  state: domainReport.shape.state,
});

/** Commands on a host's stream beside `ChangeHost` and `DeleteHost`. */
export const hostCommands = {
  RegisterHost: registerHostData,
  /** From the heartbeat monitor; only transitions enter the log. */
  RecordHostUnreachable: z.strictObject({ lastHeartbeatAt: z.number() }),
  RecordHostReady: z.strictObject({ bootId: z.string() }),
  /** From the inventory watch, which asked the host because its heartbeats differed from the log for longer than work under way explains. */
  RecordInventoryDifference: z.strictObject({
    bootId: z.string(),
    missing: z.array(missingRun),
    strays: z.array(runOfMachine),
    changed: z.array(changedRun),
  }),
  /** What a machine said of a domain that the platform does not expect on the host, and that the domain is gone. */
  RecordStrayDomainExamined: runOfMachine.extend({ stray: z.boolean() }),
  RecordStrayDomainDestroyed: runOfMachine,
  /** From the scheduler; of another maintenance than the present one: nothing to do. */
  RecordHostEvacuation: z.strictObject({ maintenance: z.string(), ...evacuation }),
  ...hostPowerCommands,
} as const;

export const hostEvents = {
  HostCreated: z.object({ metadata: z.looseObject({}), spec: z.looseObject({}) }),
  HostMetadataChanged: z.looseObject({}),
  HostSpecChanged: z.object({ spec: z.looseObject({}) }),
  HostDeletionRequested: z.looseObject({}),
  HostDeleted: z.object({}),
  /** The agent connected: first contact, a new boot, or other hardware than before. */
  HostRegistered: registerHostData.omit({ domains: true, name: true }),
  HostBecameReady: z.object({}),
  /** No heartbeat for longer than the limit. What runs there goes on; nothing new is placed. */
  HostBecameUnreachable: z.object({ lastHeartbeatAt: z.number() }),
  /** The host came back with another boot id: everything that ran there is gone. */
  HostCrashed: z.object({ previousBootId: z.string(), bootId: z.string() }),
  /** The inventory is not what the machines' streams say: domains that should be there are not, or the other way round. */
  HostInventoryDiffered: z.object({
    bootId: z.string(),
    rebooted: z.boolean(),
    missing: z.array(missingRun),
    strays: z.array(runOfMachine),
    changed: z.array(changedRun).default([]),
  }),
  HostStrayDomainConfirmed: runOfMachine,
  /** The domain is known after all, or has been destroyed. */
  HostStrayDomainSettled: runOfMachine.extend({ destroyed: z.boolean() }),
  /** Machines left the host under maintenance, or came, or can’t leave it; `remaining` 0: it is empty. */
  HostEvacuationProgressed: z.object(evacuation),
  ...hostPowerEvents,
} as const;
export type HostEvent = EventOf<typeof hostEvents>;

const count = z.number().int().nonnegative();

/** Both ends of a device as XenBus numbers their states (4: connected), and how full the rings between them are. */
const split = {
  states: z.object({ frontend: count, backend: count }).optional(),
  rings: z.object({ inFlight: count, fullSeconds: z.number() }).optional(),
};

/** What a domain uses at this moment, and what it has used since it began. Hosts say what they know: everything but the first three may be missing. */
export const domainFigures = z.object({
  uid: z.string().describe('UID of the virtual machine.'),
  cpu: z.number().describe('Busy share of one hardware thread; 2 is two busy threads.'),
  memoryBytes: z.number().describe('Memory that the domain has, its overhead included.'),
  steal: z.number().optional().describe('Share of time that its virtual CPUs could have run and had no thread.'),
  cpuSeconds: z.number().optional().describe('CPU time used since the domain began.'),
  stealSeconds: z
    .number()
    .optional()
    .describe('Time that its virtual CPUs waited for a thread, since the domain began.'),
  balloon: z
    .object({ targetBytes: count, actualBytes: count })
    .optional()
    .describe('Where the balloon is to go, and where it is.'),
  dirtyPagesPerSecond: z.number().optional().describe('Pages that the guest writes to, each counted once a second.'),
  nodeBytes: z.array(count).optional().describe('Of a domain that prefers some NUMA nodes: its memory on each.'),
  sharedBytes: count.optional().describe('Of its memory, what it has in common with others.'),
  disks: z
    .array(z.object({ name: z.string(), reads: count, writes: count, readBytes: count, writtenBytes: count, ...split }))
    .optional()
    .describe('Requests and bytes of each disk since the domain began.'),
  nics: z
    .array(
      z.object({
        name: z.string(),
        receivedPackets: count,
        sentPackets: count,
        receivedBytes: count,
        sentBytes: count,
        ...split,
      }),
    )
    .optional()
    .describe('Packets and bytes of each interface since the domain began.'),
});
export type DomainFiguresReport = z.infer<typeof domainFigures>;

/** Heartbeat on `telemetry.<host>`; lossy. Members that are not known are passed over: an agent may know more than who listens. */
export const heartbeat = z.object({
  host: z.string().describe('UID of the host.'),
  name: z.string(),
  bootId: z.string(),
  at: z.number(),
  domains: z.number().int(),
  freeMemoryBytes: z.number().int(),
  cpuLoad: z.number().describe('Busy share of the hardware threads, 0 to 1.'),
  controlDomain: z
    .object({ cpu: z.number(), memoryBytes: z.number(), usedBytes: z.number().optional() })
    .optional()
    .describe('What Dom0 uses of it, and of its memory what its processes use.'),
  migrations: z
    .object({ incoming: count, outgoing: count })
    .optional()
    .describe('Live migrations under way, to this host and from it.'),
  sharing: z
    .object({ sharedBytes: count, savedBytes: count })
    .optional()
    .describe('Where equal pages are merged: memory that several domains have, and what is saved by it.'),
  inventory: z
    .number()
    .int()
    .optional()
    .describe('`inventoryDigest` of the domains; left out while an end of a guest is still to be reported.'),
  virtualMachines: z.array(domainFigures).optional().describe('Figures of each domain; not in every heartbeat.'),
});
export type Heartbeat = z.infer<typeof heartbeat>;

/** How often an agent sends a heartbeat, and after how long a silence its host counts as unreachable. */
export const HEARTBEAT_INTERVAL_MS = 2_000;
export const HEARTBEAT_TIMEOUT_MS = 10_000;
/** How often a heartbeat carries the figures of its domains: people look at them, nothing decides by them. */
export const DOMAIN_FIGURES_INTERVAL_MS = 10_000;
