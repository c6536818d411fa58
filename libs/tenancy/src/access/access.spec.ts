import { KINDS, RBAC_KINDS, type PolicyRule } from '@xenolith/contracts';
import { categoryOf, clusterRoleKind, clusterRoleBindingKind, roleBindingKind, roleKind } from '@xenolith/contracts';
import type { JsonObject, StoredDocument } from '@xenolith/kernel';
import { given } from '@xenolith/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ensureDefaultAccess } from '../default-objects.js';
import { AccessIndex } from './access-index.js';
import { DEFAULT_ACCESS, DEFAULT_CLUSTER_ROLES } from './default-roles.js';
import { rbacAggregates } from './roles.js';
import { RuleSet, uncovered, type AccessRequest } from './rule-set.js';

const rule = (verbs: string[], apiGroups: string[], resources: string[], resourceNames?: string[]): PolicyRule => ({
  verbs,
  apiGroups,
  resources,
  ...(resourceNames && { resourceNames }),
});

const get = (resource: string, more: Partial<AccessRequest> = {}): AccessRequest => ({
  verb: 'get',
  group: 'g',
  resource,
  ...more,
});

describe('a set of rules', () => {
  it('grants verbs on resources of a group, and nothing else', () => {
    const set = new RuleSet([rule(['get', 'list'], ['g'], ['lamps'])]);
    expect(set.allows(get('lamps'))).toBe(true);
    expect(set.allows({ verb: 'delete', group: 'g', resource: 'lamps' })).toBe(false);
    expect(set.allows({ verb: 'get', group: 'h', resource: 'lamps' })).toBe(false);
    expect(set.allows(get('lamps', { subresource: 'status' }))).toBe(false);
    expect(set.allows({ verb: 'get', path: '/version' })).toBe(false);
  });

  it('takes wildcards for verbs, groups, resources and one subresource of all', () => {
    expect(new RuleSet([rule(['*'], ['*'], ['*'])]).allows(get('lamps', { subresource: 'status' }))).toBe(true);
    const status = new RuleSet([rule(['get'], ['g'], ['*/status'])]);
    expect(status.allows(get('lamps', { subresource: 'status' }))).toBe(true);
    expect(status.allows(get('lamps', { subresource: 'scale' }))).toBe(false);
    expect(status.allows(get('lamps'))).toBe(false);
  });

  it('keeps to names, which what has no name has not', () => {
    const set = new RuleSet([rule(['get'], ['g'], ['lamps'], ['desk']), rule(['get'], ['g'], ['lamps'], ['floor'])]);
    expect(set.allows(get('lamps', { name: 'desk' }))).toBe(true);
    expect(set.allows(get('lamps', { name: 'floor' }))).toBe(true);
    expect(set.allows(get('lamps', { name: 'other' }))).toBe(false);
    expect(set.allows(get('lamps'))).toBe(false);
  });

  it('matches paths whole, or up to a star at the end', () => {
    const set = new RuleSet([{ verbs: ['get'], nonResourceURLs: ['/version', '/api/*'] }]);
    expect(set.allows({ verb: 'get', path: '/version' })).toBe(true);
    expect(set.allows({ verb: 'get', path: '/api/v1' })).toBe(true);
    expect(set.allows({ verb: 'get', path: '/api' })).toBe(false);
    expect(set.allows({ verb: 'get', path: '/versions' })).toBe(false);
  });
});

const word = fc.constantFrom('*', 'a', 'b', 'c');
const words = fc.array(word, { minLength: 1, maxLength: 3 });
const anyRule: fc.Arbitrary<PolicyRule> = fc.record({
  verbs: words,
  apiGroups: words,
  resources: fc.array(fc.constantFrom('*', 'a', 'b', 'a/x', 'b/x', '*/x'), { minLength: 1, maxLength: 3 }),
  resourceNames: fc.array(fc.constantFrom('n', 'm'), { maxLength: 2 }),
});
const anyRequest: fc.Arbitrary<AccessRequest> = fc.record({
  verb: fc.constantFrom('a', 'b', 'd'),
  group: fc.constantFrom('a', 'b', 'd'),
  resource: fc.constantFrom('a', 'b', 'd'),
  subresource: fc.constantFrom('', 'x', 'y'),
  name: fc.constantFrom('', 'n', 'm', 'o'),
});

