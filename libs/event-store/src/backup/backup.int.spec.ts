import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { exportLog, importLog, openEventStore, runSequencer, type LogChunk, type LogState } from '../index.js';
import { PATIENCE, useTestbed } from '../testbed.spec-fixture.js';

const testbed = useTestbed();
const APPENDS = 400;

interface Backup {
  readonly state: LogState;
  readonly chunks: readonly LogChunk[];
}

const take = async (databaseUrl: string): Promise<Backup> => {
  const states: LogState[] = [];
  const chunks: LogChunk[] = [];
  const onState = (state: LogState): Promise<void> => {
    states.push(state);
    return Promise.resolve();
  };
  for await (const chunk of exportLog(databaseUrl, onState)) chunks.push(chunk);
  const [state] = states;
  if (!state) throw new Error('no state was told');
  return { state, chunks };
};

// eslint-disable-next-line @typescript-eslint/require-await -- pieces come as a stream
async function* streamOf<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items;
}

const rowsOf = async (databaseUrl: string, text: string): Promise<readonly unknown[]> =>
  (await testbed().adminPool(databaseUrl).query<Record<string, unknown>>(text)).rows;

let original: string;
let backup: Backup;

/** Taken in the middle of a log that grows, so that some events have no position yet. */
beforeAll(async () => {
  original = await testbed().newDatabase();
  const store = await openEventStore({ databaseUrl: original, name: 'original' });
  const sequencer = await runSequencer({ databaseUrl: original });
  const streams = Array.from({ length: 40 }, () => nextTestId());
  const append = (n: number) =>
    store.append(
      appendOf([writeTo(streams[n % streams.length] ?? '', { document: { metadata: { name: `web-${n}` } } })], {
        claims: n === 0 ? [{ op: 'claim', scope: 'name', value: 'line\nbreak\ttab \\ end', holder: nextTestId() }] : [],
      }),
    );
  for (let n = 0; n < APPENDS / 2; n += 1) await append(n);
  const written = await store.head();
  // The chain of hashes, which a restore compares, is written a little behind the log.
  const chained = async (): Promise<number> => {
    const [row] = await rowsOf(original, 'select position from es.chronicle');
    return Number((row as { position: string }).position);
  };
  await vi.waitUntil(async () => (await chained()) === written, PATIENCE);
  const growing = Promise.all(Array.from({ length: APPENDS / 2 }, (_, n) => append(n)));
  backup = await take(original);
  await growing;
  await store.head();
  await sequencer.stop();
  await store.close();
});

describe('a log that is restored', () => {
  let restored: string;
  beforeAll(async () => {
    restored = await testbed().newDatabase();
    await importLog(restored, backup.state, streamOf(backup.chunks));
  });

  it.each([
    `select l.position, e.stream_id, e.version, e.event_id, e.category, e.type, e.schema_version, e.data::text, e.meta::text, e.recorded_at
      from es.event_log l join es.events e on e.txid = l.txid and e.seq = l.seq where l.position <= $P order by l.position`,
    `select d.* from es.documents d join es.events e using (stream_id, version) join es.event_log l on l.seq = e.seq
      where l.position <= $P order by d.stream_id, d.version`,
    'select scope, value from es.claims order by 1, 2',
  ])('holds what the original held at that position: %s', async (text) => {
    const question = text.replace('$P', String(backup.state.position));
    const [before, after] = [await rowsOf(original, question), await rowsOf(restored, question)];
    expect(after.length).toBeGreaterThan(0);
    // As text: the driver's bodies are objects.
    expect(JSON.stringify(after)).toBe(JSON.stringify(before));
  });

  it('goes on from there: what had no position gets one, what is new comes after it', async () => {
    const store = await openEventStore({ databaseUrl: restored, name: 'restored' });
    const sequencer = await runSequencer({ databaseUrl: restored });
    const stream = nextTestId();
    await store.append(appendOf([writeTo(stream)]));
    expect(await store.head()).toBe(backup.state.events + 1);
    const [last] = await store.readLog(backup.state.events, 10);
    expect(last).toMatchObject({ streamId: stream, position: backup.state.events + 1 });
    await sequencer.stop();
    await store.close();
  });

  it('does not keep the sequencer looking for what is not there', async () => {
    const sequencer = await runSequencer({ databaseUrl: restored });
    await expect.poll(() => sequencer.state().role, PATIENCE).toBe('holder');
    const epoch = await rowsOf(restored, 'select epoch from es.seq_head');
    await sequencer.stop();
    const { epoch: current } = epoch[0] as { epoch: string };
    expect(await rowsOf(restored, `select state from es.sequence(${current}, 100)`)).toEqual([{ state: 'done' }]);
  });

  it('is refused where a log is already', async () => {
    await expect(importLog(restored, backup.state, streamOf(backup.chunks))).rejects.toThrow(/holds a log already/);
  });

  it.each([
    ['a piece is missing', (chunks: readonly LogChunk[]) => chunks.filter(({ table }) => table !== 'positions')],
    [
      'an event was changed',
      (chunks: readonly LogChunk[]) =>
        chunks.map((chunk) =>
          chunk.table === 'events'
            ? {
                ...chunk,
                content: Buffer.from(
                  chunk.content.toString('latin1').replace('MachineRenamed', 'MachineRemoved'),
                  'latin1',
                ),
              }
            : chunk,
        ),
    ],
  ])('is refused when %s, and leaves nothing', async (_what, change) => {
    const empty = await testbed().newDatabase();
    const changed = change(backup.chunks);
    expect(JSON.stringify(changed)).not.toBe(JSON.stringify(backup.chunks));
    await expect(importLog(empty, backup.state, streamOf(changed))).rejects.toThrow(/does not hold together|not those/);
    expect(await rowsOf(empty, 'select 1 from es.events limit 1')).toEqual([]);
    await importLog(empty, backup.state, streamOf(backup.chunks));
  });
});
