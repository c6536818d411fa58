import type { agentCommands } from './agent.messages.js';
import { operationKind } from './compute/operation.messages.js';
import { KINDS } from './kinds.js';
import type { ServiceName } from './resource.js';
import {
  agentSubject,
  agentUser,
  APPENDED_SUBJECT,
  commandSubject,
  FEED_STREAM,
  FEED_SUBJECT,
  inboxPrefix,
  membershipSubject,
  querySubject,
  telemetrySubject,
} from './subjects.js';

/** Subjects that a user of the message bus may send to, and those that it may listen on; nothing else. */
export interface BusRights {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

export const SERVICE_NAMES = [
  'gateway',
  'compute',
  'storage',
  'network',
  'scheduler',
] as const satisfies readonly ServiceName[];

const ANY = '*';

/** What one service asks of another beside what it asks of itself. A process that gets a new step says so here. */
const COMMANDS: Readonly<Partial<Record<ServiceName, Readonly<Partial<Record<ServiceName, readonly string[]>>>>>> = {
  compute: {
    storage: [
      'AttachVolume',
      'CancelVolumeHandover',
      'DeprovisionVolume',
      'DetachVolume',
      'DiscardSealedVolume',
      'PrepareVolumeHandover',
      'ProvisionVolume',
      'RevertVolume',
      'SnapshotVolume',
    ],
    network: ['AttachPort', 'DeprovisionPort', 'DetachPort', 'ProvisionPort'],
    scheduler: ['ChangePlacementDevices', 'PlaceVirtualMachine', 'ReleasePlacement'],
  },
  scheduler: {
    compute: [
      'CancelOperation',
      'ParkHost',
      'RecordClusterAvailability',
      'RecordHostEvacuation',
      'StartOperation',
      'WakeHost',
    ],
  },
};

/** What the gateway asks for users, and for the collection of what nobody owns any more. */
const USERS_VERBS = ['Change', 'Delete', 'Release'] as const;

const QUERIES: Readonly<Partial<Record<ServiceName, Readonly<Partial<Record<ServiceName, readonly string[]>>>>>> = {
  gateway: { scheduler: ['ListFailoverPlans'] },
};

/** What agents tell compute of their hosts. */
const REPORTS = [
  'RecordFaultFired',
  'RegisterHost',
  'ReportDeviceModelLost',
  'ReportDomainStopped',
  'ReportMigrationRound',
] as const;

/** Tools of a host's control domain, which users run through the gateway. */
const TOOL_COMMAND = 'RunTool' satisfies keyof typeof agentCommands;
/** Hosts of a live migration talk to each other, also to hosts of other fleets. */
const PEER_COMMAND = 'DeliverMigrationMessage' satisfies keyof typeof agentCommands;

/** What an operator chooses for an operation that needs one: `retry` is sent as `RetryOperation`. */
const choices = (): readonly string[] => {
  const { service, kind, actions = [] } = operationKind;
  return actions.map((action) => commandSubject(service, `${action.charAt(0).toUpperCase()}${action.slice(1)}${kind}`));
};

const usersCommands = (): readonly string[] => [
  ...KINDS.flatMap(({ service, kind }) => USERS_VERBS.map((verb) => commandSubject(service, `${verb}${kind}`))),
  ...choices(),
];

const commandsOf = (service: ServiceName): readonly string[] => [
  commandSubject(service, ANY),
  ...Object.entries(COMMANDS[service] ?? {}).flatMap(([to, types]) =>
    types.map((type) => commandSubject(to as ServiceName, type)),
  ),
  ...(service === 'gateway' ? [...usersCommands(), agentSubject(ANY, TOOL_COMMAND)] : []),
  ...(service === 'compute' ? [agentSubject(ANY, ANY)] : []),
];

const queriesOf = (service: ServiceName): readonly string[] =>
  Object.entries(QUERIES[service] ?? {}).flatMap(([to, names]) =>
    names.map((name) => querySubject(to as ServiceName, name)),
  );

/** Users to whom a service replies: whoever may ask it, itself among them. */
const askersOf = (service: ServiceName): readonly string[] => {
  const ofServices = SERVICE_NAMES.filter(
    (asker) =>
      asker === service || asker === 'gateway' || COMMANDS[asker]?.[service] || QUERIES[asker]?.[service] !== undefined,
  );
  return service === 'compute' ? [...ofServices, 'agent'] : ofServices;
};

const inboxesOf = (user: string): string => `${inboxPrefix(user)}.>`;

/**
 * The feed, as everybody has it who follows the log: any of the services may hold the sequencer, make the stream anew and fill it. Whoever may make
 * streams and consumers could have the server send what they hold to any subject: agents may not.
 */
const FEED: BusRights = {
  publish: [
    APPENDED_SUBJECT,
    FEED_SUBJECT,
    '$JS.API.INFO',
    ...['CREATE', 'INFO', 'DELETE', 'MSG.GET'].map((call) => `$JS.API.STREAM.${call}.${FEED_STREAM}`),
    `$JS.API.CONSUMER.CREATE.${FEED_STREAM}.>`,
    ...['INFO', 'DELETE', 'MSG.NEXT'].map((call) => `$JS.API.CONSUMER.${call}.${FEED_STREAM}.*`),
  ],
  subscribe: [APPENDED_SUBJECT],
};

/** Who hears what hosts say of themselves. */
const LISTENERS: ReadonlySet<ServiceName> = new Set(['gateway', 'compute', 'scheduler']);
/** Whose instances share their work, and tell each other so. */
const MEMBERS: ReadonlySet<ServiceName> = new Set(['scheduler']);

/** What a service may do on the bus. */
export const serviceRights = (service: ServiceName): BusRights => {
  const membership = MEMBERS.has(service) ? [membershipSubject(service)] : [];
  return {
    publish: [
      ...commandsOf(service),
      ...queriesOf(service),
      ...membership,
      ...askersOf(service).map(inboxesOf),
      ...FEED.publish,
    ],
    subscribe: [
      commandSubject(service, ANY),
      querySubject(service, ANY),
      ...membership,
      ...(LISTENERS.has(service) ? [telemetrySubject(ANY)] : []),
      inboxesOf(service),
      ...FEED.subscribe,
    ],
  };
};

/** What the agent of a fleet may do: speak and listen for its own hosts, and nothing of JetStream. */
export const agentRights = (fleet: string, hosts: readonly string[]): BusRights => ({
  publish: [
    ...REPORTS.map((type) => commandSubject('compute', type)),
    agentSubject(ANY, PEER_COMMAND),
    // Who may command it: compute, the gateway for tools, and the agents of other hosts.
    ...['compute', 'gateway', 'agent'].map(inboxesOf),
    ...hosts.map(telemetrySubject),
  ],
  subscribe: [...hosts.map((host) => agentSubject(host, ANY)), inboxesOf(agentUser(fleet))],
});
