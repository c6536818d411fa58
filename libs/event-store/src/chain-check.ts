import { createHash } from 'node:crypto';
import type pg from 'pg';
import { CONTENT } from './sql/chronicle.sql.js';

const LINK_BYTES = 32;

/** Blocks of links from the newest back, until they are of so many events. */
const BLOCKS = `select position, first_position, links from es.chain where position > (
    select c.position - $1 from es.chronicle c where c.id = 1) order by position`;

const LINK_BEFORE = `select substr(links, ($1::bigint - first_position)::int * ${LINK_BYTES} + 1, ${LINK_BYTES}) as link from es.chain
  where first_position <= $1::bigint and position >= $1::bigint`;

const CONTENTS = `select l.position, ${CONTENT} as content
  from es.event_log l join es.events e on e.txid = l.txid and e.seq = l.seq
  where l.position >= $1 and l.position <= $2 order by l.position`;

interface Block {
  readonly position: string;
  readonly first_position: string;
  readonly links: Buffer;
}

/** What was compared, both ends included; `brokenAt` is the first position whose event is not the one that was chained. */
export interface ChainCheck {
  readonly first: number;
  readonly last: number;
  readonly brokenAt: number | null;
}

const startLink = async (pool: pg.Pool | pg.ClientBase, first: number): Promise<Buffer> => {
  if (first === 1) return Buffer.alloc(LINK_BYTES);
  const { rows } = await pool.query<{ link: Buffer }>(LINK_BEFORE, [first - 1]);
  return rows[0]?.link ?? Buffer.alloc(0);
};

/** Hashes the newest events again, about so many, and compares each with its link in the chain; null where nothing is chained yet. */
export const checkChain = async (pool: pg.Pool | pg.ClientBase, events: number): Promise<ChainCheck | null> => {
  const { rows: blocks } = await pool.query<Block>(BLOCKS, [events]);
  const first = Number(blocks[0]?.first_position ?? 0);
  const last = Number(blocks.at(-1)?.position ?? 0);
  if (first === 0) return null;
  const { rows } = await pool.query<{ position: string; content: Buffer }>(CONTENTS, [first, last]);
  let link = await startLink(pool, first);
  let next = 0;
  for (const block of blocks) {
    for (let at = 0; at < block.links.length; at += LINK_BYTES) {
      const position = Number(block.first_position) + at / LINK_BYTES;
      const row = rows[next];
      next += 1;
      if (!row || Number(row.position) !== position) return { first, last, brokenAt: position };
      link = createHash('sha256').update(link).update(row.content).digest();
      if (!link.equals(block.links.subarray(at, at + LINK_BYTES))) return { first, last, brokenAt: position };
    }
  }
  return { first, last, brokenAt: null };
};
