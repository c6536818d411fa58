import { z } from 'zod';
import { objectEvents } from '../object-events.js';
import { defineKind, type KindDefinition } from '../resource.js';

export const RBAC_GROUP = 'rbac.authorization.k8s.io';

/** More rules than any role that people wrote; each is looked at whenever rights change. */
const MAX_RULES = 256;
/** Words of one list of a rule. */
const MAX_WORDS = 256;
const MAX_SUBJECTS = 1024;

const words = (what: string) => z.array(z.string().max(1024)).max(MAX_WORDS).optional().describe(what);

const ruleFields = {
  verbs: z
    .array(z.string().min(1).max(63))
    .min(1)
    .max(MAX_WORDS)
    .describe('What may be done: get, list, watch, create, update, patch, delete, deletecollection, … or * for all.'),
  apiGroups: words('API groups of the resources; "" is the core group, * all of them.'),
  resources: words(
    'Resources by their plural, subresources as virtualmachines/reboot; * is all of both, */status that one of all.',
  ),
  resourceNames: words('Names of the only objects that the rule is for; absent: all. Creations have no name.'),
};

interface RuleWords {
  readonly apiGroups?: readonly string[] | undefined;
  readonly resources?: readonly string[] | undefined;
  readonly nonResourceURLs?: readonly string[] | undefined;
}

const isEmpty = (list: readonly string[] | undefined): boolean => list === undefined || list.length === 0;

/** Kubernetes' own checks of a rule (pkg/apis/rbac/validation), in its words. */
const checkRule = (rule: RuleWords, context: z.RefinementCtx): void => {
  const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
  if (!isEmpty(rule.nonResourceURLs)) {
    if (!isEmpty(rule.apiGroups) || !isEmpty(rule.resources))
      refuse('nonResourceURLs', 'rules cannot apply to both regular resources and non-resource URLs');
    return;
  }
  if (isEmpty(rule.apiGroups)) refuse('apiGroups', 'resource rules must supply at least one api group');
  if (isEmpty(rule.resources)) refuse('resources', 'resource rules must supply at least one resource');
};

const clusterRule = z
  .strictObject({
    ...ruleFields,
    nonResourceURLs: words('Paths that are no resources, such as /version; a * at the end stands for any rest.'),
  })
  .superRefine(checkRule);

const namespacedRule = z
  .strictObject({
    ...ruleFields,
    nonResourceURLs: words('Not in a Role: paths belong to no namespace.'),
  })
  .superRefine((rule, context) => {
    if (isEmpty(rule.nonResourceURLs)) checkRule(rule, context);
    else
      context.addIssue({
        code: 'custom',
        path: ['nonResourceURLs'],
        message: 'namespaced rules cannot apply to non-resource URLs; use a ClusterRole',
      });
  });

/** What a rule of a role grants. */
export interface PolicyRule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[] | undefined;
  readonly resources?: readonly string[] | undefined;
  readonly resourceNames?: readonly string[] | undefined;
  readonly nonResourceURLs?: readonly string[] | undefined;
}

export const roleSpec = z.strictObject({
  rules: z.array(namespacedRule).max(MAX_RULES).default([]).describe('What may be done in the role’s namespace.'),
});

export const clusterRoleSpec = z.strictObject({
  rules: z
    .array(clusterRule)
    .max(MAX_RULES)
    .default([])
    .describe('What may be done: everywhere by a ClusterRoleBinding, in one namespace by a RoleBinding.'),
  aggregationRule: z
    .unknown()
    .optional()
    .refine(
      (rule) => rule === undefined,
      'this server does not aggregate cluster roles: write the rules into the role, or bind both roles',
    )
    .describe('Not served: write the rules themselves.'),
});

const SUBJECT_KINDS = ['User', 'Group', 'ServiceAccount'] as const;

