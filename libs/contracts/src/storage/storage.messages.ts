import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { createdEvent, objectEvents } from '../object-events.js';
import { conditions, defineKind, ownerReference, quantity } from '../resource.js';

export const storageDomainSpec = z.strictObject({
  type: z
    .enum(['local', 'nfs', 'iscsi', 'fc'])
    .default('local')
    .describe('How hosts reach it. `local` is a disk pool that every host has.'),
  class: z.enum(['data', 'iso', 'backup']).default('data').describe('What it may hold.'),
  capacity: quantity.describe('Usable capacity.'),
  overcommit: z
    .number()
    .min(1)
    .max(100)
    .default(1)
    .describe('How many bytes may be promised for each byte of capacity, to sparse volumes.'),
  default: z.boolean().default(false).describe('Volumes that name no storage domain go here.'),
});
export type StorageDomainSpec = z.infer<typeof storageDomainSpec>;

export const storageDomainKind = defineKind({
  group: 'storage.xenolith.dev',
  version: 'v1alpha1',
  kind: 'StorageDomain',
  plural: 'storagedomains',
  singular: 'storagedomain',
  shortNames: ['sd', 'sr'],
  categories: ['xen'],
  namespaced: false,
  service: 'storage',
  description: 'A place that holds volumes and images.',
  spec: storageDomainSpec,
  status: z.looseObject({
    allocated: z.string().describe('Bytes that volumes were promised.'),
    volumes: z.number().int().describe('How many volumes it holds.'),
    conditions,
  }),
  columns: [
    { name: 'Type', type: 'string', path: '.spec.type', description: 'How hosts reach it.' },
    { name: 'Class', type: 'string', path: '.spec.class', description: 'What it may hold.' },
    { name: 'Capacity', type: 'string', path: '.spec.capacity', description: 'Usable capacity.' },
    { name: 'Allocated', type: 'string', path: '.status.allocated', description: 'Promised to volumes.' },
    { name: 'Volumes', type: 'integer', path: '.status.volumes', description: 'Volumes that live here.' },
    { name: 'Default', type: 'boolean', path: '.spec.default', description: 'Whether volumes go here by default.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

export const imageSpec = z.strictObject({
  size: quantity.describe('Size of a disk made from the image.'),
  format: z.enum(['raw', 'cow']).default('cow').describe('How the image is stored.'),
  os: z.enum(['linux', 'windows', 'other']).default('linux').describe('Family of its operating system.'),
  description: z.string().max(1024).default('').describe('What it is, for people.'),
});
export type ImageSpec = z.infer<typeof imageSpec>;

export const imageKind = defineKind({
  group: 'storage.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Image',
  plural: 'images',
  singular: 'image',
  shortNames: ['img'],
  categories: ['xen'],
  namespaced: false,
  service: 'storage',
  description: 'The content that new disks start from.',
  spec: imageSpec,
  status: z.looseObject({ phase: z.string().describe('Available when disks can be made of it.'), conditions }),
  nameRule: 'subdomain',
  columns: [
    { name: 'Size', type: 'string', path: '.spec.size', description: 'Size of a disk made from it.' },
    { name: 'Format', type: 'string', path: '.spec.format', description: 'How it is stored.' },
    { name: 'OS', type: 'string', path: '.spec.os', description: 'Guest system.' },
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'Whether it can be used.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

export const volumeSpec = z.strictObject({
  size: quantity.optional().describe('Size. Default: the image’s; needed where there is no image.'),
  storageDomain: z.string().optional().describe('Where it lives. Default: the default storage domain.'),
  source: z
    .strictObject({ image: z.string().min(1).describe('Image that the volume is a copy of.') })
    .optional()
    .describe('Image that it is a copy of; absent: empty.'),
  format: z.enum(['raw', 'cow']).default('cow').describe('How the volume is stored.'),
  provisioning: z
    .enum(['sparse', 'preallocated'])
    .default('sparse')
    .describe('Whether its space is taken when it is written, or at once.'),
});
export type VolumeSpec = z.infer<typeof volumeSpec>;

export const volumeKind = defineKind({
  group: 'storage.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Volume',
  plural: 'volumes',
  singular: 'volume',
  shortNames: ['vol', 'vdi'],
  categories: ['xen'],
  namespaced: true,
  service: 'storage',
  description:
    'A disk: instance storage when a virtual machine owns it, else it outlives every machine that it is attached to.',
  spec: volumeSpec,
  status: z.looseObject({
    phase: z.string().describe('Available or InUse.'),
    size: z.string().describe('Its size.'),
    storageDomain: z.string().describe('Where it lives.'),
    attachedTo: z.string().optional().describe('Name of the virtual machine that holds the lease.'),
    attachedToUid: z.string().optional().describe('UID of that virtual machine.'),
    sealed: z
      .boolean()
      .optional()
      .describe('True of a snapshot’s part: it is attached for reading only, and goes with the snapshot.'),
    snapshotOf: z.string().optional().describe('Name of the volume whose content of that moment it holds.'),
    revertedTo: z.string().optional().describe('Name of the volume whose content it was last put back to.'),
    conditions,
  }),
  fieldSelectors: ['status.phase', 'spec.storageDomain'],
  columns: [
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'Available or InUse.' },
    { name: 'Size', type: 'string', path: '.status.size', description: 'Size.' },
    { name: 'Storage Domain', type: 'string', path: '.status.storageDomain', description: 'Where it lives.' },
    {
      name: 'Attached To',
      type: 'string',
      path: '.status.attachedTo',
      description: 'The virtual machine that uses it.',
    },
    { name: 'Source', type: 'string', path: '.spec.source.image', description: 'The image it came from.', priority: 1 },
    {
      name: 'Snapshot Of',
      type: 'string',
      path: '.status.snapshotOf',
      description: 'The volume whose content it holds.',
      priority: 1,
    },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

/**
 * `AttachVolume` (stream: the volume) grants the one writer's lease; the answer's `fencingToken` grows with each grant and storage refuses older
 * ones. Asking again for the same machine and incarnation answers the same token; a younger incarnation of the same machine takes the lease over.
 * Refusals: `volume_in_use`, `not_found`.
 */
export const attachVolumeData = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string() }),
  incarnation: z.number().int(),
  readOnly: z.boolean().default(false),
});
export const attachVolumeAnswer = z.looseObject({
  fencingToken: z.number().int(),
  sizeBytes: z.number().int(),
  name: z.string(),
  uid: z.string(),
});

/**
 * `PrepareVolumeHandover` (stream: the volume), before a machine's next run goes on elsewhere: says which token that run will have, once `AttachVolume` gives it the lease; until
 * then the run that has the lease keeps it. Answer: `attachVolumeAnswer`. Refusals: `volume_in_use` (the machine does not hold the lease),
 * `virtual_machine_stale_incarnation`, `not_found`. `CancelVolumeHandover` takes it back; none is prepared for that run: nothing to do.
 */
export const prepareVolumeHandoverData = attachVolumeData;
export const cancelVolumeHandoverData = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string() }),
  incarnation: z.number().int(),
});

/** `DetachVolume` (stream: the volume) ends the lease of that incarnation and older ones; none is left: nothing to do. */
export const detachVolumeData = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string() }),
  incarnation: z.number().int(),
});

