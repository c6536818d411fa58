import { MIGRATION_POLICIES, type MigrationPolicyName, type PlanStep } from '@xenolith/contracts';
import type { FieldCause, Uuid } from '@xenolith/kernel';
import {
  destroyDomain,
  DOMAIN_STEP_MS,
  domainConfig,
  finish,
  from,
  inStages,
  machineRef,
  moveNics,
  pinOf,
  place,
  releasePlacement,
  START_DOMAIN_MS,
  step,
} from './virtual-machine.plan-steps.js';
import { hardwareOf } from './virtual-machine.changes.js';
import { placedRun, type PlacedRun, type PresentMachine } from './virtual-machine.state.js';

/** After these the machine runs on where it was. All else that the sending host may say leaves it to the other one to know. */
const STAYED = [
  'migration_failed',
  'migration_cancelled',
  'command_cancelled',
  'command_unknown',
  'command_malformed',
  'command_id_reused',
];

/** The receiving host does not have the machine, and will not. */
const NOT_THERE = [
  'migration_failed',
  'host_unknown_domain',
  'host_stale_incarnation',
  'command_unknown',
  'command_malformed',
];

type Parameters = Readonly<Record<string, unknown>>;

const isPolicy = (policy: unknown): policy is MigrationPolicyName =>
  (MIGRATION_POLICIES as readonly unknown[]).includes(policy);

export const causesOfOvercommit = ({ allowOvercommit }: Parameters): readonly FieldCause[] =>
  allowOvercommit === undefined || typeof allowOvercommit === 'boolean'
    ? []
    : [{ field: 'spec.parameters.allowOvercommit', reason: 'FieldValueInvalid', message: 'must be true or false' }];

/** What is wrong with the parameters of a migration. */
export const causesOfMigration = (machine: PresentMachine, parameters: Parameters): readonly FieldCause[] => {
  const { from: left, to, policy } = parameters;
  const cause = (name: string, message: string): FieldCause[] => [
    { field: `spec.parameters.${name}`, reason: 'FieldValueInvalid', message },
  ];
  const pinned = machine.spec.placement.host;
  const here = placedRun(machine.own.run)?.host;
  return [
    ...(to !== undefined && typeof to !== 'string' ? cause('to', 'must be the name of a host') : []),
    ...(to !== undefined && to === here ? cause('to', `the machine runs on host ${here} already`) : []),
    ...(typeof to === 'string' && pinned !== undefined && to !== pinned
      ? cause('to', `spec.placement.host allows the machine to be on host ${pinned} only`)
      : []),
    ...(left !== undefined && left !== here
      ? cause('from', `the machine runs on host ${here ?? 'none'}, not on the one that it is to leave`)
      : []),
    ...(policy !== undefined && !isPolicy(policy)
      ? cause('policy', `must be one of ${MIGRATION_POLICIES.join(', ')}`)
      : []),
  ];
};

const receiveDomain = (machine: PresentMachine, run: PlacedRun, incarnation: number): PlanStep => {
  const { own, spec, meta } = machine;
  const { dynamicMinBytes, dynamicMaxBytes, ...cpu } = own.hardware ?? hardwareOf(spec);
  const config = {
    ...domainConfig(machine),
    ...cpu,
    pin: pinOf(spec),
    dynamicMinBytes,
    dynamicMaxBytes,
    disks: own.disks.map(({ name, volume, sizeBytes = 0, readOnly = false }) => ({
      name,
      volume,
      sizeBytes,
      readOnly,
      fencingToken: from(`handover-${name}`, 'fencingToken'),
    })),
    nics: own.nics.map(({ name, port, mac, ips, bridge = '' }) => ({ name, port, mac, ips, bridge })),
  };
  return step({
    name: 'receive-domain',
    to: { agentOfHost: from('place', 'host') },
    type: 'ReceiveDomain',
    streamId: meta.uid,
    data: { incarnation, config, from: run.host, fromIncarnation: run.incarnation },
    timeoutMs: START_DOMAIN_MS,
    undo: { type: 'DestroyDomain', streamId: meta.uid, data: { incarnation } },
  });
};

