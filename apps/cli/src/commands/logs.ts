import { open, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { UserError } from '../terminal.js';
import { readable } from './log-line.js';

const POLL_MS = 200;
const DEFAULT_LINES = 100;

const logFile = (folder: DataFolder, name: string): string => path.join(folder.logs, `${name}.log`);

/** The last lines that a process wrote, readable; empty when it wrote none. */
export const lastLinesOf = async (folder: DataFolder, name: string, count: number): Promise<readonly string[]> => {
  try {
    const lines = (await readFile(logFile(folder, name), 'utf8')).trimEnd().split('\n');
    return lines
      .filter((line) => line !== '')
      .slice(-count)
      .map(readable);
  } catch {
    return [];
  }
};

const namesOf = async (folder: DataFolder): Promise<readonly string[]> => {
  try {
    const files = await readdir(folder.logs);
    return files.flatMap((file) => (file.endsWith('.log') ? [file.slice(0, -'.log'.length)] : [])).sort();
  } catch {
    return [];
  }
};

interface Reader {
  readonly name: string;
  inode: number;
  offset: number;
  rest: string;
}

/** What was written since the last call; starts anew when the log was rotated. */
const readNew = async (folder: DataFolder, reader: Reader): Promise<readonly string[]> => {
  let file;
  try {
    file = await open(logFile(folder, reader.name));
  } catch {
    return [];
  }
  try {
    const { ino, size } = await file.stat();
    if (ino !== reader.inode || size < reader.offset) reader.offset = 0;
    reader.inode = ino;
    if (size === reader.offset) return [];
    const chunk = Buffer.alloc(size - reader.offset);
    const { bytesRead } = await file.read(chunk, 0, chunk.length, reader.offset);
    reader.offset += bytesRead;
    const lines = `${reader.rest}${chunk.subarray(0, bytesRead).toString('utf8')}`.split('\n');
    reader.rest = lines.pop() ?? '';
    return lines;
  } finally {
    await file.close();
  }
};

const startReader = async (folder: DataFolder, name: string): Promise<Reader> => {
  try {
    const { ino, size } = await stat(logFile(folder, name));
    return { name, inode: ino, offset: size, rest: '' };
  } catch {
    return { name, inode: 0, offset: 0, rest: '' };
  }
};

export interface LogsOptions {
  readonly data?: string | undefined;
  readonly follow?: boolean | undefined;
  readonly lines?: number | undefined;
  readonly raw?: boolean | undefined;
}

const rawLines = async (folder: DataFolder, name: string, count: number): Promise<readonly string[]> => {
  try {
    return (await readFile(logFile(folder, name), 'utf8')).trimEnd().split('\n').slice(-count);
  } catch {
    return [];
  }
};

/** Prints logs: one process's, or everybody's with their names before each line. `follow` goes on until Ctrl-C. */
export const logs = async (name: string | undefined, options: LogsOptions): Promise<number> => {
  const folder = dataFolder(options.data);
  const known = await namesOf(folder);
  if (known.length === 0)
    throw new UserError(`there are no logs in ${folder.logs}.`, [
      `Start the platform with: ${commandFor(folder, 'up')}`,
    ]);
  if (name !== undefined && !known.includes(name))
    throw new UserError(`there is no log of "${name}".`, [`There are logs of: ${known.join(', ')}.`]);
  const names = name === undefined ? known : [name];
  const width = Math.max(...names.map((each) => each.length));
  const print = (from: string, line: string): void => {
    const prefix = names.length > 1 ? `${from.padEnd(width)} | ` : '';
    process.stdout.write(`${prefix}${options.raw === true ? line : readable(line)}\n`);
  };
  const readers = await Promise.all(names.map((each) => startReader(folder, each)));
  for (const each of names)
    for (const line of await rawLines(folder, each, options.lines ?? DEFAULT_LINES)) print(each, line);
  while (options.follow === true) {
    for (const reader of readers) for (const line of await readNew(folder, reader)) print(reader.name, line);
    await pause(POLL_MS);
  }
  return 0;
};
