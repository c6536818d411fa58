import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { repositoryRoot } from './folders.js';

/** The programs that a platform consists of, each by what tsc makes of it, from the root of the checkout. */
export const COMPILED = {
  xenolith: 'apps/cli/dist/main.js',
  supervisor: 'apps/cli/dist/supervisor/main.js',
  migrate: 'apps/gateway/dist/migrate.js',
  gateway: 'apps/gateway/dist/main.js',
  compute: 'apps/compute/dist/main.js',
  storage: 'apps/storage/dist/main.js',
  network: 'apps/network/dist/main.js',
  scheduler: 'apps/scheduler/dist/main.js',
  agent: 'apps/compute/dist/agent.js',
} as const;
export type Program = keyof typeof COMPILED;

/** Where `./xenolith` puts each of them as a bundle, after every build. */
export const BUNDLES = path.join(repositoryRoot, '.runtime', 'programs');

/** tsc writes this last of all that it writes for a workspace, and npm this last of all that it installs. */
const BUILD_RECORD = path.join('dist', 'tsconfig.build.tsbuildinfo');
const INSTALL_RECORD = path.join('node_modules', '.package-lock.json');

const modifiedMs = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** When anything that a bundle is made of changed last. */
const lastChangedMs = (root: string): number => {
  const built = ['apps', 'libs'].flatMap((kind) =>
    readdirSync(path.join(root, kind)).map((name) => path.join(root, kind, name, BUILD_RECORD)),
  );
  return Math.max(...[...built, path.join(root, INSTALL_RECORD)].map(modifiedMs));
};

/** The file to start a program from: its bundle, unless what that is made of is newer, as after a build by hand. */
export const programFile = (program: Program, root = repositoryRoot): string => {
  const bundle = path.join(root, '.runtime', 'programs', `${program}.js`);
  return modifiedMs(bundle) > lastChangedMs(root) ? bundle : path.join(root, COMPILED[program]);
};
