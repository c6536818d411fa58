import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { conditions, defineKind } from '../resource.js';
import { givenDevice, wishedDevice } from '../compute/host-device.js';
import { affinity, countedResources, labelSelector, numaPolicy, toleration } from './affinity.js';

/** What a virtual machine asks of a host; exact, overhead included. */
export const placementRequest = z.strictObject({
  virtualMachine: z
    .strictObject({
      uid: z.string().describe('Its UID.'),
      name: z.string().describe('Its name.'),
      namespace: z.string().describe('Its namespace.'),
    })
    .describe('The virtual machine that needs a host.'),
  vcpus: z.number().int().positive().describe('Virtual CPUs.'),
  memoryBytes: z.number().int().positive().describe('Guest memory plus the domain’s overhead, in bytes.'),
  hypervisor: z.enum(['xen', 'kvm', 'any']).describe('Kind of hypervisor that it needs.'),
  guestType: z.enum(['pv', 'hvm', 'pvh']).describe('How the guest is virtualised.'),
  cluster: z.string().optional().describe('Name of the only cluster that will do.'),
  host: z.string().optional().describe('Name of the only host that will do.'),
  exceptHost: z.string().optional().describe('Name of a host that will not do: the one that it is to leave.'),
  startTime: z.string().optional().describe('When the machine was started, where it runs already and is to move.'),
  antiAffinity: z.string().optional().describe('Machines with this word are not to share a host.'),
  labels: z.record(z.string(), z.string()).optional().describe('Its labels, which other machines’ affinity looks at.'),
  hostSelector: z.record(z.string(), z.string()).optional().describe('Labels that the host must have.'),
  affinity: affinity.optional().describe('Hosts and machines that it is to be near to, or far from.'),
  tolerations: z.array(toleration).optional().describe('Taints of hosts that do not keep it away.'),
  numa: numaPolicy.optional().describe('Whether all of it must be, or is liked to be, on one NUMA node.'),
  cpuFeatures: z.array(z.string()).optional().describe('What the processor must be able to do.'),
  resources: countedResources.optional().describe('Counted things of the host that it needs, by name.'),
  devices: z
    .array(wishedDevice)
    .optional()
    .describe('Devices of the host that it wishes; they are counted in resources, too.'),
  storageDomains: z.array(z.string()).optional().describe('Storage domains that the host must reach.'),
  volumes: z
    .array(
      z.strictObject({
        name: z.string().describe('Its name.'),
        own: z.boolean().describe('Whether it is made with the machine, where volumes go by default.'),
      }),
    )
    .optional()
    .describe('Volumes of which the host must reach the storage domains.'),
  networks: z.array(z.string()).optional().describe('Networks of its namespace that the host must reach.'),
  ha: z
    .strictObject({
      restart: z
        .enum(['always', 'best-effort'])
        .describe('Whether it must be, or is to be if it can, restarted elsewhere.'),
      priority: z.number().int().describe('Higher ones are restarted first.'),
      order: z.number().int().describe('Among machines of one priority: lower ones are restarted first.'),
      startDelaySeconds: z
        .number()
        .int()
        .optional()
        .describe('How long after its restart those wait that come after it.'),
    })
    .optional()
    .describe('What follows when its host fails; absent: nothing.'),
  allowOvercommit: z
    .boolean()
    .optional()
    .describe(
      'True lets it onto a host even if the cluster could no longer survive the losses of hosts that it promises to.',
    ),
});
export type PlacementRequest = z.infer<typeof placementRequest>;

/** The least that would have to change for a refused host to do; all changes of a list together. */
export const placementChange = z.strictObject({
  filter: z.string().describe('The rule that would say yes then.'),
  message: z.string().describe('What would have to change.'),
  name: z.string().optional().describe('Of what: the taint, the counted thing, the number of the NUMA node.'),
  amount: z.number().optional().describe('By how much, where it is counted.'),
  unit: z.enum(['bytes', 'vcpus', 'count']).optional().describe('What is counted.'),
});
export type PlacementChange = z.infer<typeof placementChange>;

