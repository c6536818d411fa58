import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyArchive, writeArchive, type ArchiveFile } from './archive.js';
import type { Manifest } from './format.js';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'xenolith-archive-'));
  file = path.join(folder, 'backup');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const FILES: readonly ArchiveFile[] = [
  { name: 'log/events-000001.copy', content: Buffer.from('one\ntwo\n') },
  { name: 'log/events-000002.copy', content: Buffer.alloc(300_000, 'three\n') },
  { name: 'agent/journal-00000001.jsonl', content: Buffer.from('{}\n') },
];

const manifestOf = (files: Manifest['files']): Manifest => ({
  createdAt: '2026-01-01T00:00:00.000Z',
  position: 3,
  events: 3,
  logId: '00000000-0000-4000-8000-000000000000',
  schemaRevision: 1,
  chain: { position: 0, link: '0'.repeat(64) },
  settings: { hosts: 1, seed: 1, port: 7443 },
  rows: {},
  files,
});

// eslint-disable-next-line @typescript-eslint/require-await -- files come as a stream
async function* streamOf(files: readonly ArchiveFile[]): AsyncGenerator<ArchiveFile> {
  yield* files;
}

const write = (finish = manifestOf): Promise<void> =>
  writeArchive(file, streamOf(FILES), finish, new AbortController().signal);
const verify = (): Promise<Manifest> => verifyArchive(file, () => undefined);

describe('a backup file', () => {
  it('is whole when it was written whole, and only its owner may read it', async () => {
    await write();
    expect((await verify()).files.map(({ name }) => name)).toEqual(FILES.map(({ name }) => name));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['backup']);
  });

  it('is refused when its end is missing', async () => {
    await write();
    const whole = await readFile(file);
    await writeFile(file, whole.subarray(0, whole.length - 200));
    await expect(verify()).rejects.toThrow(/no whole backup/);
  });

  it('is refused when a byte of it is another', async () => {
    await write();
    const bytes = await readFile(file);
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    await writeFile(file, bytes);
    await expect(verify()).rejects.toThrow(/no whole backup/);
  });

  it('is refused when what it holds was changed, however well it is packed', async () => {
    await write();
    await writeFile(
      file,
      gzipSync(
        Buffer.from(
          gunzipSync(await readFile(file))
            .toString('latin1')
            .replace('two', 'too'),
          'latin1',
        ),
      ),
    );
    await expect(verify()).rejects.toThrow(/events-000001.copy was changed/);
  });

  it('is refused when it lacks what its manifest names', async () => {
    await write((files) =>
      manifestOf([...files, { name: 'log/events-000003.copy', bytes: 0, sha256: '0'.repeat(64) }]),
    );
    await expect(verify()).rejects.toThrow(/events-000003.copy is missing/);
  });

  it('is refused when it holds what its manifest does not name', async () => {
    await write((files) => manifestOf(files.slice(1)));
    await expect(verify()).rejects.toThrow(/not in its manifest/);
  });

  it('of a newer format is refused, and says which', async () => {
    await write();
    const newer = gunzipSync(await readFile(file))
      .toString('latin1')
      .replace('"formatVersion": 1', '"formatVersion": 9');
    await writeFile(file, gzipSync(Buffer.from(newer, 'latin1')));
    await expect(verify()).rejects.toThrow(/has format 9, and this release reads 1 at most/);
  });

  it.each([
    ['nothing', ''],
    ['a text', 'this is no backup'],
  ])('that is %s is refused', async (_what, content) => {
    await writeFile(file, content);
    await expect(verify()).rejects.toThrow(/no whole backup/);
  });

  it('that could not be finished is not there at all', async () => {
    const abort = new AbortController();
    // eslint-disable-next-line @typescript-eslint/require-await -- files come as a stream
    async function* interrupted(): AsyncGenerator<ArchiveFile> {
      yield* FILES;
      abort.abort(new Error('interrupted'));
      yield* FILES;
    }
    await expect(writeArchive(file, interrupted(), manifestOf, abort.signal)).rejects.toThrow();
    expect(await readdir(folder)).toEqual([]);
  });
});
