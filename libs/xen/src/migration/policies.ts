/**
 * When a live migration sends another round, stops the guest and copies the rest, or gives up.
 *
 * `xen-v2`: Xen 4.6 and newer (tools/libs/guest/xg_sr_save.c, `simple_precopy_policy` and `send_memory_live`). `xen-legacy`: Xen 4.5 and older
 * (tools/libxc/xc_domain_save.c at RELEASE-4.5.0). `convergence`: the schedules of oVirt (vdsm lib/vdsm/virt/migration.py; ovirt-engine
 * `MigrationPolicies`), which drive QEMU.
 */

/** Live rounds of migration v2 (`SPP_MAX_ITERATIONS`). */
export const XEN_V2_MAX_ROUNDS = 5;
/** Fewer dirty pages than this end the live rounds (`SPP_TARGET_DIRTY_COUNT`; the same number in xc_domain_save.c). */
export const XEN_TARGET_DIRTY_PAGES = 50;
/** Live rounds of the legacy migration (`DEF_MAX_ITERS`). */
export const XEN_LEGACY_MAX_ROUNDS = 29;
/** The legacy migration stops the guest once it has sent more than this many times the memory (`DEF_MAX_FACTOR`). */
export const XEN_LEGACY_MAX_FACTOR = 3;

/** vdsm's words for what a schedule does. */
export type ConvergenceAction =
  | { readonly action: 'setDowntime'; readonly downtimeMs: number }
  | { readonly action: 'postcopy' }
  | { readonly action: 'abort' };

export interface ConvergenceStep {
  /** The step is taken by the first round that ends after more stalled rounds than this; −1: as soon as its turn comes. */
  readonly stallingLimit: number;
  readonly step: ConvergenceAction;
}

/** A list of steps, taken one per stalled round and in order. */
export interface ConvergenceSchedule {
  readonly name: string;
  /** Migrations that one host sends at the same time. */
  readonly maxMigrations: number;
  /** QEMU slows the guest's CPUs down while it dirties memory too fast. */
  readonly autoConverge: boolean;
  readonly initialDowntimeMs: number;
  readonly stalling: readonly ConvergenceStep[];
}

const downtime = (stallingLimit: number, downtimeMs: number): ConvergenceStep => ({
  stallingLimit,
  step: { action: 'setDowntime', downtimeMs },
});
const last = (step: ConvergenceAction): ConvergenceStep => ({ stallingLimit: -1, step });

/** The policies that oVirt offers by default (ovirt-engine packaging/dbscripts/upgrade/pre_upgrade/0000_config.sql, `MigrationPolicies`, 4.8). */
export const CONVERGENCE_SCHEDULES = {
  'minimal-downtime': {
    name: 'Minimal downtime',
    maxMigrations: 2,
    autoConverge: true,
    initialDowntimeMs: 100,
    stalling: [
      downtime(1, 150),
      downtime(2, 200),
      downtime(3, 300),
      downtime(4, 400),
      downtime(6, 500),
      last({ action: 'abort' }),
    ],
  },
  'suspend-workload-if-needed': {
    name: 'Suspend workload if needed',
    maxMigrations: 1,
    autoConverge: true,
    initialDowntimeMs: 100,
    stalling: [
      downtime(1, 150),
      downtime(2, 200),
      downtime(3, 300),
      downtime(4, 400),
      downtime(6, 500),
      last({ action: 'setDowntime', downtimeMs: 5000 }),
      last({ action: 'abort' }),
    ],
  },
  'post-copy': {
    name: 'Post-copy migration',
    maxMigrations: 2,
    autoConverge: true,
    initialDowntimeMs: 100,
    stalling: [downtime(1, 150), downtime(2, 200), last({ action: 'postcopy' }), last({ action: 'abort' })],
  },
  'very-large-vms': {
    name: 'Very large VMs',
    maxMigrations: 1,
    autoConverge: true,
    initialDowntimeMs: 300,
    stalling: [
      downtime(1, 400),
      downtime(2, 500),
      downtime(3, 700),
      downtime(4, 1000),
      downtime(6, 1500),
      last({ action: 'setDowntime', downtimeMs: 5000 }),
      last({ action: 'abort' }),
    ],
  },
} as const satisfies Readonly<Record<string, ConvergenceSchedule>>;
export type ConvergenceScheduleName = keyof typeof CONVERGENCE_SCHEDULES;

