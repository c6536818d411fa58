import type { Uuid } from '@xenolith/kernel';
import type { DeviceFault } from '../device-fault.js';
import type { PassthroughState } from '../devices/index.js';
import type { HardwareProfile, ProfileName } from '../hardware-profile.js';
import { HARDWARE_PROFILES, threadsOf } from '../hardware-profile.js';
import type { DomainSettings, HostAnswer, HostEvent, HostInput, SavedGuestImage, Ticket } from '../host-model.js';
import type { HostTiming } from '../host-timing.js';
import { plan, type AgendaState } from '../host/agenda.js';
import { US_PER_MS } from '../host/answers.js';
import type { WorkingDevice } from '../host/device-work.js';
import type { MigrationSession, MigrationTask } from '../host/migration-session.js';
import type { ScanState } from '../host/page-scan.js';
import type { MemorySharing } from '../memory-sharing.js';
import type { HostDevices } from '../xen-setup.js';

/** A KVM host as JSON: QEMU processes side by side, and no control domain. It belongs to the model, which changes it in place. */
export interface KvmHostState {
  readonly kind: 'kvm';
  readonly name: string;
  readonly seed: string;
  readonly profile: ProfileName;
  /** Absent: each guest's pages are its own. */
  readonly memorySharing?: MemorySharing;
  /** When it booted for the first time, in milliseconds; part of its boot ids. */
  readonly bornAt: number;
  boots: number;
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
  agenda: AgendaState<KvmTask>;
  /** By the machine's uid, in the order of their start. */
  machines: Record<Uuid, KvmMachine>;
  /** The youngest run of each machine that ended here. */
  ended: Record<Uuid, number>;
  /** ksmd's, where it runs: its scanner, and the pages of each process that it has merged. */
  ksm?: { scan: ScanState; merged: Record<number, number> };
  /** In force; a boot does not end them. */
  faults: DeviceFault[];
  /** Live migrations from here and to here, by machine and the run that it has at its target. */
  migrations: Record<string, MigrationSession>;
  /** What it has to give, bound to vfio-pci, and who has it; absent: nothing. */
  readonly devices?: HostDevices;
  passthrough?: PassthroughState;
  /** libvirtd has died; absent: it runs. */
  libvirtd?: 'lost';
  lastPid: number;
  lastNumber: number;
  lastTap: number;
  /** CPU time is booked up to here; later it grows by the machines' shares. */
  cpuSinceUs: number;
}

/** A disk or an interface of a machine. */
export interface KvmDevice extends WorkingDevice {
  /** Its place among those of its kind: a disk's letter. */
  readonly slot: number;
  /** Of an interface: vnet<n> on the host. */
  readonly tap: number | null;
}

/** One QEMU process. */
export interface KvmMachine {
  readonly uid: Uuid;
  readonly incarnation: number;
  readonly pid: number;
  /** libvirt counts the domains that it starts. */
  readonly number: number;
  readonly startedUs: number;
  /**
   * `starting`: its monitor does not answer yet. `arriving`: it waits for a guest from another host (QEMU's `inmigrate`). `saving`: its guest is written to an image. `finishing`: its guest
   * stands still to go on elsewhere (`finish-migrate`, `postmigrate`). `ending`: the process was told to quit. `shutdown`: its guest ended and it is preserved.
   */
  phase: 'starting' | 'arriving' | 'up' | 'saving' | 'finishing' | 'ending' | 'shutdown';
  paused: boolean;
  /** What the guest is to be asked by the power button, once it listens. */
  asked: 'poweroff' | 'reboot' | null;
  settings: DomainSettings;
  /** Its disks, then its interfaces; those that came later follow. */
  devices: KvmDevice[];
  guest: KvmGuest;
  /** When its guest's image is written; null: it is not being saved. */
  savedUs: number | null;
  /** Written, and handed out when the process is gone. */
  image: SavedGuestImage | null;
  waiting: KvmWaiting[];
  /** Nanoseconds used, threads kept busy and threads missed, in that order of meaning. */
  cpu: { usedNs: number; share: number; steal: number; stolenNs: number };
}

export interface KvmGuest {
  phase: 'off' | 'booting' | 'up' | 'ended';
  /** What it does next: the moment while it runs, what is left of its own time while it is paused. */
  next: { readonly what: 'booted' | 'stop'; readonly dueUs: number | null; readonly leftUs: number } | null;
  stopping: 'poweroff' | 'reboot' | null;
}

export type KvmWaiting =
  | { readonly ticket: Ticket; readonly for: 'start' | 'reboot' | 'end' | 'suspend' }
  /** `paused`: the guest is not to go on by itself after it. */
  | { readonly ticket: Ticket; readonly for: 'checkpoint'; readonly paused: boolean }
  /** Devices of the host of this name. */
  | { readonly ticket: Ticket; readonly for: 'take'; readonly name: string }
  | {
      readonly ticket: Ticket;
      readonly for: 'plug' | 'unplug';
      readonly kind: 'disk' | 'nic';
      readonly name: string;
    };

export type KvmTask =
  | { readonly do: 'started'; readonly uid: Uuid; readonly pid: number }
  | { readonly do: 'guest'; readonly uid: Uuid; readonly pid: number; readonly dueUs: number }
  | { readonly do: 'giveUp'; readonly uid: Uuid; readonly ticket: Ticket; readonly timeoutMs: number }
  | {
      readonly do: 'saved';
      readonly uid: Uuid;
      readonly pid: number;
      readonly dueUs: number;
      readonly sizeBytes: number;
    }
  | { readonly do: 'exited'; readonly uid: Uuid; readonly pid: number }
  /** Guests' pages are looked at. */
  | { readonly do: 'pages'; readonly dueUs: number }
  | MigrationTask;

/** A host at work: its state, and what has come of the present step. */
export interface KvmHost {
  readonly state: KvmHostState;
  readonly timing: HostTiming;
  readonly events: HostEvent[];
}

export const profileOf = ({ state }: KvmHost): HardwareProfile => HARDWARE_PROFILES[state.profile];
export const threadsOfHost = (host: KvmHost): number => threadsOf(profileOf(host));

export const planIn = (host: KvmHost, ms: number, task: KvmTask): void =>
  plan(host.state.agenda, host.state.nowUs + Math.round(ms * US_PER_MS), task);

/** The machine, if it still is this process. */
export const machineOf = (host: KvmHost, uid: Uuid, pid: number): KvmMachine | null => {
  const machine = host.state.machines[uid];
  return machine?.pid === pid ? machine : null;
};

/** Its virtual CPUs are let run. */
export const runs = (machine: KvmMachine): boolean => machine.phase === 'up' && !machine.paused;

export const isOver = ({ phase }: KvmMachine): boolean => phase === 'ending' || phase === 'shutdown';

/** A process id stands where Xen has a domain id. */
export const runningAnswer = (host: KvmHost, machine: KvmMachine): HostAnswer => ({
  domid: machine.pid,
  state: machine.paused ? 'paused' : 'running',
  bootId: host.state.bootId,
});

/** Takes those out of the waiting whom it concerns. */
export const waitingFor = (machine: KvmMachine, is: (waiting: KvmWaiting) => boolean): readonly KvmWaiting[] => {
  const told = machine.waiting.filter(is);
  machine.waiting = machine.waiting.filter((waiting) => !is(waiting));
  return told;
};
