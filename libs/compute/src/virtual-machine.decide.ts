import {
  decideObject,
  eventOf,
  finalizerRemoved,
  notFound,
  reportDomainStoppedData,
  virtualMachineCommands,
  virtualMachineKind,
  VIRTUAL_MACHINE_ACTIONS,
  xapiActionOf,
  type HaltReason,
  type PowerState,
} from '@xenolith/contracts';
import { ok, reject, type Command, type NewEvent, type Result } from '@xenolith/kernel';
import { trusted } from './trusted.js';
import { checkAllowed, isStarting } from './virtual-machine.power.js';
import { machineRules } from './virtual-machine.rules.js';
import {
  currentOperation,
  powerStateOf,
  TEARDOWN_FINALIZER,
  type CurrentOperation,
  type MachineState,
  type OperationAction,
  type PresentMachine,
} from './virtual-machine.state.js';
import { operationStarted } from './virtual-machine.wish.js';

type Decision = Result<readonly NewEvent[]>;

const NOTHING: Decision = ok([]);

/** The wish that an accepted action sets in its own append. */
const WISH_OF: Partial<Record<OperationAction, PowerState>> = {
  start: 'Running',
  clean_shutdown: 'Halted',
  shutdown: 'Halted',
  hard_shutdown: 'Halted',
  pause: 'Paused',
  unpause: 'Running',
};

const decideAction = (machine: PresentMachine, command: Command): Decision => {
  const wanted = trusted(virtualMachineCommands.StartOperation, command);
  const action = xapiActionOf(wanted.action);
  if (action === null)
    return reject(
      'operation_unknown',
      `virtual machines know no action "${wanted.action}"; there are ${Object.keys(VIRTUAL_MACHINE_ACTIONS).join(', ')}`,
    );
  const allowed = checkAllowed(machine, action);
  if (!allowed.ok) return allowed;
  const wish = action === 'start' && wanted.parameters['paused'] === true ? 'Paused' : WISH_OF[action];
  return ok([
    operationStarted(machine, command, {
      action,
      operation: wanted.operationId,
      name: wanted.name,
      parameters: wanted.parameters,
      ...(wish === undefined ? {} : { powerState: wish }),
    }),
  ]);
};

/** Ends an operation that changed nothing, or whose change is there already. */
const operationEnded = (
  machine: PresentMachine,
  data: { operation: string; outcome: 'succeeded' | 'failed' | 'cancelled'; message: string },
): readonly NewEvent[] =>
  currentOperation(machine.own, data.operation) === undefined ? [] : [eventOf('VirtualMachineOperationEnded', data)];

const nothingChanged = (machine: PresentMachine, operation: string): Decision =>
  ok(operationEnded(machine, { operation, outcome: 'succeeded', message: '' }));

/** A machine on its way out is torn down as soon as the start that stood in the way has ended. */
const deprovisionNext = (machine: PresentMachine, endedOperation: string, command: Command): readonly NewEvent[] => {
  const left = machine.own.operations.filter((operation) => operation.operation !== endedOperation);
  const waits = left.some((operation) => operation.action !== 'release');
  if (machine.meta.deletionTimestamp === undefined || waits) return [];
  return [operationStarted(machine, command, { action: 'deprovision' })];
};

/** A start that did not come to its end has not, or not wholly, given back what the run before it had held. */
const releaseNext = (machine: PresentMachine, ended: CurrentOperation, command: Command): readonly NewEvent[] => {
  const { run, operations } = machine.own;
  const others = operations.filter((operation) => operation.operation !== ended.operation);
  const leaves = isStarting(ended) && run.phase === 'halted' && run.leftover !== null;
  if (!leaves || others.length > 0 || machine.meta.deletionTimestamp !== undefined) return [];
  return [operationStarted(machine, command, { action: 'release' })];
};

const decideEnded = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordOperationEnded, command);
  const operation = currentOperation(machine.own, data.operation);
  if (!operation) return NOTHING;
  const events = operationEnded(machine, data);
  // Only an operator who abandons a teardown makes it fail: what is left behind is then his.
  if (operation.action === 'deprovision' && data.outcome !== 'succeeded')
    return ok([...events, ...finalizerRemoved(virtualMachineKind, machine, TEARDOWN_FINALIZER)]);
  const release = data.outcome === 'succeeded' ? [] : releaseNext(machine, operation, command);
  return ok([...events, ...release, ...deprovisionNext(machine, data.operation, command)]);
};

const decideHalted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineHalted, command);
  const { run } = machine.own;
  if (run.phase === 'halted' || run.incarnation !== data.incarnation) return nothingChanged(machine, data.operation);
  return ok([eventOf('VirtualMachineHalted', data)]);
};

