import {
  timestamp,
  type AttachedDisk,
  type AttachedNic,
  type Condition,
  type DirectCommand,
  type DomainHardware,
  type GivenDevice,
  type HaltReason,
  type ObjectState,
  type PowerState,
  type PresentObject,
  type SnapshotContent,
  type SuspendImage,
  type VirtualMachineSpec,
} from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';

/** Keeps a machine until its domain, disks, ports and reservation have been given back. */
export const TEARDOWN_FINALIZER = 'compute.xenolith.dev/teardown';

/** A run on a host. */
export interface RunPlace {
  readonly incarnation: number;
  readonly host: string;
  readonly hostUid: Uuid;
  readonly domid: number;
  /** False while the host does not answer: the machine may still run there. */
  readonly hostAnswers: boolean;
  /** When the machine came onto a host; a migration to another changes nothing about it. */
  readonly startTime: string;
}

/** What a run that ended by itself left behind: a reservation, leases, perhaps a domain. */
export interface Leftover {
  readonly incarnation: number;
  readonly host: string;
}

export type Run =
  | {
      readonly phase: 'halted';
      readonly reason: HaltReason | 'never_started';
      readonly message: string;
      readonly leftover: Leftover | null;
    }
  | ({ readonly phase: 'running' } & RunPlace)
  | ({ readonly phase: 'paused' } & RunPlace)
  /** The guest of that run is saved in the machine's image and is on no host. */
  | { readonly phase: 'suspended'; readonly incarnation: number };

export type PlacedRun = Extract<Run, RunPlace>;

/** The run, while it is on a host. */
export const placedRun = (run: Run): PlacedRun | null =>
  run.phase === 'running' || run.phase === 'paused' ? run : null;

/** What the machine was at one moment, and can be again. */
export interface MachineSnapshot {
  readonly uid: Uuid;
  readonly name: string;
  readonly content: SnapshotContent;
}

/** An operation under way, as its target knows it. */
export interface CurrentOperation {
  readonly operation: Uuid;
  readonly name: string;
  readonly action: OperationAction;
  /** The wish before this action set it: what an action that fails gives back. */
  readonly formerPowerState: PowerState | null;
  /** The domain that the machine had when it began. */
  readonly domid: number | null;
  /** The wish that it set, while that is still what is wished. */
  readonly wish: PowerState | null;
  /** The snapshot that it takes, or puts the machine back to. */
  readonly snapshot: Pick<MachineSnapshot, 'uid' | 'name'> | null;
  /** The spec before the change that this operation carries out: what one that fails gives back. */
  readonly formerSpec: VirtualMachineSpec | null;
}

/**
 * XAPI's words, and four of the platform's own beside them: what makes a first run, what changes several things of a run, what cleans up behind a run, and what ends a
 * machine.
 */
export type OperationAction =
  | 'provision'
  | 'start'
  | 'clean_shutdown'
  | 'shutdown'
  | 'hard_shutdown'
  | 'clean_reboot'
  | 'hard_reboot'
  | 'pause'
  | 'unpause'
  | 'suspend'
  | 'resume'
  | 'pool_migrate'
  | 'snapshot'
  | 'checkpoint'
  | 'revert'
  | 'changing_VCPUs_live'
  | 'changing_dynamic_range'
  | 'reconfigure'
  | 'release'
  | 'deprovision';

export const takesSnapshot = ({ action }: Pick<CurrentOperation, 'action'>): boolean =>
  action === 'snapshot' || action === 'checkpoint';

export interface MachineOwn {
  readonly run: Run;
  /** The youngest run that was ever begun. */
  readonly incarnation: number;
  readonly operations: readonly CurrentOperation[];
  /** The saved guest of a suspended machine; of one that is not suspended any more, what is still to be given back. */
  readonly image: SuspendImage | null;
  /** A loss of the run that waits for the end of the operation that may have taken it away. */
  readonly missed: {
    readonly incarnation: number;
    readonly reason: HaltReason;
    readonly message: string;
  } | null;
  /** CPU and memory of the last run, as it has them now. */
  readonly hardware: DomainHardware | null;
  /** What the last run ran under, as far as that was said: a saved guest can be woken under the same only. */
  readonly hypervisor: 'xen' | 'kvm' | null;
  /** Devices of the last run: they outlive it, addresses and all. */
  readonly disks: readonly AttachedDisk[];
  readonly nics: readonly AttachedNic[];
  /** Those of its host that the last run had. */
  readonly devices: readonly GivenDevice[];
  /** The domain whose device model has died; null: none. */
  readonly deviceModelLost: { readonly incarnation: number; readonly domid: number; readonly since: string } | null;
  readonly snapshots: readonly MachineSnapshot[];
  /** A run whose guest ended before its start was recorded; `domid`: it was restarted under this id. */
  readonly endedEarly: {
    readonly incarnation: number;
    readonly reason: 'poweroff' | 'crash' | 'reboot';
    readonly domid?: number | undefined;
    readonly direct?: DirectCommand | undefined;
  } | null;
  /** What the start waits for, as far as it does: a host that fits, or something that it needs. */
  readonly unschedulable: { readonly reason: string; readonly message: string } | null;
  /** Why the last operation came to nothing. */
  readonly problem: string | null;
  readonly ready: Condition;
}

export type MachineState = ObjectState<VirtualMachineSpec, MachineOwn>;
export type PresentMachine = PresentObject<VirtualMachineSpec, MachineOwn>;

export const NEVER_STARTED: MachineOwn = {
  run: { phase: 'halted', reason: 'never_started', message: 'has not been started', leftover: null },
  incarnation: 0,
  operations: [],
  image: null,
  missed: null,
  hardware: null,
  hypervisor: null,
  disks: [],
  nics: [],
  devices: [],
  deviceModelLost: null,
  snapshots: [],
  endedEarly: null,
  unschedulable: null,
  problem: null,
  ready: {
    type: 'Ready',
    status: 'False',
    reason: 'Halted',
    message: 'has not been started',
    lastTransitionTime: timestamp(0),
  },
};

/** The power state as the host last reported it, in XAPI's words. */
export const powerStateOf = (run: Run): PowerState => {
  switch (run.phase) {
    case 'halted':
      return 'Halted';
    case 'running':
      return 'Running';
    case 'paused':
      return 'Paused';
    case 'suspended':
      return 'Suspended';
  }
};

export const currentOperation = (own: MachineOwn, operation: string | undefined): CurrentOperation | undefined =>
  own.operations.find((current) => current.operation === operation);
