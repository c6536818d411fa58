import { mkdir, open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Journal, JournalEntry } from '@xenolith/agent';
import { entriesOf, fileName, listFiles, removeOlder, syncFolder, writeSnapshot } from './journal-files.js';

interface Line {
  readonly text: string;
  readonly kept: () => void;
  readonly lost: (error: unknown) => void;
}
/** From here on lines go to the next file. */
interface Turn {
  readonly turned: (number: number) => void;
  readonly lost: (error: unknown) => void;
}

const isLine = (item: Line | Turn): item is Line => 'text' in item;

/**
 * The agent's journal as files of JSON lines. Everybody who waits at the same time shares one write and one fdatasync. After a failed write nothing more
 * is taken: what is on the disk is unknown then.
 */
export class FileJournal implements Journal {
  private queue: (Line | Turn)[] = [];
  private handle: FileHandle | null = null;
  private number = 0;
  private writing: Promise<void> | null = null;
  private broken: Error | null = null;

  private constructor(private readonly folder: string) {}

  /** Opens or begins the journal in a folder, which is made if need be. Throws when that is not possible. */
  static async open(folder: string): Promise<FileJournal> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new FileJournal(folder);
  }

  async *read(): AsyncGenerator<JournalEntry> {
    const { snapshots, journals } = await listFiles(this.folder);
    const snapshot = snapshots.at(-1) ?? 0;
    if (snapshot > 0) yield* entriesOf(path.join(this.folder, fileName('snapshot', snapshot)), false);
    const following = journals.filter((number) => number >= snapshot);
    for (const number of following)
      yield* entriesOf(path.join(this.folder, fileName('journal', number)), number === following.at(-1));
    await this.use(following.at(-1) ?? Math.max(1, snapshot));
  }

  append(entry: JournalEntry): Promise<void> {
    return new Promise((resolve, reject) => {
      this.add({ text: `${JSON.stringify(entry)}\n`, kept: resolve, lost: reject });
    });
  }

  async compact(snapshot: Iterable<JournalEntry>): Promise<void> {
    const number = await new Promise<number>((resolve, reject) => {
      this.add({ turned: resolve, lost: reject });
    });
    await writeSnapshot(this.folder, number, snapshot);
    await removeOlder(this.folder, number);
  }

  /** Settles when everything that was appended is kept and the file is closed. */
  async close(): Promise<void> {
    await this.writing;
    this.broken ??= new Error('the journal is closed');
    await this.handle?.close();
    this.handle = null;
  }

  private add(item: Line | Turn): void {
    if (this.broken) {
      item.lost(this.broken);
      return;
    }
    this.queue.push(item);
    this.writing ??= this.writeAll();
  }

  private async writeAll(): Promise<void> {
    while (this.queue.length > 0) {
      const items = this.queue;
      this.queue = [];
      try {
        await this.write(items);
      } catch (cause) {
        this.broken = new Error(`the journal in ${this.folder} cannot be written`, { cause });
        for (const item of [...items, ...this.queue.splice(0)]) item.lost(this.broken);
      }
    }
    this.writing = null;
  }

  private async write(items: readonly (Line | Turn)[]): Promise<void> {
    let from = 0;
    for (const [index, item] of items.entries()) {
      if (isLine(item)) continue;
      await this.writeLines(items.slice(from, index).filter(isLine));
      await this.use(this.number + 1);
      item.turned(this.number);
      from = index + 1;
    }
    await this.writeLines(items.slice(from).filter(isLine));
  }

  private async writeLines(lines: readonly Line[]): Promise<void> {
    if (lines.length === 0) return;
    if (!this.handle) throw new Error('a journal is read before it is written');
    await this.handle.appendFile(lines.map(({ text }) => text).join(''));
    await this.handle.datasync();
    for (const line of lines) line.kept();
  }

  private async use(number: number): Promise<void> {
    await this.handle?.close();
    this.handle = await open(path.join(this.folder, fileName('journal', number)), 'a', 0o600);
    this.number = number;
    await syncFolder(this.folder);
  }
}
