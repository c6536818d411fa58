import { describe, expect, it } from 'vitest';
import { render, type Rendered } from './helm.js';
import { CERT_MANAGER, EXTERNAL_SECURED } from './secured-values.js';
import { containerOf, named, podsOf, variables, workload } from './workloads.js';

describe('the chart makes sure', () => {
  it('external servers are proved by the secrets that are named', async () => {
    const objects = await render(...EXTERNAL_SECURED);
    for (const part of ['Deployment', 'StatefulSet'] as const) {
      const process = workload(objects, part, part === 'Deployment' ? '-compute' : '-agent');
      expect(variables(process)).toMatchObject({
        NATS_CA_FILE: '/etc/xenolith/nats/ca.crt',
        NATS_CREDS_FILE: '/etc/xenolith/bus/nats.creds',
      });
      expect(process.template.spec.volumes).toContainEqual({
        name: 'bus',
        secret: { secretName: 'bus-login', items: [{ key: 'nats.creds', path: 'nats.creds' }] },
      });
    }
    expect(workload(objects, 'Deployment', '-compute').template.spec.volumes).toContainEqual({
      name: 'postgres-ca',
      secret: { secretName: 'database-ca', items: [{ key: 'ca.crt', path: 'ca.crt' }] },
    });
  });

  it('each process is somebody on the bus, by a key of its own, and its servers are told of every agent', async () => {
    const [one, many] = await Promise.all([render(), render('agent.replicas=2', 'agent.hosts=9')]);
    const keys = (objects: readonly Rendered[]): readonly string[] =>
      Object.keys(named(objects, 'Secret', '-nats-keys')['data'] as object).sort();
    const services = ['compute', 'gateway', 'network', 'scheduler', 'storage'];
    expect(keys(one)).toEqual(['agent.default', ...services]);
    expect(keys(many)).toEqual(['agent.x-xenolith-agent-0', 'agent.x-xenolith-agent-1', ...services]);
    expect(workload(one, 'Deployment', '-network').template.spec.volumes).toContainEqual({
      name: 'bus',
      secret: { secretName: 'x-xenolith-nats-keys', items: [{ key: 'network', path: 'key' }] },
    });
    // An agent sees the one file that is named after its fleet.
    const agent = workload(many, 'StatefulSet', '-agent');
    expect(variables(agent)['AGENT_FLEET']).toBe('$(INSTANCE)');
    expect(containerOf(agent).volumeMounts).toContainEqual({
      name: 'bus',
      mountPath: '/etc/xenolith/bus/key',
      subPathExpr: 'agent.$(AGENT_FLEET)',
      readOnly: true,
    });
    // The server itself sees no key.
    const nats = workload(many, 'StatefulSet', '-nats');
    expect(containerOf(nats).volumeMounts?.map(({ name }) => name)).toEqual(['config', 'users', 'tls', 'data']);
    const [first] = nats.template.spec.initContainers ?? [];
    const told = first?.env?.find(({ name }) => name === 'BUS_FLEETS')?.value ?? '';
    expect(JSON.parse(told)).toEqual(
      [0, 1].map((number) => ({
        fleet: `x-xenolith-agent-${number}`,
        hostPrefix: `x-xenolith-agent-${number}-`,
        kvmPrefix: `x-xenolith-agent-${number}-kvm-`,
        hosts: 9,
        kvmHosts: 0,
        profiles: [],
      })),
    );
  });

  it('the database comes back on the volume that it left, with its Pod or with a release of that name', async () => {
    const objects = await render();
    // Else each start opens PostgreSQL's folder to the group of the volume, and PostgreSQL refuses it.
    for (const { name, spec } of podsOf(objects))
      expect(spec.securityContext, name).toMatchObject({ fsGroupChangePolicy: 'OnRootMismatch' });
    // Uninstalling keeps the volume; the password that it knows is in this secret alone.
    const kept = objects.filter(({ metadata }) => metadata.annotations?.['helm.sh/resource-policy'] === 'keep');
    expect(kept.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual(['Secret x-xenolith-postgres']);
  });

  it('each service logs in to the database as itself, and a job that is the owner makes it so', async () => {
    const objects = await render();
    const roles = named(objects, 'Secret', '-database-roles')['stringData'] as Record<string, string>;
    expect(Object.keys(roles).sort()).toEqual(['compute', 'gateway', 'network', 'scheduler', 'storage']);
    expect(new Set(Object.values(roles)).size).toBe(5);
    const storage = workload(objects, 'Deployment', '-storage');
    expect(variables(storage)).toMatchObject({
      DATABASE_URL:
        'postgresql://xenolith_storage@x-xenolith-postgres:5432/xenolith?sslmode=verify-full&sslrootcert=/etc/xenolith/postgres/ca.crt',
      DATABASE_PASSWORD_FILE: '/etc/xenolith/database/password',
    });
    expect(storage.template.spec.volumes).toContainEqual({
      name: 'database',
      secret: { secretName: 'x-xenolith-database-roles', items: [{ key: 'storage', path: 'password' }] },
    });
    const jobNames = (all: readonly Rendered[]): readonly string[] =>
      all.flatMap(({ kind, metadata }) =>
        kind === 'Job' && metadata.name.includes('-migrate-') ? [metadata.name] : [],
      );
    const [first, again, next] = await Promise.all([render(), render('agent.hosts=9'), render('image.tag=9.9.9')]);
    expect(jobNames(objects)).toHaveLength(1);
    // A job can't be changed: the same work has the same name, another release another one.
    expect(jobNames(again)).toEqual(jobNames(first));
    expect(jobNames(next)).not.toEqual(jobNames(first));
  });

  it('users prove who they are by the ways that are named, and what is half said is refused', async () => {
    const objects = await render(
      'auth.oidc.issuerUrl=https://id.example.com:8443',
      'auth.oidc.audiences=["xenolith","kubectl"]',
      'auth.oidc.jwksUrl=https://keys.example.com/jwks',
      'auth.oidc.caSecret=issuer',
      'auth.oidc.groupsClaim=groups',
      'auth.oidc.requiredClaims=["team=red"]',
      'auth.clientCaSecret=clients',
      'auth.frontProxy.caSecret=proxies',
      'auth.frontProxy.allowedNames=["front"]',
      'auth.trustedProxies=["10.0.0.0/8","fd00::1"]',
    );
    const gateway = workload(objects, 'Deployment', '-gateway');
    expect(variables(gateway)).toMatchObject({
      OIDC_ISSUER_URL: 'https://id.example.com:8443',
      OIDC_AUDIENCES: 'xenolith,kubectl',
      OIDC_JWKS_URL: 'https://keys.example.com/jwks',
      OIDC_CA_FILE: '/etc/xenolith/oidc-ca/ca.crt',
      OIDC_GROUPS_CLAIM: 'groups',
      OIDC_REQUIRED_CLAIMS: 'team=red',
      CLIENT_CA_FILE: '/etc/xenolith/client-ca/ca.crt',
      REQUESTHEADER_CLIENT_CA_FILE: '/etc/xenolith/front-proxy-ca/ca.crt',
      REQUESTHEADER_ALLOWED_NAMES: 'front',
      TRUSTED_PROXIES: '10.0.0.0/8,fd00::1',
    });
    for (const [name, secretName] of Object.entries({
      'oidc-ca': 'issuer',
      'client-ca': 'clients',
      'front-proxy-ca': 'proxies',
    })) {
      expect(gateway.template.spec.volumes).toContainEqual({
        name,
        secret: { secretName, items: [{ key: 'ca.crt', path: 'ca.crt' }] },
      });
      expect(containerOf(gateway).volumeMounts).toContainEqual({
        name,
        mountPath: `/etc/xenolith/${name}`,
        readOnly: true,
      });
    }
    const api = named(objects, 'NetworkPolicy', '-api')['spec'] as { egress: { ports: { port: number }[] }[] };
    expect(api.egress.flatMap(({ ports }) => ports.map(({ port }) => port))).toEqual([443, 8443]);
    const plain = workload(await render(), 'Deployment', '-gateway');
    expect(Object.keys(variables(plain)).filter((name) => /^(OIDC|CLIENT|REQUESTHEADER|TRUSTED)_/.test(name))).toEqual(
      [],
    );
    await expect(render('auth.oidc.issuerUrl=https://id.example.com')).rejects.toThrow('auth.oidc.audiences');
    await expect(render('auth.oidc.audiences=["a"]')).rejects.toThrow('auth.oidc.issuerUrl');
    await expect(render('auth.frontProxy.allowedNames=["a"]')).rejects.toThrow('auth.frontProxy.caSecret');
    await expect(render('auth.oidc.signingAlgorithms=["none"]')).rejects.toThrow('signingAlgorithms');
  });

  it('certificates come from a secret, from cert-manager, or from the chart', async () => {
    const [made, managed, own] = await Promise.all([
      render(),
      render(...CERT_MANAGER),
      render('tls.existingSecret=own'),
    ]);
    const secrets = (objects: readonly Rendered[]): readonly string[] =>
      objects.flatMap(({ kind, metadata }) => (kind === 'Secret' ? [metadata.name] : []));
    expect(secrets(made)).toContain('x-xenolith-tls');
    expect(secrets(managed)).not.toContain('x-xenolith-tls');
    expect(named(managed, 'Certificate', '')['spec']).toMatchObject({ secretName: 'x-xenolith-tls' });
    expect(secrets(own)).not.toContain('x-xenolith-tls');
    expect(workload(own, 'Deployment', '-gateway').template.spec.volumes).toContainEqual({
      name: 'tls',
      secret: { secretName: 'own' },
    });
  });
});
