import {
  changeData,
  decideObject,
  desiredMetadata,
  eventOf,
  evolveObject,
  invalid,
  notFound,
  objectConsequences,
  objectResource,
  timestamp,
  virtualMachineSnapshotCommands,
  virtualMachineSnapshotKind,
  type ObjectRules,
  type ObjectState,
  type PowerState,
  type PresentObject,
  type SnapshotContent,
  type VirtualMachineSnapshotOwnEvent,
  type VirtualMachineSnapshotSpec,
} from '@xenolith/contracts';
import {
  formatBytes,
  ok,
  reject,
  type Aggregate,
  type Command,
  type EventPlace,
  type JsonObject,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import { trusted } from './trusted.js';
import { allowedXapiOperations, plainXapiVm } from './xapi-operations.js';

export interface SnapshotOwn {
  readonly virtualMachineUid: string;
  /** The operation that takes it. */
  readonly operation: string;
  /** Null while it is being taken. */
  readonly content: SnapshotContent | null;
  readonly readyAt: string | null;
  /** Operations that put the machine back to it. */
  readonly heldBy: readonly string[];
}

export type SnapshotState = ObjectState<VirtualMachineSnapshotSpec, SnapshotOwn>;
type Snapshot = PresentObject<VirtualMachineSnapshotSpec, SnapshotOwn>;
type Decision = Result<readonly NewEvent[]>;

export const SNAPSHOT_CATEGORY = 'virtualmachinesnapshot';

/** What a machine is once it was put back. */
const powerStateOf = (content: SnapshotContent): PowerState => (content.image ? 'Suspended' : 'Halted');

/** What XAPI would do with such a snapshot, as far as the platform can. */
const allowedOperations = (uid: string, content: SnapshotContent): string[] =>
  allowedXapiOperations({
    ...plainXapiVm(uid),
    isSnapshot: true,
    isTemplate: true,
    powerState: powerStateOf(content),
  }).filter((operation) => operation === 'revert' || operation === 'destroy');

const promisedBytes = ({ disks, image }: SnapshotContent): number =>
  disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, image?.reservedBytes ?? 0);

const statusOf = ({ meta, own }: Snapshot): JsonObject => {
  const { content, virtualMachineUid, readyAt } = own;
  const phase = content === null ? 'Taking' : 'Ready';
  const ready = {
    type: 'Ready',
    status: content === null ? 'False' : 'True',
    reason: phase,
    message: content === null ? 'it is being taken' : '',
    lastTransitionTime: readyAt ?? meta.creationTimestamp,
  };
  if (content === null) return { phase, virtualMachineUid, disks: [], allowedOperations: [], conditions: [ready] };
  return {
    phase: meta.deletionTimestamp === undefined ? phase : 'Deleting',
    powerState: powerStateOf(content),
    virtualMachineUid,
    size: formatBytes(promisedBytes(content)),
    disks: content.disks.map(({ name, held }) => ({ name, volume: held.volume })),
    ...(content.image ? { memoryVolume: content.image.volume } : {}),
    virtualMachineSpec: content.spec,
    allowedOperations: meta.deletionTimestamp === undefined ? allowedOperations(meta.uid, content) : [],
    conditions: [ready],
  };
};

const rules: ObjectRules<VirtualMachineSnapshotSpec, SnapshotOwn> = {
  kind: virtualMachineSnapshotKind,
  // The creation's event says whose it is; `evolve` sets it from there.
  initialOwn: () => ({ virtualMachineUid: '', operation: '', content: null, readyAt: null, heldBy: [] }),
  onSpecChange: ({ meta }) =>
    invalid(virtualMachineSnapshotKind, meta, [
      { field: 'spec', reason: 'FieldValueForbidden', message: 'what a snapshot is of was settled when it was taken' },
    ]),
  status: statusOf,
};

/** What deletes it by a user's will, or with its namespace: not while an operation needs it. */
const checkDeletion = ({ meta, own, spec }: Snapshot): Decision => {
  if (own.content === null)
    return reject(
      'operation_in_progress',
      `snapshot "${meta.name}" is being taken; delete the operation that takes it, or wait`,
    );
  return own.heldBy.length === 0
    ? ok([])
    : reject(
        'operation_in_progress',
        `virtual machine "${spec.virtualMachine}" is being put back to snapshot "${meta.name}"; wait for that`,
      );
};

const deletableRules: typeof rules = { ...rules, onDeletion: checkDeletion };

const begin = (command: Command, state: SnapshotState): Decision => {
  const data = trusted(virtualMachineSnapshotCommands.BeginVirtualMachineSnapshot, command);
  const { name, namespace, spec, virtualMachineUid, operation } = data;
  const metadata = desiredMetadata.parse({ name, namespace });
  const create = { intent: 'create', metadata, spec } as unknown as JsonObject;
  const made = decideObject(rules, { ...command, type: 'ChangeVirtualMachineSnapshot', data: create }, state);
  if (made === null || !made.ok) return made ?? ok([]);
  return ok(made.value.map((event) => ({ ...event, data: { ...event.data, virtualMachineUid, operation } })));
};

