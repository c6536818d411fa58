import { closeSession, openSession, READ_LIMIT_MS } from '../connection.js';
import { ArchiveDamaged } from './archive-format.js';
import {
  readSegmentFile,
  registeredSegment,
  SEGMENT_COLUMNS,
  type RegisteredSegment,
  type SegmentRow,
} from './log-archive.js';
import { openArchiveStore } from './open-archive-store.js';

/** Segments whose files are looked at, the newest; a verification looks at all, and at what is in them. */
const SIZED_SEGMENTS = 1_000;
/** Of these, so many are read whole and compared with their hashes: some megabytes. */
const HASHED_SEGMENTS = 8;

export interface ArchiveState {
  readonly location: string;
  /** The end of the archive. */
  readonly position: number;
  readonly segments: number;
  /** What is wrong with the first file that is not as it was put there; absent: nothing. */
  readonly trouble?: string;
}

/** Whether the files of the log's archive are there and, of some, what they were; null: nothing was archived. Throws an `ArchiveUnavailable`. */
export const lookAtArchive = async (databaseUrl: string): Promise<ArchiveState | null> => {
  const session = await openSession(databaseUrl, {
    applicationName: 'xenolith-archive-look',
    statementTimeoutMs: READ_LIMIT_MS,
  });
  try {
    const { rows } = await session.query<SegmentRow & { readonly position: string; readonly count: string }>(
      `select ${SEGMENT_COLUMNS}, a.position, (select count(*) from es.archive_segments) as count
        from es.archive_segments s cross join es.archive a order by s.last_position desc limit ${SIZED_SEGMENTS}`,
    );
    const [row] = rows;
    if (row === undefined) return null;
    const { location } = row;
    const state = { location, position: Number(row.position), segments: Number(row.count) };
    const trouble = await firstTrouble(location, rows.map(registeredSegment));
    return { ...state, ...(trouble !== undefined && { trouble }) };
  } finally {
    await closeSession(session);
  }
};

const firstTrouble = async (
  location: string,
  newestFirst: readonly RegisteredSegment[],
): Promise<string | undefined> => {
  const store = await openArchiveStore(location);
  for (const { name, bytes } of newestFirst) {
    const found = await store.size(name);
    if (found !== bytes) return `${name} ${found === null ? 'is missing' : `has ${found} bytes in place of ${bytes}`}`;
  }
  try {
    for (const segment of newestFirst.slice(0, HASHED_SEGMENTS)) await readSegmentFile(store, segment);
    return undefined;
  } catch (fault) {
    if (fault instanceof ArchiveDamaged) return fault.message;
    throw fault;
  }
};
