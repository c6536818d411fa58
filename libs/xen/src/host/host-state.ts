import { uuidFrom, type Uuid } from '@xenolith/kernel';
import type {
  BackendEnd,
  Device,
  DeviceTask,
  Flow,
  FrontendEnd,
  HotplugRun,
  PassthroughState,
  XenbusState,
} from '../devices/index.js';
import type { DeviceFault } from '../device-fault.js';
import type { DaemonsState, NetworkState, ReleaseProfile } from '../dom0/index.js';
import type { ProfileName } from '../hardware-profile.js';
import type { DomainSettings, GuestEnd, HostEvent, HostInput, SavedGuestImage, Ticket } from '../host-model.js';
import type { HostTiming } from '../host-timing.js';
import type { Hypervisor } from '../hypervisor/index.js';
import { type HypervisorState } from '../hypervisor/index.js';
import type { MemorySharing } from '../memory-sharing.js';
import { DEFAULT_XEN_SETUP, releaseOf, type DriverRole, type XenSetup } from '../xen-setup.js';
import type { Xenstore } from '../xenstore/index.js';
import { type XenstoreState } from '../xenstore/index.js';
import type { MigrationSession, MigrationTask } from './migration-session.js';
import type { AgendaState } from './agenda.js';
import type { ScanState } from './page-scan.js';

/** A Xen host as JSON. It belongs to the model, which changes it in place. */
export interface HostState {
  readonly name: string;
  readonly seed: string;
  readonly profile: ProfileName;
  /** Absent: the usual one. */
  readonly setup?: XenSetup;
  /** Absent: each guest's pages are its own. */
  readonly memorySharing?: MemorySharing;
  /** When it booted for the first time, in milliseconds; part of its boot ids, so that a host that lost its memory is another one. */
  readonly bornAt: number;
  boots: number;
  /** Differs after every boot. */
  bootId: Uuid;
  /** No input or due event lies before this; microseconds. */
  nowUs: number;
  bootedUs: number;
  /** Set while the host boots after a crash. */
  upAtUs: number | null;
  /** It has no power; absent: it has. */
  off?: true;
  /** What came while the host was down, in order. */
  waiting: HostInput[];
  hypervisor: HypervisorState;
  xenstore: XenstoreState;
  /** Of Dom0. */
  daemons: DaemonsState;
  network: NetworkState;
  /** Where pages are shared. */
  scan?: ScanState;
  /** Absent: Dom0 serves all devices. */
  drivers?: Partial<Record<DriverRole, DriverDomain>>;
  /** Absent: there is nothing to give. */
  passthrough?: PassthroughState;
  agenda: AgendaState<HostTask>;
  /** By the machine's uid, in the order of their creation. */
  machines: Record<Uuid, Machine>;
  /** The machine behind a domain id. */
  byDomid: Record<number, Uuid>;
  /** The youngest run of each machine that ended here: it and older ones never start again. */
  ended: Record<Uuid, number>;
  /** In force; a boot does not end them. */
  faults: DeviceFault[];
  /** Live migrations from here and to here, by machine and the run that it has at its target. */
  migrations: Record<string, MigrationSession>;
  /** CPU time up to `sinceUs`, and what the vCPUs get from then on. */
  cpu: CpuAccount;
}

/** A domain that serves devices of a kind instead of Dom0. */
export interface DriverDomain {
  readonly role: DriverRole;
  /** Its last one while it is down: devices that are made then wait for nobody. */
  domid: number;
  up: boolean;
  sinceUs: number;
  boots: number;
  /** When it is up again; null: nothing is planned. */
  bootUs: number | null;
  /** Of the one that serves interfaces: what is Dom0's elsewhere. */
  network: NetworkState | null;
}

export interface CpuAccount {
  sinceUs: number;
  /** Something changed at this very moment. */
  stale: boolean;
  /** By domain id, then vCPU: nanoseconds used, share of one CPU, share of time runnable without one; and nanoseconds of the latter in all. */
  domains: Record<number, { usedNs: number[]; shares: number[]; steals: number[]; stolenNs: number }>;
}

