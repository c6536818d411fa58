import {
  evolveObject,
  objectConsequences,
  objectResource,
  timestamp,
  virtualMachineKind,
  type PowerState,
  type VirtualMachineEvent,
  type VirtualMachineSpec,
} from '@xenolith/contracts';
import type { Aggregate, AlsoCommand, Command, Consequences, EventPlace, JsonObject, NewEvent } from '@xenolith/kernel';
import { hardwareOf, obsoleteDevices } from './virtual-machine.changes.js';
import { decideVirtualMachine } from './virtual-machine.decide.js';
import { WAIT_REASONS } from './operation.waits.js';
import { operationPlan } from './virtual-machine.plan.js';
import { machineRules } from './virtual-machine.rules.js';
import {
  currentOperation,
  NEVER_STARTED,
  placedRun,
  powerStateOf,
  type CurrentOperation,
  type MachineOwn,
  type MachineState,
  type OperationAction,
  type PresentMachine,
  type RunPlace,
} from './virtual-machine.state.js';
import { reverted, snapshotForgotten, snapshotOf, snapshotTaken, toldToSnapshot } from './virtual-machine.snapshots.js';
import { readyCondition } from './virtual-machine.status.js';

type Own = (own: MachineOwn) => MachineOwn;

const withoutOperation =
  (operation: string | undefined): Own =>
  (own) => ({ ...own, operations: own.operations.filter((current) => current.operation !== operation) });

const withWish = (machine: PresentMachine, powerState: PowerState | null | undefined): PresentMachine =>
  powerState == null || powerState === machine.spec.powerState
    ? machine
    : {
        ...machine,
        spec: { ...machine.spec, powerState },
        meta: { ...machine.meta, generation: machine.meta.generation + 1 },
      };

const onPlace = (own: MachineOwn, change: Partial<RunPlace>): MachineOwn => {
  const run = placedRun(own.run);
  return run === null ? own : { ...own, run: { ...run, ...change } };
};

const inPhase = (own: MachineOwn, phase: 'running' | 'paused'): MachineOwn => {
  const run = placedRun(own.run);
  return run === null ? own : { ...own, run: { ...run, phase } };
};

const withoutObsolete = (machine: PresentMachine): MachineOwn => {
  const { disks, nics } = obsoleteDevices(machine);
  const { own } = machine;
  return {
    ...own,
    disks: own.disks.filter((disk) => !disks.includes(disk)),
    nics: own.nics.filter((nic) => !nics.includes(nic)),
  };
};

const ended = (
  machine: PresentMachine,
  data: { operation: string; outcome: 'succeeded' | 'failed' | 'cancelled'; message: string },
): PresentMachine => {
  const operation = currentOperation(machine.own, data.operation);
  const failed = data.outcome !== 'succeeded';
  const { run } = machine.own;
  const released = !failed && operation?.action === 'release';
  const own: MachineOwn = {
    ...withoutOperation(data.operation)(released && run.phase === 'halted' ? withoutObsolete(machine) : machine.own),
    unschedulable: null,
    problem: failed ? data.message : machine.own.problem,
    run: released && run.phase === 'halted' ? { ...run, leftover: null } : run,
    image: released && run.phase !== 'suspended' ? null : machine.own.image,
    missed: null,
  };
  // A wish that came with the action goes with it, unless the machine is no longer where it was, or something else is wished.
  const former = operation?.formerPowerState ?? null;
  const givenBack = failed && former === powerStateOf(run) && operation?.wish === machine.spec.powerState;
  return withWish({ ...machine, own }, givenBack ? former : null);
};

const halted = (
  machine: PresentMachine,
  data: Extract<VirtualMachineEvent, { type: 'VirtualMachineHalted' }>['data'],
): PresentMachine => {
  const { run } = machine.own;
  const placed = placedRun(run);
  // Only an operation has given the run's holdings, or its image, back before it says Halted.
  const leftover =
    data.operation === undefined && placed !== null ? { incarnation: placed.incarnation, host: placed.host } : null;
  const own: MachineOwn = {
    ...withoutOperation(data.operation)(machine.own),
    run: { phase: 'halted', reason: data.reason, message: data.message, leftover },
    image: run.phase === 'suspended' ? null : machine.own.image,
    missed: null,
  };
  return withWish({ ...machine, own }, data.powerState);
};

