import { say } from '../terminal.js';

/** sysexits of shells: 128 and the number of SIGINT. */
export const EXIT_INTERRUPTED = 130;

/** Lets Ctrl-C end `work` in order: it is told by the signal, undoes what it has begun, or leaves it as `farewell` says, and throws. Answers its exit code. */
export const interruptible = async (
  work: (signal: AbortSignal) => Promise<number>,
  farewell = 'Stopped; nothing of it is left.',
): Promise<number> => {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new Error('interrupted'));
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    return await work(abort.signal);
  } catch (fault) {
    if (!abort.signal.aborted) throw fault;
    say(farewell);
    return EXIT_INTERRUPTED;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
};

const TELL_EVERY_MS = 2_000;
const MIB = 2 ** 20;

/** Says now and then how far a long work has come. */
export class ByteProgress {
  private bytes = 0;
  private told = performance.now();

  constructor(private readonly what: string) {}

  add(bytes: number): void {
    this.bytes += bytes;
    if (performance.now() - this.told < TELL_EVERY_MS) return;
    this.told = performance.now();
    say(`  ${this.what}: ${this.text}`);
  }

  get text(): string {
    return `${(this.bytes / MIB).toFixed(1)} MiB`;
  }
}
