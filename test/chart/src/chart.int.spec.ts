import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CHART, helm, render, type Rendered } from './helm.js';
import { schemaFault, unknownFields } from './kubernetes-schemas.js';
import { CERT_MANAGER, EXTERNAL, EXTERNAL_SECURED } from './secured-values.js';
import { containerOf, named, podsOf, variables, workload, type Workload } from './workloads.js';

const INGRESS = [
  'gateway.ingress.enabled=true',
  'gateway.ingress.host=xenolith.example.com',
  'gateway.ingress.className=nginx',
];
const ROUTE = [
  'gateway.route.enabled=true',
  'gateway.route.host=xenolith.example.com',
  'gateway.route.parentRefs=[{"name":"edge","namespace":"gateways"}]',
];
/** Values that users combine, each row a release of its own. */
const MATRIX: readonly (readonly string[])[] = [
  [],
  ['size=medium'],
  ['size=large', 'agent.replicas=10', 'agent.hosts=1000'],
  EXTERNAL,
  EXTERNAL_SECURED,
  ['nats.tls.existingSecret=bus-tls', 'nats.keys.existingSecret=bus-keys', 'postgres.tls.existingSecret=database-tls'],
  INGRESS,
  ROUTE,
  CERT_MANAGER,
  ['tls.existingSecret=own', 'tokens.existingSecret=users'],
  [
    'gateway.autoscaling.enabled=true',
    'metrics.serviceMonitor.enabled=true',
    'metrics.serviceMonitor.labels={"release":"p"}',
    'metrics.prometheusRule.enabled=true',
    'metrics.dashboards.enabled=true',
    'metrics.prometheusRule.labels={"release":"p"}',
  ],
  [
    'auth.oidc.issuerUrl=https://id.example.com:8443',
    'auth.oidc.audiences=["xenolith"]',
    'auth.oidc.caSecret=issuer',
    'auth.clientCaSecret=clients',
    'auth.frontProxy.caSecret=proxies',
  ],
  ['nats.replicas=1', 'agent.enabled=false', 'networkPolicies.enabled=false'],
  ['jaeger.enabled=true', 'networkPolicies.metricsFrom=["monitoring"]'],
  [
    'networkPolicies.apiFrom=["users"]',
    'networkPolicies.metricsFrom=["monitoring"]',
    'tracing.endpoint=http://jaeger.observability:4318',
  ],
  [
    'image.registry=registry.example.com/',
    'image.tag=9.9.9',
    'image.pullSecrets=[{"name":"pull"}]',
    'gateway.nodeSelector={"disk":"ssd"}',
    'compute.tolerations=[{"key":"dedicated","operator":"Exists"}]',
    'scheduler.podAnnotations={"a":"b"}',
    'agent.persistence.storageClassName=fast',
    'gateway.resources={"requests":{"cpu":"2"}}',
  ],
];

