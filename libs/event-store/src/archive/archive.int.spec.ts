import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { AppendRequest, Uuid } from '@xenolith/kernel';
import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  archiveLog,
  ArchiveRefused,
  exportLog,
  importLog,
  openEventStore,
  openTimeline,
  runSequencer,
  verifyLog,
  type ArchiveOptions,
  type EventStore,
  type LogChunk,
  type LogState,
} from '../index.js';
import { useTestbed } from '../testbed.spec-fixture.js';
import { pack, sha256, unpack } from './archive-format.js';
import { FolderStore } from './archive-store.js';

const testbed = useTestbed();
const folders: string[] = [];

const newFolder = async (): Promise<string> => {
  const folder = await mkdtemp(path.join(tmpdir(), 'xenolith-archive-'));
  folders.push(folder);
  return folder;
};

afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

interface Log {
  readonly databaseUrl: string;
  readonly streams: readonly Uuid[];
  readonly commands: readonly Uuid[];
  readonly times: readonly number[];
}

const document = (name: string, n: number) => ({
  metadata: { name, namespace: 'default' },
  spec: { n, text: 'ä " \\ \u2028' },
});
const counted = (n: number) => ({ type: 'Counted', schemaVersion: 1, data: { n, text: 'ä " \\ \u2028' } });

const settle = async (store: EventStore): Promise<void> => {
  await store.past.newest();
};

/** Streams that live, that ended, whose object is gone, and one that a snapshot covers, woven into each other over several blocks of the chain. */
const fill = async (databaseUrl: string): Promise<Log> => {
  const sequencer = await runSequencer({ databaseUrl });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const streams = Array.from({ length: 8 }, () => nextTestId());
  const commands: Uuid[] = [];
  const times: number[] = [0];
  const append = async (request: AppendRequest): Promise<void> => {
    await store.append(request);
    commands.push(request.commandId);
  };
  for (let round = 0; round < 6; round += 1) {
    for (const [n, stream] of streams.entries()) {
      if (n % 4 === 1 && round > 3) continue;
      const last = n % 4 === 1 && round === 3;
      const gone = n % 4 === 2 && round >= 4;
      const events = [counted(2 * round), counted(2 * round + 1)];
      const left = last || gone ? null : document(`web-${n}`, round);
      const other = streams[(n + 4) % 8] ?? stream;
      await append(appendOf([writeTo(stream, { events, document: left, ends: last })]));
      if (n === 3)
        await append(
          appendOf(
            [stream, other].map((id, at) => writeTo(id, { document: document(`web-${at === 0 ? n : 7}`, round) })),
          ),
        );
    }
    await settle(store);
    times.push((await store.past.newest()).recordedAt, (await store.past.newest()).recordedAt - 1);
  }
  await store.saveSnapshot({ streamId: streams[4] ?? '', stateVersion: 1, version: 9, state: { n: 9 } });
  await store.close();
  await sequencer.stop();
  return { databaseUrl, streams, commands, times };
};

/** A hash of all that can be asked of the past. */
const answers = async ({ databaseUrl, streams, commands, times }: Log, upTo: number): Promise<string> => {
  const store = await openEventStore({ databaseUrl, name: 'asks' });
  const { past } = store;
  const told: unknown[] = [];
  for (const after of [0, 1, 17, upTo - 3]) {
    told.push(await past.eventsAfter(after, 1), await past.eventsAfter(after, upTo - after));
    told.push(await store.readLog(after, 5), await store.readLog(after, upTo - after));
    told.push(await store.documentChanges({ category: 'machine', after, upTo }));
    told.push(await store.documentChanges({ category: 'machine', after, upTo: Math.min(after + 20, upTo) }));
  }
  for (const streamId of streams) {
    told.push(await store.readStream(streamId), await store.readStream(streamId, 3));
    for (const limit of [1, 4, 100])
      for (const end of [5, 40, upTo]) told.push(await past.eventsOf({ streamId, after: limit % 3, upTo: end, limit }));
  }
  for (const command of commands) told.push(await past.eventsOfCommand(command));
  for (const time of times) told.push(await past.momentAt(time));
  for (let position = 0; position <= upTo; position += 1) {
    told.push(await past.momentOf(position));
    told.push(await past.documentsAt({ category: 'machine', position, limit: 100 }));
  }
  await store.close();
  const timeline = await openTimeline(databaseUrl);
  for await (const entry of timeline.between({ position: 0 }, { position: upTo })) told.push(entry);
  await timeline.close();
  return sha256(told.map((answer) => JSON.stringify(answer)).join('\n'));
};

const present = async (databaseUrl: string): Promise<string> => {
  const store = await openEventStore({ databaseUrl, name: 'present' });
  const { position, documents } = await store.documents(undefined);
  await store.close();
  const ordered = documents.toSorted((one, other) => (one.streamId < other.streamId ? -1 : 1));
  return JSON.stringify({ position, ordered });
};

