import { hostKind } from '@xenolith/contracts';
import { say } from '../terminal.js';
import { clusterFlags, type ClusterOptions } from './cluster.js';
import { readKubectl, watchKubectl } from './kubectl.js';

export interface DrainOptions extends ClusterOptions {
  readonly wait?: boolean | undefined;
}

const HOST = `${hostKind.singular}.${hostKind.group}`;

const PROGRESS =
  '{.spec.maintenance}|{.status.maintenance.phase}|{.status.conditions[?(@.type=="Evacuated")].message}{"\\n"}';

interface Progress {
  readonly text: string;
  readonly ended: 'empty' | 'called off' | null;
}

/** What a line of progress says to people. */
export const progressOf = (line: string): Progress => {
  const [wished, phase, ...message] = line.split('|');
  if (wished !== 'true') return { text: 'the maintenance was called off', ended: 'called off' };
  return { text: message.join('|'), ended: phase === 'InMaintenance' ? 'empty' : null };
};

const setMaintenance = async (host: string, maintenance: boolean, options: ClusterOptions): Promise<void> => {
  const patch = JSON.stringify({ spec: { maintenance } });
  const args = ['patch', HOST, host, '--type=merge', `--patch=${patch}`];
  process.stdout.write(await readKubectl([...clusterFlags(options), ...args]));
};

/** Puts a host under maintenance; with `wait` prints how far it is until no machine is left. The answer is the exit code. */
export const drain = async (host: string, options: DrainOptions): Promise<number> => {
  await setMaintenance(host, true, options);
  if (options.wait !== true) return 0;
  let [last, code] = ['', 1];
  const args = [...clusterFlags(options), 'get', HOST, host, '--watch', `--output=jsonpath=${PROGRESS}`];
  await watchKubectl(args, (line) => {
    const progress = progressOf(line);
    if (progress.text !== last) say(`  ${progress.text}`);
    last = progress.text;
    if (progress.ended === 'empty') code = 0;
    return progress.ended !== null;
  });
  return code;
};

/** Ends a host's maintenance. */
export const undrain = async (host: string, options: ClusterOptions): Promise<number> => {
  await setMaintenance(host, false, options);
  return 0;
};
