import type { JsonObject } from '@xenolith/kernel';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { percentile } from './report.js';

const TABLE =
  'create table if not exists bench_plain (id bigserial primary key, stream uuid not null, type text not null, data jsonb not null, at timestamptz not null default now())';
/** Column of pgbench's log of transactions: microseconds, from when a transaction was due where it is told how many arrive. */
const TOOK = 2;

export interface PlainInserts {
  readonly perSecond: number;
  /** Milliseconds; with arrivals, from when each was due. */
  readonly p50: number;
  readonly p99: number;
}

/**
 * One insert per transaction of a row with this data, by pgbench's own client: closed loops of so many clients, or as many as arrive by chance
 * (Poisson) where `arriving` says how many a second. Throws where pgbench fails.
 */
export const pgbench = async (
  databaseUrl: string,
  inserts: {
    readonly clients: number;
    readonly data: JsonObject;
    readonly durationMs: number;
    readonly arriving?: number;
  },
): Promise<PlainInserts> => {
  const { clients, data, durationMs, arriving } = inserts;
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(TABLE);
  await client.end();
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-bench-'));
  try {
    const script = join(folder, 'insert.sql');
    await writeFile(
      script,
      `insert into bench_plain (stream, type, data) values (gen_random_uuid(), 'BenchHappened', '${JSON.stringify(data)}');\n`,
    );
    const { stdout } = await promisify(execFile)('pgbench', [
      ...['-n', '-M', 'prepared', '-c', String(clients), '-j', '2', '-T', String(Math.round(durationMs / 1_000))],
      ...['-l', '--log-prefix', join(folder, 'took'), ...(arriving === undefined ? [] : ['-R', String(arriving)])],
      ...['-f', script, databaseUrl],
    ]);
    const logs = (await readdir(folder)).filter((name) => name.startsWith('took'));
    const lines = (await Promise.all(logs.map((name) => readFile(join(folder, name), 'utf8')))).join('').split('\n');
    const tookMs = lines.filter((line) => line !== '').map((line) => Number(line.split(' ')[TOOK]) / 1_000);
    return {
      perSecond: Number(/tps = ([\d.]+)/.exec(stdout)?.[1]),
      p50: percentile(tookMs, 0.5),
      p99: percentile(tookMs, 0.99),
    };
  } finally {
    await rm(folder, { recursive: true });
  }
};
