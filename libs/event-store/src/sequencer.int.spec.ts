import { appendOf, nextTestId, wholeLog, writeTo } from '@xenolith/testing';
import type pg from 'pg';
import { describe, expect, it } from 'vitest';
import { APPEND_CALL, appendValues, prepareAppend } from './append-batch.js';
import { openEventStore, runSequencer, SimulatedCrash } from './index.js';
import type { SequencerStep } from './sequencer.js';
import { expectSound, PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

/** A transaction that has got its id, and nothing else. */
const openTransaction = async (pool: pg.Pool): Promise<pg.PoolClient> => {
  const client = await pool.connect();
  client.on('error', () => undefined);
  await client.query('begin');
  await client.query('select pg_current_xact_id()');
  return client;
};

const appendIn = async (client: pg.PoolClient, streamId: string): Promise<void> => {
  await client.query(APPEND_CALL, [...appendValues([prepareAppend(appendOf([writeTo(streamId)]))], {})]);
};

const sequence = async (pool: pg.Pool, epoch: number, limit = 1000): Promise<{ state: string; numbered: number }> => {
  const { rows } = await pool.query<{ state: string; numbered: string }>('select * from es.sequence($1, $2)', [
    epoch,
    limit,
  ]);
  return { state: rows[0]?.state ?? '', numbered: Number(rows[0]?.numbered) };
};

const beginEpoch = async (pool: pg.Pool): Promise<number> => {
  const { rows } = await pool.query<{ epoch: string }>('select epoch from es.begin_epoch()');
  return Number(rows[0]?.epoch);
};

const orderBy = async (pool: pg.Pool, order: string): Promise<readonly number[]> => {
  const { rows } = await pool.query<{ version: string }>(`select version from es.events order by ${order}`);
  return rows.map(({ version }) => Number(version));
};

describe('order', () => {
  it('keeps a stream in order when a transaction with a lower id appends later', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const epoch = await beginEpoch(admin);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const stream = nextTestId();
    const early = await openTransaction(admin);
    await store.append(appendOf([writeTo(stream)]));
    await appendIn(early, stream);
    await early.query('commit');
    early.release();
    expect(await orderBy(admin, 'txid, seq')).toEqual([2, 1]);
    expect(await sequence(admin, epoch)).toEqual({ state: 'done', numbered: 2 });
    expect((await store.readLog(0, 10)).map(({ version }) => version)).toEqual([1, 2]);
    await store.close();
  });

  it('holds an event back while an earlier one of its stream lies beyond an open transaction', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const epoch = await beginEpoch(admin);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const [stream, other] = [nextTestId(), nextTestId()];
    const early = await openTransaction(admin);
    const between = await openTransaction(admin);
    await store.append(appendOf([writeTo(stream)]));
    await appendIn(early, stream);
    await appendIn(early, other);
    await early.query('commit');
    early.release();
    // The horizon is the open transaction: version 2 lies below it, version 1 above.
    expect(await sequence(admin, epoch)).toEqual({ state: 'open', numbered: 1 });
    expect((await store.readLog(0, 10)).map(({ streamId }) => streamId)).toEqual([other]);
    await between.query('rollback');
    between.release();
    expect(await sequence(admin, epoch)).toEqual({ state: 'done', numbered: 2 });
    expectSound(await store.readLog(0, 10));
    expect(await sequence(admin, epoch)).toEqual({ state: 'done', numbered: 0 });
    await store.close();
  });

  it('takes a backlog in parts without changing the order within a stream', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const epoch = await beginEpoch(admin);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const streams = [nextTestId(), nextTestId(), nextTestId()];
    for (let turn = 0; turn < 100; turn += 1)
      await Promise.all(streams.map((stream) => store.append(appendOf([writeTo(stream)]))));
    const states: string[] = [];
    for (;;) {
      const { state } = await sequence(admin, epoch, 20);
      states.push(state);
      if (state === 'done') break;
    }
    expect(states.length).toBeGreaterThan(5);
    const log = await store.readLog(0, 1000);
    expect(log).toHaveLength(300);
    expectSound(log);
    await store.close();
  });
});

