import {
  categoryOf,
  eventOf,
  evolveObject,
  invalid,
  objectConsequences,
  portKind,
  timestamp,
  type ObjectRules,
  type ObjectState,
  type PortAddresses,
  type PortAttachment,
  type PortOwnEvent,
  type PortSpec,
  type PresentObject,
} from '@xenolith/contracts';
import {
  ok,
  type ClaimChange,
  type Command,
  type Consequences,
  type EventPlace,
  type FieldCause,
  type NewEvent,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import { addressScope, SUBNET_SCOPE, subnetValue } from './network.js';

export interface PortOwn {
  readonly addresses: PortAddresses;
  readonly attachment: PortAttachment | null;
  /** When it was attached or detached last. */
  readonly attachmentChangedAt: string;
}

export type PortState = ObjectState<PortSpec, PortOwn>;
export type Port = PresentObject<PortSpec, PortOwn>;

export const PORT_CATEGORY = categoryOf(portKind);

/** MAC addresses are unique over the whole platform: two networks may share a bridge. */
export const MAC_SCOPE = 'mac';

const NO_ADDRESSES: PortAddresses = { networkUid: '', network: '', cidr: '', bridge: '', mac: '', ip: '' };

/** A port keeps its network and addresses for life; stating those that it has is no change. */
const onPortSpecChange = (port: Port, wished: PortSpec): Result<readonly NewEvent[]> => {
  const { network, mac, ip } = port.own.addresses;
  const differs = (field: string, stated: string | undefined, has: string): FieldCause[] =>
    stated === undefined || stated === has
      ? []
      : [
          {
            field: `spec.${field}`,
            reason: 'FieldValueForbidden',
            message: `is ${has} for the life of the port; make a new port`,
          },
        ];
  const causes = [
    ...differs('network', wished.network, network),
    ...differs('mac', wished.mac, mac),
    ...differs('ip', wished.ip, ip),
  ];
  if (causes.length > 0) return invalid(portKind, port.meta, causes);
  return ok([eventOf('PortSpecChanged', { spec: wished })]);
};

export const portRules: ObjectRules<PortSpec, PortOwn> = {
  kind: portKind,
  // The creation's event carries the addresses; `evolve` sets them from there.
  initialOwn: () => ({ addresses: NO_ADDRESSES, attachment: null, attachmentChangedAt: '' }),
  // A multicast address cannot be a machine's own (IEEE 802: the lowest bit of the first octet).
  checkCreate: (spec) =>
    spec.mac !== undefined && (parseInt(spec.mac.slice(0, 2), 16) & 1) === 1
      ? [{ field: 'spec.mac', reason: 'FieldValueInvalid', message: `${spec.mac} is a multicast address` }]
      : [],
  onSpecChange: onPortSpecChange,
  status: ({ meta, own }) => ({
    mac: own.addresses.mac,
    ips: [own.addresses.ip],
    bridge: own.addresses.bridge,
    networkUid: own.addresses.networkUid,
    host: own.attachment?.host,
    attachedTo: own.attachment?.virtualMachine.name,
    attachedToUid: own.attachment?.virtualMachine.uid,
    conditions: [
      { type: 'Ready', status: 'True', reason: 'Addressed', message: '', lastTransitionTime: meta.creationTimestamp },
      {
        type: 'Attached',
        status: own.attachment ? 'True' : 'False',
        reason: own.attachment ? 'InUse' : 'Free',
        message: own.attachment ? `virtual machine "${own.attachment.virtualMachine.name}" uses it` : '',
        lastTransitionTime: own.attachmentChangedAt,
      },
    ],
  }),
};

const evolveOwn = (own: PortOwn, event: PortOwnEvent, at: number): PortOwn => {
  const attachmentChangedAt = timestamp(at);
  switch (event.type) {
    case 'PortCreated':
      return {
        addresses: event.data.addresses,
        attachment: event.data.attachment ?? null,
        attachmentChangedAt,
      };
    case 'PortAttached':
      return { ...own, attachment: event.data.attachment, attachmentChangedAt };
    case 'PortDetached':
      return { ...own, attachment: null, attachmentChangedAt };
  }
};

export const evolvePort = (state: PortState, event: NewEvent, place: EventPlace): PortState => {
  const shared = evolveObject(portRules, state, event, place);
  if (shared && event.type !== 'PortCreated') return shared;
  const object = shared ?? state;
  if (object.phase === 'absent') return state;
  return { ...object, own: evolveOwn(object.own, event as unknown as PortOwnEvent, place.at) };
};

const addressClaims = (op: 'claim' | 'release', port: Uuid, addresses: PortAddresses): ClaimChange[] => [
  { op, scope: MAC_SCOPE, value: addresses.mac, holder: port },
  { op, scope: addressScope(addresses.networkUid), value: addresses.ip, holder: port },
];

const ownClaims = (event: NewEvent, before: PortState, port: Uuid): ClaimChange[] => {
  if (event.type === 'PortCreated') {
    const { addresses } = event.data as unknown as { addresses: PortAddresses };
    return [
      {
        op: 'require',
        scope: SUBNET_SCOPE,
        value: subnetValue(addresses.networkUid, addresses.cidr),
        holder: port,
      },
      ...addressClaims('claim', port, addresses),
    ];
  }
  if (event.type === 'PortDeleted' && before.phase !== 'absent')
    return addressClaims('release', port, before.own.addresses);
  return [];
};

export const portConsequences = (event: NewEvent, before: PortState, command: Command): Consequences => ({
  claims: [
    ...(objectConsequences(portRules, event, before, command).claims ?? []),
    ...ownClaims(event, before, command.streamId),
  ],
});
