import {
  agentCommands,
  type AgentCommandType,
  type DomainConfig,
  type DomainReport,
  type Hardware,
  type RegisterHostData,
  type MigrationPolicyName,
  type SavedImage,
} from '@xenolith/contracts';
import { ok, reject, uuidFrom, type CommandMessage, type JsonObject, type Result, type Uuid } from '@xenolith/kernel';
import {
  DEFAULT_XEN_SETUP,
  deviceViews,
  HARDWARE_PROFILES,
  hardwareWith,
  hypervisorFacts,
  isPeerMessage,
  numaNodesOf,
  threadsOf,
  type DiskSettings,
  type DomainSettings,
  type HardwareProfile,
  type HostMake,
  type HostInput,
  type GivenDevice,
  type NicSettings,
  type PeerMessage,
  type XenFacts,
} from '@xenolith/xen';
import type { Fleet, HostSlot } from './fleet.js';

const MS_PER_SECOND = 1000;

type DomainDisk = DomainConfig['disks'][number];
type DomainNic = DomainConfig['nics'][number];

const diskOf = ({ name, volume, sizeBytes, readOnly }: DomainDisk): DiskSettings => ({
  name,
  volume,
  sizeBytes,
  readOnly,
});

const nicOf = ({ name, mac, bridge, ips }: DomainNic): NicSettings => ({ name, mac, bridge, ips });

const givenOf = ({ name, kind, address }: GivenDevice): GivenDevice => ({ name, kind, address });

const FAMILIES = ['linux', 'windows'] as const;

const osOf = (name: string): NonNullable<DomainSettings['os']> => FAMILIES.find((family) => family === name) ?? 'other';

const settingsOf = (config: DomainConfig): DomainSettings => ({
  name: config.name,
  namespace: config.namespace,
  guestType: config.guestType,
  os: osOf(config.guest.os),
  ...(config.guest.image === undefined ? {} : { image: config.guest.image }),
  vcpus: config.vcpus,
  maxVcpus: config.maxVcpus,
  weight: config.weight,
  cap: config.cap,
  pin: config.pin,
  ...(config.memoryNode === undefined ? {} : { memoryNode: config.memoryNode }),
  staticMaxBytes: config.staticMaxBytes,
  dynamicMinBytes: config.dynamicMinBytes,
  dynamicMaxBytes: config.dynamicMaxBytes,
  disks: config.disks.map(diskOf),
  nics: config.nics.map(nicOf),
  ...(config.devices && { devices: config.devices.map(givenOf) }),
  ...(config.passthrough && { passthrough: config.passthrough }),
  pvDrivers: config.guest.pvDrivers,
  ignoresShutdown: config.guest.ignoresShutdown,
  ...(config.guest.bootSeconds === undefined ? {} : { bootMs: config.guest.bootSeconds * MS_PER_SECOND }),
  ...(config.guest.workload === undefined ? {} : { workload: config.guest.workload }),
  onPoweroff: config.onPoweroff,
  onReboot: config.onReboot,
  onCrash: config.onCrash,
});

/** Commands to the machine itself: whether there is power. */
const POWER_COMMANDS = ['PowerOffHost', 'PowerOnHost'] as const satisfies readonly AgentCommandType[];

/** Commands that change a domain or the host, and so are journalled. */
export const DOMAIN_COMMANDS = [
  'StartDomain',
  'ShutdownDomain',
  'RebootDomain',
  'PauseDomain',
  'UnpauseDomain',
  'DestroyDomain',
  'ChangeDomain',
  'AttachDisk',
  'AttachNic',
  'DetachDisk',
  'DetachNic',
  'AttachDevice',
  'DetachDevice',
  'SuspendDomain',
  'CheckpointDomain',
  'ResumeDomain',
  'ReceiveDomain',
  'MigrateDomain',
  'CancelMigration',
  'SettleMigration',
  'DeliverMigrationMessage',
  ...POWER_COMMANDS,
] as const satisfies readonly AgentCommandType[];
export type DomainCommandType = (typeof DOMAIN_COMMANDS)[number];

