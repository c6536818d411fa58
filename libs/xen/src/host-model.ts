import type { GuestType, Result, Uuid } from '@xenolith/kernel';
import type { DomainOrder } from './domain-order.js';
import type { DeviceFault, MortalDaemon } from './device-fault.js';
import type { WorkloadName } from './guest/index.js';
import type { ProfileName } from './hardware-profile.js';
import type { ConvergenceScheduleName, PrecopyPolicy } from './migration/policies.js';
import type { MigrationMessage } from './migration/protocol.js';
import type { MemorySharing } from './memory-sharing.js';
import type { HostDevices, XenSetup } from './xen-setup.js';
import type { ToolOutput } from './xl/index.js';

export type OnGuestEnd = 'destroy' | 'restart' | 'preserve';

export interface DiskSettings {
  readonly name: string;
  readonly volume: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
}

export interface NicSettings {
  readonly name: string;
  readonly mac: string;
  readonly bridge: string;
  readonly ips: readonly string[];
}

export type DeviceSettings =
  { readonly kind: 'disk'; readonly settings: DiskSettings } | { readonly kind: 'nic'; readonly settings: NicSettings };

/** A device of the host that a guest is given; several may have one name. */
export interface GivenDevice {
  readonly name: string;
  readonly kind: 'pci' | 'sriov' | 'usb';
  readonly address: string;
}

/** What the host must know of a guest to run it. */
export interface DomainSettings {
  readonly name: string;
  /** Absent: `default`. */
  readonly namespace?: string;
  readonly guestType: GuestType;
  /** Family of the guest's system; absent: `linux`. */
  readonly os?: 'linux' | 'windows' | 'other';
  /** What its first disk is a copy of; absent: of nothing that is known. */
  readonly image?: string;
  /** On line at boot; more, up to `maxVcpus`, may follow. */
  readonly vcpus: number;
  readonly maxVcpus: number;
  /** Share of the CPUs under contention, 1 to 65535. */
  readonly weight: number;
  /** Percent of one CPU; 0: none. */
  readonly cap: number;
  /** Hard affinity in xl's syntax; empty: none. */
  readonly pin: string;
  /** NUMA node that its memory is of first; absent: those of its pin, or any. */
  readonly memoryNode?: number;
  readonly staticMaxBytes: number;
  /** Down to this a balloon may take its memory while it migrates. */
  readonly dynamicMinBytes: number;
  /** What it gets at boot, and where its balloon is to go. */
  readonly dynamicMaxBytes: number;
  readonly disks: readonly DiskSettings[];
  readonly nics: readonly NicSettings[];
  /** Absent: none. */
  readonly devices?: readonly GivenDevice[];
  /** It may be given PCI devices though it begins with none; absent: no. */
  readonly passthrough?: 'enabled';
  /** Of an HVM guest: it has front-ends; one without is served by qemu-dm. */
  readonly pvDrivers: boolean;
  readonly ignoresShutdown: boolean;
  /** What the guest does while it is up; absent: something like `web`, at a level drawn for it. */
  readonly workload?: WorkloadName;
  /** Absent: the host's. */
  readonly bootMs?: number;
  readonly onPoweroff: OnGuestEnd;
  readonly onReboot: OnGuestEnd;
  readonly onCrash: OnGuestEnd;
}

/** Who asked: the answer carries it back. */
export type Ticket = string;

interface OnDomain {
  readonly ticket: Ticket;
  readonly uid: Uuid;
  readonly incarnation: number;
}
interface Ending extends OnDomain {
  readonly mode: 'clean' | 'hard';
  /** How long a guest may take to obey a clean request. */
  readonly timeoutMs: number;
}

/** What may change while a domain lives; what is left out stays. */
export type DomainChange = Partial<
  Pick<DomainSettings, 'vcpus' | 'weight' | 'cap' | 'pin' | 'dynamicMinBytes' | 'dynamicMaxBytes'>
>;

