import type { AttachedDisk, AttachedNic, PlanStep } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import { obsoleteDevices } from './virtual-machine.changes.js';
import { attachedDisk, attachedNic, changePlan } from './virtual-machine.plan-change.js';
import {
  giveBackDisk,
  giveBackNic,
  givenDevices,
  step,
  inStages,
  from,
  finish,
  releasePlacement,
  place,
  provisionDisk,
  attachVolume,
  provisionNic,
  startDomain,
  destroyDomain,
  detachDisks,
  moveNics,
  cleanUp,
  START_DOMAIN_MS,
  DOMAIN_STEP_MS,
} from './virtual-machine.plan-steps.js';
import { migratePlan } from './virtual-machine.plan-migrate.js';
import { discardImage, discardPlan, resumeDomain, suspendPlan } from './virtual-machine.plan-suspend.js';
import { revertPlan, snapshotPlan } from './virtual-machine.plan-snapshot.js';
import { isStarting } from './virtual-machine.power.js';
import { snapshotNamed, snapshotOf } from './virtual-machine.snapshots.js';
import {
  placedRun,
  takesSnapshot,
  type OperationAction,
  type PresentMachine,
  type RunPlace,
} from './virtual-machine.state.js';

/** How long a guest is given to shut down by itself: XAPI waits so long for its acknowledgement (xapi_globs.ml, domain_shutdown_ack_timeout). */
const GUEST_SHUTDOWN_MS = 60_000;
/** The longest that a caller may ask for: XAPI's own bound (xapi_globs.ml, domain_shutdown_total_timeout). */
const LONGEST_GUEST_SHUTDOWN_MS = 1_200_000;

export interface OperationPlan {
  readonly plan: readonly PlanStep[];
  /** Until it ends; what can't be taken back can't be cancelled either. */
  readonly cancellable: boolean;
}

