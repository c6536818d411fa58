import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createGzip } from 'node:zlib';
import { extract, pack } from 'tar-stream';
import { UserError } from '../terminal.js';
import { FORMAT_VERSION, HEADER_FILE, headerSchema, MANIFEST_FILE, manifestSchema, type Manifest } from './format.js';

/** A file of an archive, whole in memory: pieces of the log are a few MiB each. */
export interface ArchiveFile {
  readonly name: string;
  readonly content: Buffer;
}

const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
const jsonFile = (name: string, value: unknown): ArchiveFile => ({
  name,
  content: Buffer.from(`${JSON.stringify(value, null, 2)}\n`),
});

const damaged = (file: string, why: string): UserError =>
  new UserError(`${file} is no whole backup: ${why}.`, ['Use another one; this one was cut short or changed.']);

/** Survives a crash of the machine, with its name. */
const sync = async (file: string): Promise<void> => {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/**
 * Writes an archive: the header, the files as they come, then the manifest that `finish` makes of what was written. The file appears under its name when
 * it is whole, or not at all; only its owner may read it.
 */
export const writeArchive = async (
  file: string,
  files: AsyncIterable<ArchiveFile>,
  finish: (written: Manifest['files']) => Manifest,
  signal: AbortSignal,
): Promise<void> => {
  const draft = `${file}.part`;
  const archive = pack();
  const written: Manifest['files'] = [];
  const put = (entry: ArchiveFile): Promise<void> =>
    new Promise((resolve, reject) => {
      archive.entry({ name: entry.name, mode: 0o600 }, entry.content, (fault) => {
        if (fault) reject(fault);
        else resolve();
      });
    });
  const fill = async (): Promise<void> => {
    await put(jsonFile(HEADER_FILE, { format: 'xenolith-backup', formatVersion: FORMAT_VERSION }));
    for await (const entry of files) {
      signal.throwIfAborted();
      written.push({ name: entry.name, bytes: entry.content.length, sha256: sha256(entry.content) });
      await put(entry);
    }
    await put(jsonFile(MANIFEST_FILE, finish(written)));
    archive.finalize();
  };
  try {
    const filling = fill().catch((fault: unknown) => {
      archive.destroy(fault instanceof Error ? fault : new Error(String(fault)));
      throw fault;
    });
    const out = createWriteStream(draft, { mode: 0o600 });
    // The log is text of few words: the quickest level leaves a tenth of it, and keeps up with the database.
    const flowing = pipeline(archive, createGzip({ level: constants.Z_BEST_SPEED }), out, { signal });
    // Told by the first that fails; the other ends by that.
    await Promise.all([filling, flowing]).finally(() => Promise.allSettled([filling, flowing]));
    await sync(draft);
    await rename(draft, file);
    await sync(path.dirname(path.resolve(file)));
  } catch (fault) {
    await rm(draft, { force: true });
    throw fault;
  }
};

const checkHeader = (file: string, first: ArchiveFile): void => {
  const header = first.name === HEADER_FILE ? headerSchema.safeParse(parseJson(first.content)) : undefined;
  if (header?.success !== true) throw damaged(file, 'it does not begin as one');
  if (header.data.formatVersion > FORMAT_VERSION)
    throw new UserError(
      `${file} has format ${header.data.formatVersion}, and this release reads ${FORMAT_VERSION} at most.`,
      ['A newer release wrote it: restore it with that one.'],
    );
};

const parseJson = (content: Buffer): unknown => {
  try {
    return JSON.parse(content.toString('utf8'));
  } catch {
    return undefined;
  }
};

/** The files of an archive in their order, the header aside. Throws a UserError where it is none, is damaged, or a newer release wrote it. */
export async function* readArchive(file: string): AsyncGenerator<ArchiveFile> {
  const entries = extract();
  const reading = pipeline(createReadStream(file), createGunzip(), entries);
  // What breaks is told by the entries, too.
  reading.catch(() => undefined);
  let first = true;
  try {
    for await (const entry of entries) {
      const parts: Buffer[] = [];
      for await (const part of entry as AsyncIterable<Buffer>) parts.push(part);
      const read = { name: entry.header.name, content: Buffer.concat(parts) };
      if (first) checkHeader(file, read);
      else yield read;
      first = false;
    }
    await reading;
  } catch (fault) {
    if (fault instanceof UserError) throw fault;
    throw damaged(file, fault instanceof Error ? fault.message : String(fault));
  }
  if (first) throw damaged(file, 'it is empty');
}

/** Reads an archive to its end and compares all of it with its manifest. Throws a UserError unless it is whole. */
export const verifyArchive = async (file: string, onFile: (bytes: number) => void): Promise<Manifest> => {
  const found = new Map<string, string>();
  let manifest: Manifest | undefined;
  for await (const { name, content } of readArchive(file)) {
    onFile(content.length);
    if (manifest) throw damaged(file, `${name} stands behind the manifest`);
    if (name === MANIFEST_FILE) {
      const parsed = manifestSchema.safeParse(parseJson(content));
      if (!parsed.success) throw damaged(file, `its manifest can't be read: ${parsed.error.message}`);
      manifest = parsed.data;
    } else found.set(name, sha256(content));
  }
  if (!manifest) throw damaged(file, 'its end is missing');
  for (const { name, sha256: expected } of manifest.files) {
    const actual = found.get(name);
    if (actual === undefined) throw damaged(file, `${name} is missing`);
    if (actual !== expected) throw damaged(file, `${name} was changed`);
    found.delete(name);
  }
  const [stranger] = found.keys();
  if (stranger !== undefined) throw damaged(file, `${stranger} is not in its manifest`);
  return manifest;
};
