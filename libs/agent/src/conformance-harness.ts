import {
  agentSubject,
  commandSubject,
  inventoryAnswer,
  registerHostData,
  startDomainAnswer,
  type AgentCommandType,
  type DomainConfig,
  type RegisterHostData,
} from '@xenolith/contracts';
import {
  memoryOverheadBytes,
  ok,
  qemuOverheadBytes,
  uuidFrom,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Reply,
} from '@xenolith/kernel';

const GIBIBYTE = 2 ** 30;
/** Longer than anything an agent under test does; the suite's guests boot in a fraction of a second. */
const LIMIT_MS = 20_000;

/** An agent of one host, as the suite drives it. */
export interface AgentUnderTest {
  readonly host: string;
  /** Hosts beside it, where more were asked for. */
  readonly others: readonly string[];
  /** For the services that the agent talks to, and to ask the agent. */
  readonly bus: MessageBus;
  /** Ends the agent as SIGKILL would and starts it again with what it had kept. */
  restart(): Promise<void>;
  /** Lets time pass until the promise settles. */
  settled<Value>(promise: Promise<Value>): Promise<Value>;
  /** Lets time pass until the condition holds; throws when it does not in reasonable time. */
  until(condition: () => boolean): Promise<void>;
  stop(): Promise<void>;
}

/** `begin` starts the agent; the suite's services are served by then. `hosts`: how many it runs; one where nothing is said. */
export type MakeAgent = (begin: {
  readonly services: (bus: MessageBus) => Promise<void>;
  readonly hosts?: number;
}) => Promise<AgentUnderTest>;

/** What hypervisors do differently, as the contract allows. */
export interface HostTraits {
  /** The kind of guest that the suite's machines are. */
  readonly guestType: DomainConfig['guestType'];
  readonly controlDomain: boolean;
  /** Domains are numbered from 1 and a reboot makes another one; otherwise they are processes, which their guests reboot in. */
  readonly countsDomains: boolean;
  /** Suspending needs the guest's help. */
  readonly asksToSuspend: boolean;
  readonly overheadBytes: (domain: { vcpus: number; staticMaxBytes: number }) => number;
}

export const XEN_TRAITS: HostTraits = {
  guestType: 'pvh',
  controlDomain: true,
  countsDomains: true,
  asksToSuspend: true,
  overheadBytes: (domain) => memoryOverheadBytes({ guestType: 'pvh', ...domain }),
};

export const KVM_TRAITS: HostTraits = {
  guestType: 'hvm',
  controlDomain: false,
  countsDomains: false,
  asksToSuspend: false,
  overheadBytes: qemuOverheadBytes,
};

/** Machines of a kind that the host can run. */
export const configsFor =
  ({ guestType }: HostTraits) =>
  (name: string, change: Partial<DomainConfig> = {}): DomainConfig =>
    configOf(name, { guestType, ...change });

export const configOf = (name: string, change: Partial<DomainConfig> = {}): DomainConfig => ({
  name,
  namespace: 'default',
  guestType: 'pvh',
  vcpus: 1,
  maxVcpus: 1,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: [],
  nics: [],
  guest: { os: 'linux', image: 'debian-13', pvDrivers: true, ignoresShutdown: false },
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  ...change,
});

export const IGNORES = { guest: { os: 'linux', image: 'debian-13', pvDrivers: true, ignoresShutdown: true } };

/** What the agent said to compute, and compute's answers: it accepts everything. */
export class Services {
  readonly heard: CommandMessage[] = [];

  async serve(bus: MessageBus): Promise<void> {
    for (const type of [
      'RegisterHost',
      'ReportDomainStopped',
      'RecordFaultFired',
      'ReportMigrationRound',
      'ReportDeviceModelLost',
    ])
      await bus.serve(commandSubject('compute', type), (message) => {
        this.heard.push(message);
        return Promise.resolve(ok({}));
      });
  }

  of(type: string): readonly CommandMessage[] {
    return this.heard.filter((message) => message.type === type);
  }

  registrations(): readonly RegisterHostData[] {
    return this.of('RegisterHost').map((message) => registerHostData.parse(message.data));
  }
}

let asked = 0;
export const freshId = (label: string): string => uuidFrom('agent-conformance', label, (asked += 1));

/** The suite's hands: commands as compute sends them. */
export class Commander {
  constructor(
    private readonly agent: AgentUnderTest,
    private readonly host = agent.host,
  ) {}

  message(type: AgentCommandType, uid: string, data: object, more: Partial<CommandMessage> = {}): CommandMessage {
    const commandId = more.commandId ?? freshId(type);
    return {
      commandId,
      type,
      streamId: uid,
      data: data as JsonObject,
      actor: 'process:operation',
      correlationId: commandId,
      causationId: commandId,
      at: 0,
      ...more,
    };
  }

  send(message: CommandMessage, timeoutMs = LIMIT_MS): Promise<Reply> {
    return this.agent.bus.request(agentSubject(this.host, message.type), message, { timeoutMs });
  }

  ask(type: AgentCommandType, uid: string, data: object, more?: Partial<CommandMessage>): Promise<Reply> {
    return this.agent.settled(this.send(this.message(type, uid, data, more)));
  }

  start(uid: string, config: DomainConfig, more: { incarnation?: number; paused?: boolean } = {}): Promise<Reply> {
    return this.ask('StartDomain', uid, { incarnation: 1, paused: false, ...more, config });
  }

  async inventory(): Promise<{ bootId: string; domains: { virtualMachine: string; domid: number; state: string }[] }> {
    const reply = await this.ask('GetInventory', uuidFrom('host'), {});
    if (!reply.ok) throw new Error(reply.rejection.message);
    return inventoryAnswer.parse(reply.value);
  }

  async domain(uid: string): Promise<{ domid: number; state: string } | undefined> {
    return (await this.inventory()).domains.find((domain) => domain.virtualMachine === uid);
  }

  rules(...specs: object[]): Promise<Reply> {
    const rules = specs.map((spec, index) => ({ uid: uuidFrom('rule', index), name: `rule-${index}`, spec }));
    return this.ask('SetFaultRules', uuidFrom('host'), { rules });
  }
}

export const codeOf = (reply: Reply): string => (reply.ok ? 'ok' : reply.rejection.code);
export const startedOf = (reply: Reply): { domid: number; state: string; bootId?: string | undefined } => {
  if (!reply.ok) throw new Error(`${reply.rejection.code}: ${reply.rejection.message}`);
  return startDomainAnswer.parse(reply.value);
};

export const valueOf = (reply: Reply): JsonObject => {
  if (!reply.ok) throw new Error(`${reply.rejection.code}: ${reply.rejection.message}`);
  return reply.value;
};
