import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

const found = async (program: string): Promise<boolean> =>
  run(program, ['--version']).then(
    () => true,
    () => false,
  );

/** What this machine lacks to ask Prometheus itself, or null. */
export const promtoolLack = (await found('promtool'))
  ? null
  : 'promtool is not here: apt-get install prometheus brings it';

/** The real promtool; throws with what it says when it fails. */
export const promtool = async (...args: readonly string[]): Promise<string> => {
  try {
    return (await run('promtool', [...args])).stdout;
  } catch (fault) {
    const { stdout = '', stderr = '' } = fault as { stdout?: string; stderr?: string };
    throw new Error(`promtool ${args.join(' ')}: ${stdout}${stderr}`, { cause: fault });
  }
};
