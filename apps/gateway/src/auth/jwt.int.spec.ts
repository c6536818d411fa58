import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT, type JWK, type JWTPayload } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { User } from '../http/api-request.js';
import { StatusError } from '../http/status.js';
import type { TokenReader } from './authenticate.js';
import { issuerKeys, jsonFrom } from './issuer-keys.js';
import { jwtReader, type JwtRules } from './jwt.js';

interface Key {
  readonly kid: string;
  readonly sign: (claims: JWTPayload, header?: { alg?: string; kid?: string }) => Promise<string>;
  readonly jwk: JWK;
  readonly pem: string;
}

const keyOf = async (kid: string, alg = 'RS256'): Promise<Key> => {
  const { privateKey, publicKey } = await generateKeyPair(alg);
  return {
    kid,
    jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' },
    pem: await exportSPKI(publicKey),
    sign: (claims, header = {}) => new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey),
  };
};

const START_MS = Date.parse('2026-01-01T00:00:00Z');
const SECOND = 1000;

let server: Server;
let issuer: string;
let first: Key;
let second: Key;
/** What the issuer shows at the moment; null: it is down. */
let shown: readonly JWK[] | null;
let asked: number;
let now: number;
let warnings: string[];

beforeAll(async () => {
  [first, second] = await Promise.all([keyOf('first'), keyOf('second')]);
  server = createServer((request, response) => {
    asked += 1;
    if (shown === null) {
      response.statusCode = 503;
      response.end();
      return;
    }
    const discovery = { issuer, jwks_uri: `${issuer}/keys` };
    response.end(JSON.stringify(request.url === '/keys' ? { keys: shown } : discovery));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.close();
});

beforeEach(() => {
  shown = [first.jwk];
  asked = 0;
  now = START_MS;
  warnings = [];
});

const readerOf = (rules: Partial<JwtRules> = {}): TokenReader =>
  jwtReader(
    {
      issuer,
      audiences: ['xenolith', 'other-name'],
      algorithms: ['RS256'],
      usernameClaim: 'sub',
      usernamePrefix: 'oidc:',
      groupsClaim: 'groups',
      groupsPrefix: 'oidc:',
      requiredClaims: new Map(),
      ...rules,
    },
    issuerKeys(
      { issuer, url: undefined, read: (url) => jsonFrom(url, undefined) },
      { now: () => now, warn: (_fields, message) => warnings.push(message) },
    ),
    () => now,
  );

const seconds = (): number => Math.floor(now / SECOND);

const claims = (more: JWTPayload = {}): JWTPayload => ({
  iss: issuer,
  aud: 'xenolith',
  sub: 'tina',
  groups: ['tenants'],
  iat: seconds(),
  exp: seconds() + 3600,
  ...more,
});

const refused = async (read: TokenReader, token: string): Promise<StatusError> => {
  try {
    const user = await read(token);
    throw new Error(`it was taken: ${JSON.stringify(user)}`);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
    expect(error.message).not.toContain(token.slice(0, 40));
    return error;
  }
};

const codeOf = async (read: TokenReader, token: string): Promise<number> => {
  try {
    await read(token);
    return 200;
  } catch (error) {
    return error instanceof StatusError ? error.code : 500;
  }
};

const taken = async (read: TokenReader, token: string): Promise<User> => {
  const user = await read(token);
  if (user === null) throw new Error('it was passed over');
  return user;
};

describe('tokens of an issuer', () => {
  it('name users and groups, with their prefixes, until they expire', async () => {
    expect(await taken(readerOf(), await first.sign(claims({ jti: 'a1' })))).toEqual({
      name: 'oidc:tina',
      groups: ['oidc:tenants', 'system:authenticated'],
      extra: { 'authentication.kubernetes.io/credential-id': ['JTI=a1'] },
      expiresAt: (seconds() + 3600) * SECOND,
    });
  });

  it('are left to others when they are none of the issuer’s', async () => {
    const read = readerOf();
    for (const token of ['admin-token-0123456789', 'a.b.c', await first.sign(claims({ iss: 'https://else.where' }))])
      expect(await read(token)).toBeNull();
    expect(asked).toBe(0);
  });

  it('are refused when they are expired, not yet valid, without an end, or for another audience', async () => {
    const read = readerOf();
    const expired = await refused(read, await first.sign(claims({ exp: seconds() - 60 })));
    expect(expired.source).toMatchObject({ code: 401, reason: 'Unauthorized' });
    expect(expired.message).toContain('has expired');
    const early = await refused(read, await first.sign(claims({ nbf: seconds() + 60 })));
    expect(early.message).toContain('"nbf"');
    const { exp: _end, ...endlessClaims } = claims();
    const endless = await refused(read, await first.sign(endlessClaims));
    expect(endless.message).toContain('"exp"');
    const other = await refused(read, await first.sign(claims({ aud: ['someone'] })));
    expect(other.message).toContain('"aud"');
    expect((await taken(read, await first.sign(claims({ aud: ['a', 'other-name'] })))).name).toBe('oidc:tina');
  });

  it('are refused when anything in them was changed after they were signed', async () => {
    const read = readerOf();
    const [header = '', , signature = ''] = (await first.sign(claims())).split('.');
    const forged = Buffer.from(JSON.stringify(claims({ sub: 'ada' }))).toString('base64url');
    expect((await refused(read, `${header}.${forged}.${signature}`)).code).toBe(401);
    expect((await refused(read, `${header}.${forged}.`)).code).toBe(401);
  });

  it('are refused unsigned, and signed by what the whole world knows', async () => {
    const read = readerOf();
    const unsigned = new UnsecuredJWT(claims()).encode();
    expect((await refused(read, unsigned)).code).toBe(401);
    const bySecret = await new SignJWT(claims())
      .setProtectedHeader({ alg: 'HS256', kid: 'first' })
      .sign(new TextEncoder().encode(first.pem));
    expect((await refused(read, bySecret)).message).toContain('algorithm');
    const byModulus = await new SignJWT(claims())
      .setProtectedHeader({ alg: 'HS256', kid: 'first' })
      .sign(Buffer.from(first.jwk.n ?? '', 'base64url'));
    expect((await refused(read, byModulus)).code).toBe(401);
  });

  it('are refused under an algorithm that is not on the list, though the issuer has such a key', async () => {
    const elliptic = await keyOf('curve', 'ES256');
    shown = [first.jwk, elliptic.jwk];
    expect((await refused(readerOf(), await elliptic.sign(claims()))).message).toContain('algorithm');
    expect((await taken(readerOf({ algorithms: ['ES256'] }), await elliptic.sign(claims()))).name).toBe('oidc:tina');
  });

  it('can’t make anybody one of the system’s own', async () => {
    const plain = readerOf({ usernamePrefix: '', groupsPrefix: '' });
    const master = await taken(plain, await first.sign(claims({ groups: ['system:masters', 'tenants'] })));
    expect(master.groups).toEqual(['tenants', 'system:authenticated']);
    expect((await refused(plain, await first.sign(claims({ sub: 'system:admin' })))).code).toBe(401);
  });

  it('need a verified address where that is the name, and the claims that are asked for', async () => {
    const byEmail = readerOf({ usernameClaim: 'email', usernamePrefix: '' });
    expect((await taken(byEmail, await first.sign(claims({ email: 't@x.dev' })))).name).toBe('t@x.dev');
    const unverified = claims({ email: 't@x.dev', email_verified: false });
    expect((await refused(byEmail, await first.sign(unverified))).code).toBe(401);
    expect((await refused(byEmail, await first.sign(claims()))).message).toContain('"email"');
    const team = readerOf({ requiredClaims: new Map([['team', 'red']]) });
    expect((await refused(team, await first.sign(claims({ team: 'blue' })))).code).toBe(401);
    expect((await taken(team, await first.sign(claims({ team: 'red' })))).name).toBe('oidc:tina');
  });
});

describe('the keys of an issuer', () => {
  it('are read once for many tokens, and again when a token names one that is not among them', async () => {
    const read = readerOf();
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => taken(read, await first.sign(claims({ sub: `u${index}` })))),
    );
    // The discovery page and the keys.
    expect(asked).toBe(2);
    shown = [first.jwk, second.jwk];
    now += 60 * SECOND;
    expect((await taken(read, await second.sign(claims()))).name).toBe('oidc:tina');
    expect(asked).toBe(4);
    shown = [second.jwk];
    now += 11 * 60 * SECOND;
    const withdrawn = await first.sign(claims());
    // The first token after ten minutes makes them be read anew, and is itself looked at with those that were kept.
    await read(withdrawn);
    await expect.poll(() => asked).toBe(6);
    now += 60 * SECOND;
    let round = 0;
    await expect.poll(async () => codeOf(read, await first.sign(claims({ sub: `w${(round += 1)}` })))).toBe(401);
  });

  it('are not asked for by every token of an unknown key', async () => {
    const read = readerOf();
    await taken(read, await first.sign(claims()));
    const before = asked;
    for (let index = 0; index < 50; index += 1)
      expect((await refused(read, await second.sign(claims({ sub: `u${index}` })))).message).toContain('no key');
    expect(asked).toBe(before);
    now += 11 * SECOND;
    for (let index = 0; index < 50; index += 1) await refused(read, await second.sign(claims({ sub: `v${index}` })));
    expect(asked).toBe(before + 2);
  });

  it('last while the issuer is down, for a day; tokens are answered 503 when there are none', async () => {
    shown = null;
    const read = readerOf();
    const away = await refused(read, await first.sign(claims()));
    expect(away.source).toMatchObject({ code: 503, reason: 'ServiceUnavailable' });
    expect(warnings).toHaveLength(1);
    shown = [first.jwk];
    now += 11 * SECOND;
    expect((await taken(read, await first.sign(claims()))).name).toBe('oidc:tina');
    shown = null;
    now += 23 * 3600 * SECOND;
    expect((await taken(read, await first.sign(claims()))).name).toBe('oidc:tina');
    await expect.poll(() => warnings.length).toBe(2);
    now += 2 * 3600 * SECOND;
    expect((await refused(read, await first.sign(claims()))).code).toBe(503);
  });
});
