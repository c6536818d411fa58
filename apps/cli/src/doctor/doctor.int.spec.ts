import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  archiveLog,
  ensureServiceRoles,
  migrateEventStore,
  openArchiveStore,
  openEventStore,
  runSequencer,
} from '@xenolith/event-store';
import { appendOf, freePort, nextTestId, startPostgres, writeTo, type TestPostgres } from '@xenolith/testing';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dataFolder, type DataFolder } from '../folders.js';
import { ensureTokens } from '../platform/access.js';
import { ensureCertificates } from '../platform/certificates.js';
import { identityOf } from '../process-identity.js';
import type { RunState } from '../run-state.js';
import { createDataFolder, mergeSettings, writePrivateFile, writeSettings, type Settings } from '../settings.js';
import { lookAtDatabase } from './database.js';
import { lookAtFiles } from './files.js';
import type { Finding } from './finding.js';
import { lookAtMachine } from './machine.js';
import { lookAtProcesses } from './processes.js';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

const bad = (findings: readonly Finding[]): readonly string[] =>
  findings
    .filter(({ level }) => level === 'warning' || level === 'error')
    .map(({ level, check, says, advice = '' }) => {
      expect(advice).not.toBe('');
      return `${level} ${check}: ${says}`;
    });

describe('a doctor who looks at a data folder', () => {
  let folder: DataFolder;
  let settings: Settings;
  beforeEach(async () => {
    folder = dataFolder(await mkdtemp(path.join(tmpdir(), 'xenolith-doctor-')));
    await createDataFolder(folder);
    await ensureCertificates(folder);
    await ensureTokens(folder);
    await writePrivateFile(folder.kubeconfigFile, '');
    settings = { ...mergeSettings(null, {}), port: await freePort() };
    await writeSettings(folder, settings);
  });
  afterEach(async () => {
    await rm(folder.root, { recursive: true });
  });

  const machine = (now: number) => lookAtMachine(folder, { postgres: true, nats: true }, now);

  it('finds nothing wrong with a good one', async () => {
    expect(bad(await machine(Date.now())).filter((text) => !text.includes('disk'))).toEqual([]);
    expect(bad(await lookAtFiles(folder, Date.now()))).toEqual([]);
    expect(bad(await lookAtProcesses(folder, settings, null))).toEqual([]);
  });

  it('finds keys and tokens that others may read', async () => {
    await chmod(path.join(folder.tls, 'nats.key'), 0o644);
    await chmod(folder.tokensFile, 0o640);
    expect(bad(await lookAtFiles(folder, Date.now()))).toEqual([
      expect.stringMatching(/^error secrets: .*tokens\.json$/),
      expect.stringMatching(/^error secrets: .*nats\.key$/),
    ]);
  });

  it('finds certificates that end soon, have ended, or are gone', async () => {
    await rm(path.join(folder.tls, 'nats.crt'));
    expect(bad(await lookAtFiles(folder, Date.now() + 350 * DAY_MS))).toEqual([
      expect.stringMatching(/^warning certificates: tls\/server\.crt ends in 4\d days$/),
      expect.stringMatching(/^error certificates: tls\/nats\.crt is not there/),
      expect.stringMatching(/^warning certificates: tls\/postgres\.crt ends in 4\d days$/),
    ]);
    expect(bad(await lookAtFiles(folder, Date.now() + 400 * DAY_MS))[0]).toMatch(/server\.crt ended \d days ago$/);
  });

  it('finds a clock that was set back', async () => {
    expect(bad(await machine(Date.now() - HOUR_MS))).toContainEqual(
      expect.stringMatching(/^error clock: .*60 minutes later$/),
    );
  });

  it('finds a port that another program has', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(settings.port, '127.0.0.1', resolve));
    expect(bad(await lookAtProcesses(folder, settings, null))).toEqual([
      `error ports: port ${settings.port} is taken by another program`,
    ]);
    other.close();
    await once(other, 'close');
  });

  it('finds processes that are ill, and those that nobody watches', async () => {
    const sleeper = spawn('sleep', ['60'], { stdio: 'ignore' });
    const { pid, startTime } = identityOf(sleeper.pid ?? 0);
    const process_ = { name: 'storage', pid, startTime, ready: false, restarts: 2, note: 'no NATS', startedAt: null };
    const state = (supervisor: RunState['supervisor']): RunState => ({
      supervisor,
      phase: 'running',
      ready: false,
      port: settings.port,
      hosts: 1,
      processes: [process_],
    });
    expect(bad(await lookAtProcesses(folder, settings, state(identityOf(process.pid))))).toEqual([
      'error processes: storage is not ready: no NATS',
      'warning processes: storage ended 2 times by itself and was started again',
    ]);
    expect(bad(await lookAtProcesses(folder, settings, state({ pid: 1, startTime: 'another' })))).toEqual([
      `error processes: their supervisor is gone, but these run: storage (${pid})`,
    ]);
    const ended = once(sleeper, 'exit');
    sleeper.kill('SIGKILL');
    await ended;
  });
});

