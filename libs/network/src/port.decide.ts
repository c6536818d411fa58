import {
  attachPortData,
  changeData,
  decideObject,
  deleteData,
  deprovisionPortData,
  desiredMetadata,
  detachPortData,
  eventOf,
  finalizerRemoved,
  notFound,
  objectResource,
  portKind,
  provisionPortData,
  type DesiredMetadata,
  type PortAddresses,
  type PortAttachment,
  type PortSpec,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  type Aggregate,
  type Command,
  type JsonObject,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import { evolvePort, PORT_CATEGORY, portConsequences, portRules, type Port, type PortState } from './port.js';

type Events = Result<readonly NewEvent[]>;

/** The addresses that `prepare` picked for a port that would be made now, or why there are none. */
export type ResolvedPort = Result<PortAddresses>;

/** Keeps a port that was asked to go while its machine still uses it; being detached takes it off. */
export const ATTACHMENT_FINALIZER = 'network.xenolith.dev/attachment';

const splitResolved = (command: Command): { readonly resolved: ResolvedPort; readonly data: JsonObject } => {
  const { resolved, ...data } = command.data;
  const found = resolved as unknown as ResolvedPort | undefined;
  return { resolved: found ?? reject('network_not_found', 'no network was looked for'), data: data };
};

/** A port that goes says whose network it was on: that network may be waiting for it. */
const decide = (command: Command, state: PortState): Events => {
  const decided = decideByType(command, state);
  if (!decided.ok || state.phase !== 'present') return decided;
  const { networkUid } = state.own.addresses;
  return ok(decided.value.map((event) => (event.type === 'PortDeleted' ? { ...event, data: { networkUid } } : event)));
};

const decideByType = (command: Command, state: PortState): Events => {
  switch (command.type) {
    case 'ChangePort':
      return change(command, state);
    case 'DeletePort':
      return remove(command, state);
    case 'ProvisionPort':
      return provision(command, state);
    case 'DeprovisionPort':
      return deprovision(command, state);
    case 'AttachPort': {
      const data = attachPortData.parse(command.data);
      if (state.phase !== 'present') return notFound(portKind, command.streamId);
      return move(state, { ...data, incarnation: data.incarnation ?? state.own.attachment?.incarnation ?? 0 });
    }
    case 'DetachPort': {
      const data = detachPortData.parse(command.data);
      return ok(state.phase === 'present' ? detach(state, data.virtualMachine.uid, Number.MAX_SAFE_INTEGER) : []);
    }
    default:
      return decideShared(command, state);
  }
};

const decideShared = (command: Command, state: PortState): Events =>
  decideObject(portRules, command, state) ?? reject('command_unknown', `a port knows no command ${command.type}`);

const change = (command: Command, state: PortState): Events => {
  const { resolved, data } = splitResolved(command);
  const wished = changeData.parse(data);
  if (wished.intent === 'create' && state.phase === 'absent') {
    if (!resolved.ok) return resolved;
    return made(command, { metadata: wished.metadata, spec: wished.spec as PortSpec, addresses: resolved.value });
  }
  if (state.phase !== 'present') return decideShared({ ...command, data }, state);
  const held = state.meta.finalizers.filter(
    (finalizer) => finalizer === ATTACHMENT_FINALIZER && !wished.metadata.finalizers.includes(finalizer),
  );
  const metadata = { ...wished.metadata, finalizers: [...wished.metadata.finalizers, ...held] };
  return decideShared({ ...command, data: { ...data, metadata } as unknown as JsonObject }, state);
};

/** The creation as the shared rules have it, with its addresses and, for a machine's own port, its attachment. */
const made = (
  command: Command,
  wished: {
    readonly metadata: DesiredMetadata;
    readonly spec: PortSpec;
    readonly addresses: PortAddresses;
    readonly attachment?: PortAttachment;
  },
): Events => {
  const data = { intent: 'create', metadata: wished.metadata, spec: wished.spec } as unknown as JsonObject;
  const decided = decideShared({ ...command, type: 'ChangePort', data }, { phase: 'absent' });
  if (!decided.ok) return decided;
  const extra = {
    addresses: wished.addresses,
    ...(wished.attachment ? { attachment: wished.attachment } : {}),
  };
  return ok(
    decided.value.map((event) =>
      event.type === 'PortCreated' ? { ...event, data: { ...event.data, ...extra } } : event,
    ),
  );
};

const provision = (command: Command, state: PortState): Events => {
  const { resolved, data } = splitResolved(command);
  const wished = provisionPortData.parse(data);
  const { virtualMachine, incarnation, host } = wished;
  const attachment: PortAttachment = { virtualMachine, incarnation, ...(host === undefined ? {} : { host }) };
  if (state.phase === 'present') return attach(state, attachment);
  if (!resolved.ok) return resolved;
  const metadata = desiredMetadata.parse({
    name: wished.name,
    namespace: wished.namespace,
    ownerReferences: [wished.owner],
  });
  return made(command, { metadata, spec: wished.spec, addresses: resolved.value, attachment });
};

const attach = (port: Port, wished: PortAttachment): Events => {
  const { attachment } = port.own;
  const { name } = port.meta;
  const has = attachment?.virtualMachine.uid === wished.virtualMachine.uid;
  // A machine that uses it may go on with it, on another host too, until it lets go.
  if (port.meta.deletionTimestamp !== undefined && !has)
    return reject('port_in_use', `port "${name}" is being deleted`);
  if (attachment && !has)
    return reject(
      'port_in_use',
      `port "${name}" is attached to virtual machine "${attachment.virtualMachine.name}"; detach it there first`,
      { details: { attachedTo: attachment.virtualMachine } },
    );
  if (attachment && attachment.incarnation > wished.incarnation)
    return reject(
      'virtual_machine_stale_incarnation',
      `port "${name}": run ${wished.incarnation} of virtual machine "${wished.virtualMachine.name}" asks for it, but run ${attachment.incarnation} has it`,
    );
  const same = attachment?.incarnation === wished.incarnation && attachment.host === wished.host;
  return ok(same ? [] : [eventOf('PortAttached', { attachment: wished })]);
};

/** A machine that let go of the port has it no more, whatever comes late of what it sent before: nobody would untie it again. */
const move = (port: Port, wished: PortAttachment): Events =>
  port.own.attachment === null
    ? reject(
        'virtual_machine_stale_incarnation',
        `port "${port.meta.name}": virtual machine "${wished.virtualMachine.name}" has let go of it; a machine takes a port when it is started with it`,
      )
    : attach(port, wished);

/** Unties that run or an older one, and ends the port when only the attachment kept it. */
const detach = (port: Port, virtualMachine: string, incarnation: number): readonly NewEvent[] => {
  const { attachment } = port.own;
  if (attachment?.virtualMachine.uid !== virtualMachine || attachment.incarnation > incarnation) return [];
  return [
    eventOf('PortDetached', { virtualMachine, incarnation: attachment.incarnation }),
    ...finalizerRemoved(portKind, port, ATTACHMENT_FINALIZER),
  ];
};

/** Undoes a provisioning; with `delete` a port that the machine owns goes, once no run of the machine uses it. */
const deprovision = (command: Command, state: PortState): Events => {
  const data = deprovisionPortData.parse(command.data);
  if (state.phase !== 'present') return ok([]);
  const { uid } = data.virtualMachine;
  const detached = detach(state, uid, data.incarnation);
  const owned = state.meta.ownerReferences.some((owner) => owner.uid === uid);
  const held = state.own.attachment !== null && detached.length === 0;
  if (!data.delete || !owned || held || state.meta.deletionTimestamp !== undefined) return ok(detached);
  const removed = decideShared({ ...command, type: 'DeletePort', data: {} }, state);
  return removed.ok ? ok([...detached, ...removed.value]) : removed;
};

const remove = (command: Command, state: PortState): Events => {
  if (state.phase !== 'present' || state.own.attachment === null) return decideShared(command, state);
  const { virtualMachine } = state.own.attachment;
  const owned = state.meta.ownerReferences.some((owner) => owner.uid === virtualMachine.uid);
  // What is in use goes when its use ends, as Kubernetes protects claimed volumes; the parts of a living machine go with it only.
  if (!owned || !command.actor.startsWith('user:')) {
    const data = deleteData.parse(command.data);
    const finalizers = [...new Set([...state.meta.finalizers, ATTACHMENT_FINALIZER])];
    return decideShared({ ...command, data }, { ...state, meta: { ...state.meta, finalizers } });
  }
  return reject(
    'port_in_use',
    `port "${state.meta.name}" is attached to virtual machine "${virtualMachine.name}", which owns it: delete the virtual machine instead`,
    { details: { attachedTo: virtualMachine } },
  );
};

/**
 * A deleted port's stream is not ended: a machine's port has its uid from the machine, and a start whose first attempt was undone makes the port
 * again.
 */
export const portAggregate: Aggregate<PortState> = {
  category: PORT_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve: evolvePort,
  toResource: (state) => objectResource(portRules, state),
  consequences: portConsequences,
  stateVersion: 1,
};
