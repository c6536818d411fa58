import type { ComputeService } from '@xenolith/compute';
import type { ServiceDefinition } from '@xenolith/engine';
import { canonicalJson, type JsonObject, type Uuid } from '@xenolith/kernel';
import { CapacityIndex, RebalanceIndex } from '@xenolith/scheduling';
import { CollectorIndex } from '@xenolith/tenancy';
import type { MemoryEventLog } from '@xenolith/testing';

/** What a service's indexes answer now, for the questions that its decisions ask of them. */
const answersOf = (definition: ServiceDefinition, log: MemoryEventLog): JsonObject => {
  const answers: Record<string, unknown> = {};
  const { documents } = log.documents(undefined);
  const { computeIndexes } = definition as Partial<ComputeService>;
  for (const { streamId: uid, category, document } of documents) {
    const request = (document['spec'] as { request?: JsonObject } | undefined)?.request;
    for (const index of definition.indexes) {
      if (index instanceof CollectorIndex && index.categories.includes(category))
        answers[`collected ${uid}`] = index.get(uid);
      if (index instanceof CapacityIndex && category === 'placement')
        answers[`placement ${uid}`] = { placed: index.isPlaced(uid), pending: index.pendingRequest(uid), request };
      if (index instanceof CapacityIndex && category === 'host')
        answers[`host ${uid}`] = index.waitingFor(uid, 10).toSorted();
      if (index instanceof RebalanceIndex) answers[`rebalancing ${uid}`] = rebalancingAnswers(index, category, uid);
    }
    if (category === 'virtualmachine') answers[`machine ${uid}`] = computeIndexes?.machines.get(uid);
    if (category === 'host')
      answers[`machines on ${uid}`] = computeIndexes?.machines
        .onHost(uid)
        .map((machine) => machine.uid)
        .toSorted();
    if (category === 'host') answers[`known host ${uid}`] = computeIndexes?.hosts.get(uid);
  }
  for (const index of definition.indexes)
    if (index instanceof CollectorIndex) answers['garbage'] = [...index.garbage()].toSorted();
  return JSON.parse(JSON.stringify(answers)) as JsonObject;
};

const rebalancingAnswers = (index: RebalanceIndex, category: string, uid: Uuid): unknown => {
  switch (category) {
    case 'host':
      return {
        placed: [...index.placedOn(uid).keys()].toSorted(),
        maintained: index.underMaintenance().find((host) => host.uid === uid),
      };
    case 'virtualmachine':
      return { fixed: index.fixed(uid) };
    case 'rebalanceplan':
      return index.allPlans().find((plan) => plan.uid === uid);
    default:
      return null;
  }
};

/** Answers of indexes that followed the log, against those of indexes that loaded today's documents. */
export const staleViews = (
  views: { readonly live: ServiceDefinition; readonly fresh: ServiceDefinition },
  log: MemoryEventLog,
): readonly string[] => {
  const { live, fresh } = views;
  const { position, documents } = log.documents(undefined);
  const before = answersOf(live, log);
  for (const index of fresh.indexes)
    index.load(
      documents.filter((document) => index.categories.includes(document.category)),
      position,
    );
  const after = answersOf(fresh, log);
  return Object.keys({ ...before, ...after })
    .filter((key) => canonicalJson(before[key] ?? null) !== canonicalJson(after[key] ?? null))
    .map(
      (key) =>
        `a view of ${live.name} is stale: ${key}: ${canonicalJson(before[key] ?? null)} instead of ${canonicalJson(after[key] ?? null)}`,
    );
};
