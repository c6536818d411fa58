import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { directCommand } from './direct-command.js';
import { givenDevice } from './host-device.js';
import { powerState } from './virtual-machine.kind.js';
import { attachedDisk, attachedNic, domainHardware, hypervisorOfHost, suspendImage } from './virtual-machine.parts.js';
import { heldVolume, snapshotContent } from './virtual-machine-snapshot.messages.js';

const haltReason = z.enum([
  'clean_shutdown',
  'hard_shutdown',
  'guest_poweroff',
  'guest_crash',
  'host_crash',
  'start_failed',
  'deleted',
  'vanished',
  'reverted',
]);
export type HaltReason = z.infer<typeof haltReason>;

const migratedRun = {
  incarnation: z.number().int(),
  from: z.string(),
  host: z.string(),
  hostUid: z.string(),
  bootId: z.string().optional(),
  domid: z.number().int(),
  state: z.enum(['running', 'paused']),
  hypervisor: hypervisorOfHost.optional(),
  disks: z.array(attachedDisk),
  /** As the host that sent it told: nothing of one that did not live to tell. */
  migration: z.looseObject({
    rounds: z.number().int().optional(),
    pagesSent: z.number().int().optional(),
    durationMs: z.number().optional(),
    downtimeMs: z.number().optional(),
  }),
};

/** What a domain has. */
const attached = {
  disks: z.array(attachedDisk),
  nics: z.array(attachedNic),
  /** Of its host. Absent: as before, or none at first. */
  devices: z.array(givenDevice).optional(),
};

const ofOperation = { operation: z.string() };

const revertedTo = {
  /** Number of the leases by which the disks were put back: younger than any run before. */
  incarnation: z.number().int(),
  snapshot: z.string(),
  nics: z.array(attachedNic),
  /** The volume of the machine that holds the guest's memory again. */
  image: heldVolume.optional(),
};

/**
 * Commands on a machine's stream beside `ChangeVirtualMachine`, `DeleteVirtualMachine` and the agents' `ReportDomainStopped`. Those named `Record…` state what has
 * happened and are never refused: what no longer applies changes nothing.
 */
export const virtualMachineCommands = {
  /**
   * Starts an action of `VIRTUAL_MACHINE_ACTIONS`. Refusals: `operation_unknown`, `operation_not_allowed`, `operation_in_progress`, with XAPI's error in
   * `details.xapi`.
   */
  StartOperation: z.strictObject({
    operationId: z.string().optional().describe('UID of the operation; default: derived from the command.'),
    name: z.string().optional(),
    action: z.string(),
    parameters: z.record(z.string(), z.unknown()).default({}),
  }),
  RecordVirtualMachineStarted: z.strictObject({
    ...ofOperation,
    incarnation: z.number().int(),
    host: z.string(),
    hostUid: z.string(),
    bootId: z.string().optional(),
    domid: z.number().int(),
    hypervisor: hypervisorOfHost.optional(),
    paused: z.boolean(),
    ...attached,
  }),
  RecordVirtualMachinePaused: z.strictObject(ofOperation),
  /** The guest is saved, and its run holds nothing any more. */
  RecordVirtualMachineSuspended: z.strictObject({
    ...ofOperation,
    incarnation: z.number().int(),
    image: suspendImage,
  }),
  RecordVirtualMachineUnpaused: z.strictObject(ofOperation),
  /** The snapshot that the operation was to take is there. */
  RecordVirtualMachineSnapshotTaken: z.strictObject({ ...ofOperation, content: snapshotContent }),
  /** Its disks, and of a checkpoint its guest, are again what they were. */
  RecordVirtualMachineReverted: z.strictObject({ ...ofOperation, ...revertedTo }),
  /** The snapshot is gone. */
  RecordVirtualMachineSnapshotDeleted: z.strictObject({ snapshot: z.string() }),
  /** The machine is run `incarnation` on another host now; what the run before it held there has been given back. */
  RecordVirtualMachineMigrated: z.strictObject({ ...ofOperation, ...migratedRun }),
  RecordVirtualMachineRebooted: z.strictObject({
    ...ofOperation,
    incarnation: z.number().int().optional(),
    domid: z.number().int(),
  }),
  /** The running domain has these devices and this hardware now. */
  RecordVirtualMachineReconfigured: z.strictObject({
    ...ofOperation,
    incarnation: z.number().int(),
    host: z.string(),
    hardware: domainHardware,
    ...attached,
  }),
  RecordVirtualMachineHalted: z.strictObject({
    ...ofOperation,
    incarnation: z.number().int(),
    reason: haltReason,
    message: z.string(),
  }),
  /** Everything that the machine held has been given back. */
  RecordVirtualMachineTornDown: z.strictObject(ofOperation),
  /** `code`: the rejection that the start waits upon. */
  RecordVirtualMachineUnschedulable: z.strictObject({
    ...ofOperation,
    message: z.string(),
    code: z.string().optional(),
  }),
  /** What the start waited for is there. */
  RecordVirtualMachineSchedulable: z.strictObject(ofOperation),
  RecordOperationEnded: z.strictObject({
    ...ofOperation,
    outcome: z.enum(['succeeded', 'failed', 'cancelled']),
    message: z.string(),
  }),
  /** The host's inventory lacks the domain. */
  RecordVirtualMachineStopped: z.strictObject({
    incarnation: z.number().int(),
    host: z.string(),
    reason: z.enum(['host_crash', 'vanished']),
    message: z.string(),
  }),
  /** How the host runs the domain, asked when no operation was under way: an operation that failed may have had its effect all the same. */
  RecordVirtualMachineObserved: z.strictObject({
    incarnation: z.number().int(),
    host: z.string(),
    domid: z.number().int(),
    state: z.enum(['running', 'paused', 'shutdown']),
  }),
  RecordHostLost: z.strictObject({ host: z.string() }),
  RecordHostRegained: z.strictObject({ host: z.string() }),
  /** Asks what the machine says of a domain that a host has; changes nothing. Answer: `examineDomainAnswer`. */
  ExamineDomain: z.strictObject({ incarnation: z.number().int(), host: z.string() }),
} as const;