const started = (
  machine: PresentMachine,
  data: Extract<VirtualMachineEvent, { type: 'VirtualMachineStarted' }>['data'],
  startTime: string,
): PresentMachine => ({
  ...machine,
  own: {
    ...withoutOperation(data.operation)(machine.own),
    // A start has given back what it found; a resumption leaves that to the operation after it.
    image: machine.own.run.phase === 'suspended' ? machine.own.image : null,
    missed: null,
    run: {
      phase: data.paused ? 'paused' : 'running',
      incarnation: data.incarnation,
      host: data.host,
      hostUid: data.hostUid,
      domid: data.domid,
      hostAnswers: true,
      startTime,
    },
    // The spec is as it was when the start began: nothing of it may change before the domain is there.
    hardware: hardwareOf(machine.spec),
    hypervisor: data.hypervisor ?? null,
    disks: data.disks,
    nics: data.nics,
    devices: data.devices ?? [],
    endedEarly: null,
    unschedulable: null,
    problem: null,
  },
});

const suspended = (
  own: MachineOwn,
  { operation, incarnation, image }: Extract<VirtualMachineEvent, { type: 'VirtualMachineSuspended' }>['data'],
): MachineOwn => {
  const taken = placedRun(own.run)?.incarnation === incarnation;
  return {
    ...withoutOperation(operation)(own),
    run: taken ? { phase: 'suspended', incarnation } : own.run,
    image,
    missed: null,
  };
};

/** Whatever was said of the run before it: the machine lives there now. */
const migrated = (
  own: MachineOwn,
  data: Extract<VirtualMachineEvent, { type: 'VirtualMachineMigrated' }>['data'],
  now: string,
): MachineOwn => {
  const { operation, incarnation, host, hostUid, domid, state: phase, disks } = data;
  const startTime = placedRun(own.run)?.startTime ?? now;
  return {
    ...withoutOperation(operation)(own),
    run: { phase, incarnation, host, hostUid, domid, hostAnswers: true, startTime },
    hypervisor: data.hypervisor ?? own.hypervisor,
    disks,
    endedEarly: null,
    missed: null,
    problem: null,
  };
};

/** A domain that is gone by now leaves the devices that it got at last behind. */
const reconfigured = (
  own: MachineOwn,
  data: Extract<VirtualMachineEvent, { type: 'VirtualMachineReconfigured' }>['data'],
): MachineOwn => {
  const { operation, incarnation, host, hardware, disks, nics, devices = own.devices } = data;
  const run =
    own.run.phase === 'halted' ? { ...own.run, leftover: own.run.leftover ?? { incarnation, host } } : own.run;
  return { ...withoutOperation(operation)(own), run, hardware, disks, nics, devices };
};

const observed = (
  machine: PresentMachine,
  data: Extract<VirtualMachineEvent, { type: 'VirtualMachineObserved' }>['data'],
): PresentMachine => {
  const own = inPhase(onPlace(machine.own, { domid: data.domid }), data.paused ? 'paused' : 'running');
  return withWish({ ...machine, own }, data.powerState);
};

const operationStarted = (
  machine: PresentMachine,
  data: Extract<VirtualMachineEvent, { type: 'VirtualMachineOperationStarted' }>['data'],
): PresentMachine => {
  const operation: CurrentOperation = {
    operation: data.operation,
    name: data.name,
    action: data.action as OperationAction,
    formerPowerState:
      data.powerState === undefined || data.powerState === machine.spec.powerState ? null : machine.spec.powerState,
    wish: data.powerState ?? null,
    domid: placedRun(machine.own.run)?.domid ?? null,
    snapshot: snapshotOf(machine.own, data),
    formerSpec: (data.formerSpec as VirtualMachineSpec | undefined) ?? null,
  };
  const own: MachineOwn = {
    ...machine.own,
    incarnation: data.incarnation ?? machine.own.incarnation,
    operations: [...machine.own.operations, operation],
    problem: null,
  };
  return withWish({ ...machine, own }, data.powerState);
};

