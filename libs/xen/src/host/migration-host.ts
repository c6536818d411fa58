import type { Uuid } from '@xenolith/kernel';
import type { ProfileName } from '../hardware-profile.js';
import type { HostAnswer, HostEvent, HostInput, MigrationPolicyName } from '../host-model.js';
import type { HostTiming } from '../host-timing.js';
import type { PrecopyPolicy } from '../migration/policies.js';
import type { MigrationEffect } from '../migration/protocol.js';
import type { DirtyRate } from '../migration/rounds.js';
import type { Carried, MigrationSession, MigrationTask, SourceSession, TargetSession } from './migration-session.js';

/** What a hypervisor does to its domain at either end; the rest of a migration is the same on all. */
export type SendingEffect = MigrationEffect & {
  readonly do:
    'squashMemory' | 'restoreMemoryRange' | 'suspendDomain' | 'resumeDomain' | 'renameDomain' | 'destroyDomain';
};
export type ReceivingEffect = MigrationEffect & {
  readonly do: 'buildShell' | 'restoreDomain' | 'restoreDevices' | 'unpauseDomain' | 'renameDomain' | 'destroyDomain';
};

/** A machine's run on a host. */
export interface MovingDomain {
  /** Of the machine, for people. */
  readonly name: string;
  readonly domid: number;
  /** `arriving`: it has not run here yet. `still`: its guest has stopped to go over. `elsewhere`: it starts, stops or ends in some other way. */
  readonly phase: 'arriving' | 'up' | 'still' | 'ending' | 'elsewhere';
}

/** What sending a machine needs of its host. */
export interface Sending {
  /** When it is to stop copying; null: the hypervisor knows no such policy. Without a name its own. */
  policy(name?: MigrationPolicyName): PrecopyPolicy | null;
  /** Why the machine, which is here, can't be migrated; null: it can. */
  obstacleTo(uid: Uuid): string | null;
  /** Pages of 4 KiB that the guest has now. */
  pages(session: SourceSession): number;
  dirtying(session: SourceSession, memoryBytes: number): DirtyRate;
  /** What the other host must know to let the guest go on. */
  content(session: SourceSession): string | null;
  carryOut(session: SourceSession, effect: SendingEffect): Carried;
  /** The guest was asked to stand still and has not in time: whether it is waited for longer, until a time that is planned. */
  waitsOn(session: SourceSession): boolean;
  /** It need not stand still any more. */
  withdraw(session: SourceSession): void;
}

/** What receiving a machine needs of its host. */
export interface Receiving {
  /** The guest is one that this host could let go on. */
  understands(content: string): boolean;
  /** Makes the domain to which the guest will come, with its memory. False: the command is answered with a refusal. */
  admit(input: HostInput & { readonly do: 'receive' }): boolean;
  carryOut(session: TargetSession, effect: ReceivingEffect): Carried;
  /** The time of what is under way has come. */
  due(session: TargetSession): void;
  /** How what is under way stands. */
  progress(session: TargetSession): Carried;
  /** Nothing comes any more: what was made for it goes. */
  tearDown(session: TargetSession): void;
  /** What who starts a machine hears, of one that is here. */
  answerOf(uid: Uuid): HostAnswer;
}

/** Something that happens on a host at its time. */
export interface Planner {
  readonly plan: (dueUs: number, task: MigrationTask) => void;
}

/** A host of either kind, as its live migrations see it. */
export interface MigrationHost extends Planner {
  readonly state: {
    readonly name: string;
    readonly profile: ProfileName;
    readonly bootId: Uuid;
    readonly nowUs: number;
    readonly migrations: Record<string, MigrationSession>;
    readonly ended: Record<Uuid, number>;
  };
  readonly timing: HostTiming;
  readonly events: HostEvent[];
  readonly sending: Sending;
  readonly receiving: Receiving;
  /** Null: that run is not here. */
  domain(uid: Uuid, incarnation: number): MovingDomain | null;
  /** The run, if it lives here; otherwise the command is answered with a refusal. */
  living(input: HostInput & { readonly do: 'migrate' }): MovingDomain | null;
  refuseStale(input: HostInput & { readonly do: 'receive' }): void;
}