/** Everything that can be done to a host from outside. */
export type HostInput =
  | ({ readonly do: 'start'; readonly settings: DomainSettings; readonly paused: boolean } & OnDomain)
  | ({ readonly do: 'shutdown' } & Ending)
  | ({ readonly do: 'reboot' } & Ending)
  | ({ readonly do: 'pause' } & OnDomain)
  | ({ readonly do: 'unpause' } & OnDomain)
  | ({ readonly do: 'destroy' } & OnDomain)
  /** Saves the guest and ends the domain: the answer is its image. */
  | ({ readonly do: 'suspend'; readonly timeoutMs: number } & OnDomain)
  /** Saves the guest, which then goes on in its domain, or is paused there: the answer is its image. */
  | ({ readonly do: 'checkpoint'; readonly timeoutMs: number; readonly paused?: boolean } & OnDomain)
  /** As `start`, from an image: the guest goes on where it was. */
  | ({
      readonly do: 'resume';
      readonly settings: DomainSettings;
      readonly image: SavedGuestImage;
      readonly paused: boolean;
    } & OnDomain)
  | ({ readonly do: 'change'; readonly change: DomainChange } & OnDomain)
  /** Hot-plug; it is answered when both ends are connected, or when the guest will find the device as soon as it looks. */
  | ({ readonly do: 'attach'; readonly device: DeviceSettings } & OnDomain)
  | ({ readonly do: 'detach'; readonly kind: 'disk' | 'nic'; readonly name: string } & OnDomain)
  /** Those of the devices that have the name are given to a domain that runs. */
  | ({ readonly do: 'give'; readonly name: string; readonly devices: readonly GivenDevice[] } & OnDomain)
  | ({ readonly do: 'take'; readonly name: string } & OnDomain)
  /** Makes ready for a machine that comes from another host, and holds its memory. */
  | ({
      readonly do: 'receive';
      readonly settings: DomainSettings;
      readonly from: string;
      readonly fromIncarnation: number;
    } & OnDomain)
  /** Live migration to another host, which was told to receive it; the answer comes when it has ended. */
  | ({
      readonly do: 'migrate';
      readonly to: string;
      readonly toIncarnation: number;
      readonly operation: Uuid;
      /** Absent: the hypervisor's own. */
      readonly policy?: MigrationPolicyName;
    } & OnDomain)
  | ({ readonly do: 'cancelMigration' } & OnDomain)
  /** Is the machine here for good? If not, it never will be by this migration. */
  | ({ readonly do: 'settleMigration' } & OnDomain)
  /** A message from the host at the other end of a migration; `incarnation` is the run that the machine has at its target. */
  | ({ readonly do: 'peer'; readonly from: string; readonly seq: number; readonly message: PeerMessage } & OnDomain)
  /** The other host took a message that was sent over that connection not: it knows nothing of the migration, or something broke. */
  | {
      readonly do: 'peerRefused';
      readonly uid: Uuid;
      readonly incarnation: number;
      readonly connection: number;
      readonly unknown: boolean;
    }
  /** The guest does this by itself. */
  | { readonly do: 'guestEnds'; readonly uid: Uuid; readonly reason: GuestEnd }
  /** From now on these faults are in force and no others. */
  | { readonly do: 'setFaults'; readonly faults: readonly DeviceFault[] }
  /** What the baseboard controller does: the host has no power from now on, unless guests are on it. */
  | { readonly do: 'powerOff'; readonly ticket: Ticket }
  /** It has power and boots; it is answered at once. */
  | { readonly do: 'powerOn'; readonly ticket: Ticket }
  /** Power loss: every domain is lost and the host boots again. */
  | { readonly do: 'crash' };

/** Why a guest stops by itself; Xen's shutdown codes 0, 1 and 3. */
export type GuestEnd = 'poweroff' | 'reboot' | 'crash';

/** A guest that stands still: what its image takes on storage, and what a host must know to wake it (the hosts' own). */
export interface SavedGuestImage {
  readonly sizeBytes: number;
  readonly content: string;
}

/** Pages of 4 KiB; `downtimeMs` is from the guest's standstill here to its first step there. */
export interface MigrationFigures {
  readonly rounds: number;
  readonly pagesSent: number;
  readonly durationMs: number;
  readonly downtimeMs: number;
}

