import { describe, expect, it } from 'vitest';
import {
  allowedXapiOperations,
  plainXapiVm,
  refusalOf,
  XAPI_VM_OPERATIONS,
  type XapiError,
  type XapiVmOperation,
  type XapiVmView,
} from './xapi-operations.js';

/** The table of the reference (xen-fidelity.md §6.4), as it stands there but for `sysprep`, which is not one of the 49. */
const REFERENCE: readonly (readonly [operations: string, allowedIn: string])[] = [
  ['start, start_on, provision, make_into_template, changing_shadow_memory, changing_NVRAM, create_vtpm', 'Halted'],
  ['changing_VCPUs, changing_static_range, changing_memory_limits', 'Halted'],
  ['unpause', 'Paused'],
  ['resume, resume_on, csvm', 'Suspended'],
  [
    'pause, suspend, clean_shutdown, clean_reboot, pool_migrate, snapshot_with_quiesce, send_sysrq, send_trigger, call_plugin, changing_memory_live, awaiting_memory_live, changing_VCPUs_live, changing_shadow_memory_live, data_source_op',
    'Running',
  ],
  ['changing_dynamic_range', 'Halted, Running'],
  ['clone, copy', 'Halted'],
  ['destroy, export, create_template', 'Halted, Suspended'],
  ['hard_reboot', 'Paused, Running'],
  ['checkpoint, get_boot_record, shutdown, hard_shutdown', 'Paused, Suspended, Running'],
  ['migrate_send', 'Halted, Suspended, Running'],
  [
    'snapshot, revert, reverting, metadata_export, power_state_reset, assert_operation_valid, update_allowed_operations, query_services',
    'Halted, Paused, Suspended, Running',
  ],
  ['import', ''],
];
const ALSO_RUNNING_CONTROL_DOMAIN = 'changing_VCPUs, changing_static_range, changing_memory_limits';
const ALSO_SUSPENDED_SNAPSHOT = 'clone, copy';

const ON_TEMPLATES =
  'changing_dynamic_range changing_static_range changing_memory_limits changing_shadow_memory changing_VCPUs changing_NVRAM clone copy export metadata_export provision';
const ON_OWN_TEMPLATES = 'destroy migrate_send';
const ON_SNAPSHOTS = 'revert clone copy export destroy hard_shutdown metadata_export';
const ON_CONTROL_DOMAINS =
  'data_source_op changing_memory_live awaiting_memory_live metadata_export changing_dynamic_range changing_memory_limits changing_static_range start start_on changing_VCPUs destroy';
const NEVER_LISTED =
  'create_template power_state_reset csvm get_boot_record send_sysrq send_trigger query_services shutdown call_plugin changing_memory_live awaiting_memory_live changing_memory_limits changing_shadow_memory_live changing_VCPUs assert_operation_valid data_source_op update_allowed_operations import reverting';

/** `wanted < under way`, one pair a word. */
const OVERLAPS = new Set(
  [
    ...['clone', 'copy', 'export'].flatMap((wanted) =>
      ['clone', 'copy', 'export'].map((other) => `${wanted}<${other}`),
    ),
    'snapshot<snapshot snapshot<checkpoint checkpoint<snapshot checkpoint<checkpoint get_boot_record<get_boot_record',
    'snapshot<snapshot_with_quiesce metadata_export<migrate_send clean_shutdown<migrate_send clean_reboot<migrate_send',
  ].flatMap((words) => words.split(' ')),
);
const overlaps = (wanted: string, other: string): boolean => {
  if (wanted === 'hard_shutdown') return other !== 'hard_shutdown';
  if (wanted === 'hard_reboot') return !['hard_shutdown', 'hard_reboot'].includes(other);
  return OVERLAPS.has(`${wanted}<${other}`);
};

const KINDS = ['plain', 'template', 'snapshot', 'control domain'] as const;
type Kind = (typeof KINDS)[number];
const STATES = ['Halted', 'Paused', 'Running', 'Suspended'] as const;

const REF = 'OpaqueRef:vm';
const vmOf = (kind: Kind, change: Partial<XapiVmView>): XapiVmView => ({
  ...plainXapiVm(REF),
  domainType: 'pvh',
  isTemplate: kind === 'template' || kind === 'snapshot',
  isSnapshot: kind === 'snapshot',
  isControlDomain: kind === 'control domain',
  ...change,
});