/** The kind's own events. Shared ones never come here. */
const evolveOwn = (machine: PresentMachine, event: VirtualMachineEvent, place: EventPlace): PresentMachine => {
  const change = (own: Own): PresentMachine => ({ ...machine, own: own(machine.own) });
  switch (event.type) {
    case 'VirtualMachineOperationStarted':
      return operationStarted(machine, event.data);
    case 'VirtualMachineOperationEnded':
      return ended(machine, event.data);
    case 'VirtualMachineUnschedulable':
      return change((own) => ({
        ...own,
        unschedulable: { reason: WAIT_REASONS[event.data.code ?? ''] ?? 'Unschedulable', message: event.data.message },
      }));
    case 'VirtualMachineSchedulable':
      return change((own) => ({ ...own, unschedulable: null }));
    case 'VirtualMachineEndedEarly':
      return change((own) => ({ ...own, endedEarly: event.data }));
    case 'VirtualMachineDeviceModelLost': {
      const { incarnation, domid } = event.data;
      return change((own) => ({ ...own, deviceModelLost: { incarnation, domid, since: timestamp(place.at) } }));
    }
    case 'VirtualMachineStarted':
      return started(machine, event.data, timestamp(place.at));
    case 'VirtualMachinePaused':
      return change((own) => inPhase(withoutOperation(event.data.operation)(own), 'paused'));
    case 'VirtualMachineUnpaused':
      return change((own) => inPhase(withoutOperation(event.data.operation)(own), 'running'));
    case 'VirtualMachineRebooted':
      return change((own) => {
        const rebooted = onPlace(withoutOperation(event.data.operation)(own), { domid: event.data.domid });
        return inPhase(rebooted, 'running');
      });
    case 'VirtualMachineSuspended':
      return change((own) => suspended(own, event.data));
    case 'VirtualMachineMigrated':
      return change((own) => migrated(own, event.data, timestamp(place.at)));
    case 'VirtualMachineReconfigured':
      return change((own) => reconfigured(own, event.data));
    case 'VirtualMachineSnapshotTaken':
      return change((own) => snapshotTaken(own, event.data));
    case 'VirtualMachineReverted':
      return reverted(machine, event.data);
    case 'VirtualMachineSnapshotForgotten':
      return change((own) => snapshotForgotten(own, event.data.snapshot));
    case 'VirtualMachineMissed': {
      const { incarnation, reason, message } = event.data;
      return change((own) => ({ ...own, missed: { incarnation, reason, message } }));
    }
    case 'VirtualMachineHalted':
      return halted(machine, event.data);
    case 'VirtualMachineObserved':
      return observed(machine, event.data);
    case 'VirtualMachineHostLost':
      return change((own) => onPlace(own, { hostAnswers: false }));
    case 'VirtualMachineHostRegained':
      return change((own) => onPlace(own, { hostAnswers: true }));
    case 'VirtualMachineOperationSuperseded':
    case 'VirtualMachineCreated':
    case 'VirtualMachineMetadataChanged':
    case 'VirtualMachineSpecChanged':
    case 'VirtualMachineDeletionRequested':
    case 'VirtualMachineDeleted':
      return machine;
  }
};

/** The state with its Ready condition brought up to date; its time moves only when the status does. */
const withReady = (state: MachineState, atMs: number): MachineState => {
  if (state.phase === 'absent') return state;
  const ready = readyCondition(state);
  const before = state.own.ready;
  const first = before.lastTransitionTime === NEVER_STARTED.ready.lastTransitionTime;
  const lastTransitionTime = !first && ready.status === before.status ? before.lastTransitionTime : timestamp(atMs);
  return { ...state, own: { ...state.own, ready: { ...ready, lastTransitionTime } } };
};

const evolve = (state: MachineState, event: NewEvent, place: EventPlace): MachineState => {
  const shared = evolveObject(machineRules, state, event, place);
  if (shared !== null) return withReady(shared, place.at);
  if (state.phase === 'absent') return state;
  return withReady({ ...state, ...evolveOwn(state, event as VirtualMachineEvent, place) }, place.at);
};

/** An operation's own stream starts in the append that starts it here, with the whole plan. */
const consequences = (event: NewEvent, before: MachineState, command: Command): Consequences => {
  const machineEvent = event as VirtualMachineEvent;
  if (before.phase !== 'present') return objectConsequences(machineRules, event, before, command);
  const told = toldToSnapshot(before, machineEvent);
  if (machineEvent.type !== 'VirtualMachineOperationStarted')
    return {
      ...objectConsequences(machineRules, event, before, command),
      ...(told.length === 0 ? {} : { also: told }),
    };
  const { data } = machineEvent;
  const action = data.action as OperationAction;
  const { plan, cancellable } = operationPlan(before, { ...data, action });
  const also: AlsoCommand = {
    category: 'operation',
    streamId: data.operation,
    type: 'BeginOperation',
    data: {
      name: data.name,
      namespace: before.meta.namespace,
      spec: {
        target: {
          apiVersion: 'compute.xenolith.dev/v1alpha1',
          kind: virtualMachineKind.kind,
          name: before.meta.name,
          uid: before.meta.uid,
        },
        action: data.action,
        parameters: data.parameters,
      },
      plan,
      cancellable,
    } as unknown as JsonObject,
  };
  return { also: [also, ...told] };
};

export const virtualMachineAggregate: Aggregate<MachineState> = {
  category: 'virtualmachine',
  initial: { phase: 'absent' },
  decide: decideVirtualMachine,
  evolve,
  toResource: (state) => objectResource(machineRules, state),
  consequences,
  ended: (state) => state.phase === 'deleted',
  stateVersion: 7,
  snapshotEvery: 100,
};
