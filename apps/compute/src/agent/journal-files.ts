import { createReadStream } from 'node:fs';
import { open, readdir, rename, rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import { journalEntry, type JournalEntry } from '@xenolith/agent';

const FILE = /^(journal|snapshot)-(\d{8})\.jsonl$/;
const NEWLINE = 0x0a;
/** A snapshot is written in pieces of about this size, so that commands are answered in between. */
const PIECE_CHARS = 256 * 1024;

/** Snapshot n stands for every journal file before journal n. */
export interface JournalFiles {
  readonly snapshots: readonly number[];
  readonly journals: readonly number[];
}

export const fileName = (kind: 'journal' | 'snapshot', number: number): string =>
  `${kind}-${String(number).padStart(8, '0')}.jsonl`;

export const listFiles = async (folder: string): Promise<JournalFiles> => {
  const found = { journal: [] as number[], snapshot: [] as number[] };
  for (const name of await readdir(folder)) {
    const match = FILE.exec(name);
    if (match) found[match[1] as 'journal' | 'snapshot'].push(Number(match[2]));
  }
  const ascending = (left: number, right: number): number => left - right;
  return { snapshots: found.snapshot.sort(ascending), journals: found.journal.sort(ascending) };
};

/** Makes the names in a folder survive a crash of the machine. */
export const syncFolder = async (folder: string): Promise<void> => {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Lines of a file with the offset of the byte after each; `whole` is false for a last line that has no end. */
async function* linesOf(file: string): AsyncGenerator<{ text: string; end: number; whole: boolean }> {
  let rest = Buffer.alloc(0);
  let offset = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE)) {
      offset += at + 1;
      yield { text: bytes.subarray(0, at).toString('utf8'), end: offset, whole: true };
      bytes = bytes.subarray(at + 1);
    }
    rest = Buffer.from(bytes);
  }
  if (rest.length > 0) yield { text: rest.toString('utf8'), end: offset + rest.length, whole: false };
}

const parseLine = (text: string): JournalEntry | Error => {
  try {
    const parsed = journalEntry.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : parsed.error;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
};

/**
 * Entries of a file. The last line of the newest journal may be torn, as a crash leaves it: nobody was told that it was kept, so it is cut off.
 * Anything else that can't be read throws, with the file and the line.
 */
export async function* entriesOf(file: string, newest: boolean): AsyncGenerator<JournalEntry> {
  let good = 0;
  let number = 0;
  let torn: Error | null = null;
  for await (const line of linesOf(file)) {
    number += 1;
    if (torn) throw new Error(`line ${number - 1} of ${file} is damaged`, { cause: torn });
    const entry = line.whole ? parseLine(line.text) : new Error('the line has no end');
    if (entry instanceof Error) torn = entry;
    else {
      good = line.end;
      yield entry;
    }
  }
  if (!torn) return;
  if (!newest) throw new Error(`the last line of ${file} is damaged`, { cause: torn });
  await truncate(file, good);
}

/** Writes a file whole and durable, or not at all. */
export const writeSnapshot = async (folder: string, number: number, entries: Iterable<JournalEntry>): Promise<void> => {
  const target = path.join(folder, fileName('snapshot', number));
  const draft = `${target}.new`;
  const handle = await open(draft, 'w', 0o600);
  try {
    let piece = '';
    for (const entry of entries) {
      piece += `${JSON.stringify(entry)}\n`;
      if (piece.length < PIECE_CHARS) continue;
      await handle.writeFile(piece);
      piece = '';
    }
    await handle.writeFile(piece);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, target);
  await syncFolder(folder);
};

/** Removes what a snapshot has made superfluous. */
export const removeOlder = async (folder: string, snapshot: number): Promise<void> => {
  const { snapshots, journals } = await listFiles(folder);
  for (const number of journals) if (number < snapshot) await rm(path.join(folder, fileName('journal', number)));
  for (const number of snapshots) if (number < snapshot) await rm(path.join(folder, fileName('snapshot', number)));
};