const decidePhase = (machine: PresentMachine, command: Command, wanted: 'running' | 'paused'): Decision => {
  const { operation } = trusted(virtualMachineCommands.RecordVirtualMachinePaused, command);
  const { phase } = machine.own.run;
  if (phase === 'halted' || phase === wanted) return nothingChanged(machine, operation);
  return ok([eventOf(wanted === 'paused' ? 'VirtualMachinePaused' : 'VirtualMachineUnpaused', { operation })]);
};

const decideRebooted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineRebooted, command);
  if (machine.own.run.phase === 'halted') return nothingChanged(machine, data.operation);
  return ok([eventOf('VirtualMachineRebooted', data)]);
};

const decideTornDown = (machine: PresentMachine, command: Command): Decision => {
  const { operation } = trusted(virtualMachineCommands.RecordVirtualMachineTornDown, command);
  const { run } = machine.own;
  const message = 'everything has been given back';
  const ended =
    run.phase === 'halted'
      ? operationEnded(machine, { operation, outcome: 'succeeded', message })
      : [eventOf('VirtualMachineHalted', { operation, incarnation: run.incarnation, reason: 'deleted', message })];
  return ok([...ended, ...finalizerRemoved(virtualMachineKind, machine, TEARDOWN_FINALIZER)]);
};

/** A run that ended without an operation: Halted, then either another run or the clean-up behind this one. */
const endOfRun = (
  machine: PresentMachine,
  command: Command,
  end: { incarnation: number; reason: HaltReason; message: string; restart: boolean },
): Decision => {
  const deleting = machine.meta.deletionTimestamp !== undefined;
  const restart =
    end.restart && !deleting && !machine.own.operations.some((operation) => operation.action !== 'release');
  const halted = eventOf('VirtualMachineHalted', {
    incarnation: end.incarnation,
    reason: end.reason,
    message: end.message,
    ...(restart ? {} : { powerState: 'Halted' }),
  });
  const action = restart ? 'start' : 'release';
  // The teardown of a machine that is being deleted gives everything back by itself.
  return ok(deleting ? [halted] : [halted, operationStarted(machine, command, { action })]);
};

const POLICY_OF = {
  poweroff: { field: 'onPoweroff', reason: 'guest_poweroff', message: 'the guest powered itself off' },
  crash: { field: 'onCrash', reason: 'guest_crash', message: 'the guest crashed' },
  reboot: { field: 'onReboot', reason: 'guest_poweroff', message: 'the guest asked for a reboot' },
} as const;

interface EndOfGuest {
  readonly incarnation: number;
  readonly reason: keyof typeof POLICY_OF;
}

/** A guest that ended by itself follows its machine's policy. */
const runEnded = (machine: PresentMachine, command: Command, end: EndOfGuest): Decision => {
  const { field, reason, message } = POLICY_OF[end.reason];
  const policy = machine.spec[field];
  switch (policy) {
    case 'preserve':
      return machine.own.run.phase === 'paused' ? NOTHING : ok([eventOf('VirtualMachinePaused', {})]);
    case 'restart':
    case 'destroy': {
      const { incarnation } = end;
      return endOfRun(machine, command, { incarnation, reason, message, restart: policy === 'restart' });
    }
  }
};

const decideDomainStopped = (machine: PresentMachine, command: Command): Decision => {
  const { incarnation, reason, host, domid } = trusted(reportDomainStoppedData, command);
  const { run, operations, endedEarly } = machine.own;
  if (run.phase === 'halted') {
    const starting = operations.some(isStarting) && machine.own.incarnation === incarnation;
    // A restarted guest may do so again, or end; after an end there is no more to say of the run.
    const open = endedEarly?.incarnation !== incarnation || endedEarly.domid !== undefined;
    if (!starting || !open) return NOTHING;
    const restarted = domid === undefined ? {} : { domid };
    return ok([eventOf('VirtualMachineEndedEarly', { incarnation, reason, ...restarted })]);
  }
  if (run.incarnation !== incarnation || run.host !== host) return NOTHING;
  // The host has restarted the guest already.
  if (domid !== undefined) return domid === run.domid ? NOTHING : ok([eventOf('VirtualMachineRebooted', { domid })]);
  return runEnded(machine, command, { incarnation, reason });
};

const decideStarted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineStarted, command);
  if (currentOperation(machine.own, data.operation) === undefined) return NOTHING;
  const early = machine.own.endedEarly;
  const sameRun = early?.incarnation === data.incarnation;
  if (sameRun && early.domid === undefined && machine.meta.deletionTimestamp === undefined) {
    const operations = machine.own.operations.filter((operation) => operation.operation !== data.operation);
    const end = runEnded({ ...machine, own: { ...machine.own, operations } }, command, early);
    return end.ok ? ok([eventOf('VirtualMachineStarted', data), ...end.value]) : end;
  }
  const next = deprovisionNext(machine, data.operation, command);
  const rebooted = sameRun && early.domid !== undefined && early.domid !== data.domid;
  const events = [
    eventOf('VirtualMachineStarted', data),
    ...(rebooted ? [eventOf('VirtualMachineRebooted', { domid: early.domid })] : []),
    ...next,
  ];
  // The wish to be halted came too late to cancel the start, so it is acted on now.
  const unwanted = next.length === 0 && machine.spec.powerState === 'Halted';
  return ok(unwanted ? [...events, operationStarted(machine, command, { action: 'shutdown' })] : events);
};

