import {
  clusterRoleBindingKind,
  clusterRoleKind,
  KINDS,
  RBAC_GROUP,
  type KindDefinition,
  type PolicyRule,
} from '@xenolith/contracts';
import { ADMIN_GROUP } from './access-index.js';

/** Every authenticated user is a member; everybody else is of the other. */
export const AUTHENTICATED_GROUP = 'system:authenticated';
export const UNAUTHENTICATED_GROUP = 'system:unauthenticated';
/** Members may read everything, everywhere. */
export const READER_GROUP = 'xenolith:readers';

const READ = ['get', 'list', 'watch'];
const WRITE = ['create', 'delete', 'deletecollection', 'patch', 'update'];

/** What tenants work with, group by group. */
const TENANT_KINDS: ReadonlyMap<string, readonly KindDefinition[]> = Map.groupBy(
  KINDS.filter((kind) => kind.namespaced && kind.group.endsWith('xenolith.dev')),
  ({ group }) => group,
);

const pluralsOf = (kinds: readonly KindDefinition[]): readonly string[] => kinds.map(({ plural }) => plural);

const TENANT_GROUPS = [...TENANT_KINDS.keys()];

const viewRules: readonly PolicyRule[] = [
  ...[...TENANT_KINDS].map(([group, kinds]) => ({
    verbs: READ,
    apiGroups: [group],
    resources: pluralsOf(kinds),
  })),
  { verbs: ['get'], apiGroups: TENANT_GROUPS, resources: ['*/status', '*/metrics', '*/history', '*/why'] },
  { verbs: ['get', 'list'], apiGroups: ['compute.xenolith.dev'], resources: ['virtualmachinemetrics'] },
  { verbs: READ, apiGroups: ['', 'events.k8s.io'], resources: ['events'] },
  { verbs: READ, apiGroups: [''], resources: ['namespaces', 'resourcequotas', 'resourcequotas/status', 'services'] },
];

/** Kinds that only the platform makes are left out by the verbs that they have. */
const editRules: readonly PolicyRule[] = [
  ...viewRules,
  ...[...TENANT_KINDS].map(([group, kinds]) => ({
    verbs: WRITE,
    apiGroups: [group],
    resources: pluralsOf(kinds.filter(({ verbs }) => verbs === undefined || verbs.length > 0)),
  })),
  ...[...TENANT_KINDS].flatMap(([group, kinds]): readonly PolicyRule[] => {
    const actions = kinds.flatMap(({ plural, actions = [] }) => actions.map((action) => `${plural}/${action}`));
    return actions.length === 0 ? [] : [{ verbs: ['create'], apiGroups: [group], resources: actions }];
  }),
].filter(({ resources = [] }) => resources.length > 0);

const adminRules: readonly PolicyRule[] = [
  ...editRules,
  { verbs: [...READ, ...WRITE], apiGroups: [RBAC_GROUP], resources: ['roles', 'rolebindings'] },
  { verbs: ['create'], apiGroups: ['authorization.k8s.io'], resources: ['localsubjectaccessreviews'] },
];

const everything: readonly PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
];

const PUBLIC_PATHS = ['/healthz', '/livez', '/readyz', '/version', '/version/'];
const DISCOVERY_PATHS = ['/', '/api', '/api/*', '/apis', '/apis/*', '/openapi', '/openapi/*', ...PUBLIC_PATHS];

export interface DefaultRole {
  readonly name: string;
  readonly rules: readonly PolicyRule[];
}

/** Cluster roles that every platform has; their names are Kubernetes' where the meaning is. */
export const DEFAULT_CLUSTER_ROLES: readonly DefaultRole[] = [
  { name: 'cluster-admin', rules: everything },
  { name: 'admin', rules: adminRules },
  { name: 'edit', rules: editRules },
  { name: 'view', rules: viewRules },
  {
    name: 'system:basic-user',
    rules: [
      {
        verbs: ['create'],
        apiGroups: ['authorization.k8s.io'],
        resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
      },
      { verbs: ['create'], apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'] },
    ],
  },
  { name: 'system:discovery', rules: [{ verbs: ['get'], nonResourceURLs: DISCOVERY_PATHS }] },
  { name: 'system:public-info-viewer', rules: [{ verbs: ['get'], nonResourceURLs: PUBLIC_PATHS }] },
  {
    name: 'system:auth-delegator',
    rules: [
      { verbs: ['create'], apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'] },
      { verbs: ['create'], apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'] },
    ],
  },
  {
    name: 'xenolith:reader',
    rules: [
      { verbs: READ, apiGroups: ['*'], resources: ['*'] },
      { verbs: ['get'], nonResourceURLs: ['*'] },
    ],
  },
  {
    name: 'xenolith:catalog',
    rules: [{ verbs: READ, apiGroups: ['storage.xenolith.dev'], resources: ['images', 'storagedomains'] }],
  },
];

export interface DefaultBinding {
  readonly role: string;
  readonly groups: readonly string[];
}

/** Each is named after its role. */
export const DEFAULT_CLUSTER_ROLE_BINDINGS: readonly DefaultBinding[] = [
  { role: 'cluster-admin', groups: [ADMIN_GROUP] },
  { role: 'system:basic-user', groups: [AUTHENTICATED_GROUP] },
  { role: 'system:discovery', groups: [AUTHENTICATED_GROUP] },
  { role: 'system:public-info-viewer', groups: [AUTHENTICATED_GROUP, UNAUTHENTICATED_GROUP] },
  { role: 'xenolith:reader', groups: [READER_GROUP] },
];

/** An object that every platform has, as far as it is not its administrators' to say. */
export interface DefaultObject {
  readonly kind: KindDefinition;
  readonly name: string;
  readonly spec: { readonly rules: readonly PolicyRule[] } | { readonly roleRef: object; readonly subjects: object[] };
}

export const DEFAULT_ACCESS: readonly DefaultObject[] = [
  ...DEFAULT_CLUSTER_ROLES.map(({ name, rules }) => ({ kind: clusterRoleKind, name, spec: { rules } })),
  ...DEFAULT_CLUSTER_ROLE_BINDINGS.map(({ role, groups }) => ({
    kind: clusterRoleBindingKind,
    name: role,
    spec: {
      roleRef: { apiGroup: RBAC_GROUP, kind: clusterRoleKind.kind, name: role },
      subjects: groups.map((name) => ({ kind: 'Group', apiGroup: RBAC_GROUP, name })),
    },
  })),
];