/** Who decides when a migration stops copying: one of Xen's policies, QEMU as libvirt leaves it, or one of oVirt's schedules (migration/policies.ts). */
export type MigrationPolicyName = Exclude<PrecopyPolicy['name'], 'convergence'> | 'qemu' | ConvergenceScheduleName;

/** What two hosts say to each other: their toolstacks' words, with the guest itself and when it ran, and signs of life. */
export type PeerMessage =
  | (MigrationMessage & { readonly content?: string; readonly runsUs?: number })
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }
  /** The sender has closed the connection. */
  | { readonly type: 'disconnected' };

export interface HostAnswer extends Partial<SavedGuestImage>, Partial<MigrationFigures> {
  readonly domid?: number;
  readonly state?: 'running' | 'paused';
  /** The boot of the host that the domain belongs to. */
  readonly bootId?: Uuid;
}

/** What a step brought about, in order. */
export type HostEvent =
  | { readonly type: 'answered'; readonly ticket: Ticket; readonly at: number; readonly result: Result<HostAnswer> }
  | {
      /** By itself, not because it was asked to, in domain `endedDomid`. `domid`: it was rebooted and runs under this id. */
      readonly type: 'guestEnded';
      readonly at: number;
      readonly uid: Uuid;
      readonly incarnation: number;
      readonly reason: GuestEnd;
      readonly endedDomid: number;
      readonly domid?: number;
    }
  /** `what`: the effect and the device, such as `failHotplug web-1/eth0`. */
  | { readonly type: 'faultStruck'; readonly at: number; readonly rule: Uuid; readonly what: string }
  | {
      /** To the host `to`, in the order of `seq`, until it is answered; over a later connection what was said over earlier ones is not said any more. */
      readonly type: 'peer';
      readonly at: number;
      readonly to: string;
      readonly uid: Uuid;
      readonly incarnation: number;
      readonly seq: number;
      readonly connection: number;
      readonly message: PeerMessage;
    }
  | {
      /** A round of a live migration was sent to its end; `remainingPages` became dirty meanwhile. */
      readonly type: 'migrationRound';
      readonly at: number;
      readonly operation: Uuid;
      readonly uid: Uuid;
      readonly round: number;
      readonly pagesSent: number;
      readonly remainingPages: number;
      readonly pagesPerSecond: number;
      readonly durationMs: number;
    }
  /** A daemon died, or was started again. */
  | { readonly type: 'daemonsChanged'; readonly at: number }
  | {
      /** The device model of a domain died, and the domain goes on without. */
      readonly type: 'deviceModelLost';
      readonly at: number;
      readonly uid: Uuid;
      readonly incarnation: number;
      readonly domid: number;
    }
  | { readonly type: 'poweredOff'; readonly at: number }
  | { readonly type: 'crashed'; readonly at: number }
  | { readonly type: 'booted'; readonly at: number };

/** One domain as the host lists it. */
export interface DomainView {
  readonly uid: Uuid;
  readonly incarnation: number;
  readonly domid: number;
  readonly state: 'running' | 'paused' | 'shutdown';
  /** Its guest takes no step: it is being saved, or may run elsewhere already. */
  readonly standsStill?: true;
}

export interface HostFigures {
  readonly domains: number;
  readonly freeMemoryBytes: number;
  /** Busy share of the hardware threads, 0 to 1. */
  readonly cpuLoad: number;
  /** Dom0; absent where there is none. `usedBytes`: of its memory, what its processes use. */
  readonly controlDomain?: { readonly cpu: number; readonly memoryBytes: number; readonly usedBytes: number };
  readonly migrations?: { readonly incoming: number; readonly outgoing: number };
  /** Where guests' equal pages are merged: memory that several have, and what they would have beyond it of their own. */
  readonly sharing?: { readonly sharedBytes: number; readonly savedBytes: number };
}

/** Of the rings between guest and back-end; absent where a device model emulates the device. */
export interface RingFigures {
  /** Requests that wait for their answers now. */
  readonly inFlight: number;
  /** Time in which the rings were full and the guest was held back, since the domain began. */
  readonly fullSeconds: number;
}

