import type { ServiceDefinition } from '@xenolith/engine';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import type { SchedulingService } from '@xenolith/scheduling';
import type { Evidence } from './evidence.js';

interface MaintainedHost {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly cluster: string };
  readonly status: {
    readonly maintenance?: {
      readonly uid: Uuid;
      readonly remaining?: number;
      readonly blocked?: readonly { readonly virtualMachine: { readonly uid: Uuid } }[];
    };
  };
}

interface PlanDocument {
  readonly metadata: { readonly name: string };
  readonly status: { readonly phase: string; readonly pausing?: boolean; readonly maintenance?: Uuid };
}

const isScheduling = (definition: ServiceDefinition): definition is SchedulingService => 'rebalancing' in definition;

/** Whether hosts under maintenance are as empty as can be once nothing is under way, and say so. */
export const unlikeMaintenance = (evidence: Evidence): readonly string[] => {
  const documents = (category: string): readonly { readonly uid: Uuid; readonly document: JsonObject }[] =>
    evidence.log.documents([category]).documents.map(({ streamId: uid, document }) => ({ uid, document }));
  const placements = documents('placement').map(
    ({ document }) =>
      document as unknown as {
        spec: { request: { virtualMachine: { uid: Uuid; name: string } } };
        status: { hostUid?: Uuid };
      },
  );
  const plans = documents('rebalanceplan').map(({ document }) => document as unknown as PlanDocument);
  // Some migrations fail as often as they are tried: then the host says so until the next attempt.
  const pausing = new Set(plans.filter(({ status }) => status.pausing).map(({ status }) => status.maintenance));
  const broken = plans
    .filter(({ status }) => status.phase === 'Executing')
    .map(({ metadata }) => `rebalance plan ${metadata.name} is still being carried out`);
  for (const { uid, document } of documents('host')) {
    const { metadata, spec, status } = document as unknown as MaintainedHost;
    if (!status.maintenance) continue;
    const { remaining, blocked = [] } = status.maintenance;
    const there = placements.filter((placement) => placement.status.hostUid === uid);
    if (remaining !== there.length)
      broken.push(`host ${metadata.name} says that ${remaining ?? '?'} machines remain, there are ${there.length}`);
    for (const { spec: left } of there)
      if (!blocked.some(({ virtualMachine }) => virtualMachine.uid === left.request.virtualMachine.uid))
        broken.push(`machine ${left.request.virtualMachine.name} stays on host ${metadata.name} without a reason`);
    if (!pausing.has(status.maintenance.uid))
      broken.push(...movesLeft(evidence, { name: metadata.name, cluster: spec.cluster }));
  }
  return broken;
};

/** What the schedulers would still move away from a host. */
const movesLeft = (evidence: Evidence, host: { readonly name: string; readonly cluster: string }): readonly string[] =>
  evidence.running().flatMap(({ live }) => {
    if (!isScheduling(live)) return [];
    const spec = {
      cluster: host.cluster,
      mode: 'evacuate' as const,
      hosts: [host.name],
      maxMoves: 64,
      approved: false,
    };
    const atMs = evidence.log.log.at(-1)?.metadata.at ?? 0;
    const found = live.rebalancing.proposals.asked(host.name, spec, { atMs });
    const moves = found.ok ? found.value.moves : [];
    return moves.map(({ virtualMachine, to }) => `${virtualMachine.name} could leave ${host.name} for ${to}`);
  });