describe('take-over', () => {
  it('refuses a holder whose epoch is over', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const old = await beginEpoch(admin);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    await store.append(appendOf([writeTo(nextTestId())]));
    const young = await beginEpoch(admin);
    expect(await sequence(admin, old)).toEqual({ state: 'fenced', numbered: 0 });
    expect(await sequence(admin, young)).toEqual({ state: 'done', numbered: 1 });
    await store.close();
  });

  it('is waited for by candidates that appends do not wake, as they once did', async () => {
    const databaseUrl = await testbed().newDatabase();
    const connect = () => testbed().connectNats();
    const [first, second, writer] = await Promise.all([connect(), connect(), connect()]);
    const holder = await runSequencer({ databaseUrl, nats: first });
    await expect.poll(() => holder.state().role, PATIENCE).toBe('holder');
    const candidate = await runSequencer({ databaseUrl, nats: second });
    const store = await openEventStore({ databaseUrl, name: 'test', nats: writer });
    for (let event = 0; event < 20; event += 1) await store.append(appendOf([writeTo(nextTestId())]));
    await expect.poll(() => holder.state().head, PATIENCE).toBe(20);
    // What was sent to it before this answer has arrived before it, too.
    await Promise.all([first.flush(), second.flush()]);
    expect(first.stats().inMsgs).toBeGreaterThan(0);
    expect(second.stats().inMsgs).toBe(0);
    await holder.stop();
    await expect.poll(() => candidate.state().role, PATIENCE).toBe('holder');
    await store.append(appendOf([writeTo(nextTestId())]));
    await expect.poll(() => candidate.state().head, PATIENCE).toBe(21);
    await candidate.stop();
    await store.close();
  });

  it('goes to another candidate when the connection of the holder dies', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const candidates = await Promise.all(['a', 'b'].map((name) => runSequencer({ databaseUrl, name })));
    const holders = (): number => candidates.filter((candidate) => candidate.state().role === 'holder').length;
    await expect.poll(holders, PATIENCE).toBe(1);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(Array.from({ length: 20 }, () => store.append(appendOf([writeTo(nextTestId())]))));
      const epoch = Math.max(...candidates.map((candidate) => candidate.state().epoch));
      await admin.query(
        `select pg_terminate_backend(l.pid) from pg_locks l join pg_stat_activity a using (pid)
          where l.locktype = 'advisory' and l.granted and a.application_name like '% sequencer'
            and a.datname = current_database()`,
      );
      await expect
        .poll(() => Math.max(...candidates.map((candidate) => candidate.state().epoch)), PATIENCE)
        .toBeGreaterThan(epoch);
      expect(await store.head()).toBe((round + 1) * 20);
    }
    expectSound(await wholeLog(store));
    await Promise.all(candidates.map((candidate) => candidate.stop()));
    await store.close();
  });

  it('goes on after a crash at any step', async () => {
    const databaseUrl = await testbed().newDatabase();
    const steps: readonly SequencerStep[] = ['lease-taken', 'epoch-begun', 'before-sequence', 'sequenced'];
    const due = new Set<SequencerStep>();
    const sequencer = await runSequencer({
      databaseUrl,
      failpoint: (step) => {
        if (due.delete(step)) throw new SimulatedCrash(step);
      },
    });
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const stream = nextTestId();
    let appended = 0;
    const append = async (): Promise<void> => {
      await store.append(appendOf([writeTo(stream)]));
      appended += 1;
    };
    for (const step of steps) {
      due.add(step).add('sequenced');
      // A window that is past the step may take an event along, and would be the last one if no other event came.
      await expect.poll(() => append().then(() => due.size), PATIENCE).toBe(0);
      await append();
    }
    expect(await store.head()).toBe(appended);
    expectSound(await wholeLog(store));
    await sequencer.stop();
    await store.close();
  });
});

