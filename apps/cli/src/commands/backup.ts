import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { exportLog, type LogState } from '@xenolith/event-store';
import { assert } from '@xenolith/kernel';
import { agentFiles } from '../backup/agent-files.js';
import { writeArchive, type ArchiveFile } from '../backup/archive.js';
import { chunkName, type Manifest } from '../backup/format.js';
import { ByteProgress, interruptible } from '../backup/interruption.js';
import { onLogDatabase } from '../backup/log-database.js';
import { dataFolder, type DataFolder } from '../folders.js';
import { readSettings, type Settings } from '../settings.js';
import { say, seconds, UserError } from '../terminal.js';

/** What is read, and where the log stood then. */
class Contents {
  state: LogState | undefined;
  readonly rows: Record<string, number> = {};
  readonly progress = new ByteProgress('read');

  constructor(
    private readonly folder: DataFolder,
    private readonly databaseUrl: string,
  ) {}

  /** The log first: machines that began since are in the hosts' journals alone, and are ended as strays after a restore. */
  async *files(): AsyncGenerator<ArchiveFile> {
    const numbers = new Map<string, number>();
    const onState = (state: LogState): Promise<void> => {
      this.state = state;
      return Promise.resolve();
    };
    for await (const { table, rows, content } of exportLog(this.databaseUrl, onState)) {
      const number = (numbers.get(table) ?? 0) + 1;
      numbers.set(table, number);
      this.rows[table] = (this.rows[table] ?? 0) + rows;
      this.progress.add(content.length);
      yield { name: chunkName(table, number), content };
    }
    for await (const file of agentFiles(this.folder.agent)) {
      this.progress.add(file.content.length);
      yield file;
    }
  }

  manifest(settings: Settings, files: Manifest['files']): Manifest {
    assert(this.state !== undefined, 'the log was read');
    const { position, events, logId, schemaRevision, chain } = this.state;
    const { hosts, kvmHosts, hostProfiles, bootTimeSeconds, seed, port, starterInventory } = settings;
    return {
      createdAt: new Date().toISOString(),
      ...{ position, events, logId, schemaRevision, chain },
      settings: { hosts, kvmHosts, hostProfiles, bootTimeSeconds, seed, port, starterInventory },
      rows: this.rows,
      files,
    };
  }
}

const write = async (
  place: { readonly file: string; readonly folder: DataFolder; readonly settings: Settings },
  databaseUrl: string,
  signal: AbortSignal,
): Promise<number> => {
  const { file, folder, settings } = place;
  const started = performance.now();
  const contents = new Contents(folder, databaseUrl);
  await writeArchive(file, contents.files(), (files) => contents.manifest(settings, files), signal);
  const { size } = await stat(file);
  say(
    `Backed up ${contents.state?.events ?? 0} events, up to position ${contents.state?.position ?? 0}, in ` +
      `${seconds(performance.now() - started)}: ${contents.progress.text}, ${(size / 2 ** 20).toFixed(1)} MiB in ${file}.`,
  );
  return 0;
};

/** Writes all that can't be made again, of a platform that runs or not, into one file. */
export const backup = async (file: string, options: { readonly data?: string | undefined }): Promise<number> => {
  const folder = dataFolder(options.data);
  const settings = await readSettings(folder);
  if (settings === null || settings.database === undefined)
    throw new UserError(`there is no platform on ${folder.root}.`, ['Name its data folder with --data.']);
  if (existsSync(file))
    throw new UserError(`${file} is there already.`, ['Choose another name: a backup is never written over.']);
  return interruptible(async (signal) => {
    const work = (databaseUrl: string): Promise<number> => write({ file, folder, settings }, databaseUrl, signal);
    return onLogDatabase({ folder, settings, purpose: 'the backup' }, work);
  });
};