const words = (list: string): readonly string[] => list.split(/,? /).filter((word) => word !== '');
const spoken = (operation: string): string => {
  if (operation === 'assert_operation_valid') return 'assertoperationvalid';
  if (operation === 'data_source_op') return 'data_sources_op';
  const unknown = 'changing_VCPUs changing_memory_limits create_template query_services';
  return words(unknown).includes(operation) ? '(unknown operation)' : operation;
};

const expectedStates = (operation: string, kind: Kind): readonly string[] => {
  const row = REFERENCE.find(([operations]) => words(operations).includes(operation));
  if (row === undefined) throw new Error(`${operation} is not in the reference`);
  const states = words(row[1]);
  if (kind === 'control domain' && words(ALSO_RUNNING_CONTROL_DOMAIN).includes(operation))
    return [...states, 'Running'];
  if (kind === 'snapshot' && words(ALSO_SUSPENDED_SNAPSHOT).includes(operation)) return [...states, 'Suspended'];
  return states;
};

const expectedByKind = (operation: string, kind: Kind): readonly string[] | null => {
  if (kind === 'template' && !words(`${ON_TEMPLATES} ${ON_OWN_TEMPLATES}`).includes(operation))
    return ['VM_IS_TEMPLATE', REF, spoken(operation)];
  if (kind === 'snapshot' && !words(ON_SNAPSHOTS).includes(operation))
    return ['VM_IS_SNAPSHOT', REF, spoken(operation)];
  if (operation === 'provision' && kind !== 'template') return ['PROVISION_ONLY_ALLOWED_ON_TEMPLATE'];
  if (operation === 'revert' && kind !== 'snapshot') return ['REVERT_ONLY_ALLOWED_ON_SNAPSHOT'];
  if (kind === 'control domain' && !words(ON_CONTROL_DOMAINS).includes(operation))
    return ['OPERATION_NOT_ALLOWED', 'This operation is not allowed on a control domain'];
  if (operation === 'snapshot_with_quiesce') return ['VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED', REF];
  return operation === 'query_services' ? ['NOT_SYSTEM_DOMAIN', REF] : null;
};

/** What XAPI answers for a guest with paravirtual drivers and without devices. */
const expected = (operation: string, state: string, kind: Kind, other: string | null): readonly string[] | null => {
  const states = expectedStates(operation, kind);
  if (!states.includes(state)) return ['VM_BAD_POWER_STATE', REF, states.join(', ').toLowerCase(), state.toLowerCase()];
  if (other !== null && !overlaps(operation, other))
    return ['OTHER_OPERATION_IN_PROGRESS', 'VM', REF, spoken(other), 'OpaqueRef:task'];
  return expectedByKind(operation, kind);
};

const flat = (error: XapiError | null): readonly string[] | null =>
  error === null ? null : [error.code, ...error.args];
const refused = (operation: XapiVmOperation, change: Partial<XapiVmView>, check: 'strict' | 'lenient' = 'strict') =>
  flat(refusalOf(operation, vmOf('plain', change), check));

