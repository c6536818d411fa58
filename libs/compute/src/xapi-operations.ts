import type { PowerState } from '@xenolith/contracts';

/**
 * Which operations XAPI allows on a VM, and with which error it refuses the others (xen-api ocaml/xapi/xapi_vm_lifecycle.ml at e2ee48d688; names of
 * operations as in doc/data/xenapi.json, which lacks `sysprep`).
 */

type Mark =
  /** Never listed in allowed_operations (`ignored_ops`). */
  | 'unlisted'
  /** Allowed on templates (`check_template`); `destroy` and `migrate_send` on those that are not built in. */
  | 'template'
  | 'customTemplate'
  /** Allowed on snapshots (`check_snapshot`). */
  | 'snapshot'
  /** Allowed on control domains. */
  | 'controlDomain'
  /** Allowed while the pool is upgraded host by host (xapi_globs.ml, `rpu_allowed_vm_operations`). */
  | 'upgrade';

type Rule = readonly [states: readonly PowerState[], ...marks: readonly Mark[]];

// The order within a list is that of the error's argument.
const HALTED: readonly PowerState[] = ['Halted'];
const PAUSED: readonly PowerState[] = ['Paused'];
const RUNNING: readonly PowerState[] = ['Running'];
const SUSPENDED: readonly PowerState[] = ['Suspended'];
const HALTED_RUNNING: readonly PowerState[] = ['Halted', 'Running'];
const HALTED_SUSPENDED: readonly PowerState[] = ['Halted', 'Suspended'];
const PAUSED_RUNNING: readonly PowerState[] = ['Paused', 'Running'];
const HAS_STATE: readonly PowerState[] = ['Paused', 'Suspended', 'Running'];
const UNPAUSED: readonly PowerState[] = ['Halted', 'Suspended', 'Running'];
const ALL: readonly PowerState[] = ['Halted', 'Paused', 'Suspended', 'Running'];

const RULES = {
  assert_operation_valid: [ALL, 'unlisted', 'upgrade'],
  awaiting_memory_live: [RUNNING, 'unlisted', 'controlDomain'],
  call_plugin: [RUNNING, 'unlisted'],
  changing_NVRAM: [HALTED, 'template'],
  // Halted only, unless it is a control domain: see `allowedStates`.
  changing_VCPUs: [HALTED, 'unlisted', 'template', 'controlDomain'],
  changing_VCPUs_live: [RUNNING, 'upgrade'],
  changing_dynamic_range: [HALTED_RUNNING, 'template', 'controlDomain'],
  changing_memory_limits: [HALTED, 'unlisted', 'template', 'controlDomain'],
  changing_memory_live: [RUNNING, 'unlisted', 'controlDomain', 'upgrade'],
  changing_shadow_memory: [HALTED, 'template'],
  changing_shadow_memory_live: [RUNNING, 'unlisted', 'upgrade'],
  changing_static_range: [HALTED, 'template', 'controlDomain'],
  checkpoint: [HAS_STATE],
  clean_reboot: [RUNNING, 'upgrade'],
  clean_shutdown: [RUNNING, 'upgrade'],
  // Suspended too for snapshots, or where the pool enables it: see `allowedStates`.
  clone: [HALTED, 'template', 'snapshot', 'upgrade'],
  copy: [HALTED, 'template', 'snapshot', 'upgrade'],
  create_template: [HALTED_SUSPENDED, 'unlisted'],
  create_vtpm: [HALTED],
  csvm: [SUSPENDED, 'unlisted', 'upgrade'],
  data_source_op: [RUNNING, 'unlisted', 'controlDomain'],
  destroy: [HALTED_SUSPENDED, 'customTemplate', 'snapshot', 'controlDomain', 'upgrade'],
  export: [HALTED_SUSPENDED, 'template', 'snapshot', 'upgrade'],
  get_boot_record: [HAS_STATE, 'unlisted', 'upgrade'],
  hard_reboot: [PAUSED_RUNNING, 'upgrade'],
  hard_shutdown: [HAS_STATE, 'snapshot', 'upgrade'],
  // An import is about a file: no VM is in a state for it.
  import: [[], 'unlisted', 'upgrade'],
  make_into_template: [HALTED, 'upgrade'],
  metadata_export: [ALL, 'template', 'snapshot', 'controlDomain'],
  migrate_send: [UNPAUSED, 'customTemplate', 'upgrade'],
  pause: [RUNNING, 'upgrade'],
  pool_migrate: [RUNNING, 'upgrade'],
  power_state_reset: [ALL, 'unlisted', 'upgrade'],
  provision: [HALTED, 'template', 'upgrade'],
  query_services: [ALL, 'unlisted'],
  resume: [SUSPENDED, 'upgrade'],
  resume_on: [SUSPENDED, 'upgrade'],
  revert: [ALL, 'snapshot'],
  reverting: [ALL, 'unlisted'],
  send_sysrq: [RUNNING, 'unlisted', 'upgrade'],
  send_trigger: [RUNNING, 'unlisted', 'upgrade'],
  shutdown: [HAS_STATE, 'unlisted'],
  snapshot: [ALL],
  snapshot_with_quiesce: [RUNNING],
  start: [HALTED, 'controlDomain', 'upgrade'],
  start_on: [HALTED, 'controlDomain', 'upgrade'],
  suspend: [RUNNING, 'upgrade'],
  unpause: [PAUSED, 'upgrade'],
  update_allowed_operations: [ALL, 'unlisted', 'upgrade'],
} as const satisfies Readonly<Record<string, Rule>>;

