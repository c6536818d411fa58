import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { GatewayLog } from '../app/gateway-log.js';

/** Files that mean something together, and what is done with it. */
export interface Followed<Meaning> {
  /** For the log and the metric. */
  readonly name: string;
  readonly files: readonly string[];
  /** Throws when the contents mean nothing. */
  readonly parse: (contents: readonly string[]) => Meaning;
  readonly apply: (meaning: Meaning) => void;
}

export interface FollowingOptions {
  readonly log: Pick<GatewayLog, 'info' | 'error'>;
  /** Whether what is in the files now can't be used. */
  readonly onState: (name: string, refused: boolean) => void;
}

const contentsOf = (files: readonly string[]): Promise<readonly string[]> =>
  Promise.all(files.map((file) => readFile(file, 'utf8')));

const digestOf = (contents: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(contents)).digest('base64');

const problemOf = (fault: unknown): string => (fault instanceof Error ? fault.message : String(fault));

/** Reads files that must be there at the start. Throws a fault that names them. */
export const readFollowed = async <Meaning>({
  name,
  files,
  parse,
}: Omit<Followed<Meaning>, 'apply'>): Promise<Meaning> => {
  try {
    return parse(await contentsOf(files));
  } catch (cause) {
    throw new Error(`${name} can't be read from ${files.join(' and ')}: ${problemOf(cause)}`, { cause });
  }
};

/**
 * Looks whether files have changed and takes what they say now, however they were replaced: a kubelet swaps a link some folders above, editors write in
 * place. What can't be used changes nothing and is said, once, when it was found twice in the same state: a file may be caught half written.
 */
export class FileFollower<Meaning> {
  private taken: string | null = null;
  private refused: string | null = null;
  private suspect: string | null = null;

  constructor(
    private readonly followed: Followed<Meaning>,
    private readonly options: FollowingOptions,
  ) {}

  /** Looks once. Never throws. */
  async look(): Promise<void> {
    const found = await contentsOf(this.followed.files).then(
      (contents) => ({ contents, state: digestOf(contents) }),
      (fault: unknown) => ({ fault, state: problemOf(fault) }),
    );
    if (found.state === this.taken) {
      this.clear();
      return;
    }
    if (found.state === this.refused) return;
    if (!('contents' in found)) {
      this.suspectOf(found.state, found.fault);
      return;
    }
    const parsed = this.parsed(found.contents);
    if ('fault' in parsed) this.suspectOf(found.state, parsed.fault);
    else this.take(found.state, parsed.meaning);
  }

  private parsed(contents: readonly string[]): { readonly meaning: Meaning } | { readonly fault: unknown } {
    try {
      return { meaning: this.followed.parse(contents) };
    } catch (fault) {
      return { fault };
    }
  }

  private take(state: string, meaning: Meaning): void {
    const first = this.taken === null && this.refused === null;
    this.taken = state;
    this.clear();
    this.followed.apply(meaning);
    const { name, files } = this.followed;
    if (!first) this.options.log.info({ files }, `${name} changed, and the new one counts from now on`);
  }

  private clear(): void {
    this.refused = null;
    this.suspect = null;
    this.options.onState(this.followed.name, false);
  }

  private suspectOf(state: string, fault: unknown): void {
    if (this.suspect !== state) {
      this.suspect = state;
      return;
    }
    this.refused = state;
    const { name, files } = this.followed;
    this.options.onState(name, true);
    this.options.log.error(
      { files, problem: problemOf(fault) },
      `${name} can't be used as the files are now: what was read before goes on counting; write them again`,
    );
  }
}
