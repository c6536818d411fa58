import { failoverPlanKind, KINDS, type HostTool, type KindDefinition } from '@xenolith/contracts';
import { EVENT_KINDS } from './event-kinds.js';
import { METRICS_KINDS } from './metrics-kinds.js';
import { REVIEW_KINDS } from './review-kinds.js';
import { OPERATION_REFERENCE, type ServedKind, type Subresource, type Verb } from './served-kind.js';

const READ_VERBS: readonly Verb[] = ['get', 'list', 'watch'];

const verbsOf = (kind: KindDefinition): readonly Verb[] => {
  const allowed = kind.verbs ?? ['create', 'update', 'delete'];
  return [
    ...(allowed.includes('create') ? (['create'] as const) : []),
    ...(allowed.includes('delete') ? (['delete', 'deletecollection'] as const) : []),
    ...READ_VERBS,
    ...(allowed.includes('update') ? (['patch', 'update'] as const) : []),
  ];
};

const statusOf = ({ group, version, kind }: KindDefinition): Subresource => ({
  name: 'status',
  group,
  version,
  kind,
  verbs: ['get'],
});

const subresourcesOf = (kind: KindDefinition): readonly Subresource[] => [
  ...(kind.content === 'top' ? [] : [statusOf(kind)]),
  ...Object.entries(PAST_SUBRESOURCES).map(([name, answer]): Subresource => ({
    name,
    group: kind.group,
    version: kind.version,
    kind: answer,
    verbs: ['get'],
  })),
  ...(kind.actions ?? []).map((action): Subresource => ({
    name: action,
    ...OPERATION_REFERENCE,
    verbs: ['create'],
    action,
  })),
  ...METRICS_KINDS.filter(({ of }) => of === kind).map((metrics): Subresource => ({
    name: 'metrics',
    group: metrics.group,
    version: metrics.version,
    kind: metrics.kind,
    verbs: ['get'],
  })),
  ...(kind.tools ?? []).map((tool): Subresource => ({
    name: tool,
    group: kind.group,
    version: kind.version,
    kind: kind.kind,
    verbs: ['get'],
    tool: tool as HostTool,
  })),
];

/** What the log tells of every object, and the kinds that answer it. */
const PAST_SUBRESOURCES: Readonly<Record<string, string>> = { history: 'History', why: 'Explanation' };

export const isPastSubresource = (name: string | undefined): boolean => name !== undefined && name in PAST_SUBRESOURCES;

const METADATA_FIELD_SELECTORS = ['metadata.name', 'metadata.namespace', 'metadata.uid'];

const servedFrom = (kind: KindDefinition): ServedKind => ({
  group: kind.group,
  version: kind.version,
  kind: kind.kind,
  plural: kind.plural,
  singular: kind.singular,
  shortNames: kind.shortNames,
  categories: kind.categories,
  namespaced: kind.namespaced,
  description: kind.description,
  verbs: verbsOf(kind),
  subresources: subresourcesOf(kind),
  columns: [
    { name: 'Name', type: 'string', format: 'name', path: '.metadata.name', description: 'Name of the object.' },
    ...kind.columns,
  ],
  fieldSelectors: [...METADATA_FIELD_SELECTORS, ...(kind.fieldSelectors ?? [])],
  definition: kind,
});

/** Kinds that are in no log: their service answers what it has in memory. They can be read and listed, not watched. */
export const ANSWERED_KINDS: readonly ServedKind[] = [failoverPlanKind].map((kind) => ({
  ...servedFrom(kind),
  verbs: ['get', 'list'],
  subresources: [],
}));

/** There are none: `kubectl cluster-info` lists those of the cluster, and fails where it may not ask. */
const SERVICES: ServedKind = {
  group: '',
  version: 'v1',
  kind: 'Service',
  plural: 'services',
  singular: 'service',
  shortNames: ['svc'],
  categories: [],
  namespaced: true,
  description: "Kubernetes' services, which this platform has none of; the list is always empty.",
  verbs: ['list'],
  subresources: [],
  columns: [
    { name: 'Name', type: 'string', format: 'name', path: '.metadata.name', description: 'Name of the service.' },
  ],
  fieldSelectors: METADATA_FIELD_SELECTORS,
  definition: null,
};

/** Every kind that the API serves, in the order of discovery: those of the contracts, those that services answer, figures, events in both their forms, what kubectl asks for, and questions about rights. */
export const SERVED_KINDS: readonly ServedKind[] = [
  ...KINDS.map(servedFrom),
  ...ANSWERED_KINDS,
  ...METRICS_KINDS,
  ...EVENT_KINDS,
  SERVICES,
  ...REVIEW_KINDS,
];

const byPath = new Map(SERVED_KINDS.map((kind) => [`${kind.group}/${kind.version}/${kind.plural}`, kind]));

/** The kind behind `/apis/<group>/<version>/<plural>` (group `''` for `/api/v1`). */
export const findServedKind = (group: string, version: string, plural: string): ServedKind | undefined =>
  byPath.get(`${group}/${version}/${plural}`);
