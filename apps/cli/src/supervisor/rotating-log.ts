import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';

/** A process that logs in a loop must not fill the disk: at most (kept + 1) × this much per process. */
const MAX_LOG_BYTES = 10 * 2 ** 20;
const KEPT_LOGS = 3;

const NEWLINE = 0x0a;

/** Appends to a file; when it is full, `name.log` becomes `name.log.1`, and so on. Rotates between lines only. */
export class RotatingLog {
  private descriptor: number;
  private size: number;

  constructor(
    private readonly file: string,
    private readonly maxBytes: number = MAX_LOG_BYTES,
  ) {
    this.descriptor = openSync(file, 'a', 0o644);
    this.size = fstatSync(this.descriptor).size;
  }

  /** A full disk loses log lines; it must not end the processes that are logged. */
  write(chunk: Uint8Array): void {
    try {
      writeSync(this.descriptor, chunk);
      this.size += chunk.length;
      if (this.size >= this.maxBytes && chunk.at(-1) === NEWLINE) this.rotate();
    } catch {
      this.size = 0;
    }
  }

  line(text: string): void {
    this.write(Buffer.from(`${text}\n`));
  }

  close(): void {
    closeSync(this.descriptor);
  }

  private rotate(): void {
    for (let age = KEPT_LOGS - 1; age >= 1; age -= 1) {
      try {
        renameSync(`${this.file}.${age}`, `${this.file}.${age + 1}`);
      } catch {
        // There is no log of that age yet.
      }
    }
    renameSync(this.file, `${this.file}.1`);
    closeSync(this.descriptor);
    this.descriptor = openSync(this.file, 'a', 0o644);
    this.size = 0;
  }
}
