import type {
  BlockedMachine,
  Condition,
  DomainReport,
  HostPowerState,
  HostSpec,
  ObjectState,
  PresentObject,
  RegisterHostData,
} from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';

/** What the agent last said of its machine. */
export type Registration = Omit<RegisterHostData, 'domains' | 'name'>;

/** A domain on the host that no machine is known to have there. */
export interface StrayDomain {
  readonly virtualMachine: Uuid;
  readonly incarnation: number;
  /** First its machine is asked; then it is destroyed. */
  readonly phase: 'examining' | 'destroying';
  /** Which inventory it was seen in: a later one makes new commands. */
  readonly seen: number;
}

/** A maintenance from the moment that it was wished for; `remaining` null: the scheduler has not looked yet. */
export interface Maintenance {
  readonly uid: Uuid;
  readonly since: string;
  readonly remaining: number | null;
  readonly blocked: readonly BlockedMachine[];
  /** When the host became empty, or stopped being so. */
  readonly turnedAt: string;
}

/** Whether the machine has power, and how that came. */
export interface HostPower {
  readonly state: HostPowerState;
  /** Null: it has not registered. */
  readonly since: string | null;
  readonly reason: string;
  /** Power commands that it was sent: their ids derive from their numbers. */
  readonly turn: number;
  /** Of a host that starts: the boot that has begun; null: nobody has said yet that there is power. */
  readonly bootId: Uuid | null;
  /** Attempts in a row that came to nothing, what went wrong with the last, and when the next is due. */
  readonly failures: number;
  readonly message: string;
  readonly retryAt: number | null;
}

/** The life of the machine behind the object: an object is made by the registration, so there is one from the first event on. */
export interface HostOwn {
  readonly registration: Registration | null;
  readonly ready: Condition;
  /** When daemons died, or others than before; null: all run. */
  readonly lostSince: string | null;
  readonly strays: readonly StrayDomain[];
  /** Null: none is wished for. */
  readonly maintenance: Maintenance | null;
  readonly power: HostPower;
}

export type HostState = ObjectState<HostSpec, HostOwn>;
export type PresentHost = PresentObject<HostSpec, HostOwn>;

export const isReady = (host: PresentHost): boolean => host.own.ready.status === 'True';

/** Added to `RegisterHost` on its way in. `missing` counts only when the host has booted since. */
export interface RegisteredDifference {
  readonly missing: readonly RunOfMachine[];
  readonly strays: readonly RunOfMachine[];
}

/** What a comparison of an inventory with the machines' streams found. */
export interface InventoryDifference {
  /** `version`: of the machine's stream before the host was asked. */
  readonly missing: readonly (RunOfMachine & { readonly version: number })[];
  readonly strays: readonly RunOfMachine[];
  /** There, but under another id, or paused where the machine runs, or the other way round. */
  readonly changed: readonly ChangedRun[];
}

export interface ChangedRun extends RunOfMachine {
  readonly version: number;
  readonly domid: number;
  readonly state: DomainReport['state'];
}

export interface RunOfMachine {
  readonly virtualMachine: Uuid;
  readonly incarnation: number;
}

export const sameRun = (left: RunOfMachine, right: RunOfMachine): boolean =>
  left.virtualMachine === right.virtualMachine && left.incarnation === right.incarnation;
