import { open, readdir, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { ArchiveFile } from './archive.js';

const FILE = /^(journal|snapshot)-\d{8}\.jsonl$/;
const NEWLINE = 0x0a;
/** The agent replaces its files now and then: the list is read again when one went meanwhile. */
const ATTEMPTS = 10;

const isMissing = (fault: unknown): boolean => (fault as NodeJS.ErrnoException).code === 'ENOENT';

interface OpenFile {
  readonly name: string;
  readonly handle: FileHandle;
}

/** Opens all files at once: what is open stays readable, whatever the agent removes. */
const openAll = async (folder: string): Promise<readonly OpenFile[]> => {
  for (let attempt = 1; ; attempt += 1) {
    const opened: OpenFile[] = [];
    try {
      const names = (await readdir(folder)).filter((name) => FILE.test(name)).sort();
      for (const name of names) opened.push({ name, handle: await open(path.join(folder, name), 'r') });
      return opened;
    } catch (fault) {
      for (const { handle } of opened) await handle.close();
      if (!isMissing(fault)) throw fault;
      // No folder: there is no agent here.
      if (opened.length === 0 && attempt > 1) return [];
      if (attempt >= ATTEMPTS) throw fault;
    }
  }
};

/** The agent's journal as it stands at one moment, while it is written. A last line that is not whole yet is left out: nobody was told that it is kept. */
export async function* agentFiles(folder: string): AsyncGenerator<ArchiveFile> {
  const opened = await openAll(folder);
  try {
    for (const { name, handle } of opened) {
      const content = await handle.readFile();
      yield { name: `agent/${name}`, content: content.subarray(0, content.lastIndexOf(NEWLINE) + 1) };
    }
  } finally {
    for (const { handle } of opened) await handle.close();
  }
}
