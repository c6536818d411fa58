import {
  decideObject,
  eventOf,
  finalizerRemoved,
  invalid,
  notFound,
  operationKind,
  virtualMachineCommands,
  virtualMachineKind,
  VIRTUAL_MACHINE_ACTIONS,
  xapiActionOf,
  type PowerState,
  type VirtualMachineSpec,
} from '@xenolith/contracts';
import { ok, reject, sameJson, type Command, type NewEvent, type Result } from '@xenolith/kernel';
import { trusted } from './trusted.js';
import { withoutChange } from './virtual-machine.changes.js';
import { causesOfMigration, causesOfOvercommit } from './virtual-machine.plan-migrate.js';
import { blockingOperations, checkAllowed, isStarting, takesAway } from './virtual-machine.power.js';
import { machineRules } from './virtual-machine.rules.js';
import {
  decideDeviceModelLost,
  decideDomainStopped,
  decideMigrated,
  decideObserved,
  decideReconfigured,
  decideStarted,
  decideStopped,
  decideSuspended,
  endOfLostRun,
  endOfReverted,
  nothingChanged,
  operationEnded,
} from './virtual-machine.runs.js';
import {
  causesOfSnapshot,
  decideReverted,
  decideSnapshotDeleted,
  decideSnapshotTaken,
} from './virtual-machine.snapshots.js';
import {
  currentOperation,
  placedRun,
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
  suspend: 'Suspended',
  resume: 'Running',
};

const decideAction = (machine: PresentMachine, command: Command): Decision => {
  const wanted = trusted(virtualMachineCommands.StartOperation, command);
  const action = xapiActionOf(wanted.action);
  if (action === null)
    return reject(
      'operation_unknown',
      `virtual machines know no action "${wanted.action}"; there are ${Object.keys(VIRTUAL_MACHINE_ACTIONS).join(', ')}`,
    );
  const allowed = checkAllowed(machine, action === 'revert' ? 'reverting' : action);
  if (!allowed.ok) return allowed;
  const { parameters } = wanted;
  const causes = [
    ...causesOfOvercommit(parameters),
    ...(action === 'pool_migrate'
      ? causesOfMigration(machine, parameters)
      : causesOfSnapshot(machine, action, parameters)),
  ];
  if (causes.length > 0) return invalid(operationKind, { name: wanted.name ?? action }, causes);
  const begins = action === 'start' || action === 'resume';
  const wish = begins && wanted.parameters['paused'] === true ? 'Paused' : WISH_OF[action];
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

/** A machine on its way out is torn down as soon as the last operation that stood in the way has ended. */
const thenDeprovision = (
  machine: PresentMachine,
  command: Command,
  events: readonly NewEvent[],
): readonly NewEvent[] => {
  const ended = currentOperation(machine.own, command.data['operation'] as string | undefined);
  if (machine.meta.deletionTimestamp === undefined || ended === undefined || ended.action === 'deprovision')
    return events;
  const waits = blockingOperations(machine).some(({ operation }) => operation !== ended.operation);
  return waits || !ENDS.has(command.type)
    ? events
    : [...events, operationStarted(machine, command, { action: 'deprovision' })];
};

/** A start that did not come to its end has not, or not wholly, given back what the run before it had held. */
const releaseNext = (machine: PresentMachine, ended: CurrentOperation, command: Command): readonly NewEvent[] => {
  const { run, image } = machine.own;
  const leaves = isStarting(ended) && run.phase === 'halted' && (run.leftover !== null || image !== null);
  return leaves ? [operationStarted(machine, command, { action: 'release' })] : [];
};

/** A change that the domain did not take comes off the spec as well. */
const specGivenBack = (machine: PresentMachine, former: VirtualMachineSpec): readonly NewEvent[] => {
  const spec = withoutChange(machine.spec, former);
  return sameJson(spec, machine.spec) ? [] : [eventOf('VirtualMachineSpecChanged', { spec: spec })];
};

/** What an operation that came to nothing leaves to be done. */
const afterFailure = (machine: PresentMachine, ended: CurrentOperation, command: Command): readonly NewEvent[] => {
  const { run, operations, missed } = machine.own;
  const others = operations.filter((operation) => operation.operation !== ended.operation);
  if (ended.formerSpec !== null) return specGivenBack(machine, ended.formerSpec);
  const left: PresentMachine = { ...machine, own: { ...machine.own, operations: others } };
  const placed = placedRun(run);
  // A revert begins with the end of the run, and fails after that only.
  if (ended.action === 'revert' && placed !== null) return endOfReverted(left, command, placed.incarnation);
  if (takesAway(ended) && missed !== null && placedRun(run)?.incarnation === missed.incarnation)
    return endOfLostRun(left, command, { ...missed, wish: ended.formerPowerState ?? machine.spec.powerState });
  if (others.length > 0 || machine.meta.deletionTimestamp !== undefined) return [];
  // The wish to be halted cancelled the resumption: now there is a guest to be ended.
  if (run.phase === 'suspended' && machine.spec.powerState === 'Halted')
    return [operationStarted(left, command, { action: 'hard_shutdown' })];
  return releaseNext(left, ended, command);
};

const decideEnded = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordOperationEnded, command);
  const operation = currentOperation(machine.own, data.operation);
  if (!operation) return NOTHING;
  const events = operationEnded(machine, data);
  // Only an operator who abandons a teardown makes it fail: what is left behind is then his.
  if (operation.action === 'deprovision' && data.outcome !== 'succeeded')
    return ok([...events, ...finalizerRemoved(virtualMachineKind, machine, TEARDOWN_FINALIZER)]);
  return ok([...events, ...(data.outcome === 'succeeded' ? [] : afterFailure(machine, operation, command))]);
};

