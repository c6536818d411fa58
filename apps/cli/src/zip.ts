import { inflateRawSync } from 'node:zlib';
import { assert } from '@xenolith/kernel';

// Record layouts of the ZIP format (APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16). Archives beyond 4 GiB are out of scope.
const END_SIGNATURE = 0x06054b50;
const END_LENGTH = 22;
const MAX_COMMENT = 0xffff;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_LENGTH = 46;
const LOCAL_LENGTH = 30;
const STORED = 0;
const DEFLATED = 8;

const endRecord = (archive: Buffer): number => {
  for (let at = archive.length - END_LENGTH; at >= Math.max(0, archive.length - END_LENGTH - MAX_COMMENT); at -= 1)
    if (archive.readUInt32LE(at) === END_SIGNATURE) return at;
  throw new Error('the archive is damaged: it has no end record');
};

/** The content of one file of a ZIP archive. Throws when the archive is damaged or has no such file. */
export const readZipEntry = (archive: Buffer, wanted: string): Buffer => {
  const end = endRecord(archive);
  const count = archive.readUInt16LE(end + 10);
  let at = archive.readUInt32LE(end + 16);
  for (let index = 0; index < count; index += 1) {
    if (archive.readUInt32LE(at) !== ENTRY_SIGNATURE)
      throw new Error('the archive is damaged: its directory is cut short');
    const nameLength = archive.readUInt16LE(at + 28);
    const name = archive.toString('utf8', at + ENTRY_LENGTH, at + ENTRY_LENGTH + nameLength);
    if (name === wanted) {
      const [method, length, local] = [
        archive.readUInt16LE(at + 10),
        archive.readUInt32LE(at + 20),
        archive.readUInt32LE(at + 42),
      ];
      const start = local + LOCAL_LENGTH + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
      const body = archive.subarray(start, start + length);
      if (method === STORED) return body;
      assert(method === DEFLATED, `entry ${wanted} is compressed by unknown method ${method}`);
      return inflateRawSync(body);
    }
    at += ENTRY_LENGTH + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  throw new Error(`the archive has no file ${wanted}`);
};
