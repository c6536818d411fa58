import { existsSync } from 'node:fs';
import type { HostTool } from '@xenolith/contracts';
import { commandFor, dataFolder } from '../folders.js';
import { UserError } from '../terminal.js';
import { HostTools } from './host-tools-client.js';
import { splitDataFlag } from './kubectl.js';
import { watchStore } from './store-watch.js';

/** Runs a tool in a host's control domain, through the API. Its output and exit code are ours. */
export const hostTool = async (tool: HostTool, args: readonly string[]): Promise<number> => {
  const { data, rest } = splitDataFlag(args);
  const [host, ...toolArgs] = rest;
  if (host === undefined || host.startsWith('-'))
    throw new UserError(`name the host, such as: ./xenolith ${tool} host-0001 help`, [
      'List them with: ./xenolith kubectl get hosts',
    ]);
  const folder = dataFolder(data);
  const file = process.env['KUBECONFIG'] ?? folder.kubeconfigFile;
  if (!existsSync(file))
    throw new UserError(`there is no platform in ${folder.root} yet.`, [`Start one with: ${commandFor(folder, 'up')}`]);
  const tools = await HostTools.open(file);
  try {
    if (tool === 'xenstore' && toolArgs[0] === 'watch') return await watchStore(tools, host, toolArgs.slice(1));
    const { stdout, stderr, exitCode } = await tools.run(host, tool, toolArgs);
    process.stdout.write(stdout);
    process.stderr.write(stderr);
    return exitCode;
  } finally {
    tools.close();
  }
};
