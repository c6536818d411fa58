import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SERVICE_NAMES } from '@xenolith/contracts';
import { freePort } from '@xenolith/testing';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dataFolder, type DataFolder } from '../folders.js';
import { passwordFile, rolesFolder } from '../platform/database-roles.js';
import { ensureCertificates } from '../platform/certificates.js';
import { createDataFolder, mergeSettings, writePrivateFile, type Settings } from '../settings.js';
import { waitUntil } from '../waiting.js';
import { migrateDatabase, platformDatabase, type PlatformDatabase } from './database.js';
import { DATABASE_USER, databaseUrl, preparePostgres } from './postgres.js';

const START_LIMIT_MS = 60_000;

let folder: DataFolder;
let settings: Settings;
let server: ChildProcess;
let database: PlatformDatabase;
let port: number;

const login = async (
  url: string,
  password: string,
  change: (url: URL) => void = () => undefined,
): Promise<pg.Client> => {
  const address = new URL(url);
  address.password = password;
  change(address);
  const client = new pg.Client({ connectionString: address.toString() });
  client.on('error', () => undefined);
  await client.connect();
  return client;
};

const asOwner = async <Value>(work: (client: pg.Client) => Promise<Value>): Promise<Value> => {
  const client = await login(databaseUrl(folder, port, DATABASE_USER), settings.databasePassword);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
};

const migrate = async (): Promise<void> => {
  database = await platformDatabase(folder, settings, null);
  await migrateDatabase(folder, database, { PATH: process.env['PATH'] ?? '' });
};

const serviceLogin = async (name: string, change?: (url: URL) => void): Promise<pg.Client> =>
  login(
    database.service(name)['DATABASE_URL'] ?? '',
    (await readFile(passwordFile(folder, name), 'utf8')).trim(),
    change,
  );

beforeAll(async () => {
  const root = await mkdtemp(path.join(tmpdir(), 'xenolith-database-'));
  await chmod(root, 0o755);
  folder = dataFolder(root);
  await createDataFolder(folder);
  await ensureCertificates(folder);
  port = await freePort();
  settings = { ...mergeSettings(null, {}), database: 'embedded', ports: { postgres: port } };
  const plan = await preparePostgres(folder, port, settings.databasePassword);
  server = spawn(plan.command, plan.args, { cwd: plan.cwd, env: plan.env, stdio: 'ignore', ...plan.runAs });
  const ready = await waitUntil(async () => (await plan.checkReady()) === null, {
    timeoutMs: START_LIMIT_MS,
    everyMs: 50,
  });
  expect(ready).toBe(true);
  await migrate();
}, START_LIMIT_MS);

afterAll(async () => {
  const ended = once(server, 'exit');
  server.kill('SIGINT');
  await ended;
  await rm(folder.root, { recursive: true, force: true });
});

describe('the database of a platform', () => {
  it('lets each service in as itself, and encrypted', async () => {
    for (const name of SERVICE_NAMES) {
      const client = await serviceLogin(name);
      const { rows } = await client.query(
        `select current_user::text as role, ssl, version from pg_stat_ssl where pid = pg_backend_pid()`,
      );
      expect(rows).toEqual([{ role: `xenolith_${name}`, ssl: true, version: 'TLSv1.3' }]);
      await client.end();
    }
  });

  it('lets nobody in without encryption', async () => {
    const plain = serviceLogin('compute', (url) => url.searchParams.set('sslmode', 'disable'));
    await expect(plain).rejects.toMatchObject({ code: '28000' });
  });

  it('lets nobody in by the password of another', async () => {
    const stolen = serviceLogin('compute', (url) => (url.username = 'xenolith_storage'));
    await expect(stolen).rejects.toMatchObject({ code: '28P01' });
  });

  it('is not trusted when its authority is another', async () => {
    const other = dataFolder(await mkdtemp(path.join(tmpdir(), 'xenolith-authority-')));
    await createDataFolder(other);
    await ensureCertificates(other);
    const wrong = serviceLogin('compute', (url) => url.searchParams.set('sslrootcert', path.join(other.tls, 'ca.crt')));
    await expect(wrong).rejects.toThrow(/certificate/);
    await rm(other.root, { recursive: true });
  });

  it('keeps its passwords from other users', async () => {
    expect((await stat(rolesFolder(folder))).mode & 0o777).toBe(0o700);
    for (const name of SERVICE_NAMES) expect((await stat(passwordFile(folder, name))).mode & 0o777).toBe(0o600);
  });

  it('follows a password that was made anew', async () => {
    await rm(passwordFile(folder, 'storage'));
    await migrate();
    await (await serviceLogin('storage')).end();
  });

  it('of a folder from before there were roles gets them, and keeps its owner and what it holds', async () => {
    await asOwner(async (client) => {
      await client.query("insert into es.checkpoints (consumer) values ('from-before')");
      await client.query("delete from es.applied where name <> 'functions'");
      for (const name of SERVICE_NAMES) {
        await client.query(`drop owned by xenolith_${name}`);
        await client.query(`drop role xenolith_${name}`);
      }
    });
    await rm(folder.secrets, { recursive: true });
    await createDataFolder(folder);
    await migrate();
    const client = await serviceLogin('network');
    const { rows } = await client.query("select consumer from es.checkpoints where consumer = 'from-before'");
    expect(rows).toHaveLength(1);
    await client.end();
  });

  it('that a newer release was at is refused, with the reason', async () => {
    const set = (revision: number): Promise<unknown> =>
      asOwner((client) =>
        client.query("update es.applied set hash = $1 where name = 'oldest_revision'", [String(revision)]),
      );
    await set(999);
    await expect(migrate()).rejects.toThrow(/a newer release was here/);
    await set(0);
    await migrate();
  });

  it('that wrong passwords are given for is refused, with the reason', async () => {
    await writePrivateFile(passwordFile(folder, 'gateway'), '');
    await expect(migrateDatabase(folder, database, { PATH: process.env['PATH'] ?? '' })).rejects.toThrow(
      /gateway is empty/,
    );
  });
});