/** Why a group of hosts was passed over, or how the chosen one was found. */
export const placementExplanation = z.looseObject({
  considered: z.number().int().describe('How many hosts were looked at.'),
  refused: z
    .array(
      z.strictObject({
        filter: z.string().describe('The rule that said no.'),
        hosts: z.number().int().describe('To how many hosts.'),
        example: z.string().describe('One of them.'),
        message: z.string().describe('What it lacks.'),
        changes: z.array(placementChange).optional().describe('The least that would make the example do.'),
      }),
    )
    .describe('Hosts that will not do, filter by filter.'),
  chosenBy: z.string().optional().describe('The score that decided among the hosts that fit.'),
  decidedBy: z.string().optional().describe('Name of that score.'),
  fitting: z.number().int().optional().describe('How many hosts that fit were compared.'),
});
export type PlacementExplanation = z.infer<typeof placementExplanation>;

export const placementKind = defineKind({
  group: 'scheduling.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Placement',
  plural: 'placements',
  singular: 'placement',
  shortNames: ['pl'],
  categories: ['xen'],
  namespaced: true,
  service: 'scheduler',
  description: 'Where a virtual machine was put and why, or why it could not be.',
  spec: z.looseObject({ request: placementRequest.describe('What the host must have.') }),
  status: z.looseObject({
    phase: z.enum(['Pending', 'Placed']).describe('Whether a host is found.'),
    host: z.string().optional().describe('The host whose capacity is reserved.'),
    hostUid: z.string().optional().describe('UID of the host.'),
    numaNode: z.number().int().optional().describe('The host’s NUMA node that is reserved for all of it.'),
    devices: z.array(givenDevice).optional().describe('The host’s devices that are reserved for it.'),
    message: z.string().describe('Why it is where it is, or nowhere.'),
    explanation: placementExplanation.optional().describe('Which hosts were looked at, and why they were refused.'),
    conditions,
  }),
  verbs: [],
  fieldSelectors: ['status.phase', 'status.host'],
  columns: [
    { name: 'VM', type: 'string', path: '.spec.request.virtualMachine.name', description: 'The virtual machine.' },
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'Pending or Placed.' },
    { name: 'Host', type: 'string', path: '.status.host', description: 'The host.' },
    { name: 'Message', type: 'string', path: '.status.message', description: 'Why.', priority: 1 },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since the request.' },
  ],
});

/**
 * `PlaceVirtualMachine` (stream: the placement, whose uid the sender derives from the run that it is for). Answer: `placeVirtualMachineAnswer`. Refusal
 * `placement_pending` with the explanation as message and in details: the placement stays Pending and is decided when capacity changes; ask again then.
 */
export const placeVirtualMachineData = z.strictObject({ request: placementRequest });
export const placeVirtualMachineAnswer = z.looseObject({
  host: z.string(),
  hostUid: z.string(),
  /** CPUs of the NUMA node that is reserved for it, in xl's syntax; empty: no node is. */
  pin: z.string(),
  /** The host's, which a guest that is saved there needs again. */
  hypervisor: z.enum(['xen', 'kvm']).optional(),
  /** Found for the wishes, where there are some. */
  devices: z.array(givenDevice).optional(),
});

/**
 * `ChangePlacementDevices` (stream: the placement): finds devices for wishes of a placed machine on its host, and gives those of others back, by their names. Of a
 * wish that has some: nothing to do. Answer: `placeVirtualMachineAnswer`. Refusals: `host_lacks_devices`, `placement_unknown`.
 */
export const changePlacementDevicesData = z.strictObject({
  add: z.array(wishedDevice),
  remove: z.array(z.string()),
});
export type ChangePlacementDevicesData = z.infer<typeof changePlacementDevicesData>;

/** `ReleasePlacement` (stream: the placement) gives the capacity back and removes the placement; released or unknown: nothing to do. */
export const releasePlacementData = z.strictObject({ reason: z.string().default('') });

/**
 * `ReconsiderPlacement` (stream: the placement) tries a pending one again; sent by the scheduler itself when something changed, with the host that it saw room
 * on. Placed or gone: nothing to do.
 */
export const reconsiderPlacementData = z.strictObject({ proposal: z.looseObject({}) });

/** The NUMA node of the host that is reserved, by its place in the host's list, and its CPUs in xl's syntax. */
export const reservedNumaNode = z.strictObject({ node: z.number().int().nonnegative(), pin: z.string() });
export type ReservedNumaNode = z.infer<typeof reservedNumaNode>;