/**
 * `ProvisionVolume` (stream: the volume, whose uid the sender derives from the machine's and the disk's name) makes a machine's own disk unless it
 * exists, and attaches it, in one append. Answer: `attachVolumeAnswer`. Refusals: those of creating a volume and of `AttachVolume`.
 */
export const provisionVolumeData = z.strictObject({
  name: z.string(),
  namespace: z.string(),
  owner: ownerReference,
  spec: volumeSpec,
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string() }),
  incarnation: z.number().int(),
  readOnly: z.boolean().default(false),
  /** After its first lease it is not written any more. */
  sealed: z.boolean().optional(),
});
export type ProvisionVolumeData = z.infer<typeof provisionVolumeData>;

/**
 * `DeprovisionVolume` (stream: the volume), the undo of `ProvisionVolume`: ends the lease of that incarnation and older ones and, with `delete`, removes the
 * volume at once whatever its finalizers say of its own teardown. Gone already, or never made: nothing to do.
 */
export const deprovisionVolumeData = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string() }),
  incarnation: z.number().int(),
  delete: z.boolean(),
});
export type DeprovisionVolumeData = z.infer<typeof deprovisionVolumeData>;

/**
 * `SnapshotVolume` (stream: the volume) makes another volume, sealed, that holds what this one holds now, in the append that says so; who has the lease keeps it. A
 * copy-on-write child: neither needs the other, as each is promised its whole size. Answer: `snapshotVolumeAnswer`. Refusals: `not_found`, those of creating a volume.
 */
