import {
  categoryOf,
  changeData,
  decideObject,
  eventOf,
  evolveObject,
  finalizerRemoved,
  invalid,
  networkKind,
  objectConsequences,
  objectResource,
  type NetworkSpec,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  type Aggregate,
  type ClaimChange,
  type Command,
  type Consequences,
  type FieldCause,
  type JsonObject,
  type NewEvent,
  type Result,
  type Uuid,
} from '@xenolith/kernel';
import { z } from 'zod';
import { formatAddress, isHostAddress, parseAddress, parseSubnet } from './ipv4.js';

type NoOwn = Readonly<Record<string, never>>;
export type NetworkState = ObjectState<NetworkSpec, NoOwn>;

export const NETWORK_CATEGORY = categoryOf(networkKind);

/** Keeps a network that was asked to go until no port is left of those that were being made at that moment. */
export const NETWORK_FINALIZER = 'network.xenolith.dev/teardown';

/** A port requires its network's subnet to be claimed: none is born into a network that goes, or that has another subnet by now. */
export const SUBNET_SCOPE = 'network/subnet';
export const subnetValue = (network: Uuid, cidr: string): string => `${network} ${cidr}`;

/** Scope of the addresses of a network; held by ports, and by the network itself for its router and what it reserves. */
export const addressScope = (network: Uuid): string => `ip/${network}`;

const ports = z.object({ count: z.number().int(), names: z.array(z.string()) });
/** Who is on a network, as the index knew when the command was prepared. */
export type NetworkPorts = z.infer<typeof ports>;

const NO_PORTS: NetworkPorts = { count: 0, names: [] };

const cause = (field: string, message: string, reason = 'FieldValueInvalid'): FieldCause => ({
  field: `spec.${field}`,
  reason,
  message,
});

const addressCauses = (spec: NetworkSpec): FieldCause[] => {
  const subnet = parseSubnet(spec.cidr);
  if (!subnet.ok) return [cause('cidr', subnet.rejection.message)];
  const named = [
    ...(spec.gateway === undefined ? [] : [{ field: 'gateway', text: spec.gateway }]),
    ...spec.reserved.map((text, index) => ({ field: `reserved[${index}]`, text })),
  ];
  return named.flatMap(({ field, text }) => {
    const address = parseAddress(text);
    if (address === null) return [cause(field, `"${text}" is not an IPv4 address`)];
    if (isHostAddress(subnet.value, address)) return [];
    return [cause(field, `${text} is not an address that a machine in ${spec.cidr} could have`)];
  });
};

const rulesFor = (onIt: NetworkPorts): ObjectRules<NetworkSpec, NoOwn> => ({
  kind: networkKind,
  teardownFinalizer: NETWORK_FINALIZER,
  initialOwn: () => ({}),
  checkCreate: addressCauses,
  onSpecChange: (network, wished) => {
    const causes = addressCauses(wished);
    if (wished.cidr !== network.spec.cidr && onIt.count > 0)
      causes.push(
        cause(
          'cidr',
          `stays ${network.spec.cidr} while ${onIt.count} ports have addresses of it (${onIt.names.join(', ')})`,
          'FieldValueForbidden',
        ),
      );
    if (causes.length > 0) return invalid(networkKind, network.meta, causes);
    return ok([eventOf('NetworkSpecChanged', { spec: wished })]);
  },
  onDeletion: (network) => (onIt.count > 0 ? inUse(network.meta.name, onIt) : ok([])),
  status: ({ meta, spec }) => ({
    usable: usableAddresses(spec),
    conditions: [
      meta.deletionTimestamp === undefined
        ? { type: 'Ready', status: 'True', reason: 'Active', message: '', lastTransitionTime: meta.creationTimestamp }
        : {
            type: 'Ready',
            status: 'False',
            reason: 'Deleting',
            message: 'waits for its last ports to go',
            lastTransitionTime: meta.deletionTimestamp,
          },
    ],
  }),
});

const rules = rulesFor(NO_PORTS);

const inUse = (name: string, { count, names }: NetworkPorts): Result<never> => {
  const more = count > names.length ? ` and ${count - names.length} more` : '';
  return reject(
    'object_in_use',
    `network "${name}" has ${count} port${count === 1 ? '' : 's'}: ${names.join(', ')}${more}; delete ${count === 1 ? 'it' : 'them'} first`,
    { details: { users: names, count } },
  );
};

