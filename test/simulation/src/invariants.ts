import { ACTIVE_NAMESPACE_SCOPE, type OperationPhase } from '@xenolith/contracts';
import type { ServiceDefinition } from '@xenolith/engine';
import {
  canonicalJson,
  uuidFrom,
  type AnyAggregate,
  type JsonObject,
  type StoredDocument,
  type Uuid,
} from '@xenolith/kernel';
import type { MemoryEventLog } from '@xenolith/testing';
import type { Sent } from './users.js';

/** What really runs on a host, whatever the log believes. */
export interface HostTruth {
  readonly name: string;
  readonly allocatableBytes: number;
  readonly domains: readonly {
    readonly virtualMachine: Uuid;
    readonly incarnation: number;
    readonly memoryBytes: number;
  }[];
}

/** All that can be looked at from outside. */
export interface Evidence {
  readonly log: MemoryEventLog;
  readonly hosts: readonly HostTruth[];
  readonly sent: readonly Sent[];
  readonly services: readonly ServiceDefinition[];
  readonly defects: readonly string[];
}

const ENDED: readonly OperationPhase[] = ['Succeeded', 'Failed', 'Cancelled'];

interface Machine extends JsonObject {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly status: { readonly powerState: string; readonly host?: string; readonly incarnation: number };
}

/** What must hold at every moment. */
export const alwaysBroken = (evidence: Evidence): readonly string[] => [
  ...evidence.defects,
  ...runsTwice(evidence),
  ...overCapacity(evidence),
  ...doubled(evidence),
  ...badVersions(evidence),
];

/** What must hold once nothing is under way any more. */
export const brokenWhenQuiet = (evidence: Evidence): readonly string[] => [
  ...unended(evidence),
  ...unlikeHosts(evidence),
  ...orphans(evidence),
  ...unlikeReplay(evidence),
];

/** The sum of a run: equal logs give equal hashes. */
export const logHash = (log: MemoryEventLog): Uuid => uuidFrom(...log.log.map((event) => canonicalJson(event)));

const documentsOf = (evidence: Evidence, category: string): readonly StoredDocument[] =>
  evidence.log.documents([category]).documents;

const runsTwice = (evidence: Evidence): readonly string[] => {
  const places = new Map<Uuid, string[]>();
  for (const host of evidence.hosts)
    for (const domain of host.domains)
      places.set(domain.virtualMachine, [...(places.get(domain.virtualMachine) ?? []), host.name]);
  return [...places]
    .filter(([, hosts]) => hosts.length > 1)
    .map(([machine, hosts]) => `machine ${machine} runs on ${hosts.join(' and ')}`);
};

const overCapacity = (evidence: Evidence): readonly string[] =>
  evidence.hosts.flatMap((host) => {
    const used = host.domains.reduce((sum, domain) => sum + domain.memoryBytes, 0);
    return used > host.allocatableBytes ? [`host ${host.name} gives ${used} bytes of ${host.allocatableBytes}`] : [];
  });

/** Addresses and names that two living objects show. */
const doubled = (evidence: Evidence): readonly string[] => {
  const seen = new Map<string, string>();
  const broken: string[] = [];
  const note = (key: string, holder: string): void => {
    const other = seen.get(key);
    if (other !== undefined && other !== holder) broken.push(`${key} belongs to ${other} and ${holder}`);
    seen.set(key, holder);
  };
  for (const stored of evidence.log.documents(undefined).documents) {
    const { kind, metadata, status } = stored.document as {
      kind?: string;
      metadata?: { name?: string; namespace?: string };
      status?: { mac?: string; ips?: string[] };
    };
    if (kind !== undefined) note(`${kind} ${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`, stored.streamId);
    if (stored.category !== 'port') continue;
    if (status?.mac !== undefined) note(`MAC ${status.mac}`, stored.streamId);
    for (const ip of status?.ips ?? []) note(`IP ${ip}`, stored.streamId);
  }
  return broken;
};

/** Streams count their events without gaps, whoever wrote them. */
const badVersions = (evidence: Evidence): readonly string[] => {
  const { log } = evidence;
  const [last, before] = [log.log.at(-1), log.log.at(-2)];
  if (!last) return [];
  const position = last.position === log.log.length ? [] : [`position ${last.position} stands at ${log.log.length}`];
  return before && before.streamId === last.streamId && before.version + 1 !== last.version
    ? [...position, `stream ${last.streamId} skips to ${last.version}`]
    : position;
};

