import { randomUUID } from 'node:crypto';
import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { EventStoreFault, migrateEventStore, openEventStore, runSequencer } from './index.js';
import { useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

describe('migrations', () => {
  it('run once when several processes start together, and change nothing later', async () => {
    const databaseUrl = await testbed().postgres.createDatabase();
    await Promise.all(Array.from({ length: 5 }, () => migrateEventStore(databaseUrl)));
    const admin = testbed().adminPool(databaseUrl);
    const applied = async (): Promise<number> =>
      (await admin.query('select 1 from xenolith_event_store_migrations')).rowCount ?? 0;
    const count = await applied();
    expect(count).toBeGreaterThan(0);
    await migrateEventStore(databaseUrl);
    expect(await applied()).toBe(count);
  });

  it('are missed with a clear fault by a store that is opened before them', async () => {
    const databaseUrl = await testbed().postgres.createDatabase();
    await expect(openEventStore({ databaseUrl, name: 'early' })).rejects.toThrow(/es\.seq_head/);
  });
});

describe('guards', () => {
  it('refuse to change or remove stored events', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const store = await openEventStore({ databaseUrl, name: 'test' });
    await store.append(appendOf([writeTo(nextTestId())]));
    for (const statement of [
      "update es.events set type = 'x'",
      'delete from es.events',
      'truncate es.events',
      'delete from es.event_log',
    ]) {
      await expect(admin.query(statement)).rejects.toThrow(/never changed/);
    }
    await store.close();
  });

  it('bound every connection of the store', async () => {
    const databaseUrl = await testbed().newDatabase();
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const { rows } = await store.pool.query<{ name: string; setting: string }>(
      `select name, setting from pg_settings where name in ('statement_timeout', 'idle_in_transaction_session_timeout') order by name`,
    );
    expect(rows).toEqual([
      { name: 'idle_in_transaction_session_timeout', setting: '1000' },
      { name: 'statement_timeout', setting: '60000' },
    ]);
    await store.close();
  });
});

describe('a group commit', () => {
  it('is not waited for in vain by what comes after a call of several, nor when the store closes', async () => {
    const store = await openEventStore({ databaseUrl: await testbed().newDatabase(), name: 'test' });
    const append = () => store.append(appendOf([writeTo(nextTestId())]));
    await Promise.all(Array.from({ length: 8 }, append));
    expect(await append()).toMatchObject({ status: 'appended' });
    await Promise.all(Array.from({ length: 8 }, append));
    const last = append();
    await store.close();
    expect(await last).toMatchObject({ status: 'appended' });
  });

  it('fails the one request whose data the database refuses, and no other', async () => {
    const databaseUrl = await testbed().newDatabase();
    const store = await openEventStore({ databaseUrl, name: 'test', poolSize: 1 });
    const good = Array.from({ length: 20 }, () => nextTestId());
    const bad = appendOf([writeTo('not-a-uuid')]);
    const outcomes = await Promise.allSettled([
      ...good.slice(0, 10).map((stream) => store.append(appendOf([writeTo(stream)]))),
      store.append(bad),
      ...good.slice(10).map((stream) => store.append(appendOf([writeTo(stream)]))),
    ]);
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1);
    expect(outcomes[10]?.status).toBe('rejected');
    for (const stream of good) expect(await store.readStream(stream)).toHaveLength(1);
    await store.close();
  });

  it('waits on no lock in a circle when calls share streams and claims in every order', async () => {
    const databaseUrl = await testbed().newDatabase();
    const admin = testbed().adminPool(databaseUrl);
    const stores = await Promise.all(['a', 'b'].map((name) => openEventStore({ databaseUrl, name, poolSize: 4 })));
    const streams = Array.from({ length: 6 }, () => randomUUID());
    const pick = (n: number, turn: number): string => streams[(n * 7 + turn * 5) % streams.length] ?? '';
    await Promise.all(
      Array.from({ length: 32 }, async (_, n) => {
        for (let turn = 0; turn < 20; turn += 1) {
          const [one, two] = [pick(n, turn), pick(n + 1, turn * 3)];
          const writes = [...new Set([one, two])].map((stream) => writeTo(stream));
          const outcome = await stores[n % 2]?.append(
            appendOf(writes, {
              claims: [
                { op: 'claim', scope: 'shared', value: `${(n + turn) % 5}`, holder: one },
                { op: 'release', scope: 'shared', value: `${(n * 3 + turn) % 5}`, holder: two },
              ],
            }),
          );
          expect(['appended', 'claim_taken']).toContain(outcome?.status);
        }
      }),
    );
    const { rows } = await admin.query<{ deadlocks: string }>(
      'select deadlocks from pg_stat_database where datname = current_database()',
    );
    expect(rows).toEqual([{ deadlocks: '0' }]);
    await Promise.all(stores.map((store) => store.close()));
  });

  it('answers what happened when Postgres is killed and comes back', async () => {
    const databaseUrl = await testbed().newDatabase();
    const sequencer = await runSequencer({ databaseUrl });
    const store = await openEventStore({ databaseUrl, name: 'test' });
    const stream = nextTestId();
    await store.append(appendOf([writeTo(stream)]));
    const requests = Array.from({ length: 200 }, () => appendOf([writeTo(nextTestId())]));
    const outcomes = Promise.allSettled(requests.map((request) => store.append(request)));
    await testbed().postgres.kill();
    await testbed().postgres.restart();
    for (const [index, outcome] of (await outcomes).entries()) {
      const request = requests[index];
      if (!request) continue;
      const events = await store.readStream(request.writes[0]?.streamId ?? '');
      if (outcome.status === 'fulfilled') expect([outcome.value.status, events.length]).toEqual(['appended', 1]);
      else expect(outcome.reason).toBeInstanceOf(EventStoreFault);
      expect((await store.append(request)).status).toBe(events.length === 1 ? 'known' : 'appended');
    }
    expect(await store.head()).toBe(201);
    await sequencer.stop();
    await store.close();
  });
});
