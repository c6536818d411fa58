import type { JsonObject } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SERVED_KINDS, type ServedKind } from '../discovery/index.js';
import {
  READER_TOKEN,
  startTestPlatform,
  TENANT_TOKEN,
  type Answer,
  type Ask,
  type GatewayUnderTest,
  type TestPlatform,
} from '../fixture/test-platform.js';

const NETWORK_API = '/apis/network.xenolith.dev/v1alpha1';
const RBAC_API = '/apis/rbac.authorization.k8s.io/v1';
const NETWORKS = `${NETWORK_API}/namespaces/red/networks`;

let platform: TestPlatform;
let api: GatewayUnderTest;

const asTina = (path: string, ask: Ask = {}): Promise<Answer> => api.ask(path, { ...ask, token: TENANT_TOKEN });

const network = (name: string): JsonObject => ({
  apiVersion: 'network.xenolith.dev/v1alpha1',
  kind: 'Network',
  metadata: { name },
  spec: { cidr: '10.0.0.0/24' },
});

const made = async (path: string, body: unknown): Promise<JsonObject> => {
  const answer = await api.ask(path, { method: 'POST', body });
  expect(answer.status, answer.text).toBe(201);
  return answer.json;
};

const rbac = (kind: string, name: string, content: JsonObject): JsonObject => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind,
  metadata: { name },
  ...content,
});

const bind = (namespace: string, name: string, roleRef: JsonObject, subjects: readonly JsonObject[]) =>
  made(`${RBAC_API}/namespaces/${namespace}/rolebindings`, rbac('RoleBinding', name, { roleRef, subjects }));

const TINA = { kind: 'User', name: 'tina' };
const clusterRole = (name: string): JsonObject => ({ kind: 'ClusterRole', name });

const kubectl = async (line: string, input?: string): Promise<string> => {
  const { code, stdout, stderr } = await api.kubectl(line.split(' '), input);
  if (code !== 0) throw new Error(`kubectl ${line}: ${stdout}${stderr}`);
  return stdout;
};

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
  for (const name of ['red', 'blue'])
    await made('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
});

afterAll(async () => {
  await platform.close();
});

/** Every path and method that the API serves of a kind, with the answer that those with rights would get left out. */
const requestsOf = (kind: ServedKind): { method: string; path: string }[] => {
  const root = kind.group === '' ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const homes = kind.namespaced
    ? [`${root}/namespaces/red/${kind.plural}`, `${root}/${kind.plural}`]
    : [`${root}/${kind.plural}`];
  const [home = ''] = homes;
  const ofVerb = (verb: string): { method: string; path: string }[] => {
    switch (verb) {
      case 'list':
        return homes.map((path) => ({ method: 'GET', path }));
      case 'watch':
        return homes.map((path) => ({ method: 'GET', path: `${path}?watch=true` }));
      case 'create':
        return [{ method: 'POST', path: home }];
      case 'deletecollection':
        return [{ method: 'DELETE', path: home }];
      case 'get':
        return [{ method: 'GET', path: `${home}/x` }];
      case 'update':
        return [{ method: 'PUT', path: `${home}/x` }];
      case 'patch':
        return [{ method: 'PATCH', path: `${home}/x` }];
      default:
        return [{ method: 'DELETE', path: `${home}/x` }];
    }
  };
  return [
    ...kind.verbs.flatMap(ofVerb),
    ...kind.subresources.flatMap(({ name, verbs }) =>
      verbs.map((verb) => ({ method: verb === 'get' ? 'GET' : 'POST', path: `${home}/x/${name}` })),
    ),
  ];
};

/** What everybody who is known may ask about themselves. */
const OWN = ['SelfSubjectReview', 'SelfSubjectAccessReview', 'SelfSubjectRulesReview'];