interface PlannedOperation {
  readonly operation: Uuid;
  readonly action: OperationAction;
  readonly incarnation?: number | undefined;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** place -> disks with their leases, and ports, side by side -> build the domain, boot it or wake its guest -> Running. */
const startPlan = (machine: PresentMachine, operation: PlannedOperation): PlanStep[] => {
  const incarnation = operation.incarnation ?? machine.own.incarnation;
  const paused = machine.spec.powerState === 'Paused' || operation.parameters['paused'] === true;
  const devices = [
    ...machine.spec.disks.map((disk) =>
      disk.volume === undefined ? provisionDisk(machine, disk, incarnation) : attachVolume(machine, disk, incarnation),
    ),
    ...machine.spec.nics.map((nic) => provisionNic(machine, nic, { incarnation, host: from('place', 'host') })),
  ];
  const started = finish(machine, 'RecordVirtualMachineStarted', {
    operation: operation.operation,
    incarnation,
    host: from('place', 'host'),
    hostUid: from('place', 'hostUid'),
    bootId: from('start-domain', 'bootId'),
    domid: from('start-domain', 'domid'),
    hypervisor: from('place', 'hypervisor'),
    paused,
    disks: machine.spec.disks.map(attachedDisk),
    nics: machine.spec.nics.map(attachedNic),
    ...givenDevices(machine.spec),
  });
  const begins = operation.action === 'resume' ? resumeDomain : startDomain;
  return inStages(
    ...tidy(machine),
    [place(machine, incarnation, operation.parameters)],
    devices,
    [begins(machine, incarnation, paused)],
    [started],
  );
};

const guestTimeoutMs = (parameters: Readonly<Record<string, unknown>>): number => {
  const seconds = parameters['timeoutSeconds'];
  const asked = typeof seconds === 'number' && seconds > 0 ? Math.ceil(seconds * 1000) : GUEST_SHUTDOWN_MS;
  return Math.min(asked, LONGEST_GUEST_SHUTDOWN_MS);
};

const shutdownDomain = (
  machine: PresentMachine,
  run: RunPlace,
  ending: { mode: 'clean' | 'hard'; timeoutMs: number; orElseHard?: true },
): PlanStep =>
  step({
    name: `shutdown-domain-${ending.mode}`,
    to: { agentOfHost: run.host },
    type: 'ShutdownDomain',
    streamId: machine.meta.uid,
    data: { incarnation: run.incarnation, mode: ending.mode, timeoutMs: ending.timeoutMs },
    timeoutMs: ending.timeoutMs + DOMAIN_STEP_MS,
    doneOn: ['host_unknown_domain', ...(ending.orElseHard ? ['guest_ignored_shutdown'] : [])],
  });

const halted = (
  machine: PresentMachine,
  run: RunPlace,
  operation: PlannedOperation,
  reason: 'clean_shutdown' | 'hard_shutdown',
): readonly (readonly PlanStep[])[] => [
  // From here the domain is gone: what it held is given back until that succeeds.
  [
    ...detachDisks(machine, run.incarnation),
    ...moveNics(machine, run.incarnation),
    releasePlacement(machine, run.incarnation, 'the machine was shut down'),
  ],
  [
    finish(machine, 'RecordVirtualMachineHalted', {
      operation: operation.operation,
      incarnation: run.incarnation,
      reason,
      message: reason === 'clean_shutdown' ? 'was shut down' : 'was powered off',
    }),
  ],
];

const shutdownPlan = (machine: PresentMachine, run: RunPlace, operation: PlannedOperation): PlanStep[] => {
  const timeoutMs = guestTimeoutMs(operation.parameters);
  const hard = [shutdownDomain(machine, run, { mode: 'hard', timeoutMs })];
  if (operation.action === 'hard_shutdown') return inStages(hard, ...halted(machine, run, operation, 'hard_shutdown'));
  if (operation.action === 'clean_shutdown')
    return inStages(
      [shutdownDomain(machine, run, { mode: 'clean', timeoutMs })],
      ...halted(machine, run, operation, 'clean_shutdown'),
    );
  // XAPI's `shutdown`: asks the guest, and ends it when it does not listen. Hard on a domain that is gone does nothing.
  return inStages(
    [shutdownDomain(machine, run, { mode: 'clean', timeoutMs, orElseHard: true })],
    hard,
    ...halted(machine, run, operation, 'clean_shutdown'),
  );
};

const rebootPlan = (machine: PresentMachine, run: RunPlace, operation: PlannedOperation): PlanStep[] => {
  const timeoutMs = guestTimeoutMs(operation.parameters);
  const mode = operation.action === 'hard_reboot' ? 'hard' : 'clean';
  const reboot = step({
    name: `reboot-domain-${mode}`,
    to: { agentOfHost: run.host },
    type: 'RebootDomain',
    streamId: machine.meta.uid,
    data: { incarnation: run.incarnation, mode, timeoutMs },
    timeoutMs: timeoutMs + START_DOMAIN_MS,
  });
  const record = { operation: operation.operation, incarnation: run.incarnation, domid: from(reboot.name, 'domid') };
  return inStages([reboot], [finish(machine, 'RecordVirtualMachineRebooted', record)]);
};

const pausePlan = (machine: PresentMachine, run: RunPlace, operation: PlannedOperation): PlanStep[] => {
  const pauses = operation.action === 'pause';
  const data = { incarnation: run.incarnation };
  const change = step({
    name: pauses ? 'pause-domain' : 'unpause-domain',
    to: { agentOfHost: run.host },
    type: pauses ? 'PauseDomain' : 'UnpauseDomain',
    streamId: machine.meta.uid,
    data,
    timeoutMs: DOMAIN_STEP_MS,
    undo: { type: pauses ? 'UnpauseDomain' : 'PauseDomain', streamId: machine.meta.uid, data },
  });
  const type = pauses ? 'RecordVirtualMachinePaused' : 'RecordVirtualMachineUnpaused';
  return inStages([change], [finish(machine, type, { operation: operation.operation })]);
};

/** What former runs left behind: their holdings, a saved guest that is not waited for, devices that the spec names no more. */
const tidy = (machine: PresentMachine): readonly (readonly PlanStep[])[] => [
  ...cleanUp(machine),
  [
    ...(machine.own.run.phase === 'suspended' ? [] : discardImage(machine)),
    ...(machine.own.run.phase === 'halted' ? giveBack(machine, obsoleteDevices(machine)) : []),
  ],
];

const releasePlan = (machine: PresentMachine, operation: PlannedOperation): PlanStep[] =>
  inStages(...tidy(machine), [
    finish(machine, 'RecordOperationEnded', { operation: operation.operation, outcome: 'succeeded', message: '' }),
  ]);

/** Own disks and ports go, volumes of others are let go, wherever a run has had them. */
const giveBack = (
  machine: PresentMachine,
  devices: { readonly disks: readonly AttachedDisk[]; readonly nics: readonly AttachedNic[] },
): PlanStep[] => {
  const { incarnation } = machine.own;
  return [
    ...devices.disks.map((disk) => giveBackDisk(machine, disk, incarnation)),
    ...devices.nics.map((nic) => giveBackNic(machine, nic, incarnation)),
  ];
};

const deprovisionPlan = (machine: PresentMachine, operation: PlannedOperation): PlanStep[] => {
  const run = placedRun(machine.own.run);
  const running: readonly (readonly PlanStep[])[] =
    run === null
      ? cleanUp(machine)
      : [[destroyDomain(machine, run)], [releasePlacement(machine, run.incarnation, 'the machine is being deleted')]];
  return inStages(
    ...running,
    [...giveBack(machine, machine.own), ...discardImage(machine)],
    [finish(machine, 'RecordVirtualMachineTornDown', { operation: operation.operation })],
  );
};

const CHANGES: ReadonlySet<OperationAction> = new Set(['changing_VCPUs_live', 'changing_dynamic_range', 'reconfigure']);

/** All steps of an operation with their undos, from what the machine is now. */
export const operationPlan = (machine: PresentMachine, operation: PlannedOperation): OperationPlan => {
  const { run } = machine.own;
  if (isStarting(operation)) return { plan: startPlan(machine, operation), cancellable: true };
  if (operation.action === 'release') return { plan: releasePlan(machine, operation), cancellable: false };
  const snapshot = snapshotOf(machine.own, operation);
  if (snapshot !== null && takesSnapshot(operation)) {
    const memory = operation.action === 'checkpoint';
    const timeoutMs = guestTimeoutMs(operation.parameters);
    const asked = { operation: operation.operation, snapshot, memory, timeoutMs };
    return { plan: snapshotPlan(machine, asked), cancellable: true };
  }
  const to = operation.action === 'revert' ? snapshotNamed(machine.own, operation.parameters['to']) : null;
  if (to !== null) {
    const { operation: uid, incarnation = machine.own.incarnation + 1 } = operation;
    return { plan: revertPlan(machine, { operation: uid, incarnation, snapshot: to }), cancellable: false };
  }
  if (operation.action === 'deprovision') return { plan: deprovisionPlan(machine, operation), cancellable: false };
  if (run.phase === 'suspended') return { plan: discardPlan(machine, operation.operation), cancellable: false };
  // Every other operation is allowed on a run only.
  if (run.phase === 'halted') return { plan: releasePlan(machine, operation), cancellable: false };
  if (operation.action === 'pause' || operation.action === 'unpause')
    return { plan: pausePlan(machine, run, operation), cancellable: false };
  if (operation.action === 'pool_migrate') {
    const { operation: uid, incarnation = machine.own.incarnation + 1, parameters } = operation;
    return { plan: migratePlan(machine, run, { operation: uid, incarnation, parameters }), cancellable: true };
  }
  if (CHANGES.has(operation.action)) return { plan: changePlan(machine, run, operation.operation), cancellable: false };
  if (operation.action === 'suspend') {
    const asked = { operation: operation.operation, timeoutMs: guestTimeoutMs(operation.parameters) };
    return { plan: suspendPlan(machine, run, asked), cancellable: false };
  }
  if (operation.action === 'clean_reboot' || operation.action === 'hard_reboot')
    return { plan: rebootPlan(machine, run, operation), cancellable: false };
  return { plan: shutdownPlan(machine, run, operation), cancellable: false };
};
