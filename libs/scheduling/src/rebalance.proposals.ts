import { invalid, rebalancePlanKind, type RebalancePlanSpec, type RebalanceProposal } from '@xenolith/contracts';
import { ok, type FieldCause, type Result } from '@xenolith/kernel';
import type { CapacityIndex } from './capacity.index.js';
import type { IdleBook } from './idle-book.js';
import type { LoadBook } from './load-book.js';
import { planBalance } from './planning/balance.js';
import { planConsolidation } from './planning/consolidate.js';
import { planEvacuation } from './planning/evacuate.js';
import type { FleetFigures, MovePlan, Spread } from './planning/movement.js';
import { parkable, planParking, type HostToPark } from './planning/park.js';
import { planWaking, type HostToWake, type WakingAsked } from './planning/wake.js';
import { WhatIf } from './planning/what-if.js';
import type { RebalanceIndex } from './rebalance.index.js';

/** Figures in documents are for people, and for comparing: four digits tell all that a plan's worth can. */
const DIGITS = 10_000;
const rounded = (value: number): number => Math.round(value * DIGITS) / DIGITS;

const spreadOf = ({ lowest, mean, highest }: Spread): Spread => ({
  lowest: rounded(lowest),
  mean: rounded(mean),
  highest: rounded(highest),
});

const figuresOf = (figures: FleetFigures): RebalanceProposal['before'] => ({
  ...figures,
  cpu: spreadOf(figures.cpu),
  memory: spreadOf(figures.memory),
  imbalance: rounded(figures.imbalance),
});

/** What was planned, in the words of a plan's events. */
const proposalOf = (plan: MovePlan, emptied: readonly string[]): RebalanceProposal => ({
  moves: plan.moves.map(({ placement: _placed, gain, cost, ...move }) => ({
    ...move,
    gain: rounded(gain),
    cost: { seconds: rounded(cost.seconds), bytes: Math.round(cost.bytes) },
  })),
  blocked: plan.blocked.map(({ virtualMachine, host, message }) => ({ virtualMachine, host, message })),
  emptied: [...emptied],
  before: figuresOf(plan.before),
  after: figuresOf(plan.after),
});

/** `idleOnly`: hosts that have been empty for as long as the policy wants are parked only. */
export interface AskedAt {
  readonly atMs: number;
  readonly idleOnly?: boolean;
}

/** Makes plans from what the indexes and the heartbeats say at this moment. */
export class Proposals {
  constructor(
    private readonly capacity: CapacityIndex,
    private readonly rebalancing: RebalanceIndex,
    private readonly loads: LoadBook,
    private readonly idle: IdleBook,
  ) {}

  /** What is wrong with what is asked for, or the plan, which may be empty. */
  asked(name: string, spec: RebalancePlanSpec, when: AskedAt): Result<RebalanceProposal> {
    const whatIf = this.whatIf(when.atMs);
    const there = new Set(whatIf.slots(spec.cluster).map((slot) => whatIf.nameOf(slot)));
    const field = (at: string, message: string): FieldCause => ({
      field: at,
      reason: 'FieldValueNotFound',
      message,
    });
    const causes =
      there.size === 0
        ? [field('spec.cluster', `no host belongs to cluster "${spec.cluster}"`)]
        : (spec.hosts ?? []).flatMap((host, index) =>
            there.has(host) ? [] : [field(`spec.hosts[${index}]`, `cluster "${spec.cluster}" has no host "${host}"`)],
          );
    if (causes.length > 0) return invalid(rebalancePlanKind, { name }, causes);
    return ok(spec.park === true ? this.parking(spec, when) : this.plan(whatIf, spec));
  }

  /** Those of a plan’s hosts that nobody needs now. */
  stillParkable(cluster: string, hosts: readonly string[], atMs: number): readonly HostToPark[] {
    const asked = { ...this.needs(cluster), maxMoves: 1, isIdle: () => true };
    return parkable(() => this.whatIf(atMs), asked, { moves: [], hosts });
  }

  /** The parked host of a cluster that is needed now; null: none is. */
  waking(cluster: string, atMs: number): HostToWake | null {
    return planWaking(this.whatIf(atMs), this.needs(cluster));
  }

  private needs(cluster: string): WakingAsked {
    return { cluster, policy: this.rebalancing.powerOf(cluster), waiting: this.capacity.waiting() };
  }

  private parking({ cluster, maxMoves }: RebalancePlanSpec, { atMs, idleOnly }: AskedAt): RebalanceProposal {
    const { table } = this.capacity.standing();
    const idleMs = this.rebalancing.powerOf(cluster).idleSeconds * 1_000;
    const isIdle = (host: string): boolean =>
      idleOnly !== true || this.idle.isIdle(table.uids[table.slotNamed(host) ?? -1] ?? '', idleMs, atMs);
    const plan = planParking(() => this.whatIf(atMs), { ...this.needs(cluster), maxMoves, isIdle });
    return { ...proposalOf(plan, plan.parked), parks: [...plan.parks] };
  }

  private plan(whatIf: WhatIf, { mode, cluster, maxMoves, hosts = [] }: RebalancePlanSpec): RebalanceProposal {
    switch (mode) {
      case 'balance':
        return proposalOf(planBalance(whatIf, { cluster, maxMoves }), []);
      case 'consolidate': {
        const plan = planConsolidation(whatIf, { cluster, maxMoves });
        return proposalOf(plan, plan.parked);
      }
      case 'evacuate': {
        const plan = planEvacuation(whatIf, { hosts, maxMoves });
        const kept = new Set(plan.blocked.map(({ host }) => host));
        return proposalOf(plan, plan.moves.length < maxMoves ? hosts.filter((host) => !kept.has(host)) : []);
      }
    }
  }

  private whatIf(atMs: number): WhatIf {
    return WhatIf.of(this.capacity, {
      atMs,
      load: (_placement, { virtualMachine }) => this.loads.load(virtualMachine.uid, atMs),
      fixed: (_placement, { virtualMachine }) => this.rebalancing.fixed(virtualMachine.uid),
    });
  }
}