const countOf = async (databaseUrl: string, table: string): Promise<number> => {
  const { rows } = await testbed()
    .adminPool(databaseUrl)
    .query<{ count: number }>(`select count(*)::int as count from ${table}`);
  return rows[0]?.count ?? 0;
};

const archiving = (databaseUrl: string, folder: string, more: Partial<ArchiveOptions> = {}): ArchiveOptions => ({
  ownerUrl: databaseUrl,
  store: new FolderStore(folder),
  before: Date.now() + 60_000,
  keepNewest: 0,
  segmentEvents: 30,
  ...more,
});

/** Two streams end. */
const grow = async ({ databaseUrl, streams }: Log): Promise<void> => {
  const sequencer = await runSequencer({ databaseUrl });
  const store = await openEventStore({ databaseUrl, name: 'grows' });
  for (const stream of [streams[0], streams[3]])
    await store.append(appendOf([writeTo(stream ?? '', { ends: true, document: null })]));
  await settle(store);
  await store.close();
  await sequencer.stop();
};

class Killed extends Error {}

describe('an archive of the log', () => {
  let log: Log;
  let before: { readonly past: string; readonly present: string; readonly events: number };
  let folder: string;
  let head: number;

  beforeAll(async () => {
    log = await fill(await testbed().newDatabase());
    head = await countOf(log.databaseUrl, 'es.events');
    before = { past: await answers(log, head), present: await present(log.databaseUrl), events: head };
    folder = await newFolder();
  });

  it('is made whole wherever runs are ended, and past and present answer the same all the while', async () => {
    let runs = 0;
    for (let steps = 1; ; steps += 1) {
      let left = steps;
      const abort = new AbortController();
      // Every other run is asked to end; then it does so where it is safe.
      const failpoint = (): Promise<void> => {
        left -= 1;
        if (left === 0 && steps % 2 === 0) abort.abort(new Killed());
        return left === 0 && steps % 2 === 1 ? Promise.reject(new Killed()) : Promise.resolve();
      };
      runs += 1;
      const outcome = await archiveLog(archiving(log.databaseUrl, folder, { failpoint, signal: abort.signal })).catch(
        (fault: unknown) => fault,
      );
      expect(await present(log.databaseUrl)).toBe(before.present);
      if (runs % 4 === 0) expect(await answers(log, head)).toBe(before.past);
      if (outcome instanceof Killed) continue;
      expect(outcome).toMatchObject({ position: head });
      break;
    }
    expect(runs).toBeGreaterThan(5);
    expect(await answers(log, head)).toBe(before.past);
    const left = await countOf(log.databaseUrl, 'es.events');
    expect(left).toBeLessThan(before.events);
    expect(await countOf(log.databaseUrl, 'es.event_log')).toBe(left);
    expect((await readdir(path.join(folder, 'segments'))).length).toBeGreaterThan(2);
    expect(await verifyLog({ databaseUrl: log.databaseUrl })).toMatchObject({ sound: true, head: { position: head } });
  });

  it('holds events that nobody may remove by hand', async () => {
    const admin = testbed().adminPool(log.databaseUrl);
    await expect(admin.query('delete from es.events')).rejects.toThrow(/never changed/);
    await expect(admin.query("select es.remove_archived(1, 'x', null, 1)")).rejects.toThrow(/no segment/);
    const register = 'select es.register_segment($1, $2, $3, $4, 1, $5, $5, $5)';
    const hash = 'a'.repeat(64);
    await expect(admin.query(register, [folder, 1, 2, 'segments/x', hash])).rejects.toThrow(/ends at/);
    await expect(admin.query(register, [folder, head + 1, head + 1, 'segments/x', hash])).rejects.toThrow(/chain/);
  });

  it('is refused elsewhere unless all of it was moved there', async () => {
    const elsewhere = await newFolder();
    await expect(archiveLog(archiving(log.databaseUrl, elsewhere))).rejects.toThrow(/move all of it/);
    await cp(folder, elsewhere, { recursive: true });
    await archiveLog(archiving(log.databaseUrl, elsewhere));
    await rm(folder, { recursive: true });
    folder = elsewhere;
    expect(await answers(log, head)).toBe(before.past);
  });

  it('says which file is missing or altered, and answers nothing of it; what is now goes on', async () => {
    const names = await readdir(path.join(folder, 'segments'));
    const [first = ''] = names.toSorted();
    const file = path.join(folder, 'segments', first);
    const content = await readFile(file);
    const forged = (await unpack(content)).toString().replace('Counted', 'Changed');
    const altered = [
      { put: () => writeFile(file, Buffer.concat([content, content])), at: 1, says: 'another file' },
      { put: async () => writeFile(file, await pack(Buffer.from(forged))), at: 1, says: 'not what was recorded' },
      { put: () => writeFile(file, content.subarray(0, content.length - 5)), at: 1, says: '' },
      { put: () => rm(file), at: 1, says: 'missing' },
    ];
    for (const { put, at, says } of altered) {
      await put();
      const store = await openEventStore({ databaseUrl: log.databaseUrl, name: 'asks' });
      await expect(store.past.eventsAfter(0, 10)).rejects.toThrow(first);
      await expect(
        store.past.eventsOf({ streamId: log.streams[1] ?? '', after: 0, upTo: head, limit: 10 }),
      ).rejects.toThrow(first);
      expect((await store.past.documentsAt({ category: 'machine', position: 20, limit: 100 })).length).toBeGreaterThan(
        0,
      );
      await store.close();
      expect(await present(log.databaseUrl)).toBe(before.present);
      const verdict = await verifyLog({ databaseUrl: log.databaseUrl });
      expect(verdict).toMatchObject({ sound: false, message: expect.stringContaining(says) as unknown });
      if (!verdict.sound) expect(verdict.position).toBeGreaterThanOrEqual(at);
    }
    await writeFile(file, content);
    expect((await verifyLog({ databaseUrl: log.databaseUrl })).sound).toBe(true);
  });

  it('names the event that was altered in what the database has kept of it', async () => {
    const admin = testbed().adminPool(log.databaseUrl);
    const client = await admin.connect();
    const { rows } = await client.query<{ position: string }>(
      'select position from es.event_log order by position limit 1 offset 3',
    );
    const position = Number(rows[0]?.position);
    const change = (version: string): Promise<unknown> =>
      client.query(
        `update es.events e set schema_version = schema_version ${version} from es.event_log l where l.seq = e.seq and l.position = $1`,
        [position],
      );
    await client.query('set session_replication_role = replica');
    await change('+ 1');
    expect(await verifyLog({ databaseUrl: log.databaseUrl })).toMatchObject({ sound: false, position });
    await change('- 1');
    client.release(true);
    expect((await verifyLog({ databaseUrl: log.databaseUrl })).sound).toBe(true);
  });

  it('goes with a backup: what is restored has the same past, and goes on', async () => {
    const states: LogState[] = [];
    const chunks: LogChunk[] = [];
    const onState = (state: LogState): Promise<void> => Promise.resolve(void states.push(state));
    for await (const chunk of exportLog(log.databaseUrl, onState)) chunks.push(chunk);
    const [state] = states;
    if (!state) throw new Error('no state was told');
    const databaseUrl = await testbed().newDatabase();
    // eslint-disable-next-line @typescript-eslint/require-await -- pieces come as a stream
    const pieces = async function* (): AsyncGenerator<LogChunk> {
      yield* chunks;
    };
    await importLog(databaseUrl, state, pieces());
    const restored = { ...log, databaseUrl };
    expect(await answers(restored, head)).toBe(before.past);
    expect(await present(databaseUrl)).toBe(before.present);
    await grow(restored);
    expect(await verifyLog({ databaseUrl })).toMatchObject({ sound: true, head: { position: head + 2 } });
  });

  it('lets its streams go on, and takes in what came later with what only then was not needed any more', async () => {
    await grow(log);
    const grown = await answers(log, head + 2);
    const store = await openEventStore({ databaseUrl: log.databaseUrl, name: 'asks' });
    const stream = log.streams[0] ?? '';
    const versions = (await store.readStream(stream)).map(({ version }) => version);
    expect(versions).toEqual(versions.map((_, at) => at + 1));
    const held = { consumer: 'slow', position: head };
    await store.pool.query('insert into es.checkpoints (consumer, position) values ($1, $2)', [
      held.consumer,
      held.position,
    ]);
    expect(await archiveLog(archiving(log.databaseUrl, folder))).toMatchObject({
      position: head,
      heldBackBy: expect.stringContaining('slow') as unknown,
    });
    await store.pool.query('delete from es.checkpoints');
    expect(await archiveLog(archiving(log.databaseUrl, folder, { keepNewest: 5 }))).toMatchObject({
      position: head,
      heldBackBy: expect.stringContaining('newest 5') as unknown,
    });
    const left = await countOf(log.databaseUrl, 'es.events');
    // Both streams have ended meanwhile: all but the newest event of each goes. No other run may come between.
    const failpoint = (): Promise<void> =>
      expect(archiveLog(archiving(log.databaseUrl, folder))).rejects.toThrow(/another run/);
    expect((await archiveLog(archiving(log.databaseUrl, folder, { failpoint }))).removed).toBeGreaterThan(2);
    expect(await countOf(log.databaseUrl, 'es.events')).toBeLessThan(left - 2);
    expect((await store.readStream(stream)).map(({ version }) => version)).toEqual(versions);
    expect(await answers(log, head + 2)).toBe(grown);
    await store.close();
  });

  it('is refused where another history of the log lies', async () => {
    const other = await fill(await testbed().newDatabase());
    await expect(archiveLog(archiving(other.databaseUrl, folder))).rejects.toThrow(ArchiveRefused);
    await expect(archiveLog(archiving(other.databaseUrl, folder))).rejects.toThrow(/another history/);
  });
});