/** One of the 49 values of XAPI's enum `vm_operations`. */
export type XapiVmOperation = keyof typeof RULES;

/** In alphabetical order. */
export const XAPI_VM_OPERATIONS = Object.keys(RULES) as readonly XapiVmOperation[];

/** XAPI's `domain_type` of the running domain (`VM_metrics.current_domain_type`). */
export type XapiDomainType = 'hvm' | 'pv' | 'pv_in_pvh' | 'pvh' | 'unspecified';

/** What XAPI looks at; XAPI's own fields and maps, as plain data. */
export interface XapiVmView {
  /** The VM's reference, which most errors carry. */
  readonly ref: string;
  readonly powerState: PowerState;
  readonly isTemplate: boolean;
  /** One of the built-in templates. */
  readonly isDefaultTemplate: boolean;
  /** XAPI's snapshots are templates too. */
  readonly isSnapshot: boolean;
  readonly isControlDomain: boolean;
  readonly isDomainZero: boolean;
  /** Operations that a user blocked, with the error code that he gave. */
  readonly blockedOperations: Readonly<Partial<Record<XapiVmOperation, string>>>;
  /** Operations under way, with the references of their tasks, in order. */
  readonly currentOperations: readonly { readonly ref: string; readonly operation: XapiVmOperation }[];
  /** Null: it has no metrics, so that nobody knows. */
  readonly domainType: XapiDomainType | null;
  /** The guest metrics say that paravirtual drivers run. */
  readonly pvDrivers: boolean;
  /** `other` of the guest metrics: `feature-suspend`, `feature-shutdown`, … with "1", `data-cant-suspend-reason` with a reason. */
  readonly guestFeatures: Readonly<Record<string, string>>;
  /** `platform:nomigrate`, as it was when the VM started. */
  readonly nomigrate: boolean;
  /** `platform:nested-virt`, likewise. */
  readonly nestedVirt: boolean;
  readonly vdis: readonly { readonly onBootReset: boolean; readonly caching: boolean }[];
  /** PCI devices passed through, without virtual functions of NVIDIA's vGPUs. */
  readonly attachedPcis: number;
  /** `suspendable`: its implementation and driver can save its state. */
  readonly vgpus: readonly { readonly suspendable: boolean }[];
  readonly vusbs: number;
  readonly vtpms: number;
  readonly appliance: string | null;
  readonly protectionPolicy: string | null;
  readonly snapshotSchedule: string | null;
  /** `other_config:is_system_domain`. */
  readonly isSystemDomain: boolean;
  readonly pool: {
    /** `clone_suspended_vm_enabled`. */
    readonly clonesSuspended: boolean;
    readonly rollingUpgrade: boolean;
  };
}