/** A key that the placement holds while it has its host, so that no other has it. */
const heldKey = z.strictObject({ scope: z.string(), value: z.string() });

const requestedPlacement = z.object({ name: z.string(), request: placementRequest });

export const placementEvents = {
  /** Asked for, and nothing fits now. */
  PlacementRequested: requestedPlacement,
  /** Nothing fits now. */
  PlacementDeferred: z.object({ explanation: placementExplanation, message: z.string() }),
  /** `requested` is there when the first try found a host: then this is the placement’s first event. */
  PlacementDecided: z.object({
    host: z.string(),
    hostUid: z.string(),
    explanation: placementExplanation,
    requested: requestedPlacement.optional(),
    numa: reservedNumaNode.optional(),
    hypervisor: z.enum(['xen', 'kvm']).optional(),
    /** Beside the word of `antiAffinity`. */
    keys: z.array(heldKey).optional(),
    devices: z.array(givenDevice).optional(),
  }),
  /** The devices that are reserved from now on, whole. `hostUid`: the host that may have more to give now. */
  PlacementDevicesChanged: z.object({ devices: z.array(givenDevice), hostUid: z.string() }),
  /** The capacity is given back and the placement is gone. `hostUid`: the host that has more room now. */
  PlacementReleased: z.object({ reason: z.string(), hostUid: z.string().optional() }),
} as const;
export type PlacementEvent = EventOf<typeof placementEvents>;

/** What a host has in all; `revision` is the version of the host’s stream that said so, so that older news is known as such. */
export const hostCapacity = z.strictObject({
  memoryBytes: z.number().int().nonnegative(),
  vcpus: z
    .number()
    .int()
    .nonnegative()
    .describe('Virtual CPUs that may be placed: hardware threads × over-commitment.'),
  revision: z.number().int(),
  numaNodes: z
    .array(z.strictObject({ memoryBytes: z.number().nonnegative(), vcpus: z.number().int().nonnegative() }))
    .optional()
    .describe('What of it lies on each NUMA node, where it has several.'),
  resources: countedResources.optional().describe('Counted things.'),
});
export type HostCapacity = z.infer<typeof hostCapacity>;

const antiAffineMachine = z.strictObject({
  namespace: z.string(),
  labels: z.record(z.string(), z.string()),
  /** Machines of the namespace that must not be on its host. */
  far: z.array(labelSelector),
});
/** What the ledger checks of a machine against those that are there. */
export type AntiAffineMachine = z.infer<typeof antiAffineMachine>;

/** What a placement takes of a host beside vCPUs and memory. */
const reservedBeside = {
  numaNode: z.number().int().nonnegative().optional(),
  resources: countedResources.optional(),
  machine: antiAffineMachine.optional(),
};

/** One stream per host, appended at its exact version: its id is `uuidFrom('hostledger', hostUid)`. It shows no document. */
export const hostLedgerEvents = {
  HostCapacityDeclared: z.object({ host: z.string(), hostUid: z.string(), capacity: hostCapacity }),
  HostCapacityReserved: z.object({
    placement: z.string(),
    virtualMachine: z.string(),
    vcpus: z.number().int(),
    memoryBytes: z.number().int(),
    ...reservedBeside,
  }),
  /** A placement has these counted things now instead of those that it had. */
  HostReservationChanged: z.object({ placement: z.string(), resources: countedResources }),
  HostCapacityReleased: z.object({ placement: z.string() }),
} as const;
export type HostLedgerEvent = EventOf<typeof hostLedgerEvents>;

/** Sent along with a placement’s own events, never over the bus. Refusals: `host_ledger_full`, `host_ledger_affinity`. */
export const reserveHostCapacityData = z.strictObject({
  host: z.string(),
  hostUid: z.string(),
  capacity: hostCapacity,
  placement: z.string(),
  virtualMachine: z.string(),
  vcpus: z.number().int(),
  memoryBytes: z.number().int(),
  ...reservedBeside,
});
export type ReserveHostCapacityData = z.infer<typeof reserveHostCapacityData>;
export const changeHostReservationData = z.strictObject({
  host: z.string(),
  hostUid: z.string(),
  capacity: hostCapacity,
  placement: z.string(),
  resources: countedResources,
});
export const releaseHostCapacityData = z.strictObject({ placement: z.string() });
