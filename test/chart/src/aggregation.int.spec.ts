import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KINDS } from '@xenolith/contracts';
import { DEFAULT_CLUSTER_ROLES } from '@xenolith/tenancy';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CHART, render, type Rendered } from './helm.js';
import { schemaFault, unknownFields } from './kubernetes-schemas.js';

const ENABLED = 'aggregation.enabled=true';
const AUTHORITY = '-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n';

interface Service {
  readonly group: string;
  readonly version: string;
  readonly caBundle?: string;
  readonly service: unknown;
}

let objects: readonly Rendered[];

beforeAll(async () => {
  objects = await render(ENABLED);
});

const ofKind = (kind: string, among = objects): readonly Rendered[] => among.filter((object) => object.kind === kind);
const servicesOf = (among = objects): readonly Service[] =>
  ofKind('APIService', among).map(({ spec }) => spec as Service);

const podOf = (component: string): Readonly<Record<string, unknown>> =>
  (
    ofKind('Deployment').find(({ metadata }) => metadata.name === `x-xenolith-${component}`)?.['spec'] as {
      template: { spec: Readonly<Record<string, unknown>> };
    }
  ).template.spec;

describe('a release that the cluster aggregates', () => {
  it('is made of objects that Kubernetes’ schemas know', async () => {
    for (const object of objects) {
      expect(await schemaFault(object), `${object.kind} ${object.metadata.name}`).toBeNull();
      expect(unknownFields(object) ?? [], `${object.kind} ${object.metadata.name}`).toEqual([]);
    }
  });

  it('has the cluster serve each group of ours, and none of Kubernetes’ own, by the authority of the API', () => {
    const groups = [...new Set(KINDS.map(({ group }) => group))].filter((group) => group.endsWith('.xenolith.dev'));
    expect(servicesOf().map(({ group }) => group)).toEqual(groups.sort());
    const tls = ofKind('Secret').find(({ metadata }) => metadata.name === 'x-xenolith-tls');
    const authority = (tls?.['data'] as Record<string, string>)['ca.crt'];
    for (const { version, service, caBundle } of servicesOf()) {
      expect(version).toBe('v1alpha1');
      expect(service).toEqual({ name: 'x-xenolith', namespace: 'virtual', port: 443 });
      expect(caBundle).toBe(authority);
    }
  });

  it('gives the gateway alone an account in the cluster, with what it needs there', () => {
    expect(podOf('gateway')).toMatchObject({
      serviceAccountName: 'x-xenolith-gateway',
      automountServiceAccountToken: true,
    });
    expect(podOf('compute')).toMatchObject({ serviceAccountName: 'x-xenolith', automountServiceAccountToken: false });
    const [{ env = [] } = {}] = podOf('gateway')['containers'] as { env?: { name: string; value?: string }[] }[];
    expect(env).toContainEqual({ name: 'CLUSTER_API_URL', value: 'https://kubernetes.default.svc' });
    const bound = [...ofKind('ClusterRoleBinding'), ...ofKind('RoleBinding')]
      .filter(({ subjects }) => JSON.stringify(subjects).includes('x-xenolith-gateway'))
      .map(({ roleRef }) => (roleRef as { name: string }).name);
    expect(bound.toSorted()).toEqual([
      'extension-apiserver-authentication-reader',
      'system:auth-delegator',
      'virtual:x-xenolith-gateway',
    ]);
    const own = ofKind('ClusterRole').find(({ metadata }) => metadata.name === 'virtual:x-xenolith-gateway');
    expect(own?.['rules']).toEqual([
      { apiGroups: [''], resources: ['namespaces'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
    ]);
    const policy = ofKind('NetworkPolicy').find(({ metadata }) => metadata.name === 'x-xenolith-api');
    expect(JSON.stringify((policy?.['spec'] as { egress: unknown }).egress)).toContain('"port":6443');
  });

  it('adds to the cluster’s roles what those of a platform of its own give', async () => {
    const file = parse(await readFile(join(CHART, 'files/aggregated-roles.yaml'), 'utf8')) as Record<string, unknown[]>;
    const rulesOf = (role: string): unknown[] =>
      (DEFAULT_CLUSTER_ROLES.find(({ name }) => name === role)?.rules ?? []).filter(({ apiGroups = [] }) =>
        apiGroups.every((group) => group.endsWith('.xenolith.dev')),
      );
    expect(file['view']).toEqual(rulesOf('view'));
    expect([...(file['view'] ?? []), ...(file['edit'] ?? [])]).toEqual(rulesOf('edit'));
    expect(file['catalog']).toEqual(rulesOf('xenolith:catalog'));
    const labelsOf = (role: string): object =>
      ofKind('ClusterRole').find(({ metadata }) => metadata.name.endsWith(`:${role}`))?.metadata.labels ?? {};
    expect(labelsOf('view')).toHaveProperty(['rbac.authorization.k8s.io/aggregate-to-view'], 'true');
    expect(labelsOf('edit')).not.toHaveProperty(['rbac.authorization.k8s.io/aggregate-to-view']);
    expect(labelsOf('edit')).toHaveProperty(['rbac.authorization.k8s.io/aggregate-to-admin'], 'true');
  });
});

describe('aggregation', () => {
  it('takes the authority from cert-manager, or as it is given, and says when it can’t know it', async () => {
    const managed = await render(
      ENABLED,
      'tls.certManager.enabled=true',
      'tls.certManager.issuerRef={"name":"ca","kind":"ClusterIssuer"}',
    );
    expect(servicesOf(managed)[0]).not.toHaveProperty('caBundle');
    expect(ofKind('APIService', managed)[0]?.metadata).toMatchObject({
      annotations: { 'cert-manager.io/inject-ca-from': 'virtual/x-xenolith' },
    });
    const own = ['tls.existingSecret=own', ENABLED];
    const given = await render(...own, `aggregation={"caBundle":"${AUTHORITY}","enabled":true}`);
    expect(Buffer.from(servicesOf(given)[0]?.caBundle ?? '', 'base64').toString()).toContain('MIIB');
    await expect(render(...own)).rejects.toThrow('aggregation.caBundle: give the authority');
    await expect(render(ENABLED, 'networkPolicies.apiFrom=["users"]')).rejects.toThrow('in no namespace');
    await expect(render(ENABLED, 'aggregation.caBundle=nonsense')).rejects.toThrow('caBundle');
  });

  it('leaves nothing in the cluster when it is off', async () => {
    const plain = await render();
    for (const kind of ['APIService', 'ClusterRole', 'ClusterRoleBinding', 'RoleBinding'])
      expect(ofKind(kind, plain)).toEqual([]);
    expect(ofKind('ServiceAccount', plain)).toHaveLength(1);
  });
});
