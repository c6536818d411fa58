import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { parseConfig } from '@xenolith/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clientAuthority, type Authority } from '../fixture/authority.js';
import { startTestPlatform, type Ask, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';
import { gatewayConfig } from '../settings.js';
import { proofOptions } from './auth-settings.js';

const ISSUER = 'https://issuer.example';

let platform: TestPlatform;
let api: GatewayUnderTest;
let folder: string;
let users: Authority;
let proxies: Authority;
let strangers: Authority;
let sign: (claims: Record<string, unknown>) => Promise<string>;

const NEEDED = {
  NATS_URL: 'nats://127.0.0.1:4222',
  DATABASE_URL: 'postgres://127.0.0.1/x',
  GATEWAY_PORT: '0',
  TLS_CERT_FILE: 'a',
  TLS_KEY_FILE: 'b',
  TOKENS_FILE: 'c',
};

const configOf = (environment: Record<string, string>) => {
  const parsed = parseConfig(gatewayConfig, { ...NEEDED, ...environment });
  if (!parsed.ok) throw new Error((parsed.rejection.causes ?? []).map(({ message }) => message).join('\n'));
  return parsed.value;
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'xenolith-proofs-'));
  [users, proxies, strangers] = (await Promise.all(['users', 'proxies', 'strangers'].map(clientAuthority))) as [
    Authority,
    Authority,
    Authority,
  ];
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  sign = (claims) => new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'k' }).sign(privateKey);
  const files = {
    users: users.cert,
    proxies: proxies.cert,
    keys: JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k' }] }),
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  const config = configOf({
    CLIENT_CA_FILE: join(folder, 'users'),
    REQUESTHEADER_CLIENT_CA_FILE: join(folder, 'proxies'),
    REQUESTHEADER_ALLOWED_NAMES: 'front-proxy',
    OIDC_ISSUER_URL: ISSUER,
    OIDC_AUDIENCES: 'xenolith',
    OIDC_JWKS_FILE: join(folder, 'keys'),
    OIDC_SIGNING_ALGS: 'ES256',
    OIDC_GROUPS_CLAIM: 'groups',
  });
  platform = await startTestPlatform({ proofs: await proofOptions(config, () => undefined) });
  [api] = platform.gateways as [GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
  await rm(folder, { recursive: true, force: true });
});

const whoami = (ask: Ask) =>
  api.ask('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
    method: 'POST',
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    token: null,
    ...ask,
  });

const identified = async (ask: Ask): Promise<unknown> => {
  const answer = await whoami(ask);
  return answer.status === 201 ? (answer.json['status'] as { userInfo: unknown }).userInfo : answer.status;
};

describe('client certificates', () => {
  it('name the user by their common name and the groups by their organizations', async () => {
    const identity = await users.issue('CN=tina, O=tenants, O=xenolith:readers');
    expect(await identified({ identity })).toEqual({
      username: 'tina',
      groups: ['tenants', 'xenolith:readers', 'system:authenticated'],
    });
    expect((await api.ask('/api/v1/namespaces', { token: null, identity })).status).toBe(200);
  });

  it('count for nothing when they are expired, of another authority, or a front proxy’s', async () => {
    const identities = [
      await users.issue('CN=tina', { from: Date.now() - 86_400_000, to: Date.now() - 60_000 }),
      await strangers.issue('CN=tina, O=system:masters'),
      await proxies.issue('CN=tina, O=system:masters'),
    ];
    for (const identity of identities) expect(await identified({ identity })).toBe(401);
  });

  it('are not needed', async () => {
    const identity = await strangers.issue('CN=tina');
    const token = 'admin-token-0123456789';
    expect(await identified({ token })).toMatchObject({ username: 'ada' });
    expect(await identified({ token, identity })).toMatchObject({ username: 'ada' });
  });
});

describe('authorities that are replaced while the gateway runs', () => {
  it('count at once, on open connections as well', async () => {
    const before = { clients: users.cert, proxies: proxies.cert };
    const identity = await users.issue('CN=tina, O=xenolith:readers');
    const next = await strangers.issue('CN=tim, O=xenolith:readers');
    const proxy = await proxies.issue('CN=front-proxy');
    const open = new Agent({ keepAlive: true, maxSockets: 1, ca: api.ca, ...identity });
    const onOpen = (): Promise<number> =>
      new Promise((resolve, reject) => {
        const asked = request(
          { host: '127.0.0.1', port: api.port, path: '/api/v1/namespaces', agent: open },
          (answer) => {
            answer.resume();
            answer.on('end', () => resolve(answer.statusCode ?? 0));
          },
        );
        asked.on('error', reject);
        asked.end();
      });
    expect(await onOpen()).toBe(200);
    const watch = await api.watch('/api/v1/namespaces?watch=1', {}, identity);
    expect(watch.status).toBe(200);
    const kept = await api.watch('/api/v1/namespaces?watch=1');

    api.gateway.replaceAuthorities({ ...before, clients: `${strangers.cert}\n` });
    await watch.ended;
    expect(await onOpen()).toBe(401);
    expect(await identified({ identity })).toBe(401);
    expect(await identified({ identity: next })).toMatchObject({ username: 'tim' });
    expect(await identified({ identity: proxy, headers: { 'x-remote-user': 'ada' } })).toMatchObject({
      username: 'ada',
    });

    const still = await api.watch('/api/v1/namespaces?watch=1', {}, next);
    api.gateway.replaceAuthorities({ ...before, clients: `${users.cert}\n${strangers.cert}` });
    expect(await identified({ identity })).toMatchObject({ username: 'tina' });
    expect([...api.gateway.watches()]).toHaveLength(2);

    api.gateway.replaceAuthorities(before);
    await still.ended;
    expect([...api.gateway.watches()]).toHaveLength(1);
    kept.close();
    open.destroy();
  });

  it('are refused when there is no certificate in the file, which is named', async () => {
    const empty = join(folder, 'empty');
    await writeFile(empty, 'nothing');
    const config = configOf({ CLIENT_CA_FILE: empty, REQUESTHEADER_CLIENT_CA_FILE: join(folder, 'proxies') });
    await expect(proofOptions(config, () => undefined)).rejects.toThrow(`no certificate in PEM in ${empty}`);
  });
});

