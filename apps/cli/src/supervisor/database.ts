import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { compileCache, type DataFolder } from '../folders.js';
import {
  ensurePasswords,
  ownerPasswordFile,
  passwordFile,
  rolePrefix,
  rolesFolder,
} from '../platform/database-roles.js';
import { programFile } from '../programs.js';
import { writePrivateFile, type Settings } from '../settings.js';
import { UserError } from '../terminal.js';
import { DATABASE_USER, databaseUrl } from './postgres.js';

/** Where the log is, for its owner and for each service. Environment variables: passwords are in files, or in a URL that the user gave. */
export interface PlatformDatabase {
  /** Of the migration, which owns the schema. */
  readonly owner: Readonly<Record<string, string>>;
  /** Of a service. */
  readonly service: (name: string) => Readonly<Record<string, string>>;
}

/** The user of a database of their own that can't make roles: services are who the user is, and may do what that one may. */
const asTheUser = (url: string): PlatformDatabase => {
  const variables = { DATABASE_URL: url, DATABASE_PASSWORD_FILE: '' };
  return { owner: variables, service: () => variables };
};

const withoutPassword = (url: string, role: string): string => {
  const changed = new URL(url);
  changed.username = role;
  changed.password = '';
  return changed.toString();
};

/** A database with a role for each service; makes the passwords that are missing. */
export const platformDatabase = async (
  folder: DataFolder,
  settings: Settings,
  own: { readonly url: string; readonly mayMakeRoles: boolean } | null,
): Promise<PlatformDatabase> => {
  if (own !== null && !own.mayMakeRoles) return asTheUser(own.url);
  await ensurePasswords(folder);
  const prefix = rolePrefix(settings);
  const port = settings.ports['postgres'] ?? 0;
  const roles = { DATABASE_ROLES_DIR: rolesFolder(folder), DATABASE_ROLE_PREFIX: prefix };
  if (own !== null)
    return {
      owner: { ...asTheUser(own.url).owner, ...roles },
      service: (name) => ({
        DATABASE_URL: withoutPassword(own.url, `${prefix}${name}`),
        DATABASE_PASSWORD_FILE: passwordFile(folder, name),
      }),
    };
  await writePrivateFile(ownerPasswordFile(folder), `${settings.databasePassword}\n`);
  return {
    owner: {
      DATABASE_URL: databaseUrl(folder, port, DATABASE_USER),
      DATABASE_PASSWORD_FILE: ownerPasswordFile(folder),
      ...roles,
    },
    service: (name) => ({
      DATABASE_URL: databaseUrl(folder, port, `${prefix}${name}`),
      DATABASE_PASSWORD_FILE: passwordFile(folder, name),
    }),
  };
};

/** A new index over a long log takes its time; each transaction of a migration is bounded by itself. */
const MIGRATION_LIMIT_MS = 600_000;

interface LogLine {
  readonly msg?: string;
  readonly err?: { readonly message?: string };
}

/** The last thing that the program said. */
const lastWords = (output: string): string => {
  const last = output.trim().split('\n').at(-1) ?? '';
  try {
    const { msg = '', err } = JSON.parse(last) as LogLine;
    return err?.message === undefined ? msg : `${msg}: ${err.message}`;
  } catch {
    return last;
  }
};

/** Runs the migration to its end, before any service begins. Throws a UserError with what it said last. */
export const migrateDatabase = async (
  folder: DataFolder,
  database: PlatformDatabase,
  inherited: Readonly<Record<string, string>>,
): Promise<void> => {
  const child = spawn(process.execPath, [programFile('migrate')], {
    cwd: folder.root,
    env: {
      ...inherited,
      NODE_ENV: 'production',
      NODE_COMPILE_CACHE: compileCache('migrate'),
      INSTANCE: 'migrate',
      ...database.owner,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: MIGRATION_LIMIT_MS,
  });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = `${output}${chunk.toString()}`.slice(-10_000);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code === 0) return;
  throw new UserError(`the database could not be brought up to this release: ${lastWords(output)}`, [
    'Nothing was started on it; what it holds is as it was, or as the steps that were complete have made it.',
  ]);
};