/** Rounds after which a guest that never comes to fit is let be. Assumption: QEMU itself goes on until somebody cancels. */
const QEMU_MAX_ROUNDS = 60;

/** QEMU by itself, as libvirt leaves it: 300 ms (migration/options.c, `DEFAULT_MIGRATE_SET_DOWNTIME`), and guests are not slowed down. */
export const QEMU_SCHEDULE: ConvergenceSchedule = {
  name: 'QEMU',
  maxMigrations: 2,
  autoConverge: false,
  initialDowntimeMs: 300,
  stalling: [{ stallingLimit: QEMU_MAX_ROUNDS, step: { action: 'abort' } }],
};

export type PrecopyPolicy =
  | { readonly name: 'xen-v2' }
  | { readonly name: 'xen-legacy' }
  | { readonly name: 'convergence'; readonly schedule: ConvergenceSchedule };

/** QEMU's auto-converge (migration/options.c, `DEFAULT_MIGRATE_CPU_THROTTLE_*`; migration/ram.c, `mig_throttle_counter`), in percent. */
const THROTTLE_INITIAL = 20;
const THROTTLE_INCREMENT = 10;
const THROTTLE_MAX = 99;
/** A round that dirties more than this share of what it sent counts as unproductive (`throttle-trigger-threshold`), in percent. */
const THROTTLE_TRIGGER = 50;
/** Throttling begins, and grows, with each second unproductive round (qemu commit 070afca258). */
const THROTTLE_ROUNDS = 2;

/** Where a migration stands between two rounds; JSON. */
export interface PrecopyState {
  readonly policy: PrecopyPolicy;
  /** Pages of 4 KiB that the guest has. */
  readonly memoryPages: number;
  /** Live rounds that were sent to their end. */
  readonly rounds: number;
  /** Pages of the live round under way. */
  readonly sending: number;
  /** Pages that all finished live rounds sent. */
  readonly sentPages: number;
  /** The round under way is the last live one: its policy has already decided to stop after it. */
  readonly stopping: boolean;
  /** `convergence` only: how long the guest may stand still for the final copy. */
  readonly allowedDowntimeMs: number;
  /** `convergence` only: the first step of the schedule that was not taken. */
  readonly nextStep: number;
  /** `convergence` only: percent of its CPU time that the guest is denied. */
  readonly throttlePercent: number;
  readonly unproductiveRounds: number;
}

/** What follows a round. */
export type PrecopyDecision =
  | { readonly do: 'send'; readonly pages: number }
  /** Suspend the guest and send what is dirty then. */
  | { readonly do: 'stopAndCopy' }
  /** Suspend the guest, start it at the target and let it fetch what is dirty. */
  | { readonly do: 'postcopy' }
  | { readonly do: 'abort' };

export interface PrecopyStep {
  readonly state: PrecopyState;
  readonly decision: PrecopyDecision;
}

/** The first round sends every page. */
export const beginPrecopy = (policy: PrecopyPolicy, memoryPages: number): PrecopyStep => ({
  state: {
    policy,
    memoryPages,
    rounds: 0,
    sending: memoryPages,
    sentPages: 0,
    stopping: false,
    allowedDowntimeMs: policy.name === 'convergence' ? policy.schedule.initialDowntimeMs : 0,
    nextStep: 0,
    throttlePercent: 0,
    unproductiveRounds: 0,
  },
  decision: { do: 'send', pages: memoryPages },
});

/**
 * The policy is asked before the log of dirty pages is fetched and again after it. A round that finds few dirty pages still sends them live; the
 * fifth is never followed by a look at the log, so that all it let become dirty is the final copy.
 */