export const isDomainCommand = (type: AgentCommandType): type is DomainCommandType =>
  DOMAIN_COMMANDS.some((known) => known === type);

interface Accepted {
  readonly id: Uuid;
  readonly type: string;
  readonly uid: Uuid;
  /** Parsed by the command's schema when it was accepted. */
  readonly data: JsonObject;
}

interface MigrationOrder {
  readonly from: string;
  readonly fromIncarnation: number;
  readonly to: string;
  readonly toIncarnation: number;
  readonly operation: Uuid;
  readonly policy?: MigrationPolicyName;
  readonly seq: number;
  /** Parsed by `isPeerMessage` when it was accepted. */
  readonly message: PeerMessage;
}

/** A command's data as its schema wants it. */
export const parsedData = (type: AgentCommandType, data: unknown): Result<JsonObject> => {
  const parsed = agentCommands[type].safeParse(data);
  if (!parsed.success) {
    const issues = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    return reject('command_malformed', `${type}: ${issues.join('; ')}`);
  }
  const value = parsed.data as unknown as JsonObject;
  if (type === 'DeliverMigrationMessage' && !isPeerMessage(value['message']))
    return reject('command_malformed', `${type}: message: nothing that hosts say`);
  return ok(value);
};

/** Throws for what software would have to answer that does not run. Power is the baseboard controller's; rules are the emulation's own. */
export const heardWhileOff = (host: string, type: AgentCommandType): void => {
  if (type === 'SetFaultRules' || POWER_COMMANDS.some((known) => known === type)) return;
  throw new Error(`${host} is powered off: nobody is there`);
};

/** The hypervisor's input for a command of the contract. */
export const inputOf = (command: Accepted): HostInput => {
  const on = { ticket: command.id, uid: command.uid, incarnation: command.data['incarnation'] as number };
  const { config, paused, mode, timeoutMs, disk, nic, name, devices, image, ...more } = command.data as unknown as {
    config: DomainConfig;
    paused: boolean;
    mode: 'clean' | 'hard';
    timeoutMs: number;
    disk: DomainDisk;
    nic: DomainNic;
    name: string;
    devices: readonly GivenDevice[];
    image: SavedImage;
  } & MigrationOrder;
  const { from, fromIncarnation, to, toIncarnation, operation, policy, seq, message } = more;
  switch (command.type as DomainCommandType) {
    case 'StartDomain':
      return { do: 'start', ...on, settings: settingsOf(config), paused };
    case 'ShutdownDomain':
      return { do: 'shutdown', ...on, mode, timeoutMs };
    case 'RebootDomain':
      return { do: 'reboot', ...on, mode, timeoutMs };
    case 'PauseDomain':
      return { do: 'pause', ...on };
    case 'UnpauseDomain':
      return { do: 'unpause', ...on };
    case 'DestroyDomain':
      return { do: 'destroy', ...on };
    case 'ChangeDomain': {
      const { incarnation: _incarnation, ...change } = command.data;
      return { do: 'change', ...on, change };
    }
    case 'SuspendDomain':
      return { do: 'suspend', ...on, timeoutMs };
    case 'CheckpointDomain':
      return { do: 'checkpoint', ...on, timeoutMs, paused };
    case 'ResumeDomain':
      return { do: 'resume', ...on, settings: settingsOf(config), image, paused };
    case 'ReceiveDomain':
      return { do: 'receive', ...on, settings: settingsOf(config), from, fromIncarnation };
    case 'MigrateDomain':
      return { do: 'migrate', ...on, to, toIncarnation, operation, ...(policy && { policy }) };
    case 'CancelMigration':
      return { do: 'cancelMigration', ...on };
    case 'SettleMigration':
      return { do: 'settleMigration', ...on };
    case 'DeliverMigrationMessage':
      return { do: 'peer', ...on, from, seq, message };
    case 'AttachDisk':
      return { do: 'attach', ...on, device: { kind: 'disk', settings: diskOf(disk) } };
    case 'AttachNic':
      return { do: 'attach', ...on, device: { kind: 'nic', settings: nicOf(nic) } };
    case 'DetachDisk':
      return { do: 'detach', ...on, kind: 'disk', name };
    case 'DetachNic':
      return { do: 'detach', ...on, kind: 'nic', name };
    case 'AttachDevice':
      return { do: 'give', ...on, name, devices: devices.map(givenOf) };
    case 'PowerOffHost':
      return { do: 'powerOff', ticket: command.id };
    case 'PowerOnHost':
      return { do: 'powerOn', ticket: command.id };
    case 'DetachDevice':
      return { do: 'take', ...on, name };
  }
};