describe('the table of allowed operations', () => {
  it('has the 49 operations of the reference', () => {
    const named = REFERENCE.flatMap(([operations]) => words(operations));
    expect(named).toHaveLength(49);
    expect([...XAPI_VM_OPERATIONS].sort()).toEqual([...named].sort());
    expect(words(NEVER_LISTED)).toHaveLength(19);
  });

  describe.each(KINDS)('of a %s', (kind) => {
    it.each(STATES)(
      'answers every operation as the reference says while %s, alone and beside each other one',
      (state) => {
        const wrong: unknown[] = [];
        for (const operation of XAPI_VM_OPERATIONS)
          for (const other of [null, ...XAPI_VM_OPERATIONS])
            for (const check of ['strict', 'lenient'] as const) {
              const currentOperations = other === null ? [] : [{ ref: 'OpaqueRef:task', operation: other }];
              const got = flat(refusalOf(operation, vmOf(kind, { powerState: state, currentOperations }), check));
              const want = expected(operation, state, kind, other);
              if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push({ operation, other, check, got, want });
            }
        expect(wrong).toEqual([]);
      },
    );

    it.each(STATES)('lists what is allowed while %s, but for the 19 that XAPI never lists', (state) => {
      for (const other of [null, ...XAPI_VM_OPERATIONS]) {
        const currentOperations = other === null ? [] : [{ ref: 'OpaqueRef:task', operation: other }];
        const want = [...XAPI_VM_OPERATIONS]
          .filter((operation) => !words(NEVER_LISTED).includes(operation))
          .filter((operation) => expected(operation, state, kind, other) === null);
        expect(allowedXapiOperations(vmOf(kind, { powerState: state, currentOperations }))).toEqual(want);
      }
    });
  });

  it('lists for ordinary guests what operators know', () => {
    expect(allowedXapiOperations(vmOf('plain', { powerState: 'Paused' }))).toEqual(
      words('checkpoint hard_reboot hard_shutdown metadata_export snapshot unpause'),
    );
    expect(allowedXapiOperations(vmOf('plain', { powerState: 'Suspended' }))).toEqual(
      words('checkpoint destroy export hard_shutdown metadata_export migrate_send resume resume_on snapshot'),
    );
  });

  it('refuses to delete a built-in template and lets others go', () => {
    const builtIn = vmOf('template', { isDefaultTemplate: true });
    expect(flat(refusalOf('destroy', builtIn))).toEqual(['VM_IS_TEMPLATE', REF, 'destroy']);
    expect(flat(refusalOf('destroy', vmOf('template', {})))).toBeNull();
  });

  it('keeps Dom0 although it is a control domain', () => {
    const dom0 = vmOf('control domain', { isDomainZero: true });
    expect(flat(refusalOf('destroy', dom0))).toEqual([
      'OPERATION_NOT_ALLOWED',
      'This operation is not allowed on dom0',
    ]);
    expect(flat(refusalOf('changing_VCPUs', { ...dom0, powerState: 'Running' }))?.[0]).toBe('OPERATION_NOT_ALLOWED');
  });
});