describe('somebody without rights', () => {
  it('gets 403 for every verb on every kind and subresource that is served', async () => {
    let asked = 0;
    for (const kind of SERVED_KINDS.filter((candidate) => !OWN.includes(candidate.kind))) {
      for (const { method, path } of requestsOf(kind)) {
        const answer = await asTina(path, { method });
        expect(answer.status, `${method} ${path}: ${answer.text}`).toBe(403);
        expect(answer.json).toMatchObject({ kind: 'Status', reason: 'Forbidden' });
        asked += 1;
      }
    }
    expect(asked).toBeGreaterThan(200);
  });

  it('may discover the API, and ask who they are and what they may do', async () => {
    for (const path of ['/', '/api', '/apis', '/apis/compute.xenolith.dev/v1alpha1', '/openapi/v3', '/version'])
      expect((await asTina(path)).status, path).toBe(200);
    expect(await kubectl('auth whoami --user tina')).toContain('tenants');
    const refused = await api.kubectl(['auth', 'can-i', 'create', 'vms', '--user', 'tina']);
    expect(refused.stdout).toContain('no');
  });
});

describe('roles and bindings', () => {
  it('let a tenant work in one namespace, and see no other', async () => {
    await bind('red', 'tina-admin', clusterRole('admin'), [TINA]);
    expect((await asTina(NETWORKS, { method: 'POST', body: network('own') })).status).toBe(201);
    expect((await asTina(`${NETWORKS}/own`)).status).toBe(200);
    expect((await asTina(NETWORKS)).json['items']).toHaveLength(1);
    expect((await asTina('/api/v1/namespaces/red')).status).toBe(200);
    for (const path of [
      `${NETWORK_API}/namespaces/blue/networks`,
      `${NETWORK_API}/namespaces/blue/networks?watch=1`,
      `${NETWORK_API}/networks`,
      '/api/v1/namespaces',
      '/api/v1/namespaces/blue',
      '/apis/compute.xenolith.dev/v1alpha1/hosts',
    ]) {
      const answer = await asTina(path);
      expect(answer.status, path).toBe(403);
      expect(answer.json['message']).toMatch(/User "tina" cannot (list|get|watch) resource/);
    }
    expect((await api.kubectl(['auth', 'can-i', 'create', 'vms', '-n', 'red', '--user', 'tina'])).stdout).toContain(
      'yes',
    );
    expect(await kubectl('auth can-i --list -n red --user tina')).toContain('virtualmachines.compute.xenolith.dev');
  });

  it('hold from the answer to the write that changed them, and end watches', async () => {
    const watch = await api.watch(`${NETWORKS}?watch=true`, { authorization: `Bearer ${TENANT_TOKEN}` });
    await watch.until((events) => events.some(({ type }) => type === 'ADDED'));
    const other = await api.watch(`${NETWORKS}?watch=true`, { authorization: `Bearer ${READER_TOKEN}` });
    await api.ask(`${RBAC_API}/namespaces/red/rolebindings/tina-admin`, { method: 'DELETE' });
    expect((await asTina(NETWORKS)).status).toBe(403);
    await made(NETWORKS, network('unseen'));
    await watch.ended;
    const last = watch.events.at(-1);
    expect(last).toMatchObject({ type: 'ERROR', object: { code: 403, reason: 'Forbidden' } });
    expect(JSON.stringify(watch.events)).not.toContain('unseen');
    await other.until((events) => JSON.stringify(events).includes('unseen'));
    other.close();
    await bind('red', 'tina-admin', clusterRole('admin'), [TINA]);
    expect((await asTina(NETWORKS)).status).toBe(200);
  });

  it('may be for single objects', async () => {
    await made(`${RBAC_API}/namespaces/blue/roles`, {
      ...rbac('Role', 'one', {
        rules: [
          {
            verbs: ['get', 'list', 'watch'],
            apiGroups: ['network.xenolith.dev'],
            resources: ['networks'],
            resourceNames: ['shown'],
          },
        ],
      }),
    });
    await bind('blue', 'one', { kind: 'Role', name: 'one' }, [TINA]);
    for (const name of ['shown', 'hidden']) await made(`${NETWORK_API}/namespaces/blue/networks`, network(name));
    const path = `${NETWORK_API}/namespaces/blue/networks`;
    expect((await asTina(`${path}/shown`)).status).toBe(200);
    expect((await asTina(`${path}/hidden`)).status).toBe(403);
    expect((await asTina(path)).status).toBe(403);
    const selected = await asTina(`${path}?fieldSelector=metadata.name%3Dshown`);
    expect(selected.json['items']).toHaveLength(1);
    expect((await asTina(`${path}?fieldSelector=metadata.name%3Dhidden`)).status).toBe(403);
    expect((await asTina(`${path}?fieldSelector=metadata.name!%3Dshown`)).status).toBe(403);
  });

  it('can’t be used to get more than one has', async () => {
    const roles = `${RBAC_API}/namespaces/red/roles`;
    const bindings = `${RBAC_API}/namespaces/red/rolebindings`;
    const hosts = { verbs: ['get'], apiGroups: ['compute.xenolith.dev'], resources: ['hosts'] };
    const more = await asTina(roles, { method: 'POST', body: rbac('Role', 'more', { rules: [hosts] }) });
    expect(more.json).toMatchObject({ code: 403, reason: 'Forbidden' });
    expect(more.json['message']).toMatch(/attempting to grant RBAC permissions not currently held:\n.*"hosts"/);
    const held = { verbs: ['get'], apiGroups: ['network.xenolith.dev'], resources: ['networks'] };
    const less = await asTina(roles, { method: 'POST', body: rbac('Role', 'less', { rules: [held] }) });
    expect(less.status, less.text).toBe(201);
    const grown = await asTina(`${roles}/less`, {
      method: 'PATCH',
      raw: JSON.stringify({ rules: [held, hosts] }),
      headers: { 'content-type': 'application/merge-patch+json' },
    });
    expect(grown.status).toBe(403);
    const applied = await asTina(`${roles}/new?fieldManager=t`, {
      method: 'PATCH',
      raw: JSON.stringify(rbac('Role', 'new', { rules: [hosts] })),
      headers: { 'content-type': 'application/apply-patch+yaml' },
    });
    expect(applied.status).toBe(403);
    const all = rbac('RoleBinding', 'all', { roleRef: clusterRole('cluster-admin'), subjects: [TINA] });
    expect((await asTina(bindings, { method: 'POST', body: all })).status).toBe(403);
    const none = rbac('RoleBinding', 'none', { roleRef: { kind: 'Role', name: 'none' }, subjects: [TINA] });
    expect((await asTina(bindings, { method: 'POST', body: none })).status).toBe(404);
    const friend = rbac('RoleBinding', 'friend', {
      roleRef: clusterRole('view'),
      subjects: [{ kind: 'User', name: 'tim' }],
    });
    expect((await asTina(bindings, { method: 'POST', body: friend })).status).toBe(201);
    await made(
      `${RBAC_API}/clusterroles`,
      rbac('ClusterRole', 'binder', {
        rules: [
          {
            verbs: ['bind'],
            apiGroups: ['rbac.authorization.k8s.io'],
            resources: ['clusterroles'],
            resourceNames: ['cluster-admin'],
          },
        ],
      }),
    );
    await bind('red', 'binder', clusterRole('binder'), [TINA]);
    const bound = await asTina(`${bindings}?dryRun=All`, { method: 'POST', body: all });
    expect(bound.status, bound.text).toBe(201);
  });

  it('are needed for what an Operation does, and for what a PATCH makes', async () => {
    const operations = '/apis/compute.xenolith.dev/v1alpha1/namespaces/blue/operations';
    await made(
      `${RBAC_API}/namespaces/blue/roles`,
      rbac('Role', 'operator', {
        rules: [
          { verbs: ['create', 'patch'], apiGroups: ['compute.xenolith.dev'], resources: ['operations'] },
          { verbs: ['create'], apiGroups: ['compute.xenolith.dev'], resources: ['virtualmachines/reboot'] },
          { verbs: ['patch'], apiGroups: ['network.xenolith.dev'], resources: ['networks'] },
        ],
      }),
    );
    await bind('blue', 'operator', { kind: 'Role', name: 'operator' }, [TINA]);
    const operation = (action: string): JsonObject => ({
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'Operation',
      metadata: { generateName: 'o-' },
      spec: { target: { kind: 'VirtualMachine', name: 'web' }, action },
    });
    expect((await asTina(operations, { method: 'POST', body: operation('reboot') })).status).toBe(201);
    for (const action of ['migrate', 'hard_shutdown']) {
      const refused = await asTina(operations, { method: 'POST', body: operation(action) });
      expect(refused.json['message']).toContain(`virtualmachines/${action.replace('_', '-')}`);
      expect(refused.status).toBe(403);
    }
    const made403 = await asTina(`${NETWORK_API}/namespaces/blue/networks/fresh?fieldManager=t`, {
      method: 'PATCH',
      raw: JSON.stringify(network('fresh')),
      headers: { 'content-type': 'application/apply-patch+yaml' },
    });
    expect(made403.json).toMatchObject({ code: 403 });
    expect(made403.json['message']).toContain('cannot create resource "networks"');
  });
});

