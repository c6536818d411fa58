import {
  eventOf,
  reportDeviceModelLostData,
  reportDomainStoppedData,
  virtualMachineCommands,
  type DirectCommand,
  type HaltReason,
  type PowerState,
} from '@xenolith/contracts';
import { ok, type Command, type JsonObject, type NewEvent, type Result } from '@xenolith/kernel';
import { trusted } from './trusted.js';
import { beginsRun, blockingOperations, takesAway } from './virtual-machine.power.js';
import { currentOperation, placedRun, powerStateOf, type PresentMachine } from './virtual-machine.state.js';
import { operationStarted } from './virtual-machine.wish.js';

/** How runs of a machine begin and end, as hosts and the operations that deal with them tell it. None of this is ever refused. */

type Decision = Result<readonly NewEvent[]>;

const NOTHING: Decision = ok([]);

/** Ends an operation that changed nothing, or whose change is there already. */
export const operationEnded = (
  machine: PresentMachine,
  data: { operation: string; outcome: 'succeeded' | 'failed' | 'cancelled'; message: string },
): readonly NewEvent[] =>
  currentOperation(machine.own, data.operation) === undefined ? [] : [eventOf('VirtualMachineOperationEnded', data)];

export const nothingChanged = (machine: PresentMachine, operation: string): Decision =>
  ok(operationEnded(machine, { operation, outcome: 'succeeded', message: '' }));

/** The machine without an operation that ends in this very append. */
const without = (machine: PresentMachine, operation: string): PresentMachine => ({
  ...machine,
  own: { ...machine.own, operations: machine.own.operations.filter((current) => current.operation !== operation) },
});

/** A run that ended without an operation: Halted, then either another run or the clean-up behind this one. */
const endOfRun = (
  machine: PresentMachine,
  command: Command,
  end: { incarnation: number; reason: HaltReason; message: string; restart: boolean },
): readonly NewEvent[] => {
  const deleting = machine.meta.deletionTimestamp !== undefined;
  const restart = end.restart && !deleting && blockingOperations(machine).length === 0;
  const halted = eventOf('VirtualMachineHalted', {
    incarnation: end.incarnation,
    reason: end.reason,
    message: end.message,
    ...(restart ? {} : { powerState: 'Halted' }),
  });
  // What ran runs again, whatever its cluster could survive then: not to restart it would be one failure more.
  const next = restart
    ? ({ action: 'start', parameters: { allowOvercommit: true } } as const)
    : ({ action: 'release' } as const);
  // The teardown of a machine that is being deleted gives everything back by itself.
  return deleting ? [halted] : [halted, operationStarted(machine, command, next)];
};

/** A run that its host has lost; `wish`: what was wished of the machine while it had it. */
export const endOfLostRun = (
  machine: PresentMachine,
  command: Command,
  loss: { incarnation: number; reason: HaltReason; message: string; wish: PowerState },
): readonly NewEvent[] => {
  const { wish, ...end } = loss;
  return endOfRun(machine, command, { ...end, restart: machine.spec.ha.restart !== 'never' && wish !== 'Halted' });
};

/** A run that was ended so that its machine be put back to a snapshot, which then came to nothing. */
export const endOfReverted = (machine: PresentMachine, command: Command, incarnation: number): readonly NewEvent[] =>
  endOfRun(machine, command, { incarnation, reason: 'hard_shutdown', message: 'was powered off', restart: false });

const POLICY_OF = {
  poweroff: { field: 'onPoweroff', reason: 'guest_poweroff', message: 'the guest powered itself off' },
  crash: { field: 'onCrash', reason: 'guest_crash', message: 'the guest crashed' },
  reboot: { field: 'onReboot', reason: 'guest_poweroff', message: 'the guest asked for a reboot' },
} as const;

interface EndOfGuest {
  readonly incarnation: number;
  readonly reason: keyof typeof POLICY_OF;
  readonly host: string;
  /** Somebody ended it on the host itself. */
  readonly direct?: DirectCommand | undefined;
}

