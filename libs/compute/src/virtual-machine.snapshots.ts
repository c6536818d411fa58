import {
  dnsLabel,
  eventOf,
  virtualMachineCommands,
  type VirtualMachineEvent,
  type VirtualMachineSpec,
} from '@xenolith/contracts';
import {
  ok,
  uuidFrom,
  type AlsoCommand,
  type Command,
  type FieldCause,
  type JsonObject,
  type NewEvent,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import { trusted } from './trusted.js';
import { SNAPSHOT_CATEGORY } from './virtual-machine-snapshot.js';
import {
  currentOperation,
  takesSnapshot,
  type MachineOwn,
  type MachineSnapshot,
  type OperationAction,
  type PresentMachine,
} from './virtual-machine.state.js';

type Parameters = Readonly<Record<string, unknown>>;
type Decision = Result<readonly NewEvent[]>;

/** A chain of copy-on-write disks is no longer than that on XenServer (xapi-project/sm drivers/vhdutil.py, MAX_CHAIN_SIZE), where more is refused with SR_BACKEND_FAILURE_109. */
const SNAPSHOTS_MAX = 30;

const snapshotUid = (operation: Uuid): Uuid => uuidFrom(operation, 'snapshot');

/** The snapshot that an operation takes, or puts the machine back to; null: it has none. */
export const snapshotOf = (
  own: Pick<MachineOwn, 'snapshots'>,
  operation: { readonly operation: Uuid; readonly action: string; readonly parameters: Parameters },
): Pick<MachineSnapshot, 'uid' | 'name'> | null => {
  const { action, parameters } = operation;
  if (action === 'snapshot' || action === 'checkpoint')
    return { uid: snapshotUid(operation.operation), name: String(parameters['name']) };
  const known = action === 'revert' ? snapshotNamed(own, parameters['to']) : null;
  return known === null ? null : { uid: known.uid, name: known.name };
};

export const snapshotNamed = ({ snapshots }: Pick<MachineOwn, 'snapshots'>, name: unknown): MachineSnapshot | null =>
  snapshots.find((snapshot) => snapshot.name === name) ?? null;

const cause = (name: string, message: string): readonly FieldCause[] => [
  { field: `spec.parameters.${name}`, reason: 'FieldValueInvalid', message },
];

/** What is wrong with the parameters of an operation that takes a snapshot, or puts the machine back to one. */
export const causesOfSnapshot = (
  { own }: PresentMachine,
  action: OperationAction,
  parameters: Parameters,
): readonly FieldCause[] => {
  if (action === 'revert') {
    const names = own.snapshots.map(({ name }) => name);
    const known = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
    return snapshotNamed(own, parameters['to']) === null
      ? cause('to', `must be the name of a snapshot of the machine: ${known}`)
      : [];
  }
  if (!takesSnapshot({ action })) return [];
  const has = own.snapshots.length + own.operations.filter(takesSnapshot).length;
  const { name } = parameters;
  const label = dnsLabel.safeParse(name);
  return [
    ...(name !== undefined && !label.success ? cause('name', label.error.issues[0]?.message ?? 'must be a name') : []),
    ...(has >= SNAPSHOTS_MAX
      ? cause('name', `the machine has ${has} snapshots already, which is as many as it can have: delete one`)
      : []),
  ];
};

const toSnapshot = (streamId: Uuid, type: string, data: JsonObject): AlsoCommand => ({
  category: SNAPSHOT_CATEGORY,
  streamId,
  type: `${type}VirtualMachineSnapshot`,
  data,
});

const whenStarted = (
  { meta, own }: PresentMachine,
  data: { readonly operation: Uuid; readonly action: string; readonly parameters: Parameters },
): readonly AlsoCommand[] => {
  const { operation, action } = data;
  const snapshot = snapshotOf(own, data);
  if (snapshot === null) return [];
  if (action === 'revert') return [toSnapshot(snapshot.uid, 'Hold', { operation })];
  const begun = {
    name: snapshot.name,
    ...(meta.namespace === undefined ? {} : { namespace: meta.namespace }),
    spec: { virtualMachine: meta.name, memory: action === 'checkpoint' },
    virtualMachineUid: meta.uid,
    operation,
  };
  return [toSnapshot(snapshot.uid, 'Begin', begun)];
};

/** What the snapshot that an operation has to do with is told in the append that begins, or ends, the operation. */
export const toldToSnapshot = (machine: PresentMachine, event: VirtualMachineEvent): readonly AlsoCommand[] => {
  if (event.type === 'VirtualMachineOperationStarted') return whenStarted(machine, event.data);
  if (event.type === 'VirtualMachineSnapshotTaken') {
    const { operation, content } = event.data;
    return [toSnapshot(snapshotUid(operation), 'Complete', { content })];
  }
  if (event.type !== 'VirtualMachineReverted' && event.type !== 'VirtualMachineOperationEnded') return [];
  const { operation } = event.data;
  const ended = currentOperation(machine.own, operation);
  if (ended?.snapshot == null) return [];
  const { uid } = ended.snapshot;
  return [takesSnapshot(ended) ? toSnapshot(uid, 'Abandon', {}) : toSnapshot(uid, 'LetGo', { operation })];
};

export const decideSnapshotTaken = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineSnapshotTaken, command);
  const known = currentOperation(machine.own, data.operation) !== undefined;
  return ok(known ? [eventOf('VirtualMachineSnapshotTaken', data as unknown as JsonObject)] : []);
};