/** States of both ends as XenBus numbers them (4: connected). */
export interface DeviceStateFigures {
  readonly frontend: number;
  readonly backend: number;
}

/** Since the domain began. */
export interface DiskFigures {
  readonly name: string;
  readonly states?: DeviceStateFigures;
  readonly rings?: RingFigures;
  readonly reads: number;
  readonly writes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** Since the domain began. */
export interface NicFigures {
  readonly name: string;
  readonly states?: DeviceStateFigures;
  readonly rings?: RingFigures;
  readonly receivedPackets: number;
  readonly sentPackets: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface DomainFigures {
  readonly uid: Uuid;
  /** Busy share of one hardware thread; 2 is two busy threads. */
  readonly cpu: number;
  readonly memoryBytes: number;
  /** Share of time that its vCPUs could have run and had no thread. */
  readonly steal?: number;
  /** Since the domain began. */
  readonly cpuSeconds?: number;
  readonly stealSeconds?: number;
  readonly balloon?: { readonly targetBytes: number; readonly actualBytes: number };
  readonly dirtyPagesPerSecond?: number;
  /** Of a domain that prefers some NUMA nodes: its own memory on each node. */
  readonly nodeBytes?: readonly number[];
  /** Of its memory, what it has in common with others. */
  readonly sharedBytes?: number;
  readonly disks?: readonly DiskFigures[];
  readonly nics?: readonly NicFigures[];
}

/** Tools of a Xen host. */
export type XenToolName = 'brctl' | 'ip' | 'ovs-vsctl' | 'xl' | 'xenstore' | 'xm';
/** Those of Dom0, and libvirt's on a KVM host. */
export type HostToolName = XenToolName | 'virsh';

/** What a host is from its first boot on. */
export interface HostOptions {
  readonly name: string;
  readonly seed: string;
  readonly profile: ProfileName;
  /** Of a Xen host; absent: the usual one. */
  readonly setup?: XenSetup;
  /** Of a KVM host; absent: none. Those of a Xen host are in its setup. */
  readonly devices?: HostDevices;
  /** Absent: each guest's pages are its own. */
  readonly memorySharing?: MemorySharing;
  readonly at: number;
}

/**
 * Emulated hosts that inputs and virtual time move forward. A state is JSON, so that it can be kept in a file; it belongs to the model, which changes it in
 * place. The same inputs at the same times give the same states and events, on every machine. Times are milliseconds since the epoch.
 */
export interface HostModel<State> {
  /** A host that booted at `at` and runs nothing. */
  create(options: HostOptions): State;
  /** Lets time pass to `at`, then applies the input. Returns what it brought about, in order. */
  apply(state: State, input: HostInput, at: number): readonly HostEvent[];
  /** Lets time pass to `at`: all that falls due happens at its own time. */
  advance(state: State, at: number): readonly HostEvent[];
  /** When something will happen without input; null: never. */
  nextDue(state: State): number | null;
  /** Up to when time has passed. */
  timeOf(state: State): number;
  isUp(state: State): boolean;
  /** It has no power. */
  isOff(state: State): boolean;
  /** Differs after every boot. */
  bootId(state: State): Uuid;
  /** Daemons that should run and do not. */
  lostDaemons(state: State): readonly MortalDaemon[];
  /** Domains that exist; those being torn down are left out. */
  inventory(state: State): readonly DomainView[];
  figures(state: State): HostFigures;
  /** As they are at `at`, which may be later than all that has happened; asking changes nothing. */
  domainFigures(state: State, at: number): readonly DomainFigures[];
  /** What a tool on the host prints at `at`. It changes nothing. */
  tool(
    state: State,
    call: { readonly tool: HostToolName; readonly args: readonly string[]; readonly at: number },
  ): ToolOutput;
  /** What a call of a tool wants done to a domain, or the tool's refusal; null: it only looks. It changes nothing. */
  order(
    state: State,
    call: { readonly tool: HostToolName; readonly args: readonly string[] },
  ): DomainOrder | ToolOutput | null;
}