/** Whoever ended it on its host left nothing to preserve. One that was destroyed stays so, as it does when that is asked of the platform. */
const endedDirectly = (
  machine: PresentMachine,
  command: Command,
  { incarnation, host, direct }: EndOfGuest & { readonly direct: DirectCommand },
): readonly NewEvent[] => {
  const how = direct.hard
    ? ({ reason: 'hard_shutdown', message: `was destroyed on ${host} with ${direct.command}` } as const)
    : ({ reason: 'guest_poweroff', message: `was shut down on ${host} with ${direct.command}` } as const);
  const restart = !direct.hard && machine.spec.onPoweroff === 'restart';
  return endOfRun(machine, command, { incarnation, ...how, restart });
};

/** A guest that ended by itself follows its machine's policy. */
const runEnded = (machine: PresentMachine, command: Command, end: EndOfGuest): readonly NewEvent[] => {
  if (end.direct !== undefined) return endedDirectly(machine, command, { ...end, direct: end.direct });
  const { field, reason, message } = POLICY_OF[end.reason];
  const policy = machine.spec[field];
  switch (policy) {
    case 'preserve':
      return machine.own.run.phase === 'paused' ? [] : [eventOf('VirtualMachinePaused', {})];
    case 'restart':
    case 'destroy': {
      const { incarnation } = end;
      return endOfRun(machine, command, { incarnation, reason, message, restart: policy === 'restart' });
    }
  }
};

/** The guest of a run that is only being recorded has ended already: it is acted on with the record. */
const endedEarly = (
  machine: PresentMachine,
  report: {
    incarnation: number;
    reason: EndOfGuest['reason'];
    domid?: number | undefined;
    direct?: DirectCommand | undefined;
  },
): Decision => {
  const { operations, endedEarly: known, incarnation: youngest } = machine.own;
  const { incarnation, reason, domid, direct } = report;
  const beginning = operations.some(beginsRun) && youngest === incarnation;
  // A restarted guest may do so again, or end; after an end there is no more to say of the run.
  const open = known?.incarnation !== incarnation || known.domid !== undefined;
  if (!beginning || !open) return NOTHING;
  const restarted = domid === undefined ? {} : { domid };
  const by = direct === undefined ? {} : { direct };
  return ok([eventOf('VirtualMachineEndedEarly', { incarnation, reason, ...restarted, ...by })]);
};

export const decideDomainStopped = (machine: PresentMachine, command: Command): Decision => {
  const report = trusted(reportDomainStoppedData, command);
  const { incarnation, reason, host, endedDomid = null, domid, direct } = report;
  const run = placedRun(machine.own.run);
  if (run?.incarnation !== incarnation) return endedEarly(machine, report);
  // Hosts count ids up: of a domain before this one nothing is news.
  if (run.host !== host || (endedDomid !== null && endedDomid < run.domid)) return NOTHING;
  if (domid !== undefined && direct !== undefined)
    return domid < run.domid ? NOTHING : ok([eventOf('VirtualMachineRebooted', { domid, direct: direct.command })]);
  // The host has restarted the guest already.
  if (domid !== undefined) return domid === run.domid ? NOTHING : ok([eventOf('VirtualMachineRebooted', { domid })]);
  // A reboot has led to that domain and is only being recorded.
  if (endedDomid !== null && endedDomid > run.domid && machine.spec[POLICY_OF[reason].field] === 'preserve')
    return ok([eventOf('VirtualMachineRebooted', { domid: endedDomid }), eventOf('VirtualMachinePaused', {})]);
  return ok(runEnded(machine, command, { incarnation, reason, host, direct }));
};

/** Of a domain that was there before this one, or of a run that is over, nothing is news. */
export const decideDeviceModelLost = (machine: PresentMachine, command: Command): Decision => {
  const { incarnation, host, domid } = trusted(reportDeviceModelLostData, command);
  const known = machine.own.deviceModelLost;
  if (incarnation !== machine.own.incarnation || (known?.incarnation === incarnation && known.domid >= domid))
    return NOTHING;
  return ok([eventOf('VirtualMachineDeviceModelLost', { incarnation, host, domid })]);
};

