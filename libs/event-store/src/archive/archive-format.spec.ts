import { describe, expect, it } from 'vitest';
import {
  ArchiveDamaged,
  decodeLine,
  decodeManifest,
  encodeLines,
  encodeManifest,
  linkAfter,
  pack,
  segmentName,
  sha256,
  unpack,
  type ArchivedEvent,
  type Segment,
} from './archive-format.js';
import { SegmentLines } from './log-archive.js';

const FIRST_LINK = '0'.repeat(64);
const uuid = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

const event = (position: number, streamId = uuid(1)): ArchivedEvent => ({
  position,
  streamId,
  version: position,
  eventId: uuid(1000 + position),
  category: 'machine',
  type: 'MachineRenamed',
  schemaVersion: 1,
  recordedAtUs: `17953684832910${position}`,
  data: `{"to": "ä \\n \u2028",  "n": 1.0, "other": "${uuid(2)}"}`,
  metadata: '{}',
});

const events = [event(1), event(2, uuid(2)), event(3)];

const segment = (first: number, last: number, linkBefore: string, link: string): Segment => ({
  name: segmentName(first, last, 'a'.repeat(64)),
  ...{ first, last, linkBefore, linkAfter: link },
  recordedFrom: '2026-01-01T00:00:00.000Z',
  recordedUntil: '2026-01-01T00:00:01.000Z',
  events: last - first + 1,
  bytes: 100,
  sha256: 'a'.repeat(64),
});

describe('a segment', () => {
  it('gives back every event to the byte, one by one and by stream, and is the same file each time', async () => {
    const file = await pack(encodeLines(events));
    expect(sha256(await pack(encodeLines(events)))).toBe(sha256(file));
    const lines = new SegmentLines(1, await unpack(file));
    expect(lines.count).toBe(3);
    expect([1, 2, 3].map((position) => lines.at(position))).toEqual(events);
    // The data of all of them speak of the second stream.
    expect(lines.ofStream(uuid(2))).toEqual([events[1]]);
    expect(lines.ofStream(uuid(1))).toEqual([events[0], events[2]]);
    expect(lines.ofStream(uuid(3))).toEqual([]);
    expect(() => lines.at(4)).toThrow(ArchiveDamaged);
  });

  it('ends in a link that any change of an event changes', () => {
    const link = linkAfter(FIRST_LINK, events);
    expect(linkAfter(linkAfter(FIRST_LINK, events.slice(0, 1)), events.slice(1))).toBe(link);
    for (const changed of [{ data: '{}' }, { version: 7 }, { recordedAtUs: '1' }])
      expect(linkAfter(FIRST_LINK, [event(1), { ...event(2, uuid(2)), ...changed }, event(3)])).not.toBe(link);
  });

  it.each([['{'], ['[]'], [JSON.stringify({ ...event(5), version: 0 })], [JSON.stringify({ ...event(5), more: 1 })]])(
    'is damaged where a line is no event: %s',
    (line) => {
      expect(() => decodeLine(line, 5)).toThrow(ArchiveDamaged);
    },
  );
});

describe('a manifest', () => {
  const [one, two] = ['b', 'c'].map((letter) => letter.repeat(64)) as [string, string];

  it('is read as it was written, and its names sort as positions do', () => {
    const segments = [segment(1, 9, FIRST_LINK, one), segment(10, 100, one, two)];
    expect(decodeManifest(encodeManifest(segments), '/a')).toEqual(segments);
    expect(segments.map(({ name }) => name).toSorted()).toEqual(segments.map(({ name }) => name));
  });

  it.each([
    ['does not begin at the beginning', [segment(2, 9, FIRST_LINK, one)], /does not follow position 0/],
    ['has a gap', [segment(1, 9, FIRST_LINK, one), segment(11, 12, one, two)], /does not follow position 9/],
    ['is not linked', [segment(1, 9, FIRST_LINK, one), segment(10, 12, two, two)], /does not follow position 9/],
    ['counts otherwise', [{ ...segment(1, 9, FIRST_LINK, one), events: 8 }], /does not follow position 0/],
  ])('is refused when it %s', (_what, segments, message) => {
    expect(() => decodeManifest(encodeManifest(segments), '/a')).toThrow(message);
  });

  it('is refused when it is none, or of a newer release', () => {
    for (const text of ['', '{}', '{"format":"other"}'])
      expect(() => decodeManifest(Buffer.from(text), '/a')).toThrow(/manifest.json of \/a/);
    const newer = encodeManifest([]).toString().replace('"formatVersion": 1', '"formatVersion": 2');
    expect(() => decodeManifest(Buffer.from(newer), '/a')).toThrow(/newer release/);
  });
});
