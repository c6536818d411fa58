import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { condition, defineKind } from '../resource.js';

/** What a virtual machine asks of a host; exact, overhead included. */
export const placementRequest = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string(), namespace: z.string() }),
  vcpus: z.number().int().positive(),
  memoryBytes: z.number().int().positive().describe('Guest memory plus the domain’s overhead, in bytes.'),
  hypervisor: z.enum(['xen', 'kvm', 'any']),
  guestType: z.enum(['pv', 'hvm', 'pvh']),
  cluster: z.string().optional(),
  host: z.string().optional().describe('Name of the only host that will do.'),
  antiAffinity: z.string().optional(),
});
export type PlacementRequest = z.infer<typeof placementRequest>;

/** Why a group of hosts was passed over, or how the chosen one was found. */
export const placementExplanation = z.looseObject({
  considered: z.number().int(),
  refused: z.array(
    z.strictObject({ filter: z.string(), hosts: z.number().int(), example: z.string(), message: z.string() }),
  ),
  chosenBy: z.string().optional(),
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
  spec: z.looseObject({ request: placementRequest }),
  status: z.looseObject({
    phase: z.enum(['Pending', 'Placed', 'Released']),
    host: z.string().optional(),
    explanation: placementExplanation.optional(),
    conditions: z.array(condition),
  }),
  verbs: [],
  fieldSelectors: ['status.phase', 'status.host'],
  columns: [
    { name: 'VM', type: 'string', path: '.spec.request.virtualMachine.name', description: 'The virtual machine.' },
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'Pending, Placed or Released.' },
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

/** `ReleasePlacement` (stream: the placement) gives the capacity back; released or unknown: nothing to do. */
export const releasePlacementData = z.strictObject({ reason: z.string().default('') });

export const placementEvents = {
  PlacementRequested: z.object({ name: z.string(), request: placementRequest }),
  /** Nothing fits now. */
  PlacementDeferred: z.object({ explanation: placementExplanation, message: z.string() }),
  PlacementDecided: z.object({ host: z.string(), hostUid: z.string(), explanation: placementExplanation }),
  PlacementReleased: z.object({ reason: z.string() }),
} as const;
export type PlacementEvent = EventOf<typeof placementEvents>;

/** One stream per host, appended at its exact version: its id is `uuidFrom('hostledger', hostUid)`. It shows no document. */
export const hostLedgerEvents = {
  HostCapacityReserved: z.object({
    placement: z.string(),
    virtualMachine: z.string(),
    vcpus: z.number().int(),
    memoryBytes: z.number().int(),
  }),
  HostCapacityReleased: z.object({ placement: z.string() }),
} as const;
export type HostLedgerEvent = EventOf<typeof hostLedgerEvents>;
