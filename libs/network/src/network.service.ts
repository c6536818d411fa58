import {
  attachPortAnswer,
  attachPortData,
  changeData,
  commandSubject,
  deleteData,
  deprovisionPortData,
  detachPortData,
  networkEvents,
  networkKind,
  portEvents,
  portKind,
  provisionPortData,
  type PortSpec,
} from '@xenolith/contracts';
import { takenName, type CommandRoute, type Reaction, type ServiceDefinition } from '@xenolith/engine';
import {
  ok,
  reject,
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type Reply,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import { z } from 'zod';
import { NETWORK_CATEGORY, networkAggregate } from './network.js';
import { NetworkIndex } from './network.index.js';
import { MAC_SCOPE, PORT_CATEGORY, type PortState } from './port.js';
import { portAggregate } from './port.decide.js';

/** Retiring a network is one local decision; longer means that the service is not there. */
const RETIRE_TIMEOUT_MS = 10_000;
/** So is letting a port go. */
const DETACH_TIMEOUT_MS = 10_000;

const attachAnswer = (state: unknown, streamId: Uuid): Reply => {
  const port = state as PortState;
  if (port.phase !== 'present') return reject('not_found', `port ${streamId} is gone`);
  const { mac, ip, bridge } = port.own.addresses;
  return ok(attachPortAnswer.parse({ mac, ips: [ip], bridge, name: port.meta.name, uid: streamId }) as JsonObject);
};

const namespaceOf = (data: JsonObject): string => {
  const metadata = data['metadata'] as { namespace?: string } | undefined;
  return metadata?.namespace ?? (data['namespace'] as string | undefined) ?? '';
};

const withResolved =
  (index: NetworkIndex) =>
  (message: CommandMessage, attempt: number): Result<JsonObject> => {
    const { data } = message;
    if (data['intent'] === 'update') return ok(data);
    const resolved = index.resolve({
      commandId: message.commandId,
      port: message.streamId,
      namespace: namespaceOf(data),
      spec: data['spec'] as unknown as PortSpec,
      attempt,
      dryRun: message.dryRun === true,
    });
    return ok({ ...data, resolved: resolved as unknown as JsonObject });
  };

/** A stated address that somebody has is refused; a picked one was picked a moment too late, and another is picked. */
const onAddressTaken =
  (index: NetworkIndex) =>
  (claim: { scope: string; value: string; holder: Uuid }, message: CommandMessage): Reply | null => {
    const stated = message.data['spec'] as { mac?: string; ip?: string } | undefined;
    const isMac = claim.scope === MAC_SCOPE;
    if (!isMac && !claim.scope.startsWith('ip/')) return takenName(claim);
    if ((isMac ? stated?.mac : stated?.ip) !== claim.value) return null;
    return reject(
      'address_taken',
      `${isMac ? 'MAC' : 'IP'} address ${claim.value} is used by port "${index.labelOf(claim.holder)}"`,
      { details: { holder: claim.holder } },
    );
  };

/** A network's router or reserved address that a port has already. */
const onReservedTaken =
  (index: NetworkIndex) =>
  (claim: { scope: string; value: string; holder: Uuid }): Reply =>
    claim.scope.startsWith('ip/')
      ? reject('address_taken', `${claim.value} is used by port "${index.labelOf(claim.holder)}"; delete that first`)
      : takenName(claim);

const routes = (index: NetworkIndex): readonly CommandRoute[] => {
  const making = { category: PORT_CATEGORY, prepare: withResolved(index), onClaimTaken: onAddressTaken(index) };
  const withPorts = (message: CommandMessage): Result<JsonObject> =>
    ok({ ...message.data, ports: index.portsOn(message.streamId) });
  const onNetwork = { category: NETWORK_CATEGORY, prepare: withPorts };
  return [
    { type: 'ChangeNetwork', schema: changeData, ...onNetwork, onClaimTaken: onReservedTaken(index) },
    { type: 'DeleteNetwork', schema: deleteData, ...onNetwork },
    { type: 'RetireNetwork', schema: z.strictObject({}), ...onNetwork },
    { type: 'ChangePort', schema: changeData, ...making },
    { type: 'ProvisionPort', schema: provisionPortData, ...making, answer: attachAnswer },
    { type: 'DeprovisionPort', category: PORT_CATEGORY, schema: deprovisionPortData },
    { type: 'DeletePort', category: PORT_CATEGORY, schema: deleteData },
    { type: 'AttachPort', category: PORT_CATEGORY, schema: attachPortData, answer: attachAnswer },
    { type: 'DetachPort', category: PORT_CATEGORY, schema: detachPortData },
  ];
};

/**
 * Ends networks that were asked to go. From that request on no port can be made on one, but a port that was being made at that moment may have come
 * in before: then the network goes with its last port.
 */
const retireNetworks = (index: NetworkIndex): Reaction => ({
  name: 'network-teardown',
  on: ['NetworkDeletionRequested', 'PortDeleted'],
  react: (event) => {
    const network = event.type === 'PortDeleted' ? (event.data['networkUid'] as Uuid) : event.streamId;
    if (event.type === 'PortDeleted' && !index.isDeleting(network)) return [];
    return [
      {
        key: 'retire',
        commandId: uuidFrom(event.eventId, 'retire'),
        subject: commandSubject('network', 'RetireNetwork'),
        type: 'RetireNetwork',
        streamId: network,
        data: {},
        timeoutMs: RETIRE_TIMEOUT_MS,
      },
    ];
  },
});

/** Ports are let go of with their machine, should its teardown have left one behind: nobody else could, and a port that is used is not deleted. */
const freePortsOfTheDead = (index: NetworkIndex): Reaction => ({
  name: 'free-ports-of-deleted-machines',
  on: ['VirtualMachineDeleted'],
  react: ({ eventId, streamId: machine }) =>
    index.usedBy(machine).map((port) => ({
      key: port,
      commandId: uuidFrom(eventId, 'DetachPort', port),
      subject: commandSubject('network', 'DetachPort'),
      type: 'DetachPort',
      streamId: port,
      data: { virtualMachine: { uid: machine } },
      timeoutMs: DETACH_TIMEOUT_MS,
    })),
});

/** The network service: networks and ports. */
export const networkService = (): ServiceDefinition => {
  const index = new NetworkIndex();
  return {
    name: 'network',
    kinds: [networkKind, portKind],
    aggregates: [networkAggregate, portAggregate],
    routes: routes(index),
    indexes: [index],
    processes: [],
    reactions: [retireNetworks(index), freePortsOfTheDead(index)],
    eventSchemas: { ...networkEvents, ...portEvents },
  };
};
