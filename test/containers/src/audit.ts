import type { Callers } from './callers.js';
import type { ContainerPlatform } from './platform.js';

const HOSTS = '/apis/compute.xenolith.dev/v1alpha1/hosts';

export interface Machine {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly status: {
    readonly powerState?: string;
    readonly host?: string;
    readonly domid?: number;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message: string }[];
  };
}

interface Owned {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly ownerReferences?: readonly { readonly uid: string }[] };
}

/** Everything that is wrong about what the platform holds, given what its callers were told; empty when nothing is. */
export const findWrongs = async (platform: ContainerPlatform, callers: Callers): Promise<readonly string[]> => {
  const machines = await platform.items<Machine>('vms');
  return [
    ...lostOrDoubled(machines, callers),
    ...(await differencesOnHosts(platform, machines)),
    ...(await orphans(platform, machines)),
    ...(await brokenLog(platform, machines)),
  ];
};

const lostOrDoubled = (machines: readonly Machine[], callers: Callers): readonly string[] => {
  const uids = new Set(machines.map(({ metadata }) => metadata.uid));
  const names = new Map<string, number>();
  for (const { metadata } of machines) names.set(metadata.name, (names.get(metadata.name) ?? 0) + 1);
  const asked = new Set(callers.told.map(({ name }) => name));
  return [
    ...callers.created.filter(({ uid }) => !uids.has(uid)).map(({ name }) => `${name} was created, and is lost`),
    ...[...names].filter(([, count]) => count > 1).map(([name]) => `${name} is there more than once`),
    ...[...names.keys()].filter((name) => !asked.has(name)).map((name) => `nobody asked for ${name}`),
  ];
};

/** What `xl list` says in a host's control domain: the host's own truth. */
const domainsOn = async (platform: ContainerPlatform, host: string): Promise<readonly string[]> => {
  const listed = await platform.kubectl('get', '--raw', `${HOSTS}/${host}/xl?arg=list`);
  const lines = listed.trimEnd().split('\n').slice(1);
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([name]) => name !== 'Domain-0')
    .map(([name = '', domid = '']) => `${host} runs ${name} as domain ${domid}`);
};

const differencesOnHosts = async (
  platform: ContainerPlatform,
  machines: readonly Machine[],
): Promise<readonly string[]> => {
  const hosts = await platform.items<{ metadata: { name: string } }>('hosts');
  const lists = await Promise.all(hosts.map(({ metadata }) => domainsOn(platform, metadata.name)));
  const real = lists.flat();
  const documented = machines.map(
    ({ metadata, status }) => `${status.host ?? ''} runs ${metadata.name} as domain ${status.domid ?? ''}`,
  );
  return [
    ...real.filter((each) => !documented.includes(each)).map((each) => `${each}, which no document says`),
    ...documented
      .filter((each) => !real.includes(each))
      .map((each) => `a document says that ${each}, which it does not`),
  ];
};

const orphans = async (platform: ContainerPlatform, machines: readonly Machine[]): Promise<readonly string[]> => {
  const uids = new Set(machines.map(({ metadata }) => metadata.uid));
  return (await platform.items<Owned>('volumes,ports'))
    .filter(({ metadata }) => !(metadata.ownerReferences ?? []).every(({ uid }) => uids.has(uid)))
    .map(({ kind, metadata }) => `${kind} ${metadata.name} belongs to nobody`);
};

/** The log itself, past every service: dense positions, dense streams, no event twice, each machine created once. */
const brokenLog = async (platform: ContainerPlatform, machines: readonly Machine[]): Promise<readonly string[]> => {
  const [log] = await platform.query<{ gaps: string; twice: string; holes: string; unnumbered: string }>(`select
    (select coalesce(max(position), 0) - count(*) from es.event_log) as gaps,
    (select count(*) - count(distinct event_id) from es.events) as twice,
    (select count(*) from (select 1 from es.events group by stream_id having max(version) <> count(*)) holed) as holes,
    (select count(*) from es.events e left join es.event_log l using (seq) where l.position is null) as unnumbered`);
  const created = await platform.query<{ stream_id: string; count: string }>(
    `select stream_id, count(*) from es.events where type = 'VirtualMachineCreated' group by stream_id`,
  );
  const streams = new Set(created.map(({ stream_id }) => stream_id));
  return [
    ...Object.entries(log ?? {})
      .filter(([, count]) => count !== '0')
      .map(([what, count]) => `the log has ${what}: ${count}`),
    ...created.filter(({ count }) => count !== '1').map(({ stream_id }) => `${stream_id} was created more than once`),
    ...machines
      .filter(({ metadata }) => !streams.has(metadata.uid))
      .map(({ metadata }) => `the log does not say that ${metadata.name} was created`),
    ...(created.length === machines.length
      ? []
      : [`the log created ${created.length} machines, and ${machines.length} are there`]),
  ];
};
