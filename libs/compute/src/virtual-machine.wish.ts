import { eventOf, invalid, virtualMachineKind, type PowerState, type VirtualMachineSpec } from '@xenolith/contracts';
import { ok, reject, uuidFrom, type Command, type NewEvent, type Result, type Uuid } from '@xenolith/kernel';
import {
  actionOf,
  causesOfLiveChange,
  checkLiveChange,
  liveChangeOf,
  obsoleteDevices,
  touchesDomain,
} from './virtual-machine.changes.js';
import { causesOfSpec } from './virtual-machine.checks.js';
import {
  beginsRun,
  blockingOperations,
  checkAllowed,
  inProgress,
  isAskable,
  isAwaited,
  isStarting,
  type XapiOperation,
} from './virtual-machine.power.js';
import {
  takesSnapshot,
  type CurrentOperation,
  type OperationAction,
  type PresentMachine,
} from './virtual-machine.state.js';

/** Longest name of a Kubernetes object that is a DNS label. */
const LONGEST_NAME = 63;

/** `<machine>-<action>-<first 8 of the uid>`, cut in the machine's part to stay a DNS label. */
export const operationName = (machine: string, action: OperationAction, operation: Uuid): string => {
  const tail = `-${action.replaceAll('_', '-')}-${operation.slice(0, 8)}`;
  return `${machine.slice(0, LONGEST_NAME - tail.length).replace(/-+$/, '')}${tail}`;
};

/** The event that starts an operation; a new run gets the next incarnation. `powerState`: the wish that an action brings with it. */
export const operationStarted = (
  machine: PresentMachine,
  command: Pick<Command, 'commandId'>,
  wanted: {
    readonly action: OperationAction;
    readonly operation?: Uuid | undefined;
    readonly name?: string | undefined;
    readonly parameters?: Readonly<Record<string, unknown>>;
    readonly powerState?: PowerState;
    readonly formerSpec?: VirtualMachineSpec;
  },
): NewEvent => {
  const operation = wanted.operation ?? uuidFrom(command.commandId, machine.meta.uid, 'operation', wanted.action);
  // A revert takes the disks as a run does, under a number of its own.
  const numbered = beginsRun(wanted) || wanted.action === 'revert';
  // The first run provisions what later ones find.
  const action = isStarting(wanted) && machine.own.incarnation === 0 ? 'provision' : wanted.action;
  const name = operationName(machine.meta.name, action, operation);
  return eventOf('VirtualMachineOperationStarted', {
    operation,
    name: wanted.name ?? name,
    action,
    parameters: { ...(takesSnapshot({ action }) ? { name } : {}), ...wanted.parameters },
    ...(numbered ? { incarnation: machine.own.incarnation + 1 } : {}),
    ...(wanted.powerState === undefined ? {} : { powerState: wanted.powerState }),
    ...(wanted.formerSpec === undefined ? {} : { formerSpec: wanted.formerSpec }),
  });
};

export const superseded = (operation: CurrentOperation, by: string): NewEvent =>
  eventOf('VirtualMachineOperationSuperseded', { operation: operation.operation, by });

/** A new machine whose wish is to run starts in the append that creates it. */
export const firstOperation = (machine: PresentMachine, command: Command): readonly NewEvent[] =>
  machine.spec.powerState === 'Halted' ? [] : [operationStarted(machine, command, { action: 'start' })];

/** The operation that leads from a power state to a wish; null: nothing to do. What there is no way to is refused as XAPI refuses the operation. */
const actionFor = (
  machine: PresentMachine,
  wish: PowerState,
): Exclude<XapiOperation, 'destroy' | 'reverting'> | null => {
  if (wish === 'Suspended') return machine.own.run.phase === 'suspended' ? null : 'suspend';
  switch (machine.own.run.phase) {
    case 'halted':
      return wish === 'Halted' ? null : 'start';
    case 'running':
      if (wish === 'Halted') return isAskable(machine) ? 'shutdown' : 'hard_shutdown';
      return wish === 'Paused' ? 'pause' : null;
    case 'paused':
      // A paused guest can't be asked.
      if (wish === 'Halted') return 'hard_shutdown';
      return wish === 'Running' ? 'unpause' : null;
    case 'suspended':
      return wish === 'Halted' ? 'hard_shutdown' : 'resume';
  }
};

