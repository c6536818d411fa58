import { existsSync } from 'node:fs';
import path from 'node:path';

/** The folder above that holds the command itself: this file may run from `src`, from `dist` or from within a bundle. */
const checkoutOf = (folder: string): string => {
  const above = path.dirname(folder);
  return existsSync(path.join(folder, 'xenolith')) || above === folder ? folder : checkoutOf(above);
};

/** The root of the checkout. */
export const repositoryRoot = checkoutOf(import.meta.dirname);

/** Where things live inside a data folder. All state of one platform is below `root`. */
export interface DataFolder {
  readonly root: string;
  /** What outlives a stop: ports, sizes, secrets. */
  readonly settingsFile: string;
  /** What runs now. */
  readonly runFile: string;
  readonly kubeconfigFile: string;
  readonly logs: string;
  readonly tls: string;
  readonly tokensFile: string;
  /** What processes prove by who they are: only the owner may enter. */
  readonly secrets: string;
  readonly postgres: string;
  readonly nats: string;
  readonly agent: string;
}

/** The data folder of `--data`, seen from the current folder; without the flag the checkout's own `.xenolith`. */
export const dataFolder = (flag: string | undefined): DataFolder => {
  const root = flag === undefined ? path.join(repositoryRoot, '.xenolith') : path.resolve(flag);
  const inside = (...names: string[]): string => path.join(root, ...names);
  return {
    root,
    settingsFile: inside('settings.json'),
    runFile: inside('run.json'),
    kubeconfigFile: inside('kubeconfig'),
    logs: inside('logs'),
    tls: inside('tls'),
    tokensFile: inside('tls', 'tokens.json'),
    secrets: inside('secrets'),
    postgres: inside('postgres'),
    nats: inside('nats'),
    agent: inside('agent'),
  };
};

/** The folder of an installed package, as npm lays workspaces out; null when it is not installed (another platform). */
export const packageFolder = (name: string): string | null => {
  for (const base of [path.join(repositoryRoot, 'apps', 'cli'), repositoryRoot]) {
    const folder = path.join(base, 'node_modules', name);
    if (existsSync(folder)) return folder;
  }
  return null;
};

/** How a person calls this command in a sentence. */
export const commandFor = (folder: DataFolder, command: string): string => {
  const relative = path.relative(repositoryRoot, folder.root);
  if (relative === '.xenolith') return `./xenolith ${command}`;
  const shown = /^[\w./-]+$/.test(folder.root) ? folder.root : `'${folder.root}'`;
  return `./xenolith ${command} --data ${shown}`;
};

/**
 * Compiled code is kept from one start to the next: reading it back is several times faster than compiling a service's modules. Each process has a
 * folder of its own: Node writes the cache when the process ends, by renaming, and a rename onto the file that another has just written waits for
 * the disk, a thousand times over.
 */
export const compileCache = (name: string): string => path.join(repositoryRoot, '.runtime', 'compile-cache', name);
