import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import type pg from 'pg';
import { openEventStore, runSequencer, verifyLog, type LogVerdict } from './index.js';
import { PATIENCE, useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

/** A log of some hundred events, sequenced and chained, with nobody writing any more. */
const settledLog = async (): Promise<{ readonly databaseUrl: string; readonly admin: pg.Pool }> => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const events = [1, 2, 3].map((n) => ({ type: 'Counted', schemaVersion: 1, data: { n, text: 'ä " \\ \u2028' } }));
  for (let n = 0; n < 40; n += 1) await store.append(appendOf([writeTo(nextTestId(), { events })]));
  await expect.poll(async () => (await store.past.newest()).position, PATIENCE).toBe(120);
  await store.close();
  await sequencer.stop();
  return { databaseUrl, admin: testbed().adminPool(databaseUrl) };
};

/** What somebody can do who owns the database. */
const tamper = async (admin: pg.Pool, ...statements: readonly string[]): Promise<void> => {
  const client = await admin.connect();
  try {
    for (const statement of [`set session_replication_role = replica`, ...statements]) await client.query(statement);
  } finally {
    client.release(true);
  }
};

const at = (position: number): string =>
  `(select e.ctid from es.events e join es.event_log l on l.seq = e.seq where l.position = ${position})`;

const positionOf = (verdict: LogVerdict): number | null => (verdict.sound ? null : verdict.position);

describe('a verification of the log', () => {
  it('finds every event as it was recorded, and tells where the chain ends', async () => {
    const { databaseUrl } = await settledLog();
    const seen: number[] = [];
    const verdict = await verifyLog({ databaseUrl, onProgress: (position) => seen.push(position) });
    expect(verdict).toMatchObject({ sound: true, head: { position: 120 }, unlinked: 0 });
    expect(seen.at(-1)).toBe(120);
    if (!verdict.sound) throw new Error(verdict.message);
    expect((await verifyLog({ databaseUrl, anchor: verdict.head })).sound).toBe(true);
    const other = { position: 50, link: verdict.head.link };
    expect(positionOf(await verifyLog({ databaseUrl, anchor: other }))).toBe(50);
    expect(positionOf(await verifyLog({ databaseUrl, anchor: { ...verdict.head, position: 121 } }))).toBe(121);
  });

  it('looks at the newest events only where that is asked for, and takes the link before them as it stands', async () => {
    const { databaseUrl, admin } = await settledLog();
    await tamper(
      admin,
      // Blocks are as long as the chronicler's steps happened to be: one ends behind the second event now.
      `insert into es.chain (position, first_position, links, recorded_until)
        select 2, 1, substr(links, 1, 64), recorded_until from es.chain where first_position = 1`,
      `update es.chain set first_position = 3, links = substr(links, 65) where first_position = 1 and position > 2`,
      `update es.events set type = 'Forged' where ctid = ${at(1)}`,
    );
    expect(positionOf(await verifyLog({ databaseUrl }))).toBe(1);
    expect(positionOf(await verifyLog({ databaseUrl, newest: 118 }))).toBeNull();
    await tamper(admin, `update es.events set type = 'Forged' where ctid = ${at(3)}`);
    expect(positionOf(await verifyLog({ databaseUrl, newest: 118 }))).toBe(3);
  });

  it('names the first event that was altered, whatever part of it', async () => {
    const { databaseUrl, admin } = await settledLog();
    await tamper(admin, `update es.events set recorded_at = recorded_at + interval '1 us' where ctid = ${at(90)}`);
    expect(positionOf(await verifyLog({ databaseUrl }))).toBe(90);
    await tamper(admin, `update es.events set meta = (meta::text || ' ')::json where ctid = ${at(61)}`);
    expect(positionOf(await verifyLog({ databaseUrl }))).toBe(61);
    await tamper(admin, `update es.events set data = '{"n":7}' where ctid = ${at(17)}`);
    expect(await verifyLog({ databaseUrl })).toMatchObject({
      sound: false,
      position: 17,
      message: expect.stringContaining('Counted') as unknown,
    });
  });

  it('notices an event that was deleted, alone or with its place', async () => {
    const { databaseUrl, admin } = await settledLog();
    await tamper(admin, `delete from es.event_log where position = 100`);
    expect(positionOf(await verifyLog({ databaseUrl }))).toBe(100);
    await tamper(admin, `delete from es.events where ctid = ${at(30)}`);
    expect(await verifyLog({ databaseUrl })).toMatchObject({
      position: 30,
      message: expect.stringContaining('gone') as unknown,
    });
  });

  it('notices two that were swapped, and a tail that was cut off', async () => {
    const { databaseUrl, admin } = await settledLog();
    const before = await verifyLog({ databaseUrl });
    await tamper(
      admin,
      `create temporary table swapped as select * from es.event_log where position in (40, 70)`,
      `delete from es.event_log where position in (40, 70)`,
      `insert into es.event_log select 110 - position, txid, seq from swapped`,
    );
    expect(positionOf(await verifyLog({ databaseUrl }))).toBe(40);
    await tamper(
      admin,
      `delete from es.event_log where position >= 40`,
      `delete from es.chain`,
      `update es.chronicle set position = 0, link = decode(repeat('00', 32), 'hex')`,
      `update es.seq_head set position = 39`,
    );
    // Whoever may do all that leaves a chain that holds; only what was kept elsewhere tells.
    expect((await verifyLog({ databaseUrl })).sound).toBe(true);
    if (!before.sound) throw new Error(before.message);
    expect((await verifyLog({ databaseUrl, anchor: before.head })).sound).toBe(false);
  });
});