describe('impersonation', () => {
  it('takes the right to it, for the user and each group', async () => {
    expect(await kubectl('auth whoami --as tim --as-group tenants')).toMatch(/tim[^]*tenants/);
    expect((await api.kubectl(['auth', 'can-i', 'list', 'hosts', '--as', 'tim'])).stdout).toContain('no');
    const refused = await asTina(NETWORKS, { headers: { 'impersonate-user': 'ada' } });
    expect(refused.json).toMatchObject({ code: 403 });
    expect(refused.json['message']).toContain('cannot impersonate resource "users"');
    await made(
      `${RBAC_API}/clusterroles`,
      rbac('ClusterRole', 'as-tim', {
        rules: [{ verbs: ['impersonate'], apiGroups: [''], resources: ['users'], resourceNames: ['tim'] }],
      }),
    );
    await made(
      `${RBAC_API}/clusterrolebindings`,
      rbac('ClusterRoleBinding', 'as-tim', { roleRef: clusterRole('as-tim'), subjects: [TINA] }),
    );
    expect((await asTina(NETWORKS, { headers: { 'impersonate-user': 'tim' } })).status).toBe(200);
    const group = { 'impersonate-user': 'tim', 'impersonate-group': 'system:masters' };
    expect((await asTina(NETWORKS, { headers: group })).status).toBe(403);
    expect((await asTina(NETWORKS, { headers: { 'impersonate-group': 'x' } })).status).toBe(400);
  });
});

