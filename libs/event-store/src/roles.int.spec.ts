import { randomUUID } from 'node:crypto';
import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  ensureServiceRoles,
  migrateEventStore,
  openEventStore,
  openLogFeed,
  requireSchema,
  runSequencer,
  runTimers,
} from './index.js';
import { closeSession, openSession } from './connection.js';
import { endOffenders } from './offenders.js';
import { scramVerifier } from './roles.js';
import { PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();
/** SQLSTATE of insufficient_privilege. */
const REFUSED = '42501';

/** Roles are the cluster's: other test files have others. */
const names = ['compute', 'storage'].map((service) => `test_${service}_${randomUUID().slice(0, 8)}`);
let ownerUrl: string;
let urls: readonly string[];

const loginOf = (role: string): string => {
  const url = new URL(ownerUrl);
  url.username = role;
  url.password = 'secret-of-a-test';
  return url.toString();
};

beforeAll(async () => {
  ownerUrl = await testbed().newDatabase();
  await ensureServiceRoles(
    ownerUrl,
    names.map((role) => ({ role, password: 'secret-of-a-test' })),
  );
  urls = names.map(loginOf);
});

const serviceUrl = (): string => urls[0] ?? '';

describe('a service', () => {
  it('does all its work as a role of its own', async () => {
    await requireSchema(serviceUrl());
    const store = await openEventStore({ databaseUrl: serviceUrl(), name: 'service' });
    const sequencer = await runSequencer({ databaseUrl: serviceUrl(), name: 'service' });
    const feed = await openLogFeed({ store });
    const seen: number[] = [];
    const stream = nextTestId();
    await feed.followLeased({
      name: 'runner',
      onBatch: (events) => {
        seen.push(...events.map(({ position }) => position));
        return Promise.resolve();
      },
    });
    const fired: string[] = [];
    const send = (subject: string): Promise<void> => {
      fired.push(subject);
      return Promise.resolve();
    };
    const timers = await runTimers({ store, send, subjects: 'cmd.compute.' });
    const timer = (subject: string) =>
      ({ op: 'set', id: nextTestId(), dueAt: 1, subject, command: { type: 'x' } }) as const;
    await store.append(appendOf([writeTo(stream)], { timers: [timer('cmd.compute.Wake'), timer('cmd.storage.Wake')] }));
    await store.saveSnapshot({ streamId: stream, stateVersion: 1, version: 1, state: {} });
    expect(await store.head()).toBe(1);
    await expect.poll(() => seen, PATIENCE).toEqual([1]);
    await expect.poll(() => fired, PATIENCE).toEqual(['cmd.compute.Wake']);
    expect((await store.documents(undefined)).position).toBe(1);
    const chronicled = async (): Promise<number> =>
      Number((await store.pool.query<{ position: string }>('select position from es.chronicle')).rows[0]?.position);
    await expect.poll(chronicled, PATIENCE).toBe(1);
    await timers.stop();
    await feed.close();
    await sequencer.stop();
    await store.close();
  });

  it.each([
    "update es.events set type = 'x'",
    'delete from es.events',
    'truncate es.events',
    'delete from es.event_log',
    "update es.documents set body = '{}'",
    'delete from es.documents',
    'delete from es.streams',
    'update es.streams set version = 0',
    'delete from es.commands',
    'delete from es.claims',
    'update es.timers set due_at = 0',
    'update es.seq_head set position = 0',
    'delete from es.checkpoints',
    `insert into es.events (stream_id, version, seq, event_id, category, type, schema_version, data, meta)
      values (gen_random_uuid(), 1, 1, gen_random_uuid(), 'x', 'x', 1, '{}', '{}')`,
    'insert into es.event_log (position, txid, seq) values (99, pg_current_xact_id(), 99)',
    "insert into es.claims (scope, value) values ('x', 'x')",
    "update es.applied set hash = ''",
    "select nextval('es.event_seq')",
    "select setval('es.event_seq', 1)",
    'alter table es.events disable trigger all',
    'drop trigger refuse_change on es.events',
    'drop table es.events',
    'alter table es.events owner to current_user',
    'create or replace function es.settled(p_txid xid8) returns boolean language sql as $$ select true $$',
    'drop function es.settled(xid8)',
    'create table es.mine (x int)',
    'create table public.mine (x int)',
    'create schema mine',
    'create temporary table mine (x int)',
    'set session_replication_role = replica',
    'create role mine',
    'alter role current_user createrole',
    'select * from pg_authid',
    "update es.archive set location = '/elsewhere'",
    'update es.archive_segments set removed = false',
    "insert into es.archive values (1, '/elsewhere', 1)",
    'delete from es.archive_streams',
    "copy es.events to program 'cat'",
    "select pg_read_file('/etc/passwd')",
  ])('may not: %s', async (statement) => {
    for (const url of urls) {
      const session = await openSession(url, { applicationName: 'test', statementTimeoutMs: 5_000 });
      await expect(session.query(statement)).rejects.toMatchObject({ code: REFUSED });
      await closeSession(session);
    }
  });

  it('becomes nobody else', async () => {
    const session = await openSession(serviceUrl(), { applicationName: 'test', statementTimeoutMs: 5_000 });
    for (const role of ['postgres', names[1] ?? ''])
      await expect(session.query(`set role "${role}"`)).rejects.toMatchObject({ code: REFUSED });
    await closeSession(session);
  });

  it('that holds the sequencer ends a write transaction of another service that is open too long', async () => {
    const offender = new pg.Client({ connectionString: urls[1] });
    const ended = new Promise<void>((resolve) => offender.on('error', () => resolve()));
    await offender.connect();
    await offender.query('begin');
    await offender.query("insert into es.checkpoints (consumer) values ('hung')");
    const pool = new pg.Pool({ connectionString: serviceUrl(), max: 1 });
    await expect.poll(() => endOffenders(pool, [], () => undefined), PATIENCE).toBe(1);
    await ended;
    await pool.end();
  });

  it('gets another password by the same call, without any statement that holds it', async () => {
    const [role = ''] = names;
    await ensureServiceRoles(ownerUrl, [{ role, password: 'another' }]);
    const { rows } = await testbed()
      .adminPool(ownerUrl)
      .query<{ rolpassword: string }>('select rolpassword from pg_authid where rolname = $1', [role]);
    const stored = rows[0]?.rolpassword ?? '';
    const salt = Buffer.from(/^SCRAM-SHA-256\$4096:([^$]+)\$/.exec(stored)?.[1] ?? '', 'base64');
    expect(stored).toBe(scramVerifier('another', salt));
  });
});

describe('a schema', () => {
  const setRevision = async (databaseUrl: string, name: string, revision: number): Promise<void> => {
    await testbed()
      .adminPool(databaseUrl)
      .query('update es.applied set hash = $2 where name = $1', [name, String(revision)]);
  };

  it('that is not there is named to services, which do not make it', async () => {
    const databaseUrl = await testbed().postgres.createDatabase();
    await expect(requireSchema(databaseUrl)).rejects.toMatchObject({ name: 'SchemaMismatch', kind: 'behind' });
    await migrateEventStore(databaseUrl);
    await expect(requireSchema(databaseUrl)).resolves.toBeUndefined();
  });

  it('of a newer release is refused to services and migrations of this one', async () => {
    const databaseUrl = await testbed().newDatabase();
    await setRevision(databaseUrl, 'revision', 999);
    await setRevision(databaseUrl, 'oldest_revision', 999);
    for (const attempt of [requireSchema, migrateEventStore])
      await expect(attempt(databaseUrl)).rejects.toMatchObject({ name: 'SchemaMismatch', kind: 'ahead' });
  });

  it('of a newer release that older code can live with is used, and left as it is', async () => {
    const databaseUrl = await testbed().newDatabase();
    await setRevision(databaseUrl, 'revision', 999);
    await requireSchema(databaseUrl);
    await migrateEventStore(databaseUrl);
    const { rows } = await testbed()
      .adminPool(databaseUrl)
      .query<{ hash: string }>("select hash from es.applied where name = 'revision'");
    expect(rows).toEqual([{ hash: '999' }]);
  });

  it('of the time before revisions is brought up to this one', async () => {
    const databaseUrl = await testbed().newDatabase();
    await testbed().adminPool(databaseUrl).query("delete from es.applied where name <> 'functions'");
    await expect(requireSchema(databaseUrl)).rejects.toMatchObject({ kind: 'behind' });
    await migrateEventStore(databaseUrl);
    await requireSchema(databaseUrl);
  });
});
