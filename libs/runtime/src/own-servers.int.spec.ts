import { EventEmitter } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nkeys } from '@nats-io/transport-node';
import type { ServiceDefinition } from '@xenolith/engine';
import { migrateEventStore } from '@xenolith/event-store';
import { ok, uuidFrom, type Aggregate, type CommandMessage } from '@xenolith/kernel';
import { openMessageBus } from '@xenolith/messaging';
import { freePort, startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { runService, serviceConfig } from './index.js';

type KeyPair = ReturnType<typeof nkeys.createUser>;

const WAIT = { timeout: 30_000, interval: 50 };
const UNLIMITED = -1;

/** A JSON web token as NATS has them: about `subject`, signed by the key of whoever vouches for it. */
const jwt = (issuer: KeyPair, subject: string, nats: object, expiresAtSeconds?: number): string => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = {
    jti: part({ subject }),
    iat: Math.floor(Date.now() / 1000),
    ...(expiresAtSeconds === undefined ? {} : { exp: expiresAtSeconds }),
    iss: issuer.getPublicKey(),
    sub: subject,
    nats: { ...nats, version: 2 },
  };
  const body = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part(claims)}`;
  return `${body}.${Buffer.from(issuer.sign(new TextEncoder().encode(body))).toString('base64url')}`;
};

const ACCOUNT_LIMITS = Object.fromEntries(
  [
    ...['subs', 'data', 'payload', 'imports', 'exports', 'conn', 'leaf'],
    ...['mem_storage', 'disk_storage', 'streams', 'consumer'],
  ].map((limit) => [limit, UNLIMITED]),
);

/** An operator with one account, as `nsc` makes them, and files of credentials for its users. */
const makeOperator = () => {
  const [operator, account, system] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
  const vouched = (of: KeyPair, limits: object): string =>
    jwt(operator, of.getPublicKey(), { type: 'account', limits: { ...limits, wildcards: true } });
  return {
    configuration: {
      operator: jwt(operator, operator.getPublicKey(), { type: 'operator' }),
      system_account: system.getPublicKey(),
      resolver: 'MEMORY',
      resolver_preload: {
        [account.getPublicKey()]: vouched(account, ACCOUNT_LIMITS),
        [system.getPublicKey()]: vouched(system, {
          subs: UNLIMITED,
          conn: UNLIMITED,
          data: UNLIMITED,
          payload: UNLIMITED,
        }),
      },
    },
    /** The text of a file; the token ends then, if ever. */
    credentials: (expiresAtSeconds?: number): string => {
      const user = nkeys.createUser();
      const limits = { type: 'user', subs: UNLIMITED, data: UNLIMITED, payload: UNLIMITED };
      const token = jwt(account, user.getPublicKey(), limits, expiresAtSeconds);
      const seed = new TextDecoder().decode(user.getSeed());
      return `-----BEGIN NATS USER JWT-----\n${token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
    },
  };
};

const operator = makeOperator();
let folder: string;
let nats: TestServer;
let postgres: TestPostgres;

/** Nobody but the tests' own superuser comes in without a password. */
const HBA = 'host all postgres all trust\nhost all all all scram-sha-256\n';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'xenolith-own-servers-'));
  await chmod(folder, 0o755);
  await writeFile(join(folder, 'pg_hba.conf'), HBA);
  [nats, postgres] = await Promise.all([
    startNats({ configuration: operator.configuration }),
    startPostgres({ settings: { hba_file: join(folder, 'pg_hba.conf') } }),
  ]);
});
afterAll(async () => {
  await Promise.all([nats.stop(), postgres.stop()]);
  await rm(folder, { recursive: true });
});

class Handle extends EventEmitter {
  readonly ended: Promise<number>;
  private end: (code: number) => void = () => undefined;
  readonly stderr = process.stderr;
  constructor(readonly env: Record<string, string>) {
    super();
    this.ended = new Promise((resolve) => (this.end = resolve));
  }
  exit(code: number): never {
    this.end(code);
    return undefined as never;
  }
}

const bell: Aggregate<object> = {
  category: 'bell',
  initial: {},
  decide: () => ok([{ type: 'BellRung', schemaVersion: 1, data: {} }]),
  evolve: (state) => state,
  toResource: () => ({ kind: 'Bell' }),
  stateVersion: 1,
};

const definition: ServiceDefinition = {
  name: 'network',
  kinds: [],
  aggregates: [bell],
  routes: [{ type: 'RingBell', category: 'bell', schema: z.object({}) }],
  indexes: [],
  processes: [],
  reactions: [],
  eventSchemas: { BellRung: z.object({}) },
};

/** The database of somebody who owns it, and has a password with signs that URLs give a meaning. */
const ownDatabase = async (): Promise<string> => {
  const url = new URL(await postgres.createDatabase());
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  await client.query(`create role tenant login password 'p@ss/w:rd?'`);
  await client.query(`alter database ${url.pathname.slice(1)} owner to tenant`);
  await client.end();
  url.username = 'tenant';
  url.password = encodeURIComponent('p@ss/w:rd?');
  return url.toString();
};

describe("a service on servers of one's own", () => {
  it('logs in to NATS by a file of credentials and to PostgreSQL by its URL, and does its work', async () => {
    const databaseUrl = await ownDatabase();
    const credsFile = join(folder, 'service.creds');
    await writeFile(credsFile, operator.credentials(), { mode: 0o600 });
    await migrateEventStore(databaseUrl);
    const port = await freePort();
    const handle = new Handle({
      DATABASE_URL: databaseUrl,
      NATS_URL: nats.url,
      NATS_CREDS_FILE: credsFile,
      HTTP_PORT: String(port),
      LOG_LEVEL: 'error',
      INSTANCE: 'network-0',
    });
    void runService({ name: 'network', config: serviceConfig, define: () => definition }, handle);
    await vi.waitFor(async () => expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200), WAIT);
    const client = await openMessageBus({ natsUrl: nats.url, name: 'client', credentials: { credsFile } });
    const commandId = uuidFrom('ring');
    const command: CommandMessage = {
      ...{ commandId, streamId: uuidFrom('bell'), correlationId: commandId, causationId: commandId },
      ...{ type: 'RingBell', data: {}, actor: 'user:test', at: Date.now() },
    };
    const reply = await client.request('cmd.network.RingBell', command, { timeoutMs: 20_000 });
    expect(reply).toMatchObject({ ok: true });
    await client.close();
    handle.emit('SIGTERM', 'SIGTERM');
    expect(await handle.ended).toBe(0);
  });

  it.each([
    ['of another operator', () => makeOperator().credentials()],
    ['that have ended', () => operator.credentials(Math.floor(Date.now() / 1000) - 60)],
  ])('is not let in by credentials %s', async (_which, text) => {
    const credsFile = join(folder, 'wrong.creds');
    await writeFile(credsFile, text());
    await expect(openMessageBus({ natsUrl: nats.url, name: 'client', credentials: { credsFile } })).rejects.toThrow(
      /authorization/i,
    );
  });
});
