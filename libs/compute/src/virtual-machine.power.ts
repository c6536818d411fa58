import type { PowerState } from '@xenolith/contracts';
import { ok, reject, type Rejection, type Result } from '@xenolith/kernel';
import {
  powerStateOf,
  type CurrentOperation,
  type OperationAction,
  type PresentMachine,
} from './virtual-machine.state.js';

/** The operations of XAPI that the platform offers. */
export type XapiOperation = Exclude<OperationAction, 'provision' | 'release' | 'deprovision'> | 'destroy';

/** Power states in which XAPI allows each (xen-api `ocaml/xapi/xapi_vm_lifecycle.ml`, `allowed_power_states`). */
const ALLOWED_IN: Readonly<Record<XapiOperation, readonly PowerState[]>> = {
  start: ['Halted'],
  unpause: ['Paused'],
  pause: ['Running'],
  clean_shutdown: ['Running'],
  clean_reboot: ['Running'],
  hard_reboot: ['Paused', 'Running'],
  shutdown: ['Paused', 'Suspended', 'Running'],
  hard_shutdown: ['Paused', 'Suspended', 'Running'],
  destroy: ['Halted', 'Suspended'],
};

/** Guest features that an HVM guest without paravirtual drivers lacks (`check_op_for_feature`). */
const NEEDED_FEATURE: Partial<Record<XapiOperation, string>> = {
  clean_shutdown: 'feature-shutdown',
  clean_reboot: 'feature-reboot',
};

/** Operations that start a run: they may be cancelled, and no run exists before they end. */
export const isStarting = (operation: Pick<CurrentOperation, 'action'>): boolean =>
  operation.action === 'start' || operation.action === 'provision';

/** Operations that stand in the way of others; cleaning up behind a run that ended by itself does not. */
export const blockingOperations = (machine: PresentMachine): readonly CurrentOperation[] =>
  machine.own.operations.filter((operation) => operation.action !== 'release');

/** XAPI's word for an operation of ours. */
export const xapiNameOf = (action: OperationAction): string =>
  action === 'provision' ? 'start' : action === 'deprovision' ? 'destroy' : action;

/** A hard shutdown overrides all but itself, a hard reboot all but both (`is_allowed_concurrently`). */
const overrides = (wanted: XapiOperation, current: OperationAction): boolean => {
  if (current === 'deprovision') return false;
  if (wanted === 'hard_shutdown') return current !== 'hard_shutdown';
  if (wanted === 'hard_reboot')
    return current !== 'hard_shutdown' && current !== 'hard_reboot' && current !== 'shutdown';
  return false;
};

export const inProgress = (machine: PresentMachine, wanted: string, current: CurrentOperation): Refusal =>
  reject(
    'operation_in_progress',
    `${wanted} of virtual machine "${machine.meta.name}" must wait: operation "${current.name}" (${current.action}) is under way; wait for it, delete it if it is cancellable, or ask for a hard-shutdown`,
    {
      details: {
        xapi: {
          code: 'OTHER_OPERATION_IN_PROGRESS',
          args: ['VM', machine.meta.uid, current.operation, xapiNameOf(current.action)],
        },
      },
    },
  );

type Refusal = { readonly ok: false; readonly rejection: Rejection };

const badPowerState = (machine: PresentMachine, wanted: XapiOperation): Refusal => {
  const expected = ALLOWED_IN[wanted].map((state) => state.toLowerCase()).join(', ');
  const actual = powerStateOf(machine.own.run).toLowerCase();
  return reject(
    'operation_not_allowed',
    `${wanted} of virtual machine "${machine.meta.name}" is not allowed: it is ${actual}, ${wanted} needs ${expected}`,
    { details: { xapi: { code: 'VM_BAD_POWER_STATE', args: [machine.meta.uid, expected, actual] } } },
  );
};

const lacksFeature = (machine: PresentMachine, wanted: XapiOperation, feature: string): Refusal =>
  reject(
    'operation_not_allowed',
    `${wanted} of virtual machine "${machine.meta.name}" is not allowed: its guest has no paravirtual drivers, so it can't be asked (${feature}); use the hard one`,
    { details: { xapi: { code: 'VM_LACKS_FEATURE', args: [machine.meta.uid] } } },
  );

/** Whether the guest answers requests: HVM guests do with paravirtual drivers only. */
export const guestAnswers = (machine: PresentMachine): boolean =>
  machine.spec.guestType !== 'hvm' || machine.spec.guest.pvDrivers;

/**
 * Says whether XAPI would allow the operation now, in its order: power state, operations under way, guest features. The first refusal wins and carries
 * XAPI's error.
 */
export const checkAllowed = (machine: PresentMachine, wanted: XapiOperation): Result<null> => {
  if (machine.meta.deletionTimestamp !== undefined)
    return reject('operation_not_allowed', `virtual machine "${machine.meta.name}" is being deleted`, {
      details: { xapi: { code: 'OPERATION_NOT_ALLOWED', args: ['VM is being destroyed'] } },
    });
  if (!ALLOWED_IN[wanted].includes(powerStateOf(machine.own.run))) return badPowerState(machine, wanted);
  const blocking = blockingOperations(machine).find((current) => !overrides(wanted, current.action));
  if (blocking) return inProgress(machine, wanted, blocking);
  const feature = NEEDED_FEATURE[wanted];
  if (feature !== undefined && !guestAnswers(machine)) return lacksFeature(machine, wanted, feature);
  return ok(null);
};

/** What may be asked of the machine now, in XAPI's words and in alphabetical order. Advisory: the request is checked again. */
export const allowedOperations = (machine: PresentMachine): readonly string[] =>
  (Object.keys(ALLOWED_IN) as XapiOperation[]).filter((operation) => checkAllowed(machine, operation).ok).sort();
