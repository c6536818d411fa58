import {
  changeData,
  deleteData,
  rebalancePlanCommands,
  rebalancePlanSpec,
  type ChangeData,
  type PlanCause,
  type RebalancePlanSpec,
} from '@xenolith/contracts';
import { takenName, type CommandRoute, type Reaction } from '@xenolith/engine';
import { ok, reject, type CommandMessage, type JsonObject, type Reply, type Result, type Uuid } from '@xenolith/kernel';
import type { CapacityIndex } from './capacity.index.js';
import { IdleBook } from './idle-book.js';
import { LoadBook } from './load-book.js';
import { REBALANCE_PLAN_CATEGORY } from './rebalance-plan.js';
import { EXECUTING_SCOPE, MAINTENANCE_SCOPE, SCHEDULED_SCOPE } from './rebalance-plan.decide.js';
import { RebalanceIndex } from './rebalance.index.js';
import { Proposals } from './rebalance.proposals.js';
import { rebalanceReactions } from './rebalance.reactions.js';

/** What moving running machines keeps in memory. */
export interface Rebalancing {
  readonly index: RebalanceIndex;
  readonly loads: LoadBook;
  readonly idle: IdleBook;
  readonly proposals: Proposals;
  readonly capacity: CapacityIndex;
}

const withProposal = (message: CommandMessage, found: Result<object>): Result<JsonObject> =>
  found.ok ? ok({ ...message.data, proposal: found.value as JsonObject }) : found;

const prepareChange =
  (proposals: Proposals) =>
  (message: CommandMessage): Result<JsonObject> => {
    const { intent, metadata, spec } = message.data as unknown as ChangeData;
    if (intent !== 'create') return ok(message.data);
    const asked = rebalancePlanSpec.parse(spec);
    return withProposal(message, proposals.asked(metadata.name, asked, { atMs: message.at }));
  };

const prepareProposal =
  (proposals: Proposals) =>
  (message: CommandMessage): Result<JsonObject> => {
    const { name, spec, cause } = message.data as unknown as {
      name: string;
      spec: RebalancePlanSpec;
      cause: PlanCause;
    };
    const idleOnly = cause.by === 'PowerManagement';
    return withProposal(message, proposals.asked(name, spec, { atMs: message.at, idleOnly }));
  };

const HELD: Readonly<Record<string, string>> = {
  [EXECUTING_SCOPE]: 'another plan of the cluster is being carried out; wait for its end, or delete it',
  [SCHEDULED_SCOPE]: 'a plan of the cluster’s policy waits for approval; approve it, or delete it',
  [MAINTENANCE_SCOPE]: 'another plan empties the host already',
};

const onClaimTaken = (claim: { scope: string; value: string; holder: Uuid }): Reply => {
  const held = HELD[claim.scope];
  return held === undefined ? takenName(claim) : reject('operation_in_progress', held);
};

const routes = (proposals: Proposals): readonly CommandRoute[] => {
  const { ProposeRebalancePlan, ...records } = rebalancePlanCommands;
  const route = { category: REBALANCE_PLAN_CATEGORY, onClaimTaken };
  return [
    { ...route, type: 'ChangeRebalancePlan', schema: changeData, prepare: prepareChange(proposals) },
    { ...route, type: 'DeleteRebalancePlan', schema: deleteData },
    {
      ...route,
      type: 'ProposeRebalancePlan',
      schema: ProposeRebalancePlan,
      prepare: prepareProposal(proposals),
    },
    ...Object.entries(records).map(([type, schema]) => ({ ...route, type, schema })),
  ];
};

/** The part of the scheduler that moves running machines. */
export const rebalancing = (
  capacity: CapacityIndex,
): Rebalancing & { readonly routes: readonly CommandRoute[]; readonly reactions: readonly Reaction[] } => {
  const index = new RebalanceIndex();
  const loads = new LoadBook();
  const idle = new IdleBook();
  const proposals = new Proposals(capacity, index, loads, idle);
  const reactions = rebalanceReactions({ index, capacity, proposals });
  return { index, loads, idle, proposals, capacity, routes: routes(proposals), reactions };
};
