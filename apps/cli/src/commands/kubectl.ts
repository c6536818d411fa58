import { existsSync } from 'node:fs';
import path from 'node:path';
import { commandFor, dataFolder, repositoryRoot, type DataFolder } from '../folders.js';
import { runTool, unpackTool } from '../kubernetes-tools.js';
import { UserError } from '../terminal.js';

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
  const program = await unpackTool('kubectl');
  return runTool(program, rest, environment(folder, program));
};