/** A wish is acted on when it changes. Halting a machine that is only starting cancels the start. */
const decideWish = (machine: PresentMachine, wished: PresentMachine, command: Command): Result<readonly NewEvent[]> => {
  const wish = wished.spec.powerState;
  if (wish === machine.spec.powerState) return ok([]);
  const blocking = blockingOperations(machine);
  const starting = blocking.find(isStarting);
  if (starting && wish === 'Halted') return ok([superseded(starting, 'the wish to be halted')]);
  const action = actionFor(machine, wish);
  if (blocking.length > 0) return inProgress(machine, `powerState ${wish}`);
  if (action === null) return ok([]);
  const allowed = checkAllowed(machine, action);
  return allowed.ok ? ok([operationStarted(wished, command, { action })]) : allowed;
};

/** The running domain follows the spec by an operation. */
const decideLive = (
  machine: PresentMachine,
  changed: PresentMachine,
  command: Command,
): Result<readonly NewEvent[]> => {
  if (!touchesDomain(machine.spec, changed.spec)) return ok([]);
  if (machine.meta.deletionTimestamp !== undefined) return isGoing(machine);
  const change = liveChangeOf(machine, changed.spec);
  const allowed = checkLiveChange(machine, change);
  if (!allowed.ok) return allowed;
  const action = actionOf(change);
  return ok(action === null ? [] : [operationStarted(changed, command, { action, formerSpec: machine.spec })]);
};

const isGoing = (machine: PresentMachine): Result<never> =>
  reject('operation_not_allowed', `virtual machine "${machine.meta.name}" is being deleted`);

/** A halted machine gives back at once what its spec names no more, unless it starts, which does so first. */
const decideObsolete = (
  changed: PresentMachine,
  command: Command,
  events: readonly NewEvent[],
): readonly NewEvent[] => {
  const { disks, nics } = obsoleteDevices(changed);
  const nothing = disks.length + nics.length === 0 || events.length > 0 || changed.own.operations.length > 0;
  return nothing ? events : [operationStarted(changed, command, { action: 'release' })];
};

/** Answers a change of spec: what a running machine can't take is refused with all its causes. */
export const decideSpecChange = (
  machine: PresentMachine,
  spec: VirtualMachineSpec,
  command: Command,
): Result<readonly NewEvent[]> => {
  const rests = machine.own.run.phase === 'halted' && blockingOperations(machine).length === 0;
  const causes = [...causesOfSpec(spec), ...(rests ? [] : causesOfLiveChange(machine, spec))];
  if (causes.length > 0) return invalid(virtualMachineKind, machine.meta, causes);
  if (machine.meta.deletionTimestamp !== undefined && spec.powerState !== machine.spec.powerState)
    return isGoing(machine);
  const changed = { ...machine, spec };
  const live = rests ? ok([]) : decideLive(machine, changed, command);
  if (!live.ok) return live;
  const wish = decideWish(machine, changed, command);
  if (!wish.ok) return wish;
  const left = rests ? decideObsolete(changed, command, wish.value) : wish.value;
  return ok([eventOf('VirtualMachineSpecChanged', { spec: spec }), ...live.value, ...left]);
};

/**
 * Tears the machine down. What starts a run, or takes one away, is cancelled first, as only its end says what there is to tear down; any other operation is
 * overtaken, as a hard shutdown would.
 */
export const decideDeletion = (machine: PresentMachine, command: Command): Result<readonly NewEvent[]> => {
  const awaited = blockingOperations(machine).filter(isAwaited);
  if (awaited.length > 0) return ok(awaited.map((operation) => superseded(operation, 'the deletion of the machine')));
  return ok([operationStarted(machine, command, { action: 'deprovision' })]);
};