describe('a front proxy', () => {
  const headers = {
    'x-remote-user': 'tina',
    'x-remote-group': ['tenants', 'more, of them'],
    'x-remote-extra-scopes': 'all',
  };

  it('names users by headers', async () => {
    const identity = await proxies.issue('CN=front-proxy');
    expect(await identified({ identity, headers })).toEqual({
      username: 'tina',
      groups: ['tenants', 'more, of them', 'system:authenticated'],
      extra: { scopes: ['all'] },
    });
  });

  it('is nobody without the certificate and the name that are asked for', async () => {
    expect(await identified({ identity: await proxies.issue('CN=other'), headers })).toBe(401);
    const user = await users.issue('CN=front-proxy');
    expect(await identified({ identity: user, headers })).toMatchObject({ username: 'front-proxy' });
    expect(await identified({ headers })).toBe(401);
    const token = 'tenant-token-0123456789';
    const master = { 'x-remote-user': 'ada', 'x-remote-group': 'system:masters' };
    expect(await identified({ token, headers: master })).toMatchObject({
      username: 'tina',
      groups: ['tenants', 'system:authenticated'],
    });
  });
});

describe('tokens of an issuer at the gateway', () => {
  it('are taken beside the platform’s own, and end watches when they end', async () => {
    const exp = Math.floor(Date.now() / 1000) + 3600;
    const token = await sign({ iss: ISSUER, aud: 'xenolith', sub: 'tina', groups: ['xenolith:readers'], exp });
    expect(await identified({ token })).toMatchObject({ username: `${ISSUER}#tina` });
    const late = await sign({ iss: ISSUER, aud: 'xenolith', sub: 'tina', exp: exp - 7200 });
    const refused = await whoami({ token: late });
    expect(refused.json).toMatchObject({ code: 401, reason: 'Unauthorized' });
    expect(refused.json['message']).toContain('expired');
    expect(refused.headers['www-authenticate']).toContain('Bearer');
    const brief = await sign({
      iss: ISSUER,
      aud: 'xenolith',
      sub: 'brief',
      groups: ['xenolith:readers'],
      exp: Math.floor(Date.now() / 1000) + 1,
    });
    const watch = await api.watch('/api/v1/namespaces?watch=1', { authorization: `Bearer ${brief}` });
    expect(watch.status).toBe(200);
    await watch.ended;
  });
});

describe('settings of proofs', () => {
  it('are refused where they mean nothing or too little', () => {
    const faulty: [Record<string, string>, RegExp][] = [
      [{ OIDC_AUDIENCES: 'a' }, /OIDC_AUDIENCES is wrong: it needs OIDC_ISSUER_URL/],
      [{ OIDC_ISSUER_URL: ISSUER }, /OIDC_AUDIENCES is not set/],
      [{ OIDC_ISSUER_URL: ISSUER, OIDC_AUDIENCES: 'a', OIDC_SIGNING_ALGS: 'HS256' }, /OIDC_SIGNING_ALGS is wrong/],
      [{ OIDC_ISSUER_URL: ISSUER, OIDC_AUDIENCES: 'a', OIDC_SIGNING_ALGS: 'none' }, /OIDC_SIGNING_ALGS is wrong/],
      [{ OIDC_ISSUER_URL: 'issuer', OIDC_AUDIENCES: 'a' }, /OIDC_ISSUER_URL is wrong/],
      [{ OIDC_ISSUER_URL: ISSUER, OIDC_AUDIENCES: 'a', OIDC_REQUIRED_CLAIMS: 'x' }, /each is name=value/],
      [{ REQUESTHEADER_ALLOWED_NAMES: 'a' }, /it needs REQUESTHEADER_CLIENT_CA_FILE/],
    ];
    for (const [environment, message] of faulty) expect(() => configOf(environment)).toThrow(message);
  });
});
