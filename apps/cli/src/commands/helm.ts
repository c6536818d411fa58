import { runTool, unpackTool } from '../kubernetes-tools.js';

/** Runs the real Helm with the user's own configuration. */
export const helm = async (args: readonly string[]): Promise<number> =>
  runTool(await unpackTool('helm'), args, process.env);