/** An ordinary halted VM of that reference without metrics, devices and drivers, to be changed where it differs. */
export const plainXapiVm = (ref: string): XapiVmView => ({
  ref,
  powerState: 'Halted',
  isTemplate: false,
  isDefaultTemplate: false,
  isSnapshot: false,
  isControlDomain: false,
  isDomainZero: false,
  blockedOperations: {},
  currentOperations: [],
  domainType: null,
  pvDrivers: false,
  guestFeatures: {},
  nomigrate: false,
  nestedVirt: false,
  vdis: [],
  attachedPcis: 0,
  vgpus: [],
  vusbs: 0,
  vtpms: 0,
  appliance: null,
  protectionPolicy: null,
  snapshotSchedule: null,
  isSystemDomain: false,
  pool: { clonesSuspended: false, rollingUpgrade: false },
});

/** XAPI's error code and its arguments, in XAPI's order. */
export interface XapiError {
  readonly code: string;
  readonly args: readonly string[];
}

/** `strict` asks what may be listed; a call that is made is checked with `lenient`, which trusts the guest more. */
export type XapiCheck = 'strict' | 'lenient';

const refusal = (code: string, ...args: readonly string[]): XapiError => ({ code, args });

const isMarked = (operation: XapiVmOperation, mark: Mark): boolean => {
  const [, ...marks]: Rule = RULES[operation];
  return marks.includes(mark);
};

/** XAPI's words of operations in errors (record_util.ml, `vm_operation_table`), where they are not the enum's own. */
const ERROR_WORDS: Readonly<Partial<Record<XapiVmOperation, string>>> = {
  assert_operation_valid: 'assertoperationvalid',
  data_source_op: 'data_sources_op',
  changing_VCPUs: '(unknown operation)',
  changing_memory_limits: '(unknown operation)',
  create_template: '(unknown operation)',
  query_services: '(unknown operation)',
};

const errorWord = (operation: XapiVmOperation): string => ERROR_WORDS[operation] ?? operation;

/** Power states in which the operation is allowed on such a VM, in XAPI's order (`allowed_power_states`). */
export const allowedStates = (
  operation: XapiVmOperation,
  vm: Pick<XapiVmView, 'isControlDomain' | 'isSnapshot' | 'pool'>,
): readonly PowerState[] => {
  if (operation === 'changing_VCPUs' || operation === 'changing_static_range' || operation === 'changing_memory_limits')
    return vm.isControlDomain ? HALTED_RUNNING : HALTED;
  if (operation === 'clone' || operation === 'copy')
    return vm.isSnapshot || vm.pool.clonesSuspended ? HALTED_SUSPENDED : HALTED;
  return RULES[operation][0];
};

type Checked = (operation: XapiVmOperation, vm: XapiVmView, check: XapiCheck) => XapiError | null;

const blocked: Checked = (operation, vm) => {
  const reason = vm.blockedOperations[operation];
  return reason === undefined ? null : refusal('OPERATION_BLOCKED', vm.ref, reason);
};

const inWrongState: Checked = (operation, vm) => {
  const allowed = allowedStates(operation, vm);
  if (allowed.includes(vm.powerState)) return null;
  const expected = allowed.map((state) => state.toLowerCase()).join(', ');
  return refusal('VM_BAD_POWER_STATE', vm.ref, expected, vm.powerState.toLowerCase());
};

/** Operations that may overlap with their like. */
const SHARED: readonly (readonly XapiVmOperation[])[] = [
  ['clone', 'copy', 'export'],
  ['snapshot', 'checkpoint'],
  ['get_boot_record'],
];
/** What may begin while exactly the other, and nothing else, is under way. */
const WHILE: readonly (readonly [current: XapiVmOperation, wanted: XapiVmOperation])[] = [
  ['snapshot_with_quiesce', 'snapshot'],
  ['migrate_send', 'metadata_export'],
  ['migrate_send', 'clean_shutdown'],
  ['migrate_send', 'clean_reboot'],
];

