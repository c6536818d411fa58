import { done, fail, type Outcome } from '../outcome.js';
import type { DaemonName, Firmware, ReleaseProfile } from './release-profile.js';

export interface ProcessState {
  readonly pid: number;
  /** The device model of a guest carries its number. */
  readonly what: DaemonName | 'device-model';
  readonly domid: number | null;
  readonly program: string;
  /** What hvmloader runs in the guest of a device model. */
  readonly firmware: Firmware | null;
}

export interface DaemonsState {
  nextPid: number;
  readonly processes: Record<number, ProcessState>;
  /** xenstored died: it can't be started again before the host boots. */
  storeLost: boolean;
}

/** Pids before the first daemon's belong to the kernel and the init system; assumption. */
const FIRST_PID = 700;

export const createDaemons = (): DaemonsState => ({ nextPid: FIRST_PID, processes: {}, storeLost: false });

/** What a death means; `guests` go on in each case. */
export type Consequence =
  /** Nothing can be started, stopped, attached or migrated until the host boots again; running guests and their devices go on. */
  | { readonly lost: 'control-plane'; readonly restartable: false }
  /** Nobody reads the guests' consoles and none can be opened, until it runs again. */
  | { readonly lost: 'consoles'; readonly restartable: true }
  /** Every disk that this process serves in user space is gone for its guest. */
  | { readonly lost: 'qdisk-backends'; readonly restartable: true }
  /** `xm` gets no answer until it runs again. */
  | { readonly lost: 'toolstack'; readonly restartable: true }
  /** The guest loses what QEMU emulates for it: an HVM guest without PV drivers its disks and network, every one its screen. */
  | { readonly lost: 'emulated-devices'; readonly domid: number; readonly restartable: false };

const consequenceOf = (process: ProcessState): Consequence => {
  switch (process.what) {
    case 'xenstored':
      return { lost: 'control-plane', restartable: false };
    case 'xenconsoled':
      return { lost: 'consoles', restartable: true };
    case 'qemu-dom0':
      return { lost: 'qdisk-backends', restartable: true };
    case 'xend':
      return { lost: 'toolstack', restartable: true };
    case 'device-model':
      return { lost: 'emulated-devices', domid: process.domid ?? 0, restartable: false };
  }
};

/** The daemons of Dom0 as processes, and one device model for each HVM guest. */
export class Daemons {
  readonly state: DaemonsState;
  readonly #release: ReleaseProfile;

  constructor(state: DaemonsState, release: ReleaseProfile) {
    this.state = state;
    this.#release = release;
  }

  /**
   * Starts a daemon; EEXIST if it runs. EIO for xenstored after it died, as its guests' rings and watches died with it, and for everything else
   * while there is no xenstored.
   */
  start(daemon: DaemonName): Outcome<ProcessState> {
    if (this.running(daemon)) return fail('EEXIST');
    if (daemon === 'xend' && !this.#release.xend) return fail('ENOENT');
    if (this.state.storeLost || (daemon !== 'xenstored' && !this.running('xenstored'))) return fail('EIO');
    return done(this.#spawn({ what: daemon, domid: null, program: this.#programOf(daemon), firmware: null }));
  }

  /** Starts an HVM guest's device model; EEXIST if it has one, ENOENT for firmware that the release has not, EIO without xenstored. */
  startDeviceModel(domid: number, firmware: Firmware = this.#release.firmware[0]): Outcome<ProcessState> {
    if (this.deviceModelOf(domid)) return fail('EEXIST');
    if (!this.#release.firmware.includes(firmware)) return fail('ENOENT');
    if (!this.running('xenstored')) return fail('EIO');
    return done(this.#spawn({ what: 'device-model', domid, program: this.#release.deviceModel, firmware }));
  }

  /** Ends a guest's device model with the guest; nothing happens if there is none. */
  stopDeviceModel(domid: number): void {
    const process = this.deviceModelOf(domid);
    if (process) this.#reap(process.pid);
  }

  /** A process crashes or is killed; ESRCH if there is none of that number. */
  kill(pid: number): Outcome<Consequence> {
    const process = this.state.processes[pid];
    if (!process) return fail('ESRCH');
    this.#reap(pid);
    if (process.what === 'xenstored') this.state.storeLost = true;
    return done(consequenceOf(process));
  }

  running(daemon: DaemonName): ProcessState | null {
    return Object.values(this.state.processes).find(({ what }) => what === daemon) ?? null;
  }

  deviceModelOf(domid: number): ProcessState | null {
    return (
      Object.values(this.state.processes).find(
        (process) => process.what === 'device-model' && process.domid === domid,
      ) ?? null
    );
  }

  #programOf(daemon: DaemonName): string {
    return daemon === 'qemu-dom0' ? this.#release.deviceModel : daemon;
  }

  #spawn(process: Omit<ProcessState, 'pid'>): ProcessState {
    const started = { pid: this.state.nextPid, ...process };
    this.state.nextPid += 1;
    this.state.processes[started.pid] = started;
    return started;
  }

  #reap(pid: number): void {
    Reflect.deleteProperty(this.state.processes, pid);
  }
}

export interface ServedDevice {
  readonly backend: number;
  readonly frontend: number;
  readonly kind: string;
  readonly devid: number;
}

/** The devices that the crash of a driver domain breaks: its own and no others. A crash of Dom0 takes the host instead. */
export const brokenBy = <Device extends ServedDevice>(devices: readonly Device[], backend: number): readonly Device[] =>
  devices.filter((device) => device.backend === backend);