const unended = (evidence: Evidence): readonly string[] => [
  ...evidence.sent
    .filter((sent) => sent.reply === null)
    .map((sent) => `${sent.message.type} ${sent.message.commandId} was never answered`),
  ...documentsOf(evidence, 'operation').flatMap((stored) => {
    const { phase } = stored.document['status'] as { phase: OperationPhase };
    return ENDED.includes(phase) ? [] : [`operation ${JSON.stringify(stored.document['spec'])} is ${phase}`];
  }),
];

/** The log's picture of what runs, against what runs. */
const unlikeHosts = (evidence: Evidence): readonly string[] => {
  const broken: string[] = [];
  const running = new Map(
    evidence.hosts.flatMap((host) =>
      host.domains.map((domain) => [domain.virtualMachine, { host: host.name, incarnation: domain.incarnation }]),
    ),
  );
  for (const stored of documentsOf(evidence, 'virtualmachine')) {
    const machine = stored.document as Machine;
    const truth = running.get(machine.metadata.uid);
    running.delete(machine.metadata.uid);
    const believed =
      machine.status.powerState === 'Halted'
        ? undefined
        : { host: machine.status.host, incarnation: machine.status.incarnation };
    if (canonicalJson(truth ?? null) !== canonicalJson(believed ?? null)) {
      broken.push(
        `machine ${machine.metadata.name}: the log says ${canonicalJson(believed ?? 'halted')}, the host ${canonicalJson(truth ?? 'nothing')}`,
      );
    }
  }
  for (const [machine, place] of running) broken.push(`domain of ${machine} on ${place.host} belongs to nobody`);
  return broken;
};

/** Volumes, ports, placements and claims whose owners are gone. */
const orphans = (evidence: Evidence): readonly string[] => {
  const machines = documentsOf(evidence, 'virtualmachine').map((stored) => stored.document as Machine);
  const living = new Set(evidence.log.documents(undefined).documents.map((stored) => stored.streamId));
  const broken: string[] = [];
  for (const stored of [...documentsOf(evidence, 'volume'), ...documentsOf(evidence, 'port')]) {
    const { kind, metadata } = stored.document as {
      kind: string;
      metadata: { name: string; ownerReferences?: { uid: string }[] };
    };
    for (const owner of metadata.ownerReferences ?? [])
      if (!living.has(owner.uid)) broken.push(`${kind} ${metadata.name} outlived its owner ${owner.uid}`);
  }
  const running = machines.filter((machine) => machine.status.powerState !== 'Halted').length;
  const placed = documentsOf(evidence, 'placement').filter(
    (stored) => (stored.document['status'] as { phase: string }).phase === 'Placed',
  ).length;
  if (placed !== running) broken.push(`${placed} placements hold capacity for ${running} running machines`);
  for (const [key, holder] of evidence.log.allClaims()) {
    if (!key.startsWith(ACTIVE_NAMESPACE_SCOPE) && !living.has(holder))
      broken.push(`claim ${key.replace('\u0000', ' ')} is held by ${holder}, which is gone`);
  }
  return broken;
};

/** Documents against the fold of their streams' events. */
const unlikeReplay = (evidence: Evidence): readonly string[] => {
  const aggregates = new Map<string, AnyAggregate>(
    evidence.services.flatMap((service) => service.aggregates.map((aggregate) => [aggregate.category, aggregate])),
  );
  const states = new Map<Uuid, { aggregate: AnyAggregate; state: unknown }>();
  const broken: string[] = [];
  for (const event of evidence.log.log) {
    const aggregate = aggregates.get(event.category);
    if (!aggregate) {
      broken.push(`nobody owns category ${event.category}`);
      continue;
    }
    const before = states.get(event.streamId)?.state ?? (aggregate.initial as unknown);
    const place = {
      streamId: event.streamId,
      version: event.version,
      at: event.metadata.at,
      actor: event.metadata.actor,
    };
    states.set(event.streamId, { aggregate, state: aggregate.evolve(before, event, place) as unknown });
  }
  const newest = new Map(
    evidence.log.documents(undefined).documents.map((stored) => [stored.streamId, stored.document]),
  );
  for (const [streamId, { aggregate, state }] of states) {
    if (canonicalJson(aggregate.toResource(state)) !== canonicalJson(newest.get(streamId) ?? null))
      broken.push(`${aggregate.category} ${streamId} differs from its replay`);
  }
  return broken;
};