/** Kubernetes' own way: each rule by itself, each list from its beginning. */
const allowsPlainly = (rules: readonly PolicyRule[], request: AccessRequest): boolean =>
  !('path' in request) &&
  rules.some(({ verbs, apiGroups = [], resources = [], resourceNames = [] }) => {
    const combined = request.subresource ? `${request.resource}/${request.subresource}` : request.resource;
    const has = (list: readonly string[], wanted: string): boolean => list.includes('*') || list.includes(wanted);
    return (
      has(verbs, request.verb) &&
      has(apiGroups, request.group) &&
      (has(resources, combined) || (!!request.subresource && resources.includes(`*/${request.subresource}`))) &&
      (resourceNames.length === 0 || resourceNames.includes(request.name ?? ''))
    );
  });

describe('for all rules', () => {
  it('the set answers what the rules say one by one', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 5 }), anyRequest, (rules, request) => {
        expect(new RuleSet(rules).allows(request)).toBe(allowsPlainly(rules, request));
      }),
      { numRuns: 2000 },
    );
  });

  it('who holds rules whole may do all that they allow', () => {
    fc.assert(
      fc.property(
        fc.array(anyRule, { maxLength: 4 }),
        fc.array(anyRule, { maxLength: 3 }),
        anyRequest,
        (owned, wanted, request) => {
          fc.pre(uncovered(new RuleSet(owned), wanted).length === 0);
          if (new RuleSet(wanted).allows(request)) expect(new RuleSet(owned).allows(request)).toBe(true);
        },
      ),
      { numRuns: 5000 },
    );
  });

  it('everybody holds their own', () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 5 }), (rules) => {
        expect(uncovered(new RuleSet(rules), rules)).toEqual([]);
      }),
    );
  });
});

const tina = { name: 'tina', groups: ['tenants', 'system:authenticated'] };

const role = (namespace: string, name: string, rules: readonly PolicyRule[]): JsonObject =>
  ({ metadata: { name, ...(namespace && { namespace }) }, rules }) as unknown as JsonObject;
const binding = (namespace: string, kind: string, name: string, subjects: readonly JsonObject[]): JsonObject => ({
  metadata: { name: 'b', ...(namespace && { namespace }) },
  subjects,
  roleRef: { kind, name },
});

const ROLE = categoryOf(roleKind);
const CLUSTER_ROLE = categoryOf(clusterRoleKind);
const BINDING = categoryOf(roleBindingKind);
const CLUSTER_BINDING = categoryOf(clusterRoleBindingKind);

