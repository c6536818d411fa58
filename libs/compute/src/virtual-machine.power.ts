import { countDevices, isPciDevice, type PowerState } from '@xenolith/contracts';
import { ok, reject, type Rejection, type Result } from '@xenolith/kernel';
import {
  placedRun,
  powerStateOf,
  takesSnapshot,
  type CurrentOperation,
  type OperationAction,
  type PresentMachine,
} from './virtual-machine.state.js';
import {
  allowedStates,
  allowedXapiOperations,
  plainXapiVm,
  refusalOf,
  type XapiError,
  type XapiVmOperation,
  type XapiVmView,
} from './xapi-operations.js';

/** The operations of XAPI that the platform offers. */
export type XapiOperation = Exclude<OperationAction, OwnAction | 'revert'> | 'destroy' | 'reverting';

/** What XAPI has no operation of a VM for. */
type OwnAction = 'provision' | 'reconfigure' | 'release' | 'deprovision';

const OFFERED: ReadonlySet<XapiVmOperation> = new Set<XapiOperation>([
  'start',
  'unpause',
  'pause',
  'clean_shutdown',
  'clean_reboot',
  'hard_reboot',
  'shutdown',
  'hard_shutdown',
  'suspend',
  'resume',
  'pool_migrate',
  'snapshot',
  'checkpoint',
  'changing_VCPUs_live',
  'changing_dynamic_range',
  'destroy',
]);

/** Operations that start a run: they may be cancelled, and no run exists before they end. */
export const isStarting = (operation: Pick<CurrentOperation, 'action'>): boolean =>
  operation.action === 'start' || operation.action === 'provision' || operation.action === 'resume';

/** Operations that bring a run into being: those that start one, and those that take one to another host, where it is the next. */
export const beginsRun = (operation: Pick<CurrentOperation, 'action'>): boolean =>
  isStarting(operation) || operation.action === 'pool_migrate';

/** Operations that take a run away from where it is: once they have had their effect, its host does not have it. */
export const takesAway = (operation: Pick<CurrentOperation, 'action'>): boolean =>
  operation.action === 'suspend' || operation.action === 'pool_migrate' || operation.action === 'revert';

/** Operations whose own end says what there is to tear down: a deletion waits for them, and cancels those that can be. */
export const isAwaited = (operation: Pick<CurrentOperation, 'action'>): boolean =>
  isStarting(operation) || takesAway(operation) || takesSnapshot(operation) || operation.action === 'reconfigure';

/** Operations that stand in the way of others; cleaning up behind a run that ended by itself does not. */
export const blockingOperations = (machine: PresentMachine): readonly CurrentOperation[] =>
  machine.own.operations.filter((operation) => operation.action !== 'release');

/** XAPI's word for an operation of ours; null: XAPI has no such operation of a VM. It plugs devices by operations of theirs, and cleans nothing up. */
const xapiNameOf = (action: OperationAction): XapiVmOperation | null => {
  if (action === 'release' || action === 'reconfigure') return null;
  if (action === 'provision') return 'start';
  // XAPI reverts snapshots; their machine is then `reverting`.
  if (action === 'revert') return 'reverting';
  return action === 'deprovision' ? 'destroy' : action;
};

/** The machine as XAPI would have it. */
const xapiVm = (machine: PresentMachine): XapiVmView => {
  const { own, spec, meta } = machine;
  return {
    ...plainXapiVm(meta.uid),
    powerState: powerStateOf(own.run),
    domainType: placedRun(own.run) === null ? null : spec.guestType,
    pvDrivers: spec.guest.pvDrivers,
    attachedPcis: countDevices(spec.devices ?? [], isPciDevice),
    vusbs: countDevices(spec.devices ?? [], (wish) => !isPciDevice(wish)),
    currentOperations: own.operations.flatMap(({ operation: ref, action }) => {
      const operation = xapiNameOf(action);
      return operation === null ? [] : [{ ref, operation }];
    }),
  };
};

type Refusal = { readonly ok: false; readonly rejection: Rejection };

const nameOf = (machine: PresentMachine): string => `virtual machine "${machine.meta.name}"`;

const lower = (states: readonly PowerState[]): string => states.map((state) => state.toLowerCase()).join(', ');

/** XAPI's error in a sentence for people. */
const sentenceOf = (machine: PresentMachine, wanted: XapiVmOperation, error: XapiError): string => {
  const what = `${wanted} of ${nameOf(machine)}`;
  switch (error.code) {
    case 'VM_BAD_POWER_STATE': {
      const view = xapiVm(machine);
      return `${what} is not allowed: it is ${view.powerState.toLowerCase()}, ${wanted} needs ${lower(allowedStates(wanted, view))}`;
    }
    case 'VM_LACKS_FEATURE':
      return `${what} is not allowed: its guest has no paravirtual drivers, so it can't be asked; what needs no guest, such as hard_shutdown, is`;
    default:
      return `${what} is not allowed: XAPI says ${[error.code, ...error.args].join(' ')}`;
  }
};