/** The runs that may exist, with the host that each is known to be on; null: it is being started, and may be anywhere. */
export const examineDomainAnswer = z.strictObject({
  runs: z.array(z.strictObject({ incarnation: z.number().int(), host: z.string().nullable() })),
});

export const virtualMachineEvents = {
  VirtualMachineCreated: z.object({ metadata: z.looseObject({}), spec: z.looseObject({}) }),
  VirtualMachineMetadataChanged: z.looseObject({}),
  VirtualMachineSpecChanged: z.object({ spec: z.looseObject({}) }),
  VirtualMachineDeletionRequested: z.looseObject({}),
  VirtualMachineDeleted: z.object({}),
  /** An operation began; its own stream starts in the same append. `action` in XAPI's words, or `provision` / `deprovision`. */
  VirtualMachineOperationStarted: z.object({
    operation: z.string().describe('UID of the operation.'),
    name: z.string(),
    action: z.string(),
    parameters: z.record(z.string(), z.unknown()).default({}),
    /** The run that this operation starts, when it starts one. */
    incarnation: z.number().int().optional(),
    /** The wish that comes with the action, set in the same append. */
    powerState: powerState.optional(),
    /** What was wished before, of a change to a running machine: it comes back when the change fails. */
    formerSpec: z.looseObject({}).optional(),
  }),
  /** The operation is over without a change of power state (refused by the host, failed, cancelled, or nothing to do). */
  VirtualMachineOperationEnded: z.object({
    operation: z.string(),
    outcome: z.enum(['succeeded', 'failed', 'cancelled']),
    message: z.string(),
  }),
  /** No host fits now (the scheduler's words, host group by host group), or something that the start needs is not there: `code` says which. */
  VirtualMachineUnschedulable: z.object({ operation: z.string(), message: z.string(), code: z.string().optional() }),
  /** The start goes on. */
  VirtualMachineSchedulable: z.object({ operation: z.string() }),
  /** Something stronger came (a deletion, a wish to be halted): the operation is cancelled. */
  VirtualMachineOperationSuperseded: z.object({ operation: z.string(), by: z.string() }),
  VirtualMachineStarted: z.object({
    operation: z.string(),
    incarnation: z.number().int(),
    host: z.string(),
    hostUid: z.string(),
    /** The boot of the host that the domain belongs to, as far as the agent said it. */
    bootId: z.string().optional(),
    domid: z.number().int(),
    hypervisor: hypervisorOfHost.optional(),
    paused: z.boolean(),
    ...attached,
  }),
  /** The guest of a run that is being started ended before the start was recorded; it is acted on when the start is. */
  VirtualMachineEndedEarly: z.object({
    incarnation: z.number().int(),
    reason: z.enum(['poweroff', 'crash', 'reboot']),
    /** The host has restarted the guest, which runs under this id. */
    domid: z.number().int().optional(),
    /** Somebody did it on the host itself. */
    direct: directCommand.optional(),
  }),
  /** The device model of its domain died. */
  VirtualMachineDeviceModelLost: z.object({ incarnation: z.number().int(), host: z.string(), domid: z.number().int() }),
  VirtualMachinePaused: z.object({ operation: z.string().optional() }),
  VirtualMachineSuspended: z.object({ operation: z.string(), incarnation: z.number().int(), image: suspendImage }),
  /**
   * The host lacks the run while an operation that takes it away from there is under way: it may be saved or elsewhere. Acted on when that operation has come to
   * nothing.
   */
  VirtualMachineMissed: z.object({
    incarnation: z.number().int(),
    host: z.string(),
    reason: haltReason,
    message: z.string(),
  }),
  VirtualMachineUnpaused: z.object({ operation: z.string().optional() }),
  VirtualMachineSnapshotTaken: z.object({ operation: z.string(), content: snapshotContent }),
  VirtualMachineReverted: z.object({ operation: z.string(), ...revertedTo }),
  VirtualMachineSnapshotForgotten: z.object({ snapshot: z.string() }),
  VirtualMachineMigrated: z.object({ operation: z.string(), ...migratedRun }),
  VirtualMachineReconfigured: z.object({
    operation: z.string(),
    incarnation: z.number().int(),
    host: z.string(),
    hardware: domainHardware,
    ...attached,
  }),
  VirtualMachineRebooted: z.object({
    operation: z.string().optional(),
    incarnation: z.number().int().optional(),
    domid: z.number().int(),
    /** Somebody rebooted it on the host itself, with this command. */
    direct: z.string().optional(),
  }),
  VirtualMachineHalted: z.object({
    operation: z.string().optional(),
    incarnation: z.number().int(),
    reason: haltReason,
    message: z.string(),
    /** The wish, where the end of the guest sets it. */
    powerState: powerState.optional(),
  }),
  /** The host runs the domain otherwise than was known. */
  VirtualMachineObserved: z.object({
    host: z.string(),
    domid: z.number().int(),
    paused: z.boolean(),
    /** The wish, where it follows what was observed. */
    powerState: powerState.optional(),
  }),
  /** The host stopped answering: the machine may still run there. */
  VirtualMachineHostLost: z.object({ host: z.string() }),
  VirtualMachineHostRegained: z.object({ host: z.string() }),
} as const;
export type VirtualMachineEvent = EventOf<typeof virtualMachineEvents>;