const hardwareOf = (make: HostMake): Hardware => {
  const passed = make.hypervisor === 'kvm' ? (make.devices ?? {}) : (make.setup ?? DEFAULT_XEN_SETUP);
  const profile: HardwareProfile = hardwareWith(passed, HARDWARE_PROFILES[make.profile]);
  const devices = deviceViews(passed.devices ?? []);
  return {
    cpu: {
      model: profile.model,
      sockets: profile.sockets,
      coresPerSocket: profile.coresPerSocket,
      threadsPerCore: profile.threadsPerCore,
      threads: threadsOf(profile),
      mhz: profile.mhz,
      features: [...profile.features],
    },
    memoryBytes: profile.memoryBytes,
    numaNodes: numaNodesOf(profile).map((node) => ({ ...node, threads: [...node.threads] })),
    ...(devices.length > 0 && { devices: [...devices] }),
  };
};

/** What a host runs, as the contract lists it. */
export const inventoryOf = (fleet: Fleet, slot: HostSlot): { bootId: string; domains: DomainReport[] } => ({
  bootId: fleet.bootId(slot),
  domains: fleet
    .inventory(slot)
    .map(({ uid, incarnation, domid, state }) => ({ virtualMachine: uid, incarnation, domid, state })),
});

export const registrationOf = (fleet: Fleet, slot: HostSlot, agentVersion: string): RegisterHostData => {
  const make = fleet.makeOf(slot.name);
  const lost = fleet.lostDaemons(slot);
  const { version, xen, allocatableBytes } = hypervisorFacts(make);
  return {
    name: slot.name,
    hypervisor: make.hypervisor,
    version,
    agentVersion,
    hardware: hardwareOf(make),
    ...(xen && xenPart(xen)),
    ...(make.memorySharing && { memorySharing: { ...make.memorySharing } }),
    allocatableMemoryBytes: allocatableBytes,
    ...(lost.length > 0 && { lostDaemons: [...lost] }),
    ...inventoryOf(fleet, slot),
  };
};

const xenPart = ({ controlDomain, setup, maxVcpus }: XenFacts) => {
  const { release, scheduler, network, driverDomains, controlDomain: policy } = setup;
  const told = { release, scheduler, network, ...(driverDomains && { driverDomains: [...driverDomains] }) };
  return { controlDomain: { ...controlDomain, policy }, setup: told, maxVcpus };
};

/** A message from a host to a service. */
export const messageFrom = (
  slot: Pick<HostSlot, 'name'>,
  said: {
    readonly type: string;
    readonly streamId: Uuid;
    readonly data: JsonObject;
    readonly at: number;
    readonly id?: Uuid;
    /** The command that led here; absent: none. */
    readonly cause?: Uuid | undefined;
  },
): CommandMessage => {
  const commandId = said.id ?? uuidFrom(said.type, slot.name, said.streamId, said.at);
  return {
    commandId,
    type: said.type,
    streamId: said.streamId,
    data: said.data,
    actor: `host:${slot.name}`,
    correlationId: said.cause ?? commandId,
    causationId: said.cause ?? commandId,
    at: said.at,
  };
};