/** The refusal of what has to wait for an operation under way. */
export const inProgress = (machine: PresentMachine, wanted: string, error?: XapiError): Refusal => {
  const [first] = blockingOperations(machine);
  const current = first === undefined ? '' : `operation "${first.name}" (${first.action}) is under way`;
  const busy = error ?? {
    code: 'OTHER_OPERATION_IN_PROGRESS',
    args: ['VM', machine.meta.uid, ...(first === undefined ? [] : [xapiWordOf(first), first.operation])],
  };
  return reject(
    'operation_in_progress',
    `${wanted} of ${nameOf(machine)} must wait: ${current}; wait for it, delete it if it is cancellable, or ask for a hard-shutdown`,
    { details: { xapi: { code: busy.code, args: [...busy.args] } } },
  );
};

/** Of devices, XAPI says "plug" (record_util.ml, `vbd_operation_table`). */
const xapiWordOf = ({ action }: CurrentOperation): string => xapiNameOf(action) ?? 'plug';

const refused = (machine: PresentMachine, wanted: XapiVmOperation, error: XapiError): Refusal =>
  error.code === 'OTHER_OPERATION_IN_PROGRESS'
    ? inProgress(machine, wanted, error)
    : reject('operation_not_allowed', sentenceOf(machine, wanted, error), {
        details: { xapi: { code: error.code, args: [...error.args] } },
      });

/** Whether the guest would hear a request to shut down, were nothing else under way. */
export const isAskable = (machine: PresentMachine): boolean =>
  refusalOf('clean_shutdown', { ...xapiVm(machine), currentOperations: [] }, 'strict') === null;

/**
 * Says whether XAPI would allow the operation now; its first error is the refusal. As strictly as it lists what it allows: what is asked of a guest that can't hear
 * it would only end later.
 */
export const checkAllowed = (machine: PresentMachine, wanted: XapiOperation): Result<null> => {
  // Not even a hard operation overrides a teardown.
  if (machine.meta.deletionTimestamp !== undefined)
    return reject('operation_not_allowed', `${nameOf(machine)} is being deleted`, {
      details: { xapi: { code: 'OPERATION_NOT_ALLOWED', args: ['VM is being destroyed'] } },
    });
  const error = refusalOf(wanted, xapiVm(machine), 'strict');
  if (error !== null) return refused(machine, wanted, error);
  return overlapsPlug(machine, wanted) || overlapsCheckpoint(machine, wanted) ? inProgress(machine, wanted) : ok(null);
};

/** Devices are being plugged or unplugged, which XAPI would not see at the VM: only what ends the domain may come in between. */
const overlapsPlug = (machine: PresentMachine, wanted: XapiVmOperation): boolean =>
  wanted !== 'hard_shutdown' &&
  wanted !== 'hard_reboot' &&
  machine.own.operations.some(({ action }) => action === 'reconfigure');

/** XAPI lets two of them overlap; here the end of one would let the guest go on while the other takes its disks. */
const overlapsCheckpoint = (machine: PresentMachine, wanted: XapiVmOperation): boolean =>
  wanted === 'checkpoint' && machine.own.operations.some(({ action }) => action === 'checkpoint');

const noDevices = (machine: PresentMachine, why: string, code: string, ...args: readonly string[]): Refusal =>
  reject('operation_not_allowed', `${nameOf(machine)} can not get or lose devices: ${why}`, {
    details: { xapi: { code, args: [machine.meta.uid, ...args] } },
  });

/** Whether devices of the host can be given or taken now; its guest needs no paravirtual drivers for them. */
export const checkPassThrough = (machine: PresentMachine): Result<null> => {
  const state = powerStateOf(machine.own.run);
  if (state === 'Running') return ok(null);
  const is = state.toLowerCase();
  return noDevices(machine, `it is ${is}, not running`, 'VM_BAD_POWER_STATE', 'running', is);
};

/** Whether XAPI would plug or unplug a disk or an interface now (xapi_vbd_helpers.ml, `valid_operations`). */
export const checkPlug = (machine: PresentMachine): Result<null> => {
  const { spec } = machine;
  const running = checkPassThrough(machine);
  if (!running.ok) return running;
  return spec.guestType === 'hvm' && !spec.guest.pvDrivers
    ? noDevices(machine, 'its guest has no paravirtual drivers', 'VM_MISSING_PV_DRIVERS')
    : ok(null);
};

/** What may be asked of the machine now, in XAPI's words and in alphabetical order. Advisory: the request is checked again. */
export const allowedOperations = (machine: PresentMachine): readonly string[] =>
  machine.meta.deletionTimestamp === undefined
    ? allowedXapiOperations(xapiVm(machine)).filter(
        (operation) =>
          OFFERED.has(operation) && !overlapsPlug(machine, operation) && !overlapsCheckpoint(machine, operation),
      )
    : [];
