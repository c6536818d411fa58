import type { ServiceDefinition } from '@xenolith/engine';
import type { SchedulingService } from '@xenolith/scheduling';
import type { Evidence } from './evidence.js';

interface PoweredHost {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly parked?: boolean };
  readonly status: {
    readonly power?: { readonly state: string; readonly message?: string };
    readonly maintenance?: { readonly remaining?: number };
  };
}

interface PoweredCluster {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly powerManagement?: { readonly mode: string } };
}

const isScheduling = (definition: ServiceDefinition): definition is SchedulingService => 'rebalancing' in definition;

/** Names of clusters that wake hosts by themselves. */
export const wakingClusters = (evidence: Evidence): ReadonlySet<string> =>
  new Set(
    evidence.log
      .documents(['cluster'])
      .documents.map(({ document }) => document as unknown as PoweredCluster)
      .filter(({ spec }) => spec.powerManagement?.mode === 'Automatic')
      .map(({ metadata }) => metadata.name),
  );

/** Whether hosts have power as their users and their clusters want it once nothing is under way, and are what the log says. */
export const unlikePower = (evidence: Evidence): readonly string[] => {
  const off = new Map(evidence.hosts().map((host) => [host.name, host.off]));
  const broken: string[] = [];
  for (const { document } of evidence.log.documents(['host']).documents) {
    const { metadata, spec, status } = document as unknown as PoweredHost;
    const { state = 'On', message = '' } = status.power ?? {};
    const { name } = metadata;
    if (off.get(name) !== (state === 'Off'))
      broken.push(`host ${name} is ${state} as the log says, and ${off.get(name) === true ? 'has no' : 'has'} power`);
    const wanted = spec.parked !== true ? 'On' : status.maintenance?.remaining === 0 ? 'Off' : null;
    if (wanted !== null && state !== wanted) broken.push(`host ${name} is to be ${wanted} and is ${state}: ${message}`);
  }
  return [...broken, ...leftAsleep(evidence)];
};

/** What schedulers would still wake. */
const leftAsleep = (evidence: Evidence): readonly string[] =>
  evidence.running().flatMap(({ live }) => {
    if (!isScheduling(live)) return [];
    const atMs = evidence.log.log.at(-1)?.metadata.at ?? 0;
    return [...wakingClusters(evidence)].flatMap((cluster) => {
      const found = live.rebalancing.proposals.waking(cluster, atMs);
      return found === null ? [] : [`host ${found.host} sleeps on: ${found.reason}`];
    });
  });