export const decideReverted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineReverted, command);
  const known = currentOperation(machine.own, data.operation) !== undefined;
  return ok(known ? [eventOf('VirtualMachineReverted', data as unknown as JsonObject)] : []);
};

export const decideSnapshotDeleted = (machine: PresentMachine, command: Command): Decision => {
  const data = trusted(virtualMachineCommands.RecordVirtualMachineSnapshotDeleted, command);
  const known = machine.own.snapshots.some(({ uid }) => uid === data.snapshot);
  return ok(known ? [eventOf('VirtualMachineSnapshotForgotten', data)] : []);
};

type Data<Type extends VirtualMachineEvent['type']> = Extract<VirtualMachineEvent, { type: Type }>['data'];

const without = (own: MachineOwn, operation: string): MachineOwn => ({
  ...own,
  operations: own.operations.filter((current) => current.operation !== operation),
});

export const snapshotTaken = (own: MachineOwn, data: Data<'VirtualMachineSnapshotTaken'>): MachineOwn => {
  const { operation, content } = data;
  const snapshot = currentOperation(own, operation)?.snapshot;
  const after = without(own, operation);
  return snapshot == null ? after : { ...after, snapshots: [...own.snapshots, { ...snapshot, content }] };
};

export const snapshotForgotten = (own: MachineOwn, uid: Uuid): MachineOwn => ({
  ...own,
  snapshots: own.snapshots.filter((snapshot) => snapshot.uid !== uid),
});

/** Where it may run is not what it is: its placement stays as it is wished now. */
const specOf = (machine: PresentMachine, { content }: MachineSnapshot, suspended: boolean): VirtualMachineSpec => ({
  ...content.spec,
  placement: machine.spec.placement,
  powerState: suspended ? 'Suspended' : 'Halted',
});

export const reverted = (machine: PresentMachine, data: Data<'VirtualMachineReverted'>): PresentMachine => {
  const { operation, incarnation, snapshot: uid, nics, image } = data;
  const own = without(machine.own, operation);
  const snapshot = own.snapshots.find((known) => known.uid === uid);
  if (snapshot === undefined) return { ...machine, own };
  const { content, name } = snapshot;
  const saved =
    content.image && image ? { ...image, sizeBytes: content.image.sizeBytes, content: content.image.content } : null;
  const disks = content.disks.map(({ held: _held, sizeBytes: _sizeBytes, ...disk }) => disk);
  return {
    ...machine,
    spec: specOf(machine, snapshot, saved !== null),
    meta: { ...machine.meta, generation: machine.meta.generation + 1 },
    own: {
      ...own,
      run:
        saved === null
          ? { phase: 'halted', reason: 'reverted', message: `was put back to snapshot "${name}"`, leftover: null }
          : { phase: 'suspended', incarnation },
      image: saved,
      hardware: content.hardware,
      hypervisor: content.hypervisor,
      disks,
      nics,
      endedEarly: null,
      missed: null,
      problem: null,
    },
  };
};