describe('the order of the checks', () => {
  it('names what a user blocked before the power state', () => {
    const blockedOperations = { start: 'MAINTENANCE' } as const;
    expect(refused('start', { powerState: 'Running', blockedOperations })).toEqual([
      'OPERATION_BLOCKED',
      REF,
      'MAINTENANCE',
    ]);
  });

  it('lists several operations under way in braces, tasks last', () => {
    const currentOperations = [
      { ref: 'OpaqueRef:a', operation: 'snapshot' as const },
      { ref: 'OpaqueRef:b', operation: 'assert_operation_valid' as const },
    ];
    expect(refused('start', { currentOperations })).toEqual([
      'OTHER_OPERATION_IN_PROGRESS',
      'VM',
      REF,
      '{snapshot,assertoperationvalid}',
      '{OpaqueRef:a,OpaqueRef:b}',
    ]);
  });

  it('lets an exception for one operation under way not hold for two', () => {
    const migrating = { ref: 'a', operation: 'migrate_send' as const };
    const exporting = { ref: 'b', operation: 'metadata_export' as const };
    expect(refused('clean_shutdown', { powerState: 'Running', currentOperations: [migrating] })).toBeNull();
    expect(refused('clean_shutdown', { powerState: 'Running', currentOperations: [migrating, exporting] })?.[0]).toBe(
      'OTHER_OPERATION_IN_PROGRESS',
    );
  });

  // Every reason against a migration at once; each case takes the first away.
  const everything: Partial<XapiVmView> = {
    powerState: 'Running',
    nomigrate: true,
    domainType: 'hvm',
    guestFeatures: { 'data-cant-suspend-reason': 'no room' },
    vdis: [{ onBootReset: true, caching: true }],
    attachedPcis: 1,
    vgpus: [{ suspendable: false }],
    vusbs: 1,
    pool: { clonesSuspended: false, rollingUpgrade: true },
  };
  it.each<[string[] | null, Partial<XapiVmView>]>([
    [['VM_IS_IMMOBILE', REF], {}],
    [['VM_NON_SUSPENDABLE', REF, 'no room'], { nomigrate: false }],
    [['VM_LACKS_FEATURE', REF], { nomigrate: false, guestFeatures: {} }],
    [['VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION'], { nomigrate: false, guestFeatures: { 'feature-suspend': '1' } }],
    [['VM_HAS_PCI_ATTACHED', REF], { nomigrate: false, guestFeatures: {}, pvDrivers: true, vdis: [] }],
    [['VM_HAS_VGPU', REF], { nomigrate: false, guestFeatures: {}, pvDrivers: true, vdis: [], attachedPcis: 0 }],
    [
      ['VM_HAS_VUSBS', REF],
      {
        nomigrate: false,
        guestFeatures: {},
        pvDrivers: true,
        vdis: [],
        attachedPcis: 0,
        vgpus: [{ suspendable: true }],
      },
    ],
    [null, { nomigrate: false, guestFeatures: {}, pvDrivers: true, vdis: [], attachedPcis: 0, vgpus: [], vusbs: 0 }],
  ])('answers a pool_migrate with %j', (want, change) => {
    expect(refused('pool_migrate', { ...everything, ...change })).toEqual(want);
  });

  it('allows what is only advised against when it is really asked', () => {
    const hvm: Partial<XapiVmView> = { powerState: 'Running', domainType: 'hvm', nestedVirt: true };
    for (const operation of ['clean_shutdown', 'clean_reboot', 'suspend', 'changing_dynamic_range'] as const) {
      expect(refused(operation, hvm)).not.toBeNull();
      expect(refused(operation, hvm, 'lenient')).toBeNull();
    }
    expect(refused('changing_dynamic_range', hvm)).toEqual(['VM_IS_USING_NESTED_VIRT', REF]);
    expect(refused('changing_VCPUs_live', hvm, 'lenient')).toEqual(['VM_LACKS_FEATURE', REF]);
  });

  it.each([
    ['clean_shutdown', 'feature-shutdown'],
    ['clean_shutdown', 'feature-poweroff'],
    ['clean_reboot', 'feature-shutdown'],
    ['clean_reboot', 'feature-reboot'],
    ['suspend', 'feature-suspend'],
    ['changing_VCPUs_live', 'feature-vcpu-hotplug'],
  ] as const)('takes %s from an HVM guest that says %s', (operation, feature) => {
    const hvm: Partial<XapiVmView> = { powerState: 'Running', domainType: 'hvm' };
    expect(refused(operation, hvm)).toEqual(['VM_LACKS_FEATURE', REF]);
    expect(refused(operation, { ...hvm, guestFeatures: { [feature]: '1' } })).toBeNull();
    expect(refused(operation, { ...hvm, guestFeatures: { [feature]: '0' } })).not.toBeNull();
    expect(refused(operation, { ...hvm, pvDrivers: true })).toBeNull();
  });

  it('keeps what belongs to something else from becoming a template', () => {
    const all = { appliance: 'A', protectionPolicy: 'P', snapshotSchedule: 'S' };
    expect(refused('make_into_template', all)).toEqual(['VM_IS_PART_OF_AN_APPLIANCE', REF, 'A']);
    expect(refused('make_into_template', { ...all, appliance: null })).toEqual([
      'VM_ASSIGNED_TO_PROTECTION_POLICY',
      REF,
      'P',
    ]);
    expect(refused('make_into_template', { snapshotSchedule: 'S' })).toEqual([
      'VM_ASSIGNED_TO_SNAPSHOT_SCHEDULE',
      REF,
      'S',
    ]);
  });

  it('adds no second virtual TPM', () => {
    expect(refused('create_vtpm', { vtpms: 1 })).toEqual(['VTPM_MAX_AMOUNT_REACHED', '1']);
    expect(refused('create_vtpm', {})).toBeNull();
  });

  it('answers system domains that are asked for their services', () => {
    expect(refused('query_services', { isSystemDomain: true })).toBeNull();
  });

  it('allows during a rolling upgrade the thirty operations that XAPI names', () => {
    const rpu =
      'assert_operation_valid changing_memory_live changing_shadow_memory_live changing_VCPUs_live clean_reboot clean_shutdown clone copy csvm destroy export get_boot_record hard_reboot hard_shutdown import make_into_template migrate_send pause pool_migrate power_state_reset provision resume resume_on send_sysrq send_trigger start start_on suspend unpause update_allowed_operations';
    expect(words(rpu)).toHaveLength(30);
    const pool = { clonesSuspended: false, rollingUpgrade: true };
    for (const state of STATES)
      for (const operation of XAPI_VM_OPERATIONS) {
        const before = refused(operation, { powerState: state });
        const during = refused(operation, { powerState: state, pool });
        if (before !== null || words(rpu).includes(operation)) expect(during).toEqual(before);
        else expect(during).toEqual(['NOT_SUPPORTED_DURING_UPGRADE']);
      }
  });

  it('clones suspended machines where the pool allows it', () => {
    const suspended = { powerState: 'Suspended' as const };
    expect(refused('clone', suspended)).toEqual(['VM_BAD_POWER_STATE', REF, 'halted', 'suspended']);
    expect(refused('clone', { ...suspended, pool: { clonesSuspended: true, rollingUpgrade: false } })).toBeNull();
  });
});