/** One run of a virtual machine, on the domain that it has now. */
export interface Machine {
  readonly uid: Uuid;
  readonly incarnation: number;
  domid: number;
  /** When its domain was created. */
  createdUs: number;
  /**
   * `restarting`: its domain is being torn down, another follows. `ending`: it is being torn down for good. `shutdown`: its guest ended and it is
   * preserved. `suspended`: its guest stands still to be saved or to go on elsewhere. `arriving`: it
   * comes from another host and has not run here yet.
   */
  phase: 'building' | 'arriving' | 'up' | 'suspended' | 'restarting' | 'ending' | 'shutdown';
  /** Who wants the next domain of a machine that restarts. */
  restart: 'asked' | 'itself' | null;
  /** What the guest is to be asked as soon as it has a home in the store. */
  asked: StopRequest | null;
  /** What the toolstack wants; the domain follows when it is built. */
  paused: boolean;
  settings: DomainSettings;
  guest: Guest;
  /** What its new domain goes on with instead of booting, and how long that is read; null: it boots. */
  wakes: { readonly guest: Guest; readonly readingUs: number } | null;
  /** It was saved, and this is what who asked for it gets when the domain is gone. */
  image: SavedGuestImage | null;
  devices: MachineDevice[];
  /** Where an HVM guest finds the host's functions that it has, on its bus; absent: it has none. */
  slots?: Record<string, number>;
  /** Its device model died; absent: it lives, or there is none. */
  deviceModel?: 'lost';
  waiting: Waiting[];
}

/** What runs in the domain. All of it goes with the guest when it is saved or migrated. */
export interface Guest {
  /** `off`: it was never unpaused. `loading`: firmware and kernel. `probing`: its drivers look for devices. `up`: it does its work. `ended`. */
  phase: 'off' | 'loading' | 'probing' | 'up' | 'ended';
  /** What it does next, when it runs: microseconds of its own running time that are left, or the moment while it runs. */
  next: GuestStep | null;
  /** It was told to stop and will. */
  stopping: StopRequest | null;
}

export type StopRequest = 'poweroff' | 'reboot' | 'suspend';

export interface GuestStep {
  readonly what: 'probe' | 'booted' | 'panic' | 'stop';
  /** While it runs: when. While it is paused: null, and `leftUs` is what remains. */
  dueUs: number | null;
  leftUs: number;
}

/** A disk or an interface of a machine. */
export interface MachineDevice {
  /** Its name in the machine's specification. */
  readonly name: string;
  readonly kind: 'disk' | 'nic';
  /** Its place among those of its kind: 0 is xvda, or the first interface. */
  readonly slot: number;
  readonly device: Device;
  /** What the toolstack does with it; null: nothing. */
  task: DeviceTask | null;
  /** The script that runs, and when it ends; null: none, or one that never ends. */
  script: { readonly run: HotplugRun; readonly number: number } | null;
  scripts: number;
  back: BackendEnd | null;
  front: FrontendEnd | null;
  /** Grant handles by which the back-end holds the rings. */
  mappings: number[];
  /** What goes through it: a disk's requests; what an interface of the guest's sends, then what it receives. None before the first. */
  flows: Flow[];
  /** The rule of the fault that keeps its back-end from answering. */
  stalledBy: Uuid | null;
  /** Ends that a lost watch left behind: when they look again by themselves. */
  retries: { back?: number; front?: number };
  /** What libxl logged when it gave the device up; null: it did not. */
  complaint: string | null;
}

/** An end of a device with a driver. */
export type DriverEnd = keyof MachineDevice['retries'];

/** Somebody waits for the machine to be up (`start`, `reboot`) or gone (`end`), for its image (`suspend`: and the end of its domain; `checkpoint`), or for a device to be there or gone. */
export type Waiting =
  | { readonly ticket: Ticket; readonly for: 'start' | 'reboot' | 'end' | 'suspend' }
  /** `paused`: the guest is not to go on by itself after it. */
  | { readonly ticket: Ticket; readonly for: 'checkpoint'; readonly paused: boolean }
  | { readonly ticket: Ticket; readonly for: 'plug' | 'unplug' | 'take'; readonly device: string };

