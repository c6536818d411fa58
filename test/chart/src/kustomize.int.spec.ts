import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { publicUserKey } from '@xenolith/messaging';
import { runKubectl } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type Rendered } from './helm.js';
import { schemaFault, unknownFields } from './kubernetes-schemas.js';
import { PLAIN, PLATFORM, renderPlain } from './plain.js';

const run = promisify(execFile);

const KEPT = ['postgres', 'tokens', 'tls', 'postgres-tls', 'nats-tls', 'nats-keys'];

interface Referring {
  readonly secret?: { readonly secretName: string; readonly items?: readonly { readonly key: string }[] };
}

/** Every name of a secret, and every key of one, that is asked for anywhere in an object. */
const secretsAskedFor = (value: unknown): readonly { readonly name: string; readonly keys: readonly string[] }[] => {
  if (Array.isArray(value)) return value.flatMap(secretsAskedFor);
  if (value === null || typeof value !== 'object') return [];
  const { secret, secretKeyRef } = value as Referring & { secretKeyRef?: { name: string; key: string } };
  return [
    ...(secret === undefined ? [] : [{ name: secret.secretName, keys: (secret.items ?? []).map(({ key }) => key) }]),
    ...(secretKeyRef === undefined ? [] : [{ name: secretKeyRef.name, keys: [secretKeyRef.key] }]),
    ...Object.values(value).flatMap(secretsAskedFor),
  ];
};

/** kustomize folds long values; Kubernetes passes over line breaks in base64, and the schema does not. */
const unfolded = (object: Rendered): Rendered =>
  object.kind !== 'Secret'
    ? object
    : {
        ...object,
        data: Object.fromEntries(
          Object.entries(object['data'] as Record<string, string>).map(([key, value]) => [
            key,
            value.replaceAll('\n', ''),
          ]),
        ),
      };

const dataOf = (object: Rendered | undefined): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries((object?.['data'] ?? {}) as Record<string, string>).map(([key, value]) => [
      key,
      Buffer.from(value, 'base64').toString(),
    ]),
  );

describe('plain manifests', () => {
  let folder = '';
  let objects: readonly Rendered[] = [];
  const secret = (name: string) =>
    dataOf(objects.find((object) => object.kind === 'Secret' && object.metadata.name === `xenolith-${name}`));

  const build = async (): Promise<readonly Rendered[]> => {
    const { stdout, stderr } = await runKubectl('/dev/null', ['kustomize', folder]);
    expect(stderr).toBe('');
    return parseAllDocuments(stdout).map((document) => unfolded(document.toJS() as Rendered));
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'xenolith-plain-'));
    await cp(PLAIN, folder, { recursive: true, filter: (source) => !source.endsWith('/secrets') });
    await run(join(folder, 'make-secrets'));
    objects = await build();
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('are what the chart renders: npm run render:kustomize', async () => {
    expect(await readFile(PLATFORM, 'utf8')).toBe(await renderPlain());
  });

  it('are built by kubectl kustomize into objects that Kubernetes knows, all in one namespace', async () => {
    expect(objects.length).toBeGreaterThan(35);
    for (const object of objects) {
      const name = `${object.kind} ${object.metadata.name}`;
      expect(await schemaFault(object), name).toBeNull();
      expect(unknownFields(object), name).toEqual([]);
      const { namespace } = object.metadata as { namespace?: string };
      expect(namespace, name).toBe(object.kind === 'Namespace' ? undefined : 'xenolith');
    }
  });

  it('have every secret, with every key, that a Pod asks for', () => {
    const asked = objects.flatMap(secretsAskedFor);
    expect(asked.length).toBeGreaterThan(5);
    for (const { name, keys } of asked) {
      const found = dataOf(objects.find((object) => object.kind === 'Secret' && object.metadata.name === name));
      expect(Object.keys(found), name).toEqual(expect.arrayContaining([...keys]));
      expect(Object.keys(found).length, name).toBeGreaterThan(0);
    }
  });

  it('log in with what was made: one password, one token, a certificate of the authority', async () => {
    const { password = '', url } = secret('postgres');
    expect(url).toBe(
      `postgresql://xenolith:${password}@xenolith-postgres:5432/xenolith?sslmode=verify-full&sslrootcert=/etc/xenolith/postgres/ca.crt`,
    );
    const { token, 'tokens.json': tokens = '' } = secret('tokens');
    expect(JSON.parse(tokens)).toEqual([{ token, user: 'admin', groups: ['system:masters'] }]);
    expect(new Set(Object.values(secret('database-roles'))).size).toBe(5);
    for (const [secretName, host] of [
      ['tls', 'xenolith.xenolith.svc'],
      ['postgres-tls', 'xenolith-postgres'],
      ['nats-tls', 'xenolith-nats'],
      ['nats-tls', 'xenolith-nats-2.xenolith-nats-peers.xenolith.svc'],
    ] as const) {
      const tls = (name: string): string => join(folder, 'secrets', secretName, name);
      const { stdout } = await run('openssl', [
        ...['verify', '-CAfile', tls('ca.crt'), '-verify_hostname', host, tls('tls.crt')],
      ]);
      expect(stdout).toContain('OK');
      expect((await stat(tls('tls.key'))).mode & 0o077).toBe(0);
    }
  });

  it('have a key for each user of NATS, from which its servers are told the public halves', () => {
    const keys = secret('nats-keys');
    expect(Object.keys(keys).sort()).toEqual(['agent.default', ...Object.keys(secret('database-roles'))].sort());
    const known = new Set(Object.values(keys).map(publicUserKey));
    expect(known.size).toBe(Object.keys(keys).length);
  });

  it('keep their secrets when they are made again', async () => {
    const before = KEPT.map(secret);
    await run(join(folder, 'make-secrets'));
    objects = await build();
    expect(KEPT.map(secret)).toEqual(before);
  });
});