const decideHalted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineHalted, command);
  const { run } = machine.own;
  if (run.phase !== 'halted' && run.incarnation === data.incarnation)
    return ok([eventOf('VirtualMachineHalted', data)]);
  const ended = operationEnded(machine, { operation: data.operation, outcome: 'succeeded', message: '' });
  // The run was ended where the machine had just left: it is ended where it lives now.
  const others = blockingOperations(machine).some(({ operation }) => operation !== data.operation);
  const escaped = ended.length > 0 && placedRun(run) !== null && machine.spec.powerState === 'Halted';
  return escaped && !others && machine.meta.deletionTimestamp === undefined
    ? ok([...ended, operationStarted(machine, command, { action: 'hard_shutdown' })])
    : ok(ended);
};

const decidePhase = (machine: PresentMachine, command: Command, wanted: 'running' | 'paused'): Decision => {
  const { operation } = trusted(virtualMachineCommands.RecordVirtualMachinePaused, command);
  const run = placedRun(machine.own.run);
  if (run === null || run.phase === wanted) return nothingChanged(machine, operation);
  return ok([eventOf(wanted === 'paused' ? 'VirtualMachinePaused' : 'VirtualMachineUnpaused', { operation })]);
};

const decideRebooted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineRebooted, command);
  const run = placedRun(machine.own.run);
  const other = data.incarnation !== undefined && run?.incarnation !== data.incarnation;
  // Hosts count ids up: the guest has rebooted by itself since this answer was given, and its host has told.
  const older = run !== null && data.domid < run.domid;
  const began = currentOperation(machine.own, data.operation)?.domid ?? null;
  // The host has told what became of the guest in the new domain, too. A process keeps its id.
  const told = began !== null && began !== data.domid && run?.domid === data.domid;
  if (run === null || other || older || told) return nothingChanged(machine, data.operation);
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
  const run = placedRun(machine.own.run);
  if (run?.host !== host || run.hostAnswers === answers) return NOTHING;
  return ok([eventOf(answers ? 'VirtualMachineHostRegained' : 'VirtualMachineHostLost', { host })]);
};

/** Commands by which an operation ends. */
const ENDS: ReadonlySet<string> = new Set([
  'RecordVirtualMachineStarted',
  'RecordVirtualMachineSuspended',
  'RecordVirtualMachineReconfigured',
  'RecordVirtualMachineMigrated',
  'RecordVirtualMachineSnapshotTaken',
  'RecordVirtualMachineReverted',
  'RecordVirtualMachinePaused',
  'RecordVirtualMachineUnpaused',
  'RecordVirtualMachineRebooted',
  'RecordVirtualMachineHalted',
  'RecordOperationEnded',
]);

/** The kind's own commands. Those that record what happened are never refused. */
const decideOwn = (machine: PresentMachine, command: Command): Decision => {
  switch (command.type) {
    case 'StartOperation':
      return decideAction(machine, command);
    case 'RecordVirtualMachineStarted':
      return decideStarted(machine, command);
    case 'RecordVirtualMachineSuspended':
      return decideSuspended(machine, command);
    case 'RecordVirtualMachineMigrated':
      return decideMigrated(machine, command);
    case 'RecordVirtualMachineReconfigured':
      return decideReconfigured(machine, command);
    case 'RecordVirtualMachineSnapshotTaken':
      return decideSnapshotTaken(machine, command);
    case 'RecordVirtualMachineReverted':
      return decideReverted(machine, command);
    case 'RecordVirtualMachineSnapshotDeleted':
      return decideSnapshotDeleted(machine, command);
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
    case 'ReportDeviceModelLost':
      return decideDeviceModelLost(machine, command);
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
  if (state.phase === 'present') {
    const decided = decideOwn(state, command);
    return decided.ok ? ok(thenDeprovision(state, command, decided.value)) : decided;
  }
  // What happened to a machine that is gone changes nothing; asking something of it is a mistake.
  return command.type === 'StartOperation' ? notFound(virtualMachineKind, command.streamId) : NOTHING;
};