/** Somebody wants the guest's image. */
export const wantsImage = ({ for: what }: { readonly for: string }): boolean =>
  what === 'suspend' || what === 'checkpoint';

/** Who set a watch, in its token: the driver of an end, or the toolstack. */
export type Watcher = 'back' | 'front' | 'tool';

/** What happens at its time unless something came between; each looks whether it still applies. */
export type HostTask =
  | { readonly do: 'built'; readonly uid: Uuid; readonly domid: number }
  | { readonly do: 'watch'; readonly to: number; readonly token: string; readonly path: string }
  | {
      readonly do: 'script';
      readonly uid: Uuid;
      readonly domid: number;
      readonly device: string;
      readonly number: number;
    }
  | {
      readonly do: 'deviceTimer';
      readonly uid: Uuid;
      readonly domid: number;
      readonly device: string;
      readonly dueUs: number;
    }
  | {
      readonly do: 'retry';
      readonly uid: Uuid;
      readonly domid: number;
      readonly device: string;
      readonly end: DriverEnd;
      readonly dueUs: number;
    }
  | { readonly do: 'guest'; readonly uid: Uuid; readonly domid: number; readonly dueUs: number }
  | { readonly do: 'giveUp'; readonly uid: Uuid; readonly ticket: Ticket; readonly timeoutMs: number }
  /** `runs`: it says so; otherwise the toolstack has waited long enough. */
  | { readonly do: 'deviceModel'; readonly uid: Uuid; readonly domid: number; readonly runs: boolean }
  | { readonly do: 'destroyed'; readonly uid: Uuid; readonly domid: number }
  | { readonly do: 'suspendTimer'; readonly uid: Uuid; readonly ticket: Ticket; readonly timeoutMs: number }
  | MigrationTask
  /** The guest's image is written. */
  | { readonly do: 'saved'; readonly uid: Uuid; readonly domid: number; readonly sizeBytes: number }
  /** Somebody has waited long enough for a guest to take a device up. */
  | { readonly do: 'plugTimer' | 'takeTimer'; readonly uid: Uuid; readonly ticket: Ticket }
  | { readonly do: 'driverDomain'; readonly role: DriverRole; readonly what: 'crash' | 'boot'; readonly dueUs: number }
  /** Guests' pages are looked at. */
  | { readonly do: 'pages'; readonly dueUs: number }
  /** A balloon arrives, or asks for memory again. */
  | { readonly do: 'hypervisor'; readonly dueUs: number };

/** A host at work: its state, the layers that stand on it, and what has come of the present step. */
export interface Host {
  readonly state: HostState;
  hypervisor: Hypervisor;
  xenstore: Xenstore;
  readonly timing: HostTiming;
  events: HostEvent[];
}

/** Something changed that the schedulers and the devices' data look at. What each gets is worked out once, before time goes on. */
export const accountCpu = (host: Host): void => {
  host.state.cpu.stale = true;
};

export const setupOf = (state: Pick<HostState, 'setup'>): XenSetup => state.setup ?? DEFAULT_XEN_SETUP;

export const releaseOfHost = ({ state }: { readonly state: Pick<HostState, 'setup'> }): ReleaseProfile =>
  releaseOf(setupOf(state));

export const bootIdOf = (host: { name: string; seed: string; bornAt: number }, boots: number): Uuid =>
  uuidFrom('boot', host.seed, host.name, host.bornAt, boots);

export const newGuest = (): Guest => ({ phase: 'off', next: null, stopping: null });

/** The machine, if it still has this domain. */
export const machineOf = (host: Host, uid: Uuid, domid: number): Machine | null => {
  const machine = host.state.machines[uid];
  return machine?.domid === domid ? machine : null;
};

export const deviceNamed = (machine: Machine, name: string): MachineDevice | null =>
  machine.devices.find((device) => device.name === name) ?? null;

/** States of both ends, as people see them. */
export interface DeviceStates {
  readonly back: XenbusState | null;
  readonly front: XenbusState | null;
}

export type { GuestEnd };