describe('the index of rights', () => {
  it('grants in the binding’s namespace what the role of that namespace says', () => {
    const index = new AccessIndex();
    index.put(ROLE, 'r1', role('red', 'lamps', [rule(['get'], ['g'], ['lamps'])]));
    index.put(BINDING, 'b1', binding('red', 'Role', 'lamps', [{ kind: 'User', name: 'tina' }]));
    index.put(BINDING, 'b2', binding('blue', 'Role', 'lamps', [{ kind: 'User', name: 'tina' }]));
    expect(index.allows(tina, 'red', get('lamps'))).toBe(true);
    expect(index.allows(tina, 'blue', get('lamps'))).toBe(false);
    expect(index.allows(tina, '', get('lamps'))).toBe(false);
    expect(index.allows({ name: 'tim', groups: [] }, 'red', get('lamps'))).toBe(false);
  });

  it('grants cluster roles in one namespace, or everywhere', () => {
    const index = new AccessIndex();
    index.put(CLUSTER_ROLE, 'r1', role('', 'lamps', [rule(['get'], ['g'], ['lamps'])]));
    index.put(BINDING, 'b1', binding('red', 'ClusterRole', 'lamps', [{ kind: 'Group', name: 'tenants' }]));
    expect(index.allows(tina, 'red', get('lamps'))).toBe(true);
    expect(index.allows(tina, '', get('lamps'))).toBe(false);
    index.put(CLUSTER_BINDING, 'b2', binding('', 'ClusterRole', 'lamps', [{ kind: 'Group', name: 'tenants' }]));
    expect(index.allows(tina, '', get('lamps'))).toBe(true);
    expect(index.allows(tina, 'blue', get('lamps'))).toBe(true);
  });

  it('forgets at once what was taken away, and knows at once what was changed', () => {
    const index = new AccessIndex();
    index.put(CLUSTER_ROLE, 'r1', role('', 'lamps', [rule(['get'], ['g'], ['lamps'])]));
    index.put(BINDING, 'b1', binding('red', 'ClusterRole', 'lamps', [{ kind: 'User', name: 'tina' }]));
    expect(index.allows(tina, 'red', get('lamps'))).toBe(true);
    index.put(CLUSTER_ROLE, 'r1', role('', 'lamps', [rule(['get'], ['g'], ['chairs'])]));
    expect(index.allows(tina, 'red', get('lamps'))).toBe(false);
    expect(index.allows(tina, 'red', get('chairs'))).toBe(true);
    index.put(BINDING, 'b1', binding('red', 'ClusterRole', 'lamps', [{ kind: 'User', name: 'tim' }]));
    expect(index.allows(tina, 'red', get('chairs'))).toBe(false);
    index.put(BINDING, 'b1', binding('red', 'ClusterRole', 'lamps', [{ kind: 'User', name: 'tina' }]));
    index.remove('b1');
    expect(index.allows(tina, 'red', get('chairs'))).toBe(false);
  });

  it('knows service accounts by their user names', () => {
    const index = new AccessIndex();
    index.put(CLUSTER_ROLE, 'r1', role('', 'lamps', [rule(['get'], ['g'], ['lamps'])]));
    index.put(
      BINDING,
      'b1',
      binding('red', 'ClusterRole', 'lamps', [{ kind: 'ServiceAccount', name: 'ci', namespace: 'tools' }]),
    );
    expect(index.allows({ name: 'system:serviceaccount:tools:ci', groups: [] }, 'red', get('lamps'))).toBe(true);
  });

  it('lets members of system:masters do everything, whatever roles there are', () => {
    const masters = { name: 'ada', groups: ['system:masters'] };
    expect(new AccessIndex().allows(masters, '', { verb: 'delete', path: '/all' })).toBe(true);
    expect(uncovered(new RuleSet(new AccessIndex().rulesOf(masters, '')), [rule(['*'], ['*'], ['*'])])).toEqual([]);
  });
});

const documentsOf = (): StoredDocument[] => {
  const documents: StoredDocument[] = [];
  for (const command of ensureDefaultAccess([], 0)) {
    const kind = RBAC_KINDS.find((candidate) => command.type === `Change${candidate.kind}`);
    const aggregate = rbacAggregates.find(({ category }) => kind && category === categoryOf(kind));
    if (!aggregate) throw new Error(command.type);
    const { state } = given(aggregate)
      .when(command)
      .then([{ type: `${kind?.kind ?? ''}Created` }]);
    const document = aggregate.toResource(state);
    if (document)
      documents.push({ streamId: command.streamId, category: aggregate.category, version: 1, position: 1, document });
  }
  return documents;
};

