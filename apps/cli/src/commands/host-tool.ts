import { existsSync } from 'node:fs';
import type { HostTool } from '@xenolith/contracts';
import { commandFor, dataFolder, type DataFolder } from '../folders.js';
import { UserError } from '../terminal.js';
import { DirectHosts } from './direct-host-client.js';
import { HostTools, type ToolRunner } from './host-tools-client.js';
import { splitDataFlag } from './kubectl.js';
import { watchStore } from './store-watch.js';

/** Runs a tool in a host's control domain, through the API or, with `--direct`, through the host's own agent. Its output and exit code are ours. */
export const hostTool = async (tool: HostTool, args: readonly string[]): Promise<number> => {
  const { data, direct, rest } = splitFlags(args);
  const [host, ...toolArgs] = rest;
  if (host === undefined || host.startsWith('-'))
    throw new UserError(
      `name the host, such as: ./xenolith ${tool} ${direct ? '--direct ' : ''}host-0001 help`,
      // Who goes to the agent may have no API to ask; it names its hosts where one is not there.
      direct ? [] : ['List them with: ./xenolith kubectl get hosts'],
    );
  const folder = dataFolder(data);
  if (direct) return runTool(new DirectHosts(folder), tool, { host, toolArgs });
  const tools = await openApi(folder);
  try {
    return await runTool(tools, tool, { host, toolArgs });
  } finally {
    tools.close();
  }
};

/** `--data DIR` and `--direct` before the host are ours. */
const splitFlags = (args: readonly string[]) => {
  const first = splitDataFlag(args);
  if (first.rest[0] !== '--direct') return { ...first, direct: false };
  const { data, rest } = splitDataFlag(first.rest.slice(1));
  return { data: first.data ?? data, rest, direct: true };
};

const openApi = (folder: DataFolder): Promise<HostTools> => {
  const file = process.env['KUBECONFIG'] ?? folder.kubeconfigFile;
  if (!existsSync(file))
    throw new UserError(`there is no platform in ${folder.root} yet.`, [`Start one with: ${commandFor(folder, 'up')}`]);
  return HostTools.open(file);
};

const runTool = async (
  tools: ToolRunner,
  tool: HostTool,
  { host, toolArgs }: { readonly host: string; readonly toolArgs: readonly string[] },
): Promise<number> => {
  if (tool === 'xenstore' && toolArgs[0] === 'watch') return watchStore(tools, host, toolArgs.slice(1));
  const { stdout, stderr, exitCode } = await tools.run(host, tool, toolArgs);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  return exitCode;
};