describe('stalls', () => {
  it('ends a write transaction that holds readers back for more than a second, and says so', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const reports: string[] = [];
    const sequencer = await runSequencer({
      databaseUrl,
      report: (level, message) => reports.push(`${level}: ${message}`),
    });
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const stalled = await openTransaction(admin);
    await store.append(appendOf([writeTo(nextTestId())]));
    expect(await store.readLog(0, 1)).toEqual([]);
    expect(await store.head()).toBe(1);
    expect(reports.filter((line) => line.startsWith('warn: a write transaction was open'))).toHaveLength(1);
    await expect(stalled.query('commit')).rejects.toThrow();
    stalled.release(true);
    await sequencer.stop();
    await store.close();
  });

  it('ends one in another database of the cluster, too', async () => {
    const databaseUrl = await testbed().newDatabase();
    const elsewhere = testbed().adminPool(await testbed().postgres.createDatabase());
    const sequencer = await runSequencer({ databaseUrl });
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const stalled = await openTransaction(elsewhere);
    await store.append(appendOf([writeTo(nextTestId())]));
    expect(await store.head()).toBe(1);
    await expect(stalled.query('commit')).rejects.toThrow();
    stalled.release(true);
    await sequencer.stop();
    await store.close();
  });
});

/** An event as an older cluster left it: with a transaction id that this cluster has not reached, or has used for something else. */
const restoreEvent = async (
  pool: pg.Pool,
  event: { readonly streamId: string; readonly version: number; readonly txid: string; readonly position?: number },
): Promise<void> => {
  const { rows } = await pool.query<{ seq: string }>(
    `insert into es.events (stream_id, version, seq, txid, event_id, category, type, schema_version, data, meta)
      values ($1, $2, nextval('es.event_seq'), $3, gen_random_uuid(), 'machine', 'Restored', 1, '{}', '{}') returning seq`,
    [event.streamId, event.version, event.txid],
  );
  await pool.query(
    `insert into es.streams (stream_id, category, version) values ($1, 'machine', $2)
      on conflict (stream_id) do update set version = excluded.version`,
    [event.streamId, event.version],
  );
  if (event.position === undefined) return;
  await pool.query('insert into es.event_log (position, txid, seq) values ($1, $2, $3)', [
    event.position,
    event.txid,
    rows[0]?.seq,
  ]);
  await pool.query('update es.seq_head set position = $1', [event.position]);
};

describe('after a restore into another cluster', () => {
  it('numbers what had no position, once, and goes on with the new transaction ids', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const [old, both] = [nextTestId(), nextTestId()];
    const { rows } = await admin.query<{ now: string; log_id: string }>(
      'select pg_current_xact_id()::text as now, log_id from es.seq_head',
    );
    // An id that this cluster will use soon, one that it used long ago, and one far beyond.
    const soon = String(BigInt(rows[0]?.now ?? '0') + 20n);
    await restoreEvent(admin, { streamId: old, version: 1, txid: '5', position: 1 });
    await restoreEvent(admin, { streamId: old, version: 2, txid: soon, position: 2 });
    await restoreEvent(admin, { streamId: old, version: 3, txid: '900000000' });
    await restoreEvent(admin, { streamId: both, version: 1, txid: '900000001' });
    await admin.query(`update es.seq_head set cluster = '123/1', next_txid = '900000000'`);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    // Appended before any sequencer has noticed the restore.
    await store.append(appendOf([writeTo(both)]));
    const sequencer = await runSequencer({ databaseUrl });
    await expect.poll(() => sequencer.state().role, PATIENCE).toBe('holder');
    for (let turn = 0; turn < 40; turn += 1) await store.append(appendOf([writeTo(both)]));
    expect(await store.head()).toBe(45);
    expectSound(await wholeLog(store));
    const after = await admin.query<{ log_id: string }>('select log_id from es.seq_head');
    expect(after.rows[0]?.log_id).not.toBe(rows[0]?.log_id);
    await sequencer.stop();
    await store.close();
  });
});