/** Whether the operation may begin while the others are under way (`is_allowed_concurrently`). */
export const mayOverlap = (operation: XapiVmOperation, current: readonly XapiVmOperation[]): boolean => {
  if (operation === 'hard_shutdown') return !current.includes('hard_shutdown');
  if (operation === 'hard_reboot') return !current.includes('hard_shutdown') && !current.includes('hard_reboot');
  if (SHARED.some((like) => like.includes(operation) && current.every((other) => like.includes(other)))) return true;
  return current.length === 1 && WHILE.some(([other, wanted]) => other === current[0] && wanted === operation);
};

const inBraces = (words: readonly string[]): string => (words.length === 1 ? (words[0] ?? '') : `{${words.join(',')}}`);

const overlapping: Checked = (operation, vm) => {
  const under = vm.currentOperations;
  if (under.length === 0) return null;
  if (
    mayOverlap(
      operation,
      under.map((current) => current.operation),
    )
  )
    return null;
  const words = inBraces(under.map((current) => errorWord(current.operation)));
  return refusal('OTHER_OPERATION_IN_PROGRESS', 'VM', vm.ref, words, inBraces(under.map(({ ref }) => ref)));
};

const onTemplate: Checked = (operation, vm) => {
  if (!vm.isTemplate || vm.isSnapshot || isMarked(operation, 'template')) return null;
  if (isMarked(operation, 'customTemplate') && !vm.isDefaultTemplate) return null;
  return refusal('VM_IS_TEMPLATE', vm.ref, errorWord(operation));
};

const onSnapshot: Checked = (operation, vm) =>
  vm.isSnapshot && !isMarked(operation, 'snapshot') ? refusal('VM_IS_SNAPSHOT', vm.ref, errorWord(operation)) : null;

const onlyFor: Checked = (operation, vm) => {
  if (operation === 'provision' && !vm.isTemplate) return refusal('PROVISION_ONLY_ALLOWED_ON_TEMPLATE');
  if (operation === 'revert' && !vm.isSnapshot) return refusal('REVERT_ONLY_ALLOWED_ON_SNAPSHOT');
  return null;
};

/** Operations that save the machine's memory, here or elsewhere. */
const savesMemory = (operation: XapiVmOperation): boolean =>
  operation === 'suspend' || operation === 'checkpoint' || operation === 'pool_migrate' || operation === 'migrate_send';

const immobile: Checked = (operation, vm, check) => {
  if (check !== 'strict') return null;
  if (savesMemory(operation) && (vm.nomigrate || vm.nestedVirt)) return refusal('VM_IS_IMMOBILE', vm.ref);
  if (operation === 'changing_dynamic_range' && vm.nestedVirt) return refusal('VM_IS_USING_NESTED_VIRT', vm.ref);
  return null;
};

const onControlDomain: Checked = (operation, vm) => {
  if (vm.isDomainZero && (operation === 'changing_VCPUs' || operation === 'destroy'))
    return refusal('OPERATION_NOT_ALLOWED', 'This operation is not allowed on dom0');
  return vm.isControlDomain && !isMarked(operation, 'controlDomain')
    ? refusal('OPERATION_NOT_ALLOWED', 'This operation is not allowed on a control domain')
    : null;
};

/**
 * What the guest must be able to do (`check_op_for_feature`). Paravirtualised guests and those with full drivers can everything; one that says why it can't be
 * suspended never is.
 */
const lacksFeature: Checked = (operation, vm, check) => {
  const isLive = vm.powerState === 'Running' || vm.powerState === 'Paused';
  const isPv = vm.domainType === 'pv' || vm.domainType === 'pv_in_pvh' || vm.domainType === 'pvh';
  const canAll = !isLive || isPv || vm.pvDrivers;
  const lacks = (feature: string): boolean => vm.guestFeatures[feature] !== '1';
  const strict = check === 'strict';
  if (isLive && savesMemory(operation)) {
    const reason = vm.guestFeatures['data-cant-suspend-reason'];
    if (reason !== undefined) return refusal('VM_NON_SUSPENDABLE', vm.ref, reason);
    return !canAll && strict && lacks('feature-suspend') ? refusal('VM_LACKS_FEATURE', vm.ref) : null;
  }
  if (canAll) return null;
  const refuses =
    (operation === 'clean_shutdown' && strict && lacks('feature-shutdown') && lacks('feature-poweroff')) ||
    (operation === 'clean_reboot' && strict && lacks('feature-shutdown') && lacks('feature-reboot')) ||
    (operation === 'changing_VCPUs_live' && lacks('feature-vcpu-hotplug'));
  return refuses ? refusal('VM_LACKS_FEATURE', vm.ref) : null;
};

