import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { conditions, defineKind } from '../resource.js';

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
  antiAffinity: z.string().optional().describe('Machines with this word are not to share a host.'),
});
export type PlacementRequest = z.infer<typeof placementRequest>;

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
      }),
    )
    .describe('Hosts that will not do, filter by filter.'),
  chosenBy: z.string().optional().describe('The score that decided among the hosts that fit.'),
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
 * `PlaceVirtualMachine` (stream: the placement, whose uid the sender derives from the run that it is for). Answer: `{host, hostUid}`. Refusal
 * `placement_pending` with the explanation as message and in details: the placement stays Pending and is decided when capacity changes; ask again then.
 */
export const placeVirtualMachineData = z.strictObject({ request: placementRequest });
export const placeVirtualMachineAnswer = z.looseObject({ host: z.string(), hostUid: z.string() });

/** `ReleasePlacement` (stream: the placement) gives the capacity back and removes the placement; released or unknown: nothing to do. */
export const releasePlacementData = z.strictObject({ reason: z.string().default('') });

/**
 * `ReconsiderPlacement` (stream: the placement) tries a pending one again; sent by the scheduler itself when something changed, with the host that it saw room
 * on. Placed or gone: nothing to do.
 */
export const reconsiderPlacementData = z.strictObject({ proposal: z.looseObject({}) });

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
  }),
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
});
export type HostCapacity = z.infer<typeof hostCapacity>;

/** One stream per host, appended at its exact version: its id is `uuidFrom('hostledger', hostUid)`. It shows no document. */
export const hostLedgerEvents = {
  HostCapacityDeclared: z.object({ host: z.string(), hostUid: z.string(), capacity: hostCapacity }),
  HostCapacityReserved: z.object({
    placement: z.string(),
    virtualMachine: z.string(),
    vcpus: z.number().int(),
    memoryBytes: z.number().int(),
  }),
  HostCapacityReleased: z.object({ placement: z.string() }),
} as const;
export type HostLedgerEvent = EventOf<typeof hostLedgerEvents>;

/** Sent along with a placement’s own events, never over the bus. Refusal: `host_ledger_full`. */
export const reserveHostCapacityData = z.strictObject({
  host: z.string(),
  hostUid: z.string(),
  capacity: hostCapacity,
  placement: z.string(),
  virtualMachine: z.string(),
  vcpus: z.number().int(),
  memoryBytes: z.number().int(),
});
export type ReserveHostCapacityData = z.infer<typeof reserveHostCapacityData>;
export const releaseHostCapacityData = z.strictObject({ placement: z.string() });