/** What follows the record of a run that has begun: the end that overtook it, and the wish that came too late for it. */
const afterBeginning = (
  machine: PresentMachine,
  command: Command,
  begun: { readonly incarnation: number; readonly domid: number; readonly host: string },
): readonly NewEvent[] => {
  const early = machine.own.endedEarly;
  const sameRun = early?.incarnation === begun.incarnation;
  const deleting = machine.meta.deletionTimestamp !== undefined;
  if (sameRun && early.domid === undefined && !deleting)
    return runEnded(machine, command, { ...early, host: begun.host });
  const rebooted = sameRun && early.domid !== undefined && early.domid !== begun.domid;
  // The wish to be halted came too late to cancel the operation, so it is acted on now.
  const unwanted = !deleting && machine.spec.powerState === 'Halted' && blockingOperations(machine).length === 0;
  return [
    ...(rebooted ? [eventOf('VirtualMachineRebooted', { domid: early.domid })] : []),
    ...(unwanted ? [operationStarted(machine, command, { action: 'shutdown' })] : []),
  ];
};

export const decideStarted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineStarted, command);
  const operation = currentOperation(machine.own, data.operation);
  if (operation === undefined) return NOTHING;
  const next = afterBeginning(without(machine, data.operation), command, data);
  // The saved guest lives again. What ends the machine at once gives its image back as well.
  const resumed = operation.action === 'resume' && machine.meta.deletionTimestamp === undefined;
  const cleans = next.some(({ data: { action } }) => action === 'release' || action === 'start');
  const release = resumed && !cleans ? [operationStarted(machine, command, { action: 'release' })] : [];
  return ok([eventOf('VirtualMachineStarted', data), ...next, ...release]);
};

/** Even when something stronger has ended the run before it meanwhile: the machine lives on the other host, and what is wished of it is done there. */
export const decideMigrated = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineMigrated, command);
  if (currentOperation(machine.own, data.operation) === undefined) return NOTHING;
  const migrated = eventOf('VirtualMachineMigrated', data as unknown as JsonObject);
  return ok([migrated, ...afterBeginning(without(machine, data.operation), command, data)]);
};

/** A guest that was ended by something stronger while it was being saved leaves an image that nobody wants. */
export const decideSuspended = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineSuspended, command);
  if (currentOperation(machine.own, data.operation) === undefined) return NOTHING;
  const suspended = eventOf('VirtualMachineSuspended', data);
  const wanted = placedRun(machine.own.run)?.incarnation === data.incarnation;
  const deleting = machine.meta.deletionTimestamp !== undefined;
  return ok(wanted || deleting ? [suspended] : [suspended, operationStarted(machine, command, { action: 'release' })]);
};

/** A domain that was ended meanwhile leaves the devices that it got at last to be given back. */
export const decideReconfigured = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineReconfigured, command);
  if (currentOperation(machine.own, data.operation) === undefined) return NOTHING;
  const there = placedRun(machine.own.run)?.incarnation === data.incarnation;
  const deleting = machine.meta.deletionTimestamp !== undefined;
  const release = there || deleting ? [] : [operationStarted(machine, command, { action: 'release' })];
  return ok([eventOf('VirtualMachineReconfigured', data), ...release]);
};

export const decideStopped = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineStopped, command);
  const { missed, operations } = machine.own;
  const run = placedRun(machine.own.run);
  if (run?.incarnation !== data.incarnation || run.host !== data.host) return NOTHING;
  if (operations.some(takesAway))
    return missed?.incarnation === run.incarnation ? NOTHING : ok([eventOf('VirtualMachineMissed', data)]);
  const { incarnation, reason, message } = data;
  return ok(endOfLostRun(machine, command, { incarnation, reason, message, wish: machine.spec.powerState }));
};

/**
 * What runs is the host's to say. The wish follows as XenServer's one `power_state` does, so that asking for the other state is a change and is acted on; but a
 * wish that had not been fulfilled before stays what it is.
 */
export const decideObserved = (machine: PresentMachine, command: Command): Decision => {
  const { incarnation, host, domid, state } = trusted(virtualMachineCommands.RecordVirtualMachineObserved, command);
  const run = placedRun(machine.own.run);
  if (run?.incarnation !== incarnation || run.host !== host) return NOTHING;
  // An operation under way records what it does by itself.
  if (machine.own.operations.length > 0) return NOTHING;
  const paused = state !== 'running';
  const changes = paused !== (run.phase === 'paused');
  if (!changes && run.domid === domid) return NOTHING;
  const follows = changes && machine.spec.powerState === powerStateOf(run);
  const wish = follows ? { powerState: paused ? 'Paused' : 'Running' } : {};
  return ok([eventOf('VirtualMachineObserved', { host, domid, paused, ...wish })]);
};