/** Addresses that the network never gives away: its router's and the reserved ones. */
export const keptAddresses = (spec: NetworkSpec): readonly string[] => [
  ...new Set([...(spec.gateway === undefined ? [] : [spec.gateway]), ...spec.reserved]),
];

const usableAddresses = (spec: NetworkSpec): number => {
  const subnet = parseSubnet(spec.cidr);
  return subnet.ok ? subnet.value.size - 2 - keptAddresses(spec).length : 0;
};

/** The spec with the router's address settled: the stated one, the one it had, or the subnet's first. */
const settleGateway = (spec: NetworkSpec, before: NetworkSpec | null): NetworkSpec => {
  if (spec.gateway !== undefined) return spec;
  if (before?.cidr === spec.cidr && before.gateway !== undefined) return { ...spec, gateway: before.gateway };
  const subnet = parseSubnet(spec.cidr);
  return subnet.ok ? { ...spec, gateway: formatAddress(subnet.value.base + 1) } : spec;
};

const decide = (command: Command, state: NetworkState): Result<readonly NewEvent[]> => {
  const { ports: found, ...rest } = command.data;
  const onIt = found === undefined ? NO_PORTS : ports.parse(found);
  let data: JsonObject = rest;
  if (command.type === 'RetireNetwork') return retire(state, onIt);
  if (command.type === 'ChangeNetwork') {
    const wished = changeData.parse(data);
    const spec = settleGateway(wished.spec as NetworkSpec, state.phase === 'present' ? state.spec : null);
    data = { ...data, spec };
  }
  return (
    decideObject(rulesFor(onIt), { ...command, data }, state) ??
    reject('command_unknown', `a network knows no command ${command.type}`)
  );
};

const retire = (state: NetworkState, onIt: NetworkPorts): Result<readonly NewEvent[]> => {
  if (state.phase !== 'present' || state.meta.deletionTimestamp === undefined) return ok([]);
  if (onIt.count > 0) return inUse(state.meta.name, onIt);
  return ok(finalizerRemoved(networkKind, state, NETWORK_FINALIZER));
};

const subnetClaim = (op: 'claim' | 'release', network: Uuid, spec: NetworkSpec): ClaimChange => ({
  op,
  scope: SUBNET_SCOPE,
  value: subnetValue(network, spec.cidr),
  holder: network,
});

const addressClaims = (op: 'claim' | 'release', network: Uuid, addresses: readonly string[]): ClaimChange[] =>
  addresses.map((value) => ({ op, scope: addressScope(network), value, holder: network }));

const ownClaims = (event: NewEvent, before: NetworkState, network: Uuid): ClaimChange[] => {
  const spec = event.data['spec'] as unknown as NetworkSpec;
  if (event.type === 'NetworkCreated')
    return [subnetClaim('claim', network, spec), ...addressClaims('claim', network, keptAddresses(spec))];
  if (before.phase === 'absent') return [];
  const kept = keptAddresses(before.spec);
  switch (event.type) {
    case 'NetworkSpecChanged': {
      const moved = spec.cidr !== before.spec.cidr;
      const wished = keptAddresses(spec);
      return [
        ...(moved ? [subnetClaim('release', network, before.spec), subnetClaim('claim', network, spec)] : []),
        ...addressClaims(
          'release',
          network,
          kept.filter((address) => !wished.includes(address)),
        ),
        ...addressClaims(
          'claim',
          network,
          wished.filter((address) => !kept.includes(address)),
        ),
      ];
    }
    case 'NetworkDeletionRequested':
      return [subnetClaim('release', network, before.spec)];
    case 'NetworkDeleted':
      return addressClaims('release', network, kept);
    default:
      return [];
  }
};

const consequences = (event: NewEvent, before: NetworkState, command: Command): Consequences => ({
  claims: [
    ...(objectConsequences(rules, event, before, command).claims ?? []),
    ...ownClaims(event, before, command.streamId),
  ],
});

export const networkAggregate: Aggregate<NetworkState> = {
  category: NETWORK_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
  toResource: (state) => objectResource(rules, state),
  consequences,
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
};