describe('the chart', () => {
  it('passes helm lint --strict, and is packaged', async () => {
    expect(await helm('lint', '--strict', CHART)).toContain('0 chart(s) failed');
    const folder = await mkdtemp(join(tmpdir(), 'xenolith-chart-'));
    try {
      await helm('package', CHART, '--destination', folder);
      expect(await readdir(folder)).toEqual(['xenolith-0.1.0.tgz']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it.each(MATRIX.map((values) => ({ values, title: values.join(' ') || 'no values' })))(
    'renders what Kubernetes accepts of $title',
    async ({ values }) => {
      const objects = await render(...values);
      const faults = await Promise.all(
        objects.map(async (object) => {
          const where = `${object.kind} ${object.metadata.name}`;
          const fault = await schemaFault(object);
          return [...(fault === null ? [] : [`${where}: ${fault}`]), ...(unknownFields(object) ?? [])];
        }),
      );
      expect(faults.flat()).toEqual([]);
      const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      expect(new Set(names).size).toBe(names.length);
    },
  );

  it('renders Pods that may do nothing but their work, and mounts only what they have', async () => {
    for (const { name, spec, claims } of (await Promise.all([render(), render(...EXTERNAL)])).flatMap(podsOf)) {
      expect(spec.automountServiceAccountToken, name).toBe(false);
      expect(spec.securityContext, name).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      const has = [...(spec.volumes ?? []).map((volume) => volume.name), ...claims];
      for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
        expect(container.securityContext, name).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        });
        expect(container.resources, name).toMatchObject({ requests: {}, limits: {} });
        for (const mount of container.volumeMounts ?? []) expect(has, name).toContain(mount.name);
      }
    }
  });

  it('lets every selector find the Pods of its own part only', async () => {
    const objects = await render();
    const pods = objects.flatMap((object) => {
      if (object.kind === 'Pod') return [object.metadata.labels ?? {}];
      const template = (object['spec'] as { template?: { metadata: { labels: Record<string, string> } } } | undefined)
        ?.template;
      return template ? [template.metadata.labels] : [];
    });
    const selectors = objects.flatMap((object) => {
      const { selector } = (object['spec'] ?? {}) as { selector?: { matchLabels?: object } };
      return selector ? [selector.matchLabels ?? selector] : [];
    });
    expect(selectors.length).toBeGreaterThan(10);
    for (const selector of selectors) {
      const found = pods.filter((labels) => Object.entries(selector).every(([key, value]) => labels[key] === value));
      expect(found, JSON.stringify(selector)).toHaveLength(1);
    }
  });
});

describe('a switch of the chart', () => {
  it.each([
    ['a key that is not known', ['gatway.replicas=3'], /gatway/],
    ['a size that there is none of', ['size=huge'], /size/],
    ['an even number of NATS servers', ['nats.replicas=2'], /nats.*replicas/s],
    ['no database', ['postgres.enabled=false'], /postgres\.external\.existingSecret: set it/],
    ['no bus', ['nats.enabled=false'], /nats\.external\.url: set it/],
    ['an ingress without a host', ['gateway.ingress.enabled=true'], /gateway\.ingress\.host: set it/],
    ['a route without a gateway', ['gateway.route.enabled=true'], /gateway\.route\.parentRefs: name the gateway/],
    [
      'cert-manager without an issuer',
      ['tls.certManager.enabled=true'],
      /tls\.certManager\.issuerRef: name the issuer/,
    ],
    [
      'cert-manager without an issuer for NATS',
      ['nats.tls.certManager.enabled=true'],
      /nats\.tls\.certManager\.issuerRef: name the issuer/,
    ],
  ])('refuses %s, and says what to set', async (_what, values, message) => {
    await expect(render(...values)).rejects.toThrow(message);
  });

  it('sizes give replicas and resources, which own values replace', async () => {
    const [small, large, own] = await Promise.all([
      render(),
      render('size=large'),
      render('gateway.replicas=7', 'gateway.resources={"requests":{"cpu":"2"}}'),
    ]);
    const gateways = [small, large, own].map((objects) => workload(objects, 'Deployment', '-gateway'));
    expect(gateways.map(({ replicas }) => replicas)).toEqual([2, 3, 7]);
    expect(containerOf(gateways[0] as Workload).resources).not.toEqual(containerOf(gateways[1] as Workload).resources);
    expect(containerOf(gateways[2] as Workload).resources).toEqual({ requests: { cpu: '2' } });
  });

  it('external servers leave out what is built in', async () => {
    const objects = await render(...EXTERNAL);
    expect(objects.filter(({ metadata }) => /postgres|nats/.test(metadata.name))).toEqual([]);
    const compute = workload(objects, 'Deployment', '-compute');
    expect(variables(compute)['NATS_URL']).toBe('nats://nats.example.com:4333');
    expect(containerOf(compute).env).toContainEqual({
      name: 'DATABASE_URL',
      valueFrom: { secretKeyRef: { name: 'database', key: 'url' } },
    });
    const egress = named(objects, 'NetworkPolicy', '-processes')['spec'] as { egress: { ports: object[] }[] };
    expect(egress.egress.map(({ ports }) => ports)).toContainEqual([{ port: 4333, protocol: 'TCP' }]);
  });

  it('traces go to the Jaeger of the chart, unless another place is named', async () => {
    const [none, own, other] = await Promise.all([
      render(),
      render('jaeger.enabled=true'),
      render('jaeger.enabled=true', 'tracing.endpoint=http://elsewhere:4318'),
    ]);
    const endpoint = (objects: readonly Rendered[]): string | undefined =>
      variables(workload(objects, 'StatefulSet', '-agent'))['OTEL_EXPORTER_OTLP_ENDPOINT'];
    expect(endpoint(none)).toBeUndefined();
    expect(endpoint(own)).toBe('http://x-xenolith-jaeger:4318');
    expect(endpoint(other)).toBe('http://elsewhere:4318');
    expect(none.filter(({ metadata }) => metadata.name.includes('jaeger'))).toEqual([]);
    // The name and port that processes are told are those of its Service, and the policies let them through.
    expect(named(own, 'Service', '-jaeger')['spec']).toMatchObject({
      ports: [
        { port: 4318, targetPort: 'otlp-http' },
        { port: 16686, targetPort: 'ui' },
      ],
    });
    const jaeger = containerOf(workload(own, 'Deployment', '-jaeger'));
    expect(jaeger.image).toMatch(/^jaegertracing\/jaeger:2\./);
    const egress = named(own, 'NetworkPolicy', '-processes')['spec'] as { egress: { ports: object[] }[] };
    expect(egress.egress.map(({ ports }) => ports)).toContainEqual([{ port: 4318, protocol: 'TCP' }]);
    expect(named(own, 'NetworkPolicy', '-jaeger').kind).toBe('NetworkPolicy');
  });

  it('several agents name their hosts after themselves', async () => {
    const [one, two] = await Promise.all([render(), render('agent.replicas=2')]);
    expect(variables(workload(one, 'StatefulSet', '-agent'))['AGENT_HOST_PREFIX']).toBe('host-');
    expect(variables(workload(two, 'StatefulSet', '-agent'))['AGENT_HOST_PREFIX']).toBe('$(INSTANCE)-');
  });

  it('an autoscaled gateway has no number of replicas of its own', async () => {
    const objects = await render('gateway.autoscaling.enabled=true');
    expect(workload(objects, 'Deployment', '-gateway').replicas).toBeUndefined();
    expect(named(objects, 'HorizontalPodAutoscaler', '-gateway')['spec']).toMatchObject({ minReplicas: 2 });
  });

  it('network policies deny what is not named, and can be left out', async () => {
    const [on, off] = await Promise.all([
      render('networkPolicies.apiFrom=["users"]'),
      render('networkPolicies.enabled=false'),
    ]);
    expect(named(on, 'NetworkPolicy', '-default-deny')['spec']).toMatchObject({ policyTypes: ['Ingress', 'Egress'] });
    expect(named(on, 'NetworkPolicy', '-api')['spec']).toMatchObject({
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'users' } } }] }],
    });
    expect(off.filter(({ kind }) => kind === 'NetworkPolicy')).toEqual([]);
  });

  it('the starter inventory is that of the platform elsewhere, and can be left out', async () => {
    const [on, off] = await Promise.all([render(), render('starter.enabled=false')]);
    const carried = (objects: readonly Rendered[]): unknown =>
      JSON.parse((named(objects, 'ConfigMap', '-scripts')['data'] as Record<string, string>)['objects.json'] ?? '');
    const folder = join(CHART, '../../starter');
    const texts = await Promise.all((await readdir(folder)).sort().map((file) => readFile(join(folder, file), 'utf8')));
    expect(carried(on)).toEqual(texts.flatMap((text) => parseAllDocuments(text).map((each) => each.toJS() as unknown)));
    expect(named(on, 'Job', '-starter').kind).toBe('Job');
    expect(carried(off)).toEqual([]);
    expect(off.filter(({ metadata }) => metadata.name.endsWith('-starter'))).toEqual([]);
  });

  it('passes what users set on to the processes', async () => {
    const objects = await render(
      'scheduler.policy=density',
      'logLevel=debug',
      'tracing.endpoint=http://jaeger:4318',
      'agent.hosts=40',
      'agent.hostProfiles=[{"prefix":"legacy-","release":"xen-4.0"}]',
    );
    expect(variables(workload(objects, 'Deployment', '-scheduler'))).toMatchObject({
      SCHEDULING_POLICY: 'density',
      LOG_LEVEL: 'debug',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://jaeger:4318',
    });
    const agent = variables(workload(objects, 'StatefulSet', '-agent'));
    expect(agent['AGENT_HOSTS']).toBe('40');
    expect(JSON.parse(agent['AGENT_HOST_PROFILES'] ?? '')).toEqual([{ prefix: 'legacy-', release: 'xen-4.0' }]);
  });
});

describe('the check against the schemas', () => {
  it('finds types that are wrong and fields that nobody knows', async () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'a' }, spec: { ports: [{ port: 'x' }] } };
    expect(await schemaFault(service)).toMatch(/port must be integer/);
    const odd = { ...service, spec: { ports: [{ port: 1, targetPorts: 2 }] } };
    expect(unknownFields(odd)).toEqual(['Service.spec.ports.0.targetPorts']);
  });
});