describe('kubectl', () => {
  it('makes, shows, explains and reconciles roles and bindings', async () => {
    await kubectl('create role keeper --verb=get,list --resource=networks,virtualmachines/status -n red');
    await kubectl('create clusterrole watcher --verb=get --non-resource-url=/metrics/*');
    await kubectl('create rolebinding keeper --role=keeper --user=tim --group=keepers --serviceaccount=red:ci -n red');
    await kubectl('create clusterrolebinding watcher --clusterrole=watcher --group=watchers');
    expect(await kubectl('describe role keeper -n red')).toMatch(
      /networks\.network\.xenolith\.dev +\[\] +\[\] +\[get list\]/,
    );
    expect(await kubectl('describe rolebinding keeper -n red')).toMatch(/ServiceAccount +ci +red/);
    expect(await kubectl('get rolebindings,roles -n red')).toContain('rolebinding.rbac.authorization.k8s.io/keeper');
    expect(await kubectl('explain clusterrole.rules.nonResourceURLs')).toContain('star at the end'.slice(8));
    const role = JSON.parse(await kubectl('get role keeper -n red -o json')) as JsonObject;
    expect(role).not.toHaveProperty('spec');
    expect(role).not.toHaveProperty('status');
    const manifest = JSON.stringify({
      ...rbac('Role', 'keeper', {}),
      metadata: { name: 'keeper', namespace: 'red' },
      rules: [{ verbs: ['delete'], apiGroups: ['network.xenolith.dev'], resources: ['networks'] }],
    });
    expect(await kubectl('auth reconcile -f -', manifest)).toContain('reconciled');
    expect(await kubectl('describe role keeper -n red')).toMatch(
      /networks\.network\.xenolith\.dev .*\[delete get list\]|\[get list delete\]/,
    );
    expect(await kubectl('apply --server-side -f -', manifest.replace('keeper', 'applied'))).toContain(
      'serverside-applied',
    );
    expect(await kubectl('apply -f -', manifest.replace('keeper', 'plain'))).toContain('created');
    expect(await kubectl('apply -f -', manifest.replace('keeper', 'plain').replace('"delete"', '"patch"'))).toContain(
      'configured',
    );
    expect(await kubectl('get role plain -n red -o jsonpath={.rules[*].verbs}')).toBe('["patch"]');
  });

  it('is told what is wrong with a role', async () => {
    const post = (body: unknown) => api.ask(`${RBAC_API}/clusterroles`, { method: 'POST', body });
    const wrong = await post(rbac('ClusterRole', 'wrong', { rules: [{ verbs: [], resources: ['a'] }] }));
    expect(wrong.json).toMatchObject({ code: 422, reason: 'Invalid' });
    expect(wrong.json['message']).toMatch(/rules\[0\]\.verbs/);
    const aggregated = await post(rbac('ClusterRole', 'sum', { aggregationRule: { clusterRoleSelectors: [] } }));
    expect(aggregated.json['message']).toContain('does not aggregate cluster roles');
    const slash = await post(rbac('ClusterRole', 'a/b', { rules: [] }));
    expect(slash.status).toBe(422);
    expect((await post(rbac('ClusterRole', 'a:b', { rules: [] }))).status).toBe(201);
    expect((await api.ask(`${RBAC_API}/clusterroles/a%3Ab`)).status).toBe(200);
  });

  it('asks about others', async () => {
    const review = (body: unknown, token?: string) =>
      api.ask('/apis/authorization.k8s.io/v1/subjectaccessreviews', { method: 'POST', body, ...(token && { token }) });
    const spec = {
      user: 'tina',
      resourceAttributes: { verb: 'get', group: 'network.xenolith.dev', resource: 'networks', namespace: 'red' },
    };
    expect((await review({ spec })).json['status']).toMatchObject({ allowed: true });
    expect((await review({ spec: { ...spec, user: 'nobody' } })).json['status']).toMatchObject({ allowed: false });
    expect((await review({ spec }, TENANT_TOKEN)).status).toBe(403);
    const local = '/apis/authorization.k8s.io/v1/namespaces/red/localsubjectaccessreviews';
    expect((await asTina(local, { method: 'POST', body: { spec } })).json['status']).toMatchObject({ allowed: true });
    const elsewhere = { ...spec, resourceAttributes: { ...spec.resourceAttributes, namespace: 'blue' } };
    expect((await asTina(local, { method: 'POST', body: { spec: elsewhere } })).status).toBe(422);
    const token = await api.ask('/apis/authentication.k8s.io/v1/tokenreviews', {
      method: 'POST',
      body: { spec: { token: TENANT_TOKEN } },
    });
    expect(token.json['status']).toMatchObject({ authenticated: true, user: { username: 'tina' } });
    expect(token.text).not.toContain(TENANT_TOKEN);
  });
});
