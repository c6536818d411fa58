import type { JsonObject } from '@xenolith/kernel';
import { acceptsJson, mediaRanges } from '../table/media-type.js';
import type { ServedKind, Subresource } from './served-kind.js';
import { SERVED_KINDS } from './served-kinds.js';
import { staticAnswer, type StaticAnswer } from './static-answer.js';

interface GroupVersion {
  readonly group: string;
  readonly version: string;
  readonly kinds: readonly ServedKind[];
}

const groupVersions: readonly GroupVersion[] = [
  ...Map.groupBy(SERVED_KINDS, (kind) => `${kind.group}/${kind.version}`).values(),
].map((kinds) => ({ group: kinds[0]?.group ?? '', version: kinds[0]?.version ?? '', kinds }));

const groups: ReadonlyMap<string, readonly GroupVersion[]> = Map.groupBy(groupVersions, ({ group }) => group);

const groupVersionText = (group: string, version: string): string => (group === '' ? version : `${group}/${version}`);

const resourcesOf = (kind: ServedKind): readonly JsonObject[] => [
  {
    name: kind.plural,
    singularName: kind.singular,
    namespaced: kind.namespaced,
    kind: kind.kind,
    verbs: kind.verbs,
    ...(kind.shortNames.length > 0 && { shortNames: kind.shortNames }),
    ...(kind.categories.length > 0 && { categories: kind.categories }),
  },
  ...kind.subresources.map((subresource) => ({
    name: `${kind.plural}/${subresource.name}`,
    singularName: '',
    namespaced: kind.namespaced,
    ...((subresource.group !== kind.group || subresource.version !== kind.version) && {
      group: subresource.group,
      version: subresource.version,
    }),
    kind: subresource.kind,
    verbs: subresource.verbs,
  })),
];

const resourceList = ({ group, version, kinds }: GroupVersion): JsonObject => ({
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: groupVersionText(group, version),
  resources: kinds.flatMap(resourcesOf),
});

const groupPage = (group: string, versions: readonly GroupVersion[]): JsonObject => {
  const served = versions.map(({ version }) => ({ groupVersion: groupVersionText(group, version), version }));
  return { name: group, versions: served, preferredVersion: served[0] };
};

/** Kubernetes tells clients of each network which address to use; one that is reached by any name says nothing more. */
const coreVersions: JsonObject = { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };

const aggregatedSubresource = (subresource: Subresource): JsonObject => ({
  subresource: subresource.name,
  responseKind: { group: subresource.group, version: subresource.version, kind: subresource.kind },
  verbs: subresource.verbs,
});

const aggregatedResource = (kind: ServedKind): JsonObject => ({
  resource: kind.plural,
  responseKind: { group: kind.group, version: kind.version, kind: kind.kind },
  scope: kind.namespaced ? 'Namespaced' : 'Cluster',
  singularResource: kind.singular,
  verbs: kind.verbs,
  ...(kind.shortNames.length > 0 && { shortNames: kind.shortNames }),
  ...(kind.categories.length > 0 && { categories: kind.categories }),
  subresources: kind.subresources.map(aggregatedSubresource),
});

const aggregatedGroup = (group: string, versions: readonly GroupVersion[]): JsonObject => ({
  metadata: group === '' ? { creationTimestamp: null } : { name: group, creationTimestamp: null },
  versions: versions.map(({ version, kinds }) => ({
    version,
    resources: kinds.map(aggregatedResource),
    freshness: 'Current',
  })),
});

type AggregatedVersion = 'v2' | 'v2beta1';

const aggregatedAnswer = (core: boolean, version: AggregatedVersion): StaticAnswer =>
  staticAnswer(
    {
      kind: 'APIGroupDiscoveryList',
      apiVersion: `apidiscovery.k8s.io/${version}`,
      metadata: {},
      items: [...groups].filter(([group]) => (group === '') === core).map(([group, of]) => aggregatedGroup(group, of)),
    },
    `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
  );

const plainPages = (): ReadonlyMap<string, StaticAnswer> => {
  const named = [...groups].filter(([group]) => group !== '');
  const pages = new Map<string, StaticAnswer>([
    ['/api', staticAnswer(coreVersions)],
    [
      '/apis',
      staticAnswer({
        kind: 'APIGroupList',
        apiVersion: 'v1',
        groups: named.map(([group, versions]) => groupPage(group, versions)),
      }),
    ],
  ]);
  for (const [group, versions] of named)
    pages.set(`/apis/${group}`, staticAnswer({ kind: 'APIGroup', apiVersion: 'v1', ...groupPage(group, versions) }));
  for (const of of groupVersions)
    pages.set(
      of.group === '' ? `/api/${of.version}` : `/apis/${of.group}/${of.version}`,
      staticAnswer(resourceList(of)),
    );
  return pages;
};

const aggregatedPages = (): ReadonlyMap<string, StaticAnswer> =>
  new Map(
    (['v2', 'v2beta1'] as const).flatMap((version): [string, StaticAnswer][] => [
      [`/api ${version}`, aggregatedAnswer(true, version)],
      [`/apis ${version}`, aggregatedAnswer(false, version)],
    ]),
  );

const plain = plainPages();
const aggregated = aggregatedPages();

/** The form of discovery that comes first in `Accept`: an aggregated version, or plain. */
const wantedForm = (accept: string | undefined): AggregatedVersion | 'plain' => {
  for (const range of mediaRanges(accept)) {
    if (!acceptsJson(range)) continue;
    const as = range.parameters.get('as');
    if (as === undefined) return 'plain';
    const version = range.parameters.get('v');
    if (as === 'APIGroupDiscoveryList' && (version === 'v2' || version === 'v2beta1')) return version;
  }
  return 'plain';
};

/**
 * Discovery under `/api`, `/api/v1`, `/apis`, `/apis/<group>` and `/apis/<group>/<version>`; aggregated discovery on `/api` and `/apis` when
 * `accept` asks for it. `path` has no query; a trailing slash does no harm. Null: no such page (404).
 */
export const discoveryAnswer = (path: string, accept: string | undefined): StaticAnswer | null => {
  const page = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
  const form = wantedForm(accept);
  const unified = form === 'plain' ? undefined : aggregated.get(`${page} ${form}`);
  return unified ?? plain.get(page) ?? null;
};

/**
 * `/version`: the level of the Kubernetes API whose conventions are followed, and whose the server is. `version` is the product's
 * (`0.1.0`), `runtime` what it runs on (`node/v24.21.0`), `platform` such as `linux/x64`.
 */
export const versionPage = (build: { version: string; runtime: string; platform: string }): JsonObject => ({
  major: '1',
  minor: '35',
  gitVersion: `v1.35.0+xenolith-${build.version}`,
  gitCommit: '',
  gitTreeState: '',
  buildDate: '',
  goVersion: '',
  compiler: build.runtime,
  platform: build.platform,
});