describe('roles that every platform has', () => {
  it('are made once, and completed where they lack something', () => {
    const documents = documentsOf();
    expect(documents).toHaveLength(DEFAULT_ACCESS.length);
    expect(ensureDefaultAccess(documents, 1)).toEqual([]);
    const older = documents.map((stored): StoredDocument =>
      (stored.document['metadata'] as JsonObject)['name'] === 'edit'
        ? {
            ...stored,
            document: { ...stored.document, rules: [rule(['get'], ['mine'], ['own'])] as unknown as JsonObject[] },
          }
        : stored,
    );
    const [completed, ...others] = ensureDefaultAccess(older, 1);
    expect(others).toEqual([]);
    expect(completed).toMatchObject({
      type: 'ChangeClusterRole',
      data: {
        intent: 'update',
        spec: { rules: expect.arrayContaining([rule(['get'], ['mine'], ['own'])]) as unknown },
      },
    });
    const kept = older.map((stored): StoredDocument => {
      const metadata = { ...(stored.document['metadata'] as JsonObject), annotations: {} };
      return { ...stored, document: { ...stored.document, metadata } };
    });
    expect(ensureDefaultAccess(kept, 1)).toEqual([]);
  });

  it('give tenants no kind outside their namespaces, and no right over their own limits', () => {
    const index = new AccessIndex();
    for (const { category, streamId, document } of documentsOf()) index.put(category, streamId, document);
    index.put(BINDING, 'b1', binding('red', 'ClusterRole', 'admin', [{ kind: 'User', name: 'tina' }]));
    for (const { group, plural: resource, namespaced, kind } of KINDS) {
      for (const verb of ['get', 'list', 'create', 'delete']) {
        expect(index.allows(tina, '', { verb, group, resource }), `${verb} ${resource}`).toBe(false);
        expect(index.allows(tina, 'blue', { verb, group, resource }), `${verb} ${resource}`).toBe(false);
      }
      const sees = namespaced || kind === 'Namespace';
      expect(index.allows(tina, 'red', { verb: 'get', group, resource }), resource).toBe(sees);
    }
    expect(index.allows(tina, 'red', { verb: 'update', group: '', resource: 'resourcequotas' })).toBe(false);
    expect(
      index.allows(tina, 'red', {
        verb: 'create',
        group: 'compute.xenolith.dev',
        resource: 'virtualmachines',
        subresource: 'reboot',
      }),
    ).toBe(true);
  });

  it('let whoever may see an object ask for its history, and why it is so', () => {
    const index = new AccessIndex();
    for (const { category, streamId, document } of documentsOf()) index.put(category, streamId, document);
    index.put(BINDING, 'b1', binding('red', 'ClusterRole', 'view', [{ kind: 'User', name: 'tina' }]));
    for (const subresource of ['status', 'metrics', 'history', 'why'])
      expect(
        index.allows(tina, 'red', {
          verb: 'get',
          group: 'compute.xenolith.dev',
          resource: 'virtualmachines',
          subresource,
        }),
        subresource,
      ).toBe(true);
  });

  it('hold what the smaller of them grant', () => {
    const rulesOf = (name: string): readonly PolicyRule[] =>
      DEFAULT_CLUSTER_ROLES.find((candidate) => candidate.name === name)?.rules ?? [];
    for (const [larger, smaller] of [
      ['admin', 'edit'],
      ['edit', 'view'],
      ['cluster-admin', 'admin'],
    ] as const)
      expect(uncovered(new RuleSet(rulesOf(larger)), rulesOf(smaller)), `${larger} ${smaller}`).toEqual([]);
  });
});

describe('a binding', () => {
  const aggregate = rbacAggregates.find(({ category }) => category === BINDING);
  const metadata = {
    name: 'b',
    namespace: 'red',
    labels: {},
    annotations: {},
    finalizers: [],
    ownerReferences: [],
    managedFields: [],
  };
  const change = (intent: string, name: string, subjects: readonly JsonObject[]) => ({
    type: 'ChangeRoleBinding',
    data: { intent, metadata, spec: { roleRef: { kind: 'Role', name }, subjects } },
  });

  it('may change whom it names, and never its role', () => {
    if (!aggregate) throw new Error('there are bindings');
    const made = given(aggregate)
      .when(change('create', 'lamps', []))
      .then([{ type: 'RoleBindingCreated' }]);
    const created = { type: 'RoleBindingCreated', schemaVersion: 1, data: change('create', 'lamps', []).data };
    expect(aggregate.toResource(made.state)).toMatchObject({ roleRef: { name: 'lamps' }, subjects: [] });
    expect(aggregate.toResource(made.state)).not.toHaveProperty('status');
    given(aggregate, [created as never])
      .when(change('update', 'lamps', [{ kind: 'User', name: 'tina' }]))
      .then([{ type: 'RoleBindingSpecChanged' }]);
    given(aggregate, [created as never])
      .when(change('update', 'chairs', []))
      .thenRejected('object_invalid', /cannot change roleRef/);
  });
});
