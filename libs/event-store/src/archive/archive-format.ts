import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { z } from 'zod';
import { linkOf, LINK_BYTES, type ChainedEvent } from '../event-chain.js';

/** The newest form of archives that this release reads and writes; docs/operations/archive.md describes it. */
export const ARCHIVE_VERSION = 1;
export const MANIFEST_NAME = 'manifest.json';
/** No event is larger than some megabytes, and a segment is closed when it has 16 MiB: more than this is none of ours. */
const LARGEST_SEGMENT_BYTES = 512 * 2 ** 20;
/** Digits of positions in names, so that names sort as positions do. */
const NAME_DIGITS = 15;
/** As much of the hash as makes two versions of one segment differ by name. */
const NAME_HASH = 12;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const position = z.int().min(1);

export const segmentSchema = z.object({
  name: z.string().regex(/^segments\/[0-9a-z.-]+$/),
  first: position,
  last: position,
  /** When its first and its last event were recorded. */
  recordedFrom: z.iso.datetime(),
  recordedUntil: z.iso.datetime(),
  events: z.int().min(1),
  bytes: z.int().min(1),
  /** Of the file as it lies there. */
  sha256: hash,
  /** Links of the log's chain of hashes before the first event and at the last. */
  linkBefore: hash,
  linkAfter: hash,
});
export type Segment = z.infer<typeof segmentSchema>;

export const manifestSchema = z.object({
  format: z.literal('xenolith-archive'),
  formatVersion: z.int().min(1),
  segments: z.array(segmentSchema),
});

/** An event as the archive holds it; `data` and `metadata` are JSON as PostgreSQL held it, to the byte. */
export type ArchivedEvent = ChainedEvent;

/** One line of a segment. */
const lineSchema = z.strictObject({
  position,
  streamId: z.uuid(),
  version: z.int().min(1),
  eventId: z.uuid(),
  category: z.string(),
  type: z.string(),
  schemaVersion: z.int(),
  recordedAtUs: z.string().regex(/^\d+$/),
  data: z.string(),
  metadata: z.string(),
});

/** What lies in an archive is not what was put there, or not there at all. */
export class ArchiveDamaged extends Error {
  override readonly name = 'ArchiveDamaged';
  constructor(
    message: string,
    /** The first position that can't be trusted. */
    readonly position: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export const sha256 = (content: Buffer | string): string => createHash('sha256').update(content).digest('hex');

export const encodeLines = (events: readonly ArchivedEvent[]): Buffer =>
  Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join(''));

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** The lines as a file: Zstandard, with a checksum of its own, as `zstd -d` reads it. */
export const pack = (lines: Buffer): Promise<Buffer> =>
  compress(lines, { params: { [constants.ZSTD_c_checksumFlag]: 1, [constants.ZSTD_c_compressionLevel]: 9 } });

export const unpack = (file: Buffer): Promise<Buffer> => decompress(file, { maxOutputLength: LARGEST_SEGMENT_BYTES });

/** Throws an `ArchiveDamaged` at `position` when the line is no event. */
export const decodeLine = (line: string, position: number): ArchivedEvent => {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (cause) {
    throw new ArchiveDamaged('its line in the archive is no JSON', position, { cause });
  }
  const event = lineSchema.safeParse(json);
  if (!event.success) throw new ArchiveDamaged(`its line in the archive is no event: ${event.error.message}`, position);
  return event.data;
};

export const segmentName = (first: number, last: number, hashOfFile: string): string =>
  `segments/${[first, last].map((each) => String(each).padStart(NAME_DIGITS, '0')).join('-')}-${hashOfFile.slice(0, NAME_HASH)}.jsonl.zst`;

export const encodeManifest = (segments: readonly Segment[]): Buffer =>
  Buffer.from(`${JSON.stringify({ format: 'xenolith-archive', formatVersion: ARCHIVE_VERSION, segments }, null, 1)}\n`);

/** Segments in the order of positions, without gaps and each linked to the one before. Throws an `ArchiveDamaged`. */
export const decodeManifest = (content: Buffer, location: string): readonly Segment[] => {
  let json: unknown;
  try {
    json = JSON.parse(content.toString());
  } catch (cause) {
    throw new ArchiveDamaged(`${MANIFEST_NAME} of ${location} is no JSON`, 1, { cause });
  }
  const manifest = manifestSchema.safeParse(json);
  if (!manifest.success)
    throw new ArchiveDamaged(`${MANIFEST_NAME} of ${location} is not one of ours: ${manifest.error.message}`, 1);
  const { formatVersion, segments } = manifest.data;
  if (formatVersion > ARCHIVE_VERSION)
    throw new ArchiveDamaged(
      `${location} has format ${formatVersion}, and this release reads ${ARCHIVE_VERSION} at most: a newer release wrote it`,
      1,
    );
  let [last, link] = [0, '0'.repeat(2 * LINK_BYTES)];
  for (const segment of segments) {
    const { first, linkBefore, events } = segment;
    if (first !== last + 1 || linkBefore !== link || events !== segment.last - first + 1)
      throw new ArchiveDamaged(
        `${MANIFEST_NAME} of ${location} does not hold together: ${segment.name} does not follow position ${last}`,
        last + 1,
      );
    [last, link] = [segment.last, segment.linkAfter];
  }
  return segments;
};

/** The link at the end of `events`, which follow `before`. */
export const linkAfter = (before: string, events: Iterable<ArchivedEvent>): string => {
  let link = Buffer.from(before, 'hex');
  for (const event of events) link = linkOf(link, event) as Buffer<ArrayBuffer>;
  return link.toString('hex');
};
