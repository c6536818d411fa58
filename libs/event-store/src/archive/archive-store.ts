import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';

/** The archive's place can't be reached, or does not let us in: what lies there is not known. */
export class ArchiveUnavailable extends Error {
  override readonly name = 'ArchiveUnavailable';
}

/** Where the files of an archive lie. Each method throws an `ArchiveUnavailable` when the place can't be asked. */
export interface ArchiveStore {
  /** As it is written in the log and told to people. */
  readonly location: string;
  /** The whole file; null: there is none of that name. */
  read(name: string): Promise<Buffer | null>;
  /** Its length in bytes; null: there is none of that name. */
  size(name: string): Promise<number | null>;
  /** False: there is one of that name, which stays as it is. A file that is written is whole and outlives a crash. */
  putIfAbsent(name: string, content: Buffer): Promise<boolean>;
  /** Puts `content` in the place of `expected`; null: of nothing. False: something else is there, which stays. */
  replace(name: string, content: Buffer, expected: Buffer | null): Promise<boolean>;
  /** Tries to write. What that leaves, if anything, is no part of an archive. */
  checkWritable(): Promise<void>;
}

/** The name of what is written only to see whether it can be. */
export const WRITE_CHECK = 'write-check';

const codeOf = (fault: unknown): string | undefined => (fault as NodeJS.ErrnoException | null)?.code;

const sync = async (file: string): Promise<void> => {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

export class FolderStore implements ArchiveStore {
  readonly location: string;

  constructor(folder: string) {
    this.location = path.resolve(folder);
  }

  read(name: string): Promise<Buffer | null> {
    return this.orNull(() => readFile(this.file(name)));
  }

  async size(name: string): Promise<number | null> {
    return (await this.orNull(() => stat(this.file(name))))?.size ?? null;
  }

  putIfAbsent(name: string, content: Buffer): Promise<boolean> {
    return this.written(name, content, async (draft, file) => {
      try {
        // Takes no name that is taken, which a rename would.
        await link(draft, file);
        return true;
      } catch (fault) {
        if (codeOf(fault) === 'EEXIST') return false;
        throw fault;
      }
    });
  }

  /** One run at a time writes to an archive; a look and a rename will do. */
  async replace(name: string, content: Buffer, expected: Buffer | null): Promise<boolean> {
    const found = await this.read(name);
    if (expected === null ? found !== null : found?.equals(expected) !== true) return false;
    return this.written(name, content, async (draft, file) => {
      await rename(draft, file);
      return true;
    });
  }

  async checkWritable(): Promise<void> {
    // The draft alone: it is removed when it is not placed.
    await this.written(WRITE_CHECK, Buffer.alloc(0), () => Promise.resolve(false));
  }

  private file(name: string): string {
    return path.join(this.location, name);
  }

  /** The archive's own folder and one below it; what is above must be there: a disk that is not mounted is not made up for. */
  private async makeFolders(folder: string): Promise<void> {
    for (const each of new Set([this.location, folder]))
      await mkdir(each, { mode: 0o700 }).catch((fault: unknown) => {
        if (codeOf(fault) !== 'EEXIST') throw fault;
      });
  }

  private async written(
    name: string,
    content: Buffer,
    place: (draft: string, file: string) => Promise<boolean>,
  ): Promise<boolean> {
    const file = this.file(name);
    const draft = `${file}.${randomUUID()}.part`;
    return this.reaching(async () => {
      await this.makeFolders(path.dirname(file));
      const handle = await open(draft, 'wx', 0o600);
      try {
        await handle.writeFile(content);
        await handle.sync();
        await handle.close();
        const placed = await place(draft, file);
        await sync(path.dirname(file));
        return placed;
      } finally {
        await handle.close();
        await rm(draft, { force: true });
      }
    });
  }

  private orNull<Value>(look: () => Promise<Value>): Promise<Value | null> {
    return this.reaching(async () => {
      try {
        return await look();
      } catch (fault) {
        if (codeOf(fault) === 'ENOENT') return null;
        throw fault;
      }
    });
  }

  private async reaching<Value>(work: () => Promise<Value>): Promise<Value> {
    try {
      return await work();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new ArchiveUnavailable(`the archive in ${this.location} can not be used: ${why}`, { cause });
    }
  }
}