export const snapshotVolumeData = z.strictObject({
  snapshot: z.string().describe('UID of the other volume.'),
  name: z.string(),
  owner: ownerReference,
});
export const snapshotVolumeAnswer = z.looseObject({ sizeBytes: z.number().int() });

/** `DiscardSealedVolume` (stream: the volume), the undo of what made a sealed volume: it goes at once. Gone already, or never made: nothing to do. */
export const discardSealedVolumeData = z.strictObject({});

/**
 * `RevertVolume` (stream: the volume) gives it the content and size that sealed volume `to` has; only the run that holds its lease may. Refusals: `not_found`,
 * `volume_in_use`, `volume_not_available` (`to` is not sealed), `storage_domain_full` (that was bigger).
 */
export const revertVolumeData = z.strictObject({
  to: z.string(),
  virtualMachine: z.strictObject({ uid: z.string() }),
  incarnation: z.number().int(),
});

const provisioning = z.enum(['sparse', 'preallocated']);

/** Where a volume lives and what it takes there; settled when it is made. */
export const volumeAllocation = z.strictObject({
  storageDomain: z.string(),
  storageDomainUid: z.string(),
  sizeBytes: z.number().int().nonnegative(),
  provisioning,
});
export type VolumeAllocation = z.infer<typeof volumeAllocation>;

export const volumeLease = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string() }),
  incarnation: z.number().int(),
  readOnly: z.boolean(),
  fencingToken: z.number().int(),
});
export type VolumeLease = z.infer<typeof volumeLease>;

const volumeRef = z.strictObject({ uid: z.string(), name: z.string() });

export const volumeOwnEvents = {
  /** A volume that is made for a machine is born with its lease. */
  VolumeCreated: z.object({
    ...createdEvent,
    allocation: volumeAllocation,
    lease: volumeLease.optional(),
    sealed: z.boolean().optional(),
    snapshotOf: volumeRef.optional(),
  }),
  /** Another volume holds what this one held at that moment. */
  VolumeSnapshotted: z.object({ ...snapshotVolumeData.shape }),
  VolumeReverted: z.object({ to: volumeRef, fromBytes: z.number().int(), toBytes: z.number().int() }),
  VolumeGrown: z.object({ fromBytes: z.number().int(), toBytes: z.number().int() }),
  VolumeAttached: z.object({ lease: volumeLease }),
  VolumeDetached: z.object({ virtualMachine: z.string(), incarnation: z.number().int() }),
  /** The lease that the machine's next run will have. */
  VolumeHandoverPrepared: z.object({ lease: volumeLease }),
  VolumeHandoverCancelled: z.object({ virtualMachine: z.string(), incarnation: z.number().int() }),
} as const;
export type VolumeOwnEvent = EventOf<typeof volumeOwnEvents>;
export const volumeEvents = { ...objectEvents('Volume'), ...volumeOwnEvents };

export const imageEvents = objectEvents('Image');

/** What volumes were promised, kept on the storage domain’s own stream so that it is exact. */
export const storageDomainOwnEvents = {
  StorageReserved: z.object({
    volume: z.string(),
    bytes: z.number().int(),
    provisioning,
    /** 1 for a new volume, 0 for one that grew. */
    volumes: z.number().int(),
  }),
  StorageReleased: z.object({ volume: z.string(), bytes: z.number().int(), provisioning }),
} as const;
export type StorageDomainOwnEvent = EventOf<typeof storageDomainOwnEvents>;
export const storageDomainEvents = { ...objectEvents('StorageDomain'), ...storageDomainOwnEvents };

/** Sent along with a volume’s own events, never over the bus. */
export const createVolumeSnapshotData = z.strictObject({
  name: z.string(),
  namespace: z.string().optional(),
  owner: ownerReference,
  snapshotOf: volumeRef,
  spec: volumeSpec,
  allocation: volumeAllocation,
});
/** Sent along with a volume’s own events, never over the bus. `bytes` is negative for what shrank. */
export const reserveStorageData = storageDomainOwnEvents.StorageReserved;
export const releaseStorageData = storageDomainOwnEvents.StorageReleased;