/** XAPI has dropped quiesced snapshots and says so, after all that could be wrong otherwise. */
const quiesces: Checked = (operation, vm) =>
  operation === 'snapshot_with_quiesce' ? refusal('VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED', vm.ref) : null;

const resetsDisks: Checked = (operation, vm) => {
  const wrong =
    operation === 'pool_migrate'
      ? vm.vdis.some((vdi) => vdi.onBootReset && vdi.caching)
      : (operation === 'checkpoint' || operation === 'snapshot' || operation === 'suspend') &&
        vm.vdis.some((vdi) => vdi.onBootReset);
  return wrong ? refusal('VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION') : null;
};

const holdsPci: Checked = (operation, vm) =>
  vm.attachedPcis > 0 && savesMemory(operation) ? refusal('VM_HAS_PCI_ATTACHED', vm.ref) : null;

const holdsVgpu: Checked = (operation, vm) => {
  if (!savesMemory(operation) || vm.vgpus.every((vgpu) => vgpu.suspendable)) return null;
  if (operation === 'migrate_send' && vm.powerState === 'Halted') return null;
  if (operation === 'checkpoint' && vm.powerState === 'Suspended') return null;
  return refusal('VM_HAS_VGPU', vm.ref);
};

const holdsVusb: Checked = (operation, vm) =>
  vm.vusbs > 0 && (savesMemory(operation) || operation === 'snapshot') ? refusal('VM_HAS_VUSBS', vm.ref) : null;

const belongsTo: Checked = (operation, vm) => {
  if (operation !== 'make_into_template') return null;
  if (vm.appliance !== null) return refusal('VM_IS_PART_OF_AN_APPLIANCE', vm.ref, vm.appliance);
  if (vm.protectionPolicy !== null) return refusal('VM_ASSIGNED_TO_PROTECTION_POLICY', vm.ref, vm.protectionPolicy);
  if (vm.snapshotSchedule !== null) return refusal('VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE', vm.ref, vm.snapshotSchedule);
  return null;
};

const elsewhere: Checked = (operation, vm) => {
  if (operation === 'query_services' && !vm.isSystemDomain) return refusal('NOT_SYSTEM_DOMAIN', vm.ref);
  if (vm.pool.rollingUpgrade && !isMarked(operation, 'upgrade')) return refusal('NOT_SUPPORTED_DURING_UPGRADE');
  return operation === 'create_vtpm' && vm.vtpms > 0 ? refusal('VTPM_MAX_AMOUNT_REACHED', String(vm.vtpms)) : null;
};

/** In XAPI's order (`check_operation_error`): the first that refuses wins. */
const CHECKS: readonly Checked[] = [
  blocked,
  inWrongState,
  overlapping,
  onTemplate,
  onSnapshot,
  onlyFor,
  immobile,
  onControlDomain,
  lacksFeature,
  quiesces,
  resetsDisks,
  holdsPci,
  holdsVgpu,
  holdsVusb,
  belongsTo,
  elsewhere,
];

/** XAPI's error for the operation on such a VM now; null: it is allowed. A call that a user makes is checked leniently. */
export const refusalOf = (
  operation: XapiVmOperation,
  vm: XapiVmView,
  check: XapiCheck = 'lenient',
): XapiError | null => {
  for (const look of CHECKS) {
    const error = look(operation, vm, check);
    if (error !== null) return error;
  }
  return null;
};

const LISTED = XAPI_VM_OPERATIONS.filter((operation) => !isMarked(operation, 'unlisted'));

/** What XAPI would list in `allowed_operations`, in alphabetical order; advisory, as a call is checked again. */
export const allowedXapiOperations = (vm: XapiVmView): readonly XapiVmOperation[] =>
  LISTED.filter((operation) => refusalOf(operation, vm, 'strict') === null);
