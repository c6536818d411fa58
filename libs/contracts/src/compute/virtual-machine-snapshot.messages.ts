import { z } from 'zod';
import { savedImage } from '../agent.messages.js';
import type { EventOf } from '../messages.js';
import { createdEvent, objectEvents } from '../object-events.js';
import { conditions, defineKind } from '../resource.js';
import { powerState, virtualMachineSpec } from './virtual-machine.kind.js';
import { domainHardware, hypervisorOfHost } from './virtual-machine.parts.js';

export const virtualMachineSnapshotSpec = z.strictObject({
  virtualMachine: z.string().describe('Name of the virtual machine that it was taken of.'),
  memory: z.boolean().describe('Whether it was to hold the guest’s memory as well: a checkpoint.'),
});
export type VirtualMachineSnapshotSpec = z.infer<typeof virtualMachineSnapshotSpec>;

export const virtualMachineSnapshotKind = defineKind({
  group: 'compute.xenolith.dev',
  version: 'v1alpha1',
  kind: 'VirtualMachineSnapshot',
  plural: 'virtualmachinesnapshots',
  singular: 'virtualmachinesnapshot',
  shortNames: ['vmsnapshot', 'vmsnapshots', 'vmsnap'],
  categories: ['xen'],
  namespaced: true,
  service: 'compute',
  description:
    'What a virtual machine was at one moment: its spec, its disks and, of a checkpoint, its memory. Made by the actions snapshot and checkpoint of the machine, which its action revert puts back; it outlives the machine.',
  spec: virtualMachineSnapshotSpec,
  status: z.looseObject({
    phase: z.string().describe('Taking or Ready.'),
    powerState: powerState
      .optional()
      .describe('What the machine is after it was put back: Suspended where its memory is held, else Halted.'),
    virtualMachineUid: z.string().describe('UID of the virtual machine.'),
    size: z.string().optional().describe('What its volumes were promised in all.'),
    disks: z
      .array(
        z.looseObject({
          name: z.string().describe('Name of the disk.'),
          volume: z.string().describe('The volume that holds its content.'),
        }),
      )
      .describe('The disks that it holds.'),
    memoryVolume: z.string().optional().describe('The volume that holds the guest’s memory.'),
    virtualMachineSpec: z.looseObject({}).optional().describe('The machine’s spec at that moment.'),
    allowedOperations: z.array(z.string()).describe('What may be asked of it, in XAPI’s words.'),
    conditions,
  }),
  verbs: ['update', 'delete'],
  fieldSelectors: ['spec.virtualMachine', 'status.phase'],
  columns: [
    { name: 'VM', type: 'string', path: '.spec.virtualMachine', description: 'The virtual machine.' },
    { name: 'Phase', type: 'string', path: '.status.phase', description: 'Taking or Ready.' },
    { name: 'State', type: 'string', path: '.status.powerState', description: 'What the machine is once put back.' },
    { name: 'Size', type: 'string', path: '.status.size', description: 'What its volumes were promised.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since it was begun.' },
  ],
});

/** A volume that holds what another one held. */
export const heldVolume = z.strictObject({ volume: z.string(), volumeUid: z.string() });

/** A disk of a machine, with the volume that holds its content of that moment. */
export const snapshotDisk = z.strictObject({
  name: z.string(),
  /** The machine's own volume behind it, and whether the machine owns that. */
  volume: z.string(),
  volumeUid: z.string(),
  owned: z.boolean(),
  readOnly: z.boolean(),
  sizeBytes: z.number().int(),
  held: heldVolume,
});
export type SnapshotDisk = z.infer<typeof snapshotDisk>;

/** All that puts a machine back. */
export const snapshotContent = z.strictObject({
  spec: virtualMachineSpec,
  hardware: domainHardware.nullable(),
  hypervisor: hypervisorOfHost.nullable(),
  disks: z.array(snapshotDisk),
  /** The saved guest of a checkpoint; `reserved`: the size of the volume that it was given. */
  image: z.strictObject({ ...savedImage.shape, ...heldVolume.shape, reservedBytes: z.number().int() }).optional(),
});
export type SnapshotContent = z.infer<typeof snapshotContent>;

/** Sent along with a machine's own events, never over the bus. Those that end something are never refused. */
export const virtualMachineSnapshotCommands = {
  /** Refusal: `already_exists`. */
  BeginVirtualMachineSnapshot: z.strictObject({
    name: z.string(),
    namespace: z.string().optional(),
    spec: virtualMachineSnapshotSpec,
    virtualMachineUid: z.string(),
    operation: z.string(),
  }),
  CompleteVirtualMachineSnapshot: z.strictObject({ content: snapshotContent }),
  AbandonVirtualMachineSnapshot: z.strictObject({}),
  /** The machine is being put back to it: it stays. Refusal: `not_found`. */
  HoldVirtualMachineSnapshot: z.strictObject({ operation: z.string() }),
  LetGoVirtualMachineSnapshot: z.strictObject({ operation: z.string() }),
} as const;

export const virtualMachineSnapshotOwnEvents = {
  VirtualMachineSnapshotCreated: z.object({
    ...createdEvent,
    virtualMachineUid: z.string(),
    operation: z.string(),
  }),
  VirtualMachineSnapshotCompleted: z.object({ content: snapshotContent }),
  VirtualMachineSnapshotHeld: z.object({ operation: z.string() }),
  VirtualMachineSnapshotLetGo: z.object({ operation: z.string() }),
  /** `virtualMachineUid`: of the machine that may forget it. */
  VirtualMachineSnapshotDeleted: z.object({ virtualMachineUid: z.string().optional() }),
} as const;
export type VirtualMachineSnapshotOwnEvent = EventOf<typeof virtualMachineSnapshotOwnEvents>;
export const virtualMachineSnapshotEvents = {
  ...objectEvents('VirtualMachineSnapshot'),
  ...virtualMachineSnapshotOwnEvents,
};