const migrateDomain = (
  machine: PresentMachine,
  run: PlacedRun,
  asked: { readonly operation: Uuid; readonly incarnation: number; readonly policy: MigrationPolicyName | null },
): PlanStep => {
  const { operation, incarnation, policy } = asked;
  const data = { incarnation: run.incarnation };
  return step({
    name: 'migrate-domain',
    to: { agentOfHost: run.host },
    type: 'MigrateDomain',
    streamId: machine.meta.uid,
    data: {
      ...data,
      to: from('place', 'host'),
      toIncarnation: incarnation,
      operation,
      ...(policy !== null && { policy }),
    },
    timeoutMs: START_DOMAIN_MS,
    untilAnswered: true,
    doneUnless: STAYED,
    cancel: { type: 'CancelMigration', streamId: machine.meta.uid, data },
  });
};

const settleMigration = (machine: PresentMachine, incarnation: number): PlanStep =>
  step({
    name: 'settle-migration',
    to: { agentOfHost: from('place', 'host') },
    type: 'SettleMigration',
    streamId: machine.meta.uid,
    data: { incarnation },
    timeoutMs: DOMAIN_STEP_MS,
    mustSucceed: true,
    failOn: NOT_THERE,
  });

/** The other host is told the token that the next run will have; the lease stays where it is. */
const prepareHandovers = (machine: PresentMachine, incarnation: number): PlanStep[] =>
  machine.own.disks.map((disk) =>
    step({
      name: `handover-${disk.name}`,
      to: { service: 'storage' },
      type: 'PrepareVolumeHandover',
      streamId: disk.volumeUid,
      data: { virtualMachine: machineRef(machine), incarnation, readOnly: disk.readOnly ?? false },
      undo: {
        type: 'CancelVolumeHandover',
        streamId: disk.volumeUid,
        data: { virtualMachine: { uid: machine.meta.uid }, incarnation },
      },
    }),
  );

/** The lease goes over to the next run: storage refuses the one before it from here on. */
const takeOverDisks = (machine: PresentMachine, incarnation: number): PlanStep[] =>
  machine.own.disks.map((disk) =>
    step({
      name: `disk-${disk.name}`,
      to: { service: 'storage' },
      type: 'AttachVolume',
      streamId: disk.volumeUid,
      data: { virtualMachine: machineRef(machine), incarnation, readOnly: disk.readOnly ?? false },
      doneOn: ['not_found'],
      mustSucceed: true,
    }),
  );

/**
 * place, never where it is -> the next run's leases are settled -> the other host makes ready -> the guest goes over -> the other host says whether it has it -> what the run before it held is given
 * back -> Migrated. Until the guest goes over all is taken back when it fails; after that it lives there, and nothing is.
 */
export const migratePlan = (
  machine: PresentMachine,
  run: PlacedRun,
  asked: { readonly operation: Uuid; readonly incarnation: number; readonly parameters: Parameters },
): PlanStep[] => {
  const { operation, incarnation, parameters } = asked;
  const { to, policy } = parameters;
  const named = typeof to === 'string' ? { host: to } : {};
  const placed = place(machine, incarnation, parameters);
  const request = { ...(placed.data['request'] as object), ...named, exceptHost: run.host, startTime: run.startTime };
  const settled = settleMigration(machine, incarnation);
  const sent = migrateDomain(machine, run, {
    operation,
    incarnation,
    policy: isPolicy(policy) ? policy : null,
  });
  return inStages(
    // A machine that runs is not held up until a host has room for it.
    [{ ...placed, data: { request }, waitOn: [] }],
    prepareHandovers(machine, incarnation),
    [receiveDomain(machine, run, incarnation)],
    [sent],
    [settled],
    [
      ...takeOverDisks(machine, incarnation),
      ...moveNics(machine, incarnation, from('place', 'host')),
      destroyDomain(machine, run),
      releasePlacement(machine, run.incarnation, 'the machine was migrated'),
    ],
    [
      finish(machine, 'RecordVirtualMachineMigrated', {
        operation,
        incarnation,
        from: run.host,
        host: from('place', 'host'),
        hostUid: from('place', 'hostUid'),
        bootId: from(settled.name, 'bootId'),
        domid: from(settled.name, 'domid'),
        state: from(settled.name, 'state'),
        hypervisor: from('place', 'hypervisor'),
        disks: machine.own.disks.map((disk) => ({ ...disk, fencingToken: from(`disk-${disk.name}`, 'fencingToken') })),
        migration: Object.fromEntries(
          ['rounds', 'pagesSent', 'durationMs', 'downtimeMs'].map((figure) => [figure, from(sent.name, figure)]),
        ),
      }),
    ],
  );
};
