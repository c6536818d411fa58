import {
  DEFAULT_XEN_SETUP,
  timingFor,
  type DeviceFault,
  type DomainSettings,
  type HostEvent,
  type HostInput,
  type HostModel,
  type HostState,
  type HostToolName,
  type MemorySharing,
  type ToolOutput,
  type XenSetup,
} from '../index.js';
import { xenHostModel } from './xen-host.js';

export const GIBIBYTE = 2 ** 30;
export const MEBIBYTE = 2 ** 20;
const START = 1_000_000;
const HOUR_MS = 3_600_000;

export const settingsOf = (change: Partial<DomainSettings> = {}): DomainSettings => ({
  name: 'web',
  namespace: 'default',
  guestType: 'pvh',
  vcpus: 2,
  maxVcpus: 4,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: 2 * GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: [{ name: 'root', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false }],
  nics: [{ name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'xenbr0', ips: ['10.0.0.5'] }],
  pvDrivers: true,
  ignoresShutdown: false,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  ...change,
});

type Ticketed<Input> = Input extends { readonly ticket: string; readonly uid: string; readonly incarnation: number }
  ? Omit<Input, 'ticket' | 'uid' | 'incarnation'> & { readonly uid?: string; readonly incarnation?: number }
  : Input extends { readonly ticket: string }
    ? Omit<Input, 'ticket'>
    : Input;
/** A command without what the rig adds. */
export type Asked = Ticketed<HostInput>;

/** What was answered to a ticket, in short. */
export type Told = { readonly code: string; readonly value: unknown } | null;

/** One host and its clock, for specs: commands are tickets by their order. */
export class ModelRig<State> {
  readonly state: State;
  readonly events: HostEvent[] = [];
  at = START;
  private tickets = 0;

  constructor(
    readonly model: HostModel<State>,
    name: string,
    setup: Partial<XenSetup> = {},
    memorySharing?: MemorySharing,
  ) {
    const made = { name, seed: 'spec', profile: '1x4-16', at: START, ...(memorySharing && { memorySharing }) } as const;
    this.state = model.create(
      Object.keys(setup).length === 0 ? made : { ...made, setup: { ...DEFAULT_XEN_SETUP, ...setup } },
    );
  }

  /** Hands a command in; the answer is its ticket. */
  tell(input: Asked): string {
    const ticket = `t${(this.tickets += 1)}`;
    const whole = { uid: 'a', incarnation: 1, ticket, ...input } as HostInput;
    this.events.push(...this.model.apply(this.state, whole, this.at));
    return ticket;
  }

  setFaults(...faults: readonly DeviceFault[]): void {
    this.events.push(...this.model.apply(this.state, { do: 'setFaults', faults }, this.at));
  }

  crash(): void {
    this.events.push(...this.model.apply(this.state, { do: 'crash' }, this.at));
  }

  pass(ms: number): void {
    this.at += ms;
    this.events.push(...this.model.advance(this.state, this.at));
  }

  told(ticket: string): Told {
    for (const event of this.events)
      if (event.type === 'answered' && event.ticket === ticket)
        return event.result.ok
          ? { code: 'ok', value: event.result.value }
          : { code: event.result.rejection.code, value: event.result.rejection.message };
    return null;
  }

  /** Hands a command in and waits for its answer. */
  ask(input: Asked): Told {
    const ticket = this.tell(input);
    for (let passed = 0; this.told(ticket) === null && passed < HOUR_MS; passed += 10) this.pass(10);
    return this.told(ticket);
  }

  start(change: Partial<DomainSettings> = {}, paused = false): Told {
    return this.ask({ do: 'start', settings: settingsOf(change), paused });
  }

  /** What `tool` prints. */
  tool(tool: HostToolName, ...args: string[]): string {
    return this.output(tool, ...args).stdout;
  }

  output(tool: HostToolName, ...args: string[]): ToolOutput {
    return this.model.tool(this.state, { tool, args, at: this.at });
  }

  get freeBytes(): number {
    return this.model.figures(this.state).freeMemoryBytes;
  }
}

/** A Xen host. */
export class HostRig extends ModelRig<HostState> {
  constructor(bootMs = 1_000, name = 'host-0001', setup: Partial<XenSetup> = {}, memorySharing?: MemorySharing) {
    super(xenHostModel(timingFor(bootMs)), name, setup, memorySharing);
  }
}
