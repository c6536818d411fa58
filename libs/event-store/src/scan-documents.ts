import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';
import type pg from 'pg';
import { EventStoreFault } from './append-batcher.js';

/** One page of the newest documents: what a page makes is garbage that is young when the page is done, and other work gets its turn in between. */
const DOCUMENT_PAGE = 1000;

/**
 * Streams that show a document now, and those whose tombstone has no position yet: as of the position they still show their last document. For each
 * the newest document whose event has a position.
 */
const DOCUMENTS = `
  with head as (select next_txid from es.seq_head where id = 1),
  shown as (
    select s.stream_id from es.streams s where s.has_document and ($1::text[] is null or s.category = any ($1))
    union
    select e.stream_id from es.events e, head h
      where e.txid >= h.next_txid and ($1::text[] is null or e.category = any ($1))
        and not exists (select from es.event_log l where l.seq = e.seq))
  select s.stream_id, d.version, d.category, d.body, d.position from shown s
  cross join lateral (
    select c.version, c.category, c.body, l.position from es.documents c
      join es.events e on e.stream_id = c.stream_id and e.version = c.version
      join es.event_log l on l.seq = e.seq
      where c.stream_id = s.stream_id
      order by c.version desc,
        c.shape = coalesce((select a.shape from es.document_shapes a where a.category = c.category), 1) desc, c.shape desc
      limit 1) d
  where d.body is not null`;

interface DocumentRow {
  readonly stream_id: Uuid;
  readonly version: string;
  readonly category: string;
  readonly body: JsonObject;
  readonly position: string;
}

const storedDocument = (row: DocumentRow): StoredDocument => ({
  streamId: row.stream_id,
  category: row.category,
  version: Number(row.version),
  position: Number(row.position),
  document: row.body,
});

/**
 * Hands over the newest documents page by page, all as of one position, from one snapshot of the database; answers that position. The database makes the next
 * page while one is worked on. Reading takes no transaction id, so that a slow reader holds no subscriber back.
 */
export const scanDocuments = async (
  pool: pg.Pool,
  categories: readonly string[] | undefined,
  onPage: (documents: readonly StoredDocument[]) => void | Promise<void>,
): Promise<number> => {
  const client = await pool.connect();
  try {
    await client.query('begin isolation level repeatable read, read only');
    await client.query('set local idle_in_transaction_session_timeout = 60000');
    const head = await client.query<{ position: string }>('select position from es.seq_head where id = 1');
    await client.query(
      `declare documents no scroll cursor for ${DOCUMENTS}`.replaceAll('$1', categoriesLiteral(categories)),
    );
    const fetchPage = (): Promise<pg.QueryResult<DocumentRow>> => {
      const page = client.query<DocumentRow>(`fetch ${DOCUMENT_PAGE} from documents`);
      // Told where it is awaited, unless the page before could not be worked on.
      page.catch(() => undefined);
      return page;
    };
    for (let next: Promise<pg.QueryResult<DocumentRow>> | null = fetchPage(); next !== null;) {
      const { rows }: pg.QueryResult<DocumentRow> = await next;
      next = rows.length < DOCUMENT_PAGE ? null : fetchPage();
      if (rows.length > 0) await onPage(rows.map(storedDocument));
    }
    await client.query('commit');
    client.release();
    return Number(head.rows[0]?.position);
  } catch (fault) {
    client.release(true);
    throw fault;
  }
};

/** A cursor's query takes no parameters. Categories are our own words; anything else is refused. */
const categoriesLiteral = (categories: readonly string[] | undefined): string => {
  if (categories === undefined) return 'null';
  for (const category of categories) {
    if (!/^[A-Za-z0-9_.-]+$/.test(category)) throw new EventStoreFault(`"${category}" is not a category`);
  }
  return `'{${categories.join(',')}}'::text[]`;
};
