import { upcast, type Aggregate, type JsonObject, type NewEvent, type StoredEvent, type Uuid } from '@xenolith/kernel';
import { EventStoreFault } from './append-batcher.js';
import type { EventStore } from './event-store.js';

/** Streams read at a time. */
const STREAM_PAGE = 100;
/** Documents written in one transaction: a few tens of milliseconds. */
const WRITE_PAGE = 500;

/** The parts of an aggregate that make its documents. */
export type DocumentFold<State, Event extends NewEvent = NewEvent> = Pick<
  Aggregate<State, Event>,
  'category' | 'initial' | 'evolve' | 'toResource' | 'upcasters'
>;

interface BuiltDocument {
  readonly streamId: Uuid;
  readonly version: number;
  readonly body: JsonObject | null;
}

/** The documents that a stream's events give at the stated versions and at its end. */
const foldDocuments = <State, Event extends NewEvent>(
  fold: DocumentFold<State, Event>,
  events: readonly StoredEvent[],
  versions: ReadonlySet<number>,
): readonly BuiltDocument[] => {
  const built: BuiltDocument[] = [];
  let state = fold.initial;
  let shown = false;
  events.forEach((stored, index) => {
    const event: StoredEvent = upcast(stored, fold.upcasters);
    const { streamId, version, metadata } = event;
    // What is stored was written by this aggregate, and upcast to its present shape.
    state = fold.evolve(state, event as unknown as Event, {
      streamId,
      version,
      at: metadata.at,
      actor: metadata.actor,
    });
    if (!versions.has(version) && index < events.length - 1) return;
    const body = fold.toResource(state);
    if (body === null && !shown && !versions.has(version)) return;
    shown = body !== null;
    built.push({ streamId, version, body });
  });
  return built;
};

const writeDocuments = async (
  store: EventStore,
  category: string,
  shape: number,
  documents: readonly BuiltDocument[],
): Promise<number> => {
  let written = 0;
  for (let start = 0; start < documents.length; start += WRITE_PAGE) {
    const part = documents.slice(start, start + WRITE_PAGE);
    const { rowCount } = await store.pool.query(
      `insert into es.documents (stream_id, version, shape, category, body)
        select d.id, d.version, $1, $2, d.body from json_to_recordset($3) as d(id uuid, version bigint, body json)
        on conflict do nothing`,
      [shape, category, JSON.stringify(part.map(({ streamId, version, body }) => ({ id: streamId, version, body })))],
    );
    written += rowCount ?? 0;
  }
  return written;
};

/** A stream that showed no document in the old shape and shows one in the new is listed from now on. */
const markShown = async (store: EventStore, documents: readonly BuiltDocument[]): Promise<void> => {
  const newest = new Map(documents.map(({ streamId, version, body }) => [streamId, { version, shown: body !== null }]));
  const shown = [...newest].filter(([, document]) => document.shown);
  await store.pool.query(
    `update es.streams s set has_document = true from unnest($1::uuid[], $2::bigint[]) as u(stream_id, version)
      where s.stream_id = u.stream_id and s.version = u.version and not s.has_document`,
    [shown.map(([id]) => id), shown.map(([, { version }]) => version)],
  );
};

/** One way over all streams of the category; answers how many documents were missing. */
const buildMissing = async <State, Event extends NewEvent>(
  store: EventStore,
  fold: DocumentFold<State, Event>,
  shape: number,
): Promise<number> => {
  let after = '00000000-0000-0000-0000-000000000000';
  let written = 0;
  for (;;) {
    const { rows } = await store.pool.query<{ stream_id: Uuid; versions: string[] }>(
      `select s.stream_id,
          array(select distinct d.version from es.documents d where d.stream_id = s.stream_id) as versions
        from es.streams s
        where s.category = $1 and s.stream_id > $2 and (
          not exists (select from es.documents d
            where d.stream_id = s.stream_id and d.version = s.version and d.shape = $3)
          or exists (select from es.documents d where d.stream_id = s.stream_id and not exists (
            select from es.documents n
              where n.stream_id = d.stream_id and n.version = d.version and n.shape = $3)))
        order by s.stream_id limit $4`,
      [fold.category, after, shape, STREAM_PAGE],
    );
    if (rows.length === 0) return written;
    const built: BuiltDocument[] = [];
    for (const { stream_id: streamId, versions } of rows) {
      built.push(...foldDocuments(fold, await store.readStream(streamId), new Set(versions.map(Number))));
      after = streamId;
    }
    written += await writeDocuments(store, fold.category, shape, built);
    await markShown(store, built);
  }
};

/** Appends that go on while a rebuild runs leave less to do at each pass; a store that never gets there is one that nothing deploys to. */
const PASSES = 20;

/**
 * Makes every document of a category anew, past ones included, in another shape, while readers go on seeing the old one; then readers see the new.
 * Transactions are short. Documents that older processes still append in the old shape are shown as they are: run it again when those
 * processes are gone.
 */
export const rebuildDocuments = async <State, Event extends NewEvent>(options: {
  readonly store: EventStore;
  readonly fold: DocumentFold<State, Event>;
  readonly shape: number;
}): Promise<{ readonly written: number }> => {
  const { store, fold, shape } = options;
  let written = 0;
  for (let pass = 1; pass <= PASSES; pass += 1) {
    const missing = await buildMissing(store, fold, shape);
    written += missing;
    if (missing > 0) continue;
    await store.pool.query(
      `with turned as (
         insert into es.document_shapes as a (category, shape) values ($1, $2)
           on conflict (category) do update set shape = excluded.shape where a.shape <> excluded.shape returning category)
       insert into es.shape_turns (category, since, shape) select t.category, h.position, $2 from turned t, es.seq_head h
         on conflict (category, since) do update set shape = excluded.shape`,
      [fold.category, shape],
    );
    return { written };
  }
  throw new EventStoreFault(`documents of ${fold.category} change faster than they can be rebuilt`);
};