const afterV2Round = (state: PrecopyState, dirtyPages: number): PrecopyStep => {
  if (state.stopping || state.rounds >= XEN_V2_MAX_ROUNDS) return { state, decision: { do: 'stopAndCopy' } };
  if (dirtyPages === 0) return { state, decision: { do: 'stopAndCopy' } };
  return {
    state: { ...state, sending: dirtyPages, stopping: dirtyPages < XEN_TARGET_DIRTY_PAGES },
    decision: { do: 'send', pages: dirtyPages },
  };
};

/** What the round sent decides here, not what it left dirty. */
const afterLegacyRound = (state: PrecopyState, dirtyPages: number): PrecopyStep => {
  const stop =
    state.rounds >= XEN_LEGACY_MAX_ROUNDS ||
    state.sending < XEN_TARGET_DIRTY_PAGES ||
    state.sentPages > state.memoryPages * XEN_LEGACY_MAX_FACTOR;
  if (stop) return { state, decision: { do: 'stopAndCopy' } };
  return { state: { ...state, sending: dirtyPages }, decision: { do: 'send', pages: dirtyPages } };
};

const throttled = (state: PrecopyState, dirtyPages: number): PrecopyState => {
  if (dirtyPages * 100 <= state.sending * THROTTLE_TRIGGER) return state;
  const unproductiveRounds = state.unproductiveRounds + 1;
  if (unproductiveRounds < THROTTLE_ROUNDS) return { ...state, unproductiveRounds };
  const throttlePercent =
    state.throttlePercent === 0 ? THROTTLE_INITIAL : Math.min(THROTTLE_MAX, state.throttlePercent + THROTTLE_INCREMENT);
  return { ...state, unproductiveRounds: 0, throttlePercent };
};

/** QEMU stops the guest by itself once the rest fits into the allowed downtime; until then each round takes the step that is due. */
const afterConvergenceRound = (
  state: PrecopyState,
  schedule: ConvergenceSchedule,
  round: { dirtyPages: number; linkPagesPerSecond: number },
): PrecopyStep => {
  const { dirtyPages, linkPagesPerSecond } = round;
  const fits = (downtimeMs: number): boolean => dirtyPages * 1000 <= linkPagesPerSecond * downtimeMs;
  if (fits(state.allowedDowntimeMs)) return { state, decision: { do: 'stopAndCopy' } };
  const goOn = (next: PrecopyState): PrecopyStep => {
    const slowed = schedule.autoConverge ? throttled(next, dirtyPages) : next;
    return { state: { ...slowed, sending: dirtyPages }, decision: { do: 'send', pages: dirtyPages } };
  };
  const due = schedule.stalling[state.nextStep];
  if (due === undefined || state.rounds <= due.stallingLimit) return goOn(state);
  const taken = { ...state, nextStep: state.nextStep + 1 };
  switch (due.step.action) {
    case 'abort':
      return { state: taken, decision: { do: 'abort' } };
    case 'postcopy':
      return { state: taken, decision: { do: 'postcopy' } };
    case 'setDowntime': {
      const allowed = { ...taken, allowedDowntimeMs: due.step.downtimeMs };
      return fits(allowed.allowedDowntimeMs) ? { state: allowed, decision: { do: 'stopAndCopy' } } : goOn(allowed);
    }
  }
};

/**
 * The live round under way was sent to its end. `dirtyPages`: distinct pages that the guest wrote during it, as the hypervisor's log says.
 * `linkPagesPerSecond`: what this migration gets of the link now.
 */
export const afterRound = (
  state: PrecopyState,
  round: { readonly dirtyPages: number; readonly linkPagesPerSecond: number },
): PrecopyStep => {
  const finished: PrecopyState = {
    ...state,
    rounds: state.rounds + 1,
    sentPages: state.sentPages + state.sending,
  };
  const { policy } = finished;
  switch (policy.name) {
    case 'xen-v2':
      return afterV2Round(finished, round.dirtyPages);
    case 'xen-legacy':
      return afterLegacyRound(finished, round.dirtyPages);
    case 'convergence':
      return afterConvergenceRound(finished, policy.schedule, round);
  }
};
