import { createZstdDecompress } from 'node:zlib';
import type pg from 'pg';
import { ArchiveDamaged, decodeManifest, MANIFEST_NAME, sha256 } from './archive-format.js';
import type { ArchiveStore } from './archive-store.js';
import { openArchiveStore } from './open-archive-store.js';
import {
  registeredSegment,
  SEGMENT_COLUMNS,
  SegmentLines,
  type RegisteredSegment,
  type SegmentRow,
} from './log-archive.js';

/** A segment for who follows it event by event; it may have been altered. */
export interface ArchivedSegment {
  readonly last: number;
  readonly lines: SegmentLines;
  /** Throws an `ArchiveDamaged` when the file is not the one that was put there, even if every event in it is. */
  readonly check: () => void;
}

/** As much of a file as can be unpacked: what is broken in it shows where it begins. */
const unpackWhole = async (file: Buffer): Promise<Buffer> => {
  const parts: Buffer[] = [];
  const unpacking = createZstdDecompress();
  unpacking.end(file);
  try {
    for await (const part of unpacking as AsyncIterable<Buffer>) parts.push(part);
  } catch {
    // The line at which it ends says so.
  }
  return Buffer.concat(parts);
};

const compareManifest = async (store: ArchiveStore, registered: readonly RegisteredSegment[]): Promise<void> => {
  const manifest = await store.read(MANIFEST_NAME);
  if (manifest === null)
    throw new ArchiveDamaged(
      `${MANIFEST_NAME} of the archive in ${store.location} is missing`,
      registered[0]?.first ?? 1,
    );
  const listed = new Map(decodeManifest(manifest, store.location).map((segment) => [segment.name, segment.sha256]));
  for (const { name, first, sha256: hash } of registered) {
    if (listed.get(name) !== hash)
      throw new ArchiveDamaged(
        `${MANIFEST_NAME} of the archive in ${store.location} does not say of ${name} what the log does`,
        first,
      );
  }
};

const readSegment = async (store: ArchiveStore, segment: RegisteredSegment): Promise<ArchivedSegment> => {
  const { name, first, last } = segment;
  const place = `${name} of the archive in ${store.location}`;
  const file = await store.read(name);
  if (file === null) throw new ArchiveDamaged(`${place} is missing, which holds the events ${first} to ${last}`, first);
  const lines = new SegmentLines(first, await unpackWhole(file));
  const check = (): void => {
    if (sha256(file) !== segment.sha256 || lines.count !== last - first + 1)
      throw new ArchiveDamaged(`${place} is another file than was put there, though its events are the same`, first);
  };
  return { last, lines, check };
};

/** Segments of the archive that hold events above a position, in order. Throws an `ArchiveDamaged` or an `ArchiveUnavailable`. */
export async function* archivedSegments(session: pg.ClientBase, after: number): AsyncGenerator<ArchivedSegment> {
  const { rows } = await session.query<SegmentRow>(
    `select ${SEGMENT_COLUMNS} from es.archive_segments s cross join es.archive a
      where s.last_position > $1 order by s.last_position`,
    [after],
  );
  const [row] = rows;
  if (row === undefined) return;
  const store = await openArchiveStore(row.location);
  const registered = rows.map(registeredSegment);
  await compareManifest(store, registered);
  for (const segment of registered) yield await readSegment(store, segment);
}