const subject = z
  .strictObject({
    kind: z.enum(SUBJECT_KINDS).describe('User, Group or ServiceAccount.'),
    apiGroup: z
      .string()
      .optional()
      .describe('rbac.authorization.k8s.io for users and groups, "" for service accounts.'),
    name: z.string().min(1).max(1024).describe('Name of the user, group or service account.'),
    namespace: z.string().max(63).optional().describe('Namespace of a service account.'),
  })
  .superRefine(({ kind, apiGroup = '', namespace = '' }, context) => {
    const wanted = kind === 'ServiceAccount' ? '' : RBAC_GROUP;
    if (apiGroup !== '' && apiGroup !== wanted)
      context.addIssue({ code: 'custom', path: ['apiGroup'], message: `of a ${kind} is "${wanted}"` });
    if (kind === 'ServiceAccount' && namespace === '')
      context.addIssue({ code: 'custom', path: ['namespace'], message: 'a service account has a namespace' });
  })
  .transform(({ kind, name, namespace = '' }) => ({
    kind,
    ...(kind === 'ServiceAccount' ? { name, namespace } : { apiGroup: RBAC_GROUP, name }),
  }));

/** Who is given a role. */
export interface RoleSubject {
  readonly kind: (typeof SUBJECT_KINDS)[number];
  readonly name: string;
  readonly namespace?: string | undefined;
}

const subjects = z.array(subject).max(MAX_SUBJECTS).optional().describe('Who is given the role.');

const roleRef = <Kinds extends readonly [string, ...string[]]>(kinds: Kinds) =>
  z
    .strictObject({
      apiGroup: z.literal(RBAC_GROUP).default(RBAC_GROUP).describe('rbac.authorization.k8s.io.'),
      kind: z.enum(kinds).describe('Kind of the role.'),
      name: z.string().min(1).max(253).describe('Name of the role.'),
    })
    .describe('The role that is given; it can’t be changed.');

export const roleBindingSpec = z.strictObject({ subjects, roleRef: roleRef(['Role', 'ClusterRole']) });
export const clusterRoleBindingSpec = z.strictObject({ subjects, roleRef: roleRef(['ClusterRole']) });

/** The role that a binding gives. */
export interface RoleRef {
  readonly kind: string;
  readonly name: string;
}

const AGE = {
  name: 'Age',
  type: 'date',
  path: '.metadata.creationTimestamp',
  description: 'Time since creation.',
} as const;

const shared = {
  group: RBAC_GROUP,
  version: 'v1',
  shortNames: [],
  categories: [],
  service: 'gateway',
  nameRule: 'path',
  content: 'top',
  status: z.looseObject({}),
} as const;

export const roleKind: KindDefinition = defineKind({
  ...shared,
  kind: 'Role',
  plural: 'roles',
  singular: 'role',
  namespaced: true,
  description: 'What may be done in a namespace. A RoleBinding gives it to users and groups.',
  spec: roleSpec,
  columns: [AGE],
});

export const clusterRoleKind: KindDefinition = defineKind({
  ...shared,
  kind: 'ClusterRole',
  plural: 'clusterroles',
  singular: 'clusterrole',
  namespaced: false,
  description: 'What may be done: everywhere, or in the namespaces in which it is bound.',
  spec: clusterRoleSpec,
  columns: [AGE],
});

const ROLE_COLUMNS = [
  { name: 'Role', type: 'string', path: '.roleRef.name', description: 'The role that is given.' },
  { name: 'Kind', type: 'string', path: '.roleRef.kind', description: 'Role or ClusterRole.', priority: 1 },
  AGE,
] as const;

export const roleBindingKind: KindDefinition = defineKind({
  ...shared,
  kind: 'RoleBinding',
  plural: 'rolebindings',
  singular: 'rolebinding',
  namespaced: true,
  description: 'Gives users and groups a role in one namespace.',
  spec: roleBindingSpec,
  columns: ROLE_COLUMNS,
});

export const clusterRoleBindingKind: KindDefinition = defineKind({
  ...shared,
  kind: 'ClusterRoleBinding',
  plural: 'clusterrolebindings',
  singular: 'clusterrolebinding',
  namespaced: false,
  description: 'Gives users and groups a cluster role everywhere.',
  spec: clusterRoleBindingSpec,
  columns: ROLE_COLUMNS,
});

export const RBAC_KINDS: readonly KindDefinition[] = [
  roleKind,
  clusterRoleKind,
  roleBindingKind,
  clusterRoleBindingKind,
];

export const rbacEvents = Object.assign({}, ...RBAC_KINDS.map(({ kind }) => objectEvents(kind))) as ReturnType<
  typeof objectEvents
>;
