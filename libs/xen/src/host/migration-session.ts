import type { Uuid } from '@xenolith/kernel';
import type { Ticket } from '../host-model.js';
import type { PrecopyPolicy } from '../migration/policies.js';
import type { EndStep, MigrationEffect, MigrationMessage } from '../migration/protocol.js';
import type { Transfer } from '../migration/rounds.js';
import type { SourceState } from '../migration/source-end.js';
import type { TargetState } from '../migration/target-end.js';

/** Migrations that a host sends at once, and as many that it takes (oVirt's policies, `maxMigrations`); others wait in the order in which they came. */
export const MIGRATIONS_AT_ONCE = 2;
/** How often an end lets the other know that it is there, and after how long a silence it takes the other for gone. Assumption: TCP's own keep-alive is hours. */
export const KEEPALIVE_US = 15_000_000;
export const SILENCE_US = 60_000_000;

interface Session {
  readonly uid: Uuid;
  /** The run that the machine has at the target: with the machine it names the migration. */
  readonly toIncarnation: number;
  /** Name of the other host. */
  readonly peer: string;
  /** Number of the last message sent, and of the last one heard. */
  sent: number;
  heard: number;
  /** What was sent before over an earlier connection and has not arrived never will. */
  connection: number;
  heardUs: number;
  /** Effects that are still to be carried out; the first is under way when `doing` says so. */
  effects: MigrationEffect[];
  doing: MigrationEffect['do'] | null;
  /** When what is under way ends, or is given up. */
  effectDueUs: number | null;
  keepaliveUs: number | null;
}

export interface SourceSession extends Session {
  readonly role: 'source';
  readonly incarnation: number;
  /** To which the rounds are reported. */
  readonly operation: Uuid;
  readonly policy: PrecopyPolicy;
  /** Who wants to hear how it ends. */
  tickets: Ticket[];
  /** Null: it waits until another has ended. */
  end: SourceState | null;
  transfer: Transfer | null;
  beganUs: number;
  roundBeganUs: number;
  rounds: number;
  pagesSent: number;
  /** Pages that the last round left dirty. */
  dirtyPages: number;
  suspendedUs: number | null;
  /** When the guest took its first step at the target. */
  runsThereUs: number | null;
  /** The target's host may have died with the machine. */
  targetDead: boolean;
}

export interface TargetSession extends Session {
  readonly role: 'target';
  readonly fromIncarnation: number;
  end: TargetState;
  /** The source's first message, while others are being received. */
  held: MigrationMessage | null;
  /** The guest, as the source has said last. */
  content: string | null;
  /** Who wants to know whether the machine is here for good. */
  tickets: Ticket[];
  runsUs: number | null;
  /** Where it is, once it is here for good. */
  here: { readonly domid: number; readonly bootId: Uuid } | null;
}

export type MigrationSession = SourceSession | TargetSession;

/** What a migration does is done, or has taken too long; or it is time for a sign of life. */
export type MigrationTask =
  | { readonly do: 'migrationEffect'; readonly key: string; readonly dueUs: number }
  | { readonly do: 'keepalive'; readonly key: string; readonly dueUs: number };

/** Of a host's state. */
export interface Migrations {
  readonly migrations: Record<string, MigrationSession>;
}

export const sessionKey = (uid: Uuid, toIncarnation: number): string => `${uid}/${toIncarnation}`;
export const keyOf = (session: MigrationSession): string => sessionKey(session.uid, session.toIncarnation);

export const newSession = (uid: Uuid, toIncarnation: number, peer: string): Session => ({
  uid,
  toIncarnation,
  peer,
  sent: 0,
  heard: 0,
  connection: 1,
  heardUs: 0,
  effects: [],
  doing: null,
  effectDueUs: null,
  keepaliveUs: null,
});

export const sessionsOf = (state: Migrations): readonly MigrationSession[] => Object.values(state.migrations);

export const sourcesOf = (state: Migrations): readonly SourceSession[] =>
  sessionsOf(state).filter((session) => session.role === 'source');

export const targetsOf = (state: Migrations): readonly TargetSession[] =>
  sessionsOf(state).filter((session) => session.role === 'target');

/** The migration by which a run of the machine leaves this host. */
export const leavingSession = (state: Migrations, uid: Uuid): SourceSession | null =>
  sourcesOf(state).find((session) => session.uid === uid) ?? null;

/** The guest has gone over, or may have: here it does not begin again before this end knows that it has not. */
export const mayRunElsewhere = (state: Migrations, uid: Uuid): boolean => {
  const phase = leavingSession(state, uid)?.end?.phase;
  return phase === 'switching' || phase === 'asking' || phase === 'cleaning' || phase === 'migrated';
};

/** The machine has become this host's and stays so. */
export const isHere = ({ end }: TargetSession): boolean =>
  end.phase === 'resuming' || end.phase === 'holding' || end.phase === 'done';

/** Neither end of it does anything any more. */
export const isOverAtTarget = ({ end }: TargetSession): boolean =>
  end.phase === 'holding' || end.phase === 'done' || end.phase === 'aborted';

/** A migration's domain that is not (yet) this host's: the platform is not told of it. */
export const isArriving = (
  state: Migrations,
  machine: { readonly uid: Uuid; readonly incarnation: number; readonly phase: string },
): boolean => {
  if (machine.phase !== 'arriving') return false;
  const session = state.migrations[sessionKey(machine.uid, machine.incarnation)];
  return session?.role !== 'target' || !isHere(session);
};

/** What is on its way and has not arrived is given up. */
export const reconnect = (session: MigrationSession): void => {
  session.connection += 1;
};

/** How an effect went: at once, not at once, or not at all. */
export type Carried = 'done' | 'underWay' | 'failed';

/** Takes what a step of the pure machine hands out. */
export const handOut = (session: MigrationSession, step: Pick<EndStep<unknown>, 'effects'>): void => {
  if (step.effects.length === 0) return;
  session.effects = [...step.effects];
  session.doing = null;
  session.effectDueUs = null;
};

/** The effect under way is done. */
export const finishEffect = (session: MigrationSession): void => {
  session.effects.shift();
  session.doing = null;
  session.effectDueUs = null;
};

/** Live migrations that have begun and not ended. */
export const underWay = (state: Migrations): { readonly incoming: number; readonly outgoing: number } => ({
  incoming: targetsOf(state).filter((session) => session.end.phase !== 'idle' && !isOverAtTarget(session)).length,
  outgoing: sourcesOf(state).filter(({ end }) => end !== null).length,
});

/** Carries the effects of an end out, one after the other, until one takes time. */
export const carryEffects = (
  session: MigrationSession,
  how: {
    readonly carryOut: (effect: MigrationEffect) => Carried;
    readonly tell: (input: { readonly type: 'done' } | { readonly type: 'failed'; readonly errno: 'EIO' }) => void;
  },
): void => {
  while (session.end?.working === true && session.doing === null) {
    const [effect] = session.effects;
    if (effect === undefined) {
      how.tell({ type: 'done' });
      continue;
    }
    session.doing = effect.do;
    const carried = how.carryOut(effect);
    if (carried === 'underWay') return;
    session.doing = null;
    session.effects.shift();
    if (carried === 'failed') how.tell({ type: 'failed', errno: 'EIO' });
  }
};