const hold = (command: Command, state: SnapshotState): Decision => {
  const { operation } = trusted(virtualMachineSnapshotCommands.HoldVirtualMachineSnapshot, command);
  if (state.phase !== 'present' || state.meta.deletionTimestamp !== undefined)
    return notFound(virtualMachineSnapshotKind, command.streamId);
  return ok([eventOf('VirtualMachineSnapshotHeld', { operation })]);
};

/** Nothing of it is there, or is being taken back. */
const abandon = (command: Command, snapshot: Snapshot): Decision =>
  snapshot.own.content === null
    ? (decideObject(
        rules,
        { ...command, type: 'DeleteVirtualMachineSnapshot', data: {} },
        { phase: 'present', ...snapshot },
      ) ?? ok([]))
    : ok([]);

const decideOwn = (snapshot: Snapshot, command: Command): Decision => {
  const { own } = snapshot;
  switch (command.type) {
    case 'CompleteVirtualMachineSnapshot': {
      const { content } = trusted(virtualMachineSnapshotCommands.CompleteVirtualMachineSnapshot, command);
      const completed = eventOf('VirtualMachineSnapshotCompleted', { content });
      return ok(own.content === null ? [completed] : []);
    }
    case 'AbandonVirtualMachineSnapshot':
      return abandon(command, snapshot);
    case 'LetGoVirtualMachineSnapshot': {
      const { operation } = trusted(virtualMachineSnapshotCommands.LetGoVirtualMachineSnapshot, command);
      return ok(own.heldBy.includes(operation) ? [eventOf('VirtualMachineSnapshotLetGo', { operation })] : []);
    }
    default:
      return reject('command_unknown', `snapshots of virtual machines know no command ${command.type}`);
  }
};

const decideAny = (command: Command, state: SnapshotState): Decision => {
  if (command.type === 'BeginVirtualMachineSnapshot') return begin(command, state);
  if (command.type === 'HoldVirtualMachineSnapshot') return hold(command, state);
  if (command.type === 'ChangeVirtualMachineSnapshot' && changeData.parse(command.data).intent === 'create')
    return reject(
      'verb_not_supported',
      'snapshots are made by the actions snapshot and checkpoint of a virtual machine',
    );
  const shared = decideObject(deletableRules, command, state);
  if (shared !== null) return shared;
  return state.phase === 'present' ? decideOwn(state, command) : ok([]);
};

/** One that goes says whose it was: that machine need not keep it any more. */
const decide = (command: Command, state: SnapshotState): Decision => {
  const decided = decideAny(command, state);
  if (!decided.ok || state.phase !== 'present') return decided;
  const { virtualMachineUid } = state.own;
  return ok(
    decided.value.map((event) =>
      event.type === 'VirtualMachineSnapshotDeleted' ? { ...event, data: { virtualMachineUid } } : event,
    ),
  );
};

const evolveOwn = (own: SnapshotOwn, event: VirtualMachineSnapshotOwnEvent, at: number): SnapshotOwn => {
  switch (event.type) {
    case 'VirtualMachineSnapshotCreated': {
      const { virtualMachineUid, operation } = event.data;
      return { ...own, virtualMachineUid, operation };
    }
    case 'VirtualMachineSnapshotCompleted':
      return { ...own, content: event.data.content, readyAt: timestamp(at) };
    case 'VirtualMachineSnapshotHeld':
      return { ...own, heldBy: [...own.heldBy, event.data.operation] };
    case 'VirtualMachineSnapshotLetGo':
      return { ...own, heldBy: own.heldBy.filter((operation) => operation !== event.data.operation) };
    case 'VirtualMachineSnapshotDeleted':
      return own;
  }
};

const evolve = (state: SnapshotState, event: NewEvent, place: EventPlace): SnapshotState => {
  const shared = evolveObject(rules, state, event, place);
  if (shared !== null && event.type !== 'VirtualMachineSnapshotCreated') return shared;
  const object = shared ?? state;
  if (object.phase === 'absent') return state;
  return { ...object, own: evolveOwn(object.own, event as unknown as VirtualMachineSnapshotOwnEvent, place.at) };
};

/** Volumes go by the collector, as what the snapshot owns; the machine forgets it by a reaction. */
export const virtualMachineSnapshotAggregate: Aggregate<SnapshotState> = {
  category: SNAPSHOT_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve,
  toResource: (state) => objectResource(rules, state),
  consequences: (event, before, command) => objectConsequences(rules, event, before, command),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
};