describe('a doctor who looks at the log', () => {
  let postgres: TestPostgres;
  let url: string;
  let prefix: string;
  beforeAll(async () => {
    postgres = await startPostgres({ settings: { max_prepared_transactions: '5' } });
  });
  afterAll(async () => {
    await postgres.stop();
  });
  beforeEach(async () => {
    url = await postgres.createDatabase();
    await migrateEventStore(url);
    prefix = `doctor_${nextTestId().slice(-8)}_`;
    await ensureServiceRoles(url, [{ role: `${prefix}compute`, password: 'x' }]);
    const store = await openEventStore({ databaseUrl: url, name: 'doctor' });
    const sequencer = await runSequencer({ databaseUrl: url });
    for (let n = 0; n < 5; n += 1) await store.append(appendOf([writeTo(nextTestId())]));
    const chained = async (): Promise<unknown> =>
      (await store.pool.query<{ position: string }>('select position from es.chronicle')).rows[0]?.position;
    await expect.poll(chained, { timeout: 30_000 }).toBe('5');
    await sequencer.stop();
    await store.close();
  });

  const sql = async (text: string, at = url): Promise<void> => {
    const client = new pg.Client({ connectionString: at });
    await client.connect();
    await client.query(text).finally(() => client.end());
  };
  /** The test's own server is not encrypted, is not durable, and has databases of other tests. */
  const OF_TESTS = /not encrypted|off: fsync|other databases/;
  const look = async (): Promise<readonly string[]> =>
    bad(await lookAtDatabase(url, { prefix, again: 'restart' })).filter((text) => !OF_TESTS.test(text));

  it('finds nothing wrong with a good one', async () => {
    expect(await look()).toEqual([]);
  });

  it('says what is wrong with the server itself', async () => {
    const found = bad(await lookAtDatabase(url, { prefix, again: 'restart' }));
    expect(found).toContainEqual(expect.stringMatching(/^warning postgres: connections are not encrypted/));
    expect(found).toContainEqual(expect.stringMatching(/^error postgres: off: fsync/));
  });

  it('finds an event that was changed behind the back of its guard, and the guard that is off', async () => {
    await sql(`alter table es.events disable trigger refuse_change`);
    await sql(`update es.events e set type = 'Forged' from es.event_log l where l.seq = e.seq and l.position = 3`);
    expect(await look()).toEqual([
      'error log: the guard of stored events is off',
      expect.stringMatching(/^error log: event 3 is not the one that was written: Forged/),
    ]);
  });

  it('finds files of the archive that are away or altered', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'xenolith-doctor-'));
    const store = await openArchiveStore(folder);
    await archiveLog({ ownerUrl: url, store, before: Date.now() + HOUR_MS, keepNewest: 0 });
    expect(await look()).toEqual([]);
    const [name = ''] = await readdir(path.join(folder, 'segments'));
    const file = path.join(folder, 'segments', name);
    const content = await readFile(file);
    await writeFile(file, content.fill(0, 20, 30));
    expect(await look()).toContainEqual(expect.stringMatching(/^error archive: .*events 1 to 5, was altered/));
    await rm(folder, { recursive: true });
    expect(await look()).toContainEqual(expect.stringMatching(/^error archive: .*is missing/));
  });

  it('finds a role that may do too much, and that there are none', async () => {
    await sql(`grant update on es.events to ${prefix}compute`);
    expect(await look()).toEqual([expect.stringMatching(/^error roles: .*compute may do more/)]);
    prefix = 'nobody_';
    expect(await look()).toEqual(['warning roles: services have no roles of their own']);
  });

  it('finds transactions that hold everybody back', async () => {
    await sql(`begin; create table held (x int); prepare transaction 'held'`);
    const hung = new pg.Client({ connectionString: url });
    await hung.connect();
    await hung.query('begin');
    await hung.query('create table hung (x int)');
    const both = [
      expect.stringMatching(/^error postgres: 1 prepared transactions are open/),
      expect.stringMatching(/^error postgres: process \d+ on \w+ has had a write transaction open/),
    ];
    await expect.poll(look, { timeout: 30_000 }).toEqual(both);
    await hung.query('rollback');
    await hung.end();
    await sql(`rollback prepared 'held'`);
    expect(await look()).toEqual([]);
  });

  it('finds the schema of another release', async () => {
    await sql(`update es.applied set hash = '999' where name in ('revision', 'oldest_revision')`);
    expect(await look()).toEqual([expect.stringMatching(/^error schema: revision 999 is that of a newer release/)]);
    await sql(`update es.applied set hash = '0' where name in ('revision', 'oldest_revision')`);
    expect(await look()).toEqual(['error schema: revision 0']);
  });

  it('finds a database that does not answer', async () => {
    const away = new URL(url);
    away.port = String(await freePort());
    expect(bad(await lookAtDatabase(away.toString(), { prefix, again: 'restart' }))).toEqual([
      expect.stringMatching(/^error postgres: the database does not answer/),
    ]);
  });
});