const decideStopped = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineStopped, command);
  const { run } = machine.own;
  if (run.phase === 'halted' || run.incarnation !== data.incarnation || run.host !== data.host) return NOTHING;
  return endOfRun(machine, command, {
    incarnation: run.incarnation,
    reason: data.reason,
    message: data.message,
    restart: machine.spec.ha.restart !== 'never' && machine.spec.powerState !== 'Halted',
  });
};

/**
 * What runs is the host's to say. The wish follows as XenServer's one `power_state` does, so that asking for the other state is a change and is acted on; but a
 * wish that had not been fulfilled before stays what it is.
 */
const decideObserved = (machine: PresentMachine, command: Command): Decision => {
  const { incarnation, host, domid, state } = trusted(virtualMachineCommands.RecordVirtualMachineObserved, command);
  const { run, operations } = machine.own;
  if (run.phase === 'halted' || run.incarnation !== incarnation || run.host !== host) return NOTHING;
  // An operation under way records what it does by itself.
  if (operations.length > 0) return NOTHING;
  const paused = state !== 'running';
  const changes = paused !== (run.phase === 'paused');
  if (!changes && run.domid === domid) return NOTHING;
  const follows = changes && machine.spec.powerState === powerStateOf(run);
  const wish = follows ? { powerState: paused ? 'Paused' : 'Running' } : {};
  return ok([eventOf('VirtualMachineObserved', { host, domid, paused, ...wish })]);
};

const decideUnschedulable = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineUnschedulable, command);
  const known =
    currentOperation(machine.own, data.operation) === undefined || machine.own.unschedulable?.message === data.message;
  return known ? NOTHING : ok([eventOf('VirtualMachineUnschedulable', data)]);
};

const decideSchedulable = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineSchedulable, command);
  const waits = currentOperation(machine.own, data.operation) !== undefined && machine.own.unschedulable !== null;
  return waits ? ok([eventOf('VirtualMachineSchedulable', data)]) : NOTHING;
};

const decideHostAnswers = (machine: PresentMachine, command: Command, answers: boolean): Decision => {
  const { host } = trusted(virtualMachineCommands.RecordHostLost, command);
  const { run } = machine.own;
  if (run.phase === 'halted' || run.host !== host || run.hostAnswers === answers) return NOTHING;
  return ok([eventOf(answers ? 'VirtualMachineHostRegained' : 'VirtualMachineHostLost', { host })]);
};

/** The kind's own commands. Those that record what happened are never refused. */
const decideOwn = (machine: PresentMachine, command: Command): Decision => {
  switch (command.type) {
    case 'StartOperation':
      return decideAction(machine, command);
    case 'RecordVirtualMachineStarted':
      return decideStarted(machine, command);
    case 'RecordVirtualMachinePaused':
      return decidePhase(machine, command, 'paused');
    case 'RecordVirtualMachineUnpaused':
      return decidePhase(machine, command, 'running');
    case 'RecordVirtualMachineRebooted':
      return decideRebooted(machine, command);
    case 'RecordVirtualMachineHalted':
      return decideHalted(machine, command);
    case 'RecordVirtualMachineTornDown':
      return decideTornDown(machine, command);
    case 'RecordOperationEnded':
      return decideEnded(machine, command);
    case 'RecordVirtualMachineUnschedulable':
      return decideUnschedulable(machine, command);
    case 'RecordVirtualMachineSchedulable':
      return decideSchedulable(machine, command);
    case 'RecordVirtualMachineStopped':
      return decideStopped(machine, command);
    case 'RecordVirtualMachineObserved':
      return decideObserved(machine, command);
    case 'ReportDomainStopped':
      return decideDomainStopped(machine, command);
    case 'RecordHostLost':
      return decideHostAnswers(machine, command, false);
    case 'RecordHostRegained':
      return decideHostAnswers(machine, command, true);
    case 'ExamineDomain':
      return NOTHING;
    default:
      return reject('command_unknown', `virtual machines know no command ${command.type}`);
  }
};

export const decideVirtualMachine = (command: Command, state: MachineState): Decision => {
  const shared = decideObject(machineRules, command, state);
  if (shared !== null) return shared;
  if (state.phase === 'present') return decideOwn(state, command);
  // What happened to a machine that is gone changes nothing; asking something of it is a mistake.
  return command.type === 'StartOperation' ? notFound(virtualMachineKind, command.streamId) : NOTHING;
};
