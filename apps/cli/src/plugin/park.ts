import { blockedMachine, hostKind } from '@xenolith/contracts';
import { z } from 'zod';
import { say } from '../terminal.js';
import { clusterFlags, type ClusterOptions } from './cluster.js';
import { readKubectl, watchKubectl } from './kubectl.js';

const HOST = `${hostKind.singular}.${hostKind.group}`;

/** Between the parts of a line; kubectl makes spaces of tabs when it watches. */
export const SEPARATOR = '¦';

/** What a host says of its power on one line. A range would end kubectl's watch with the next event. */
const PROGRESS = [
  '{.spec.parked}',
  '{.status.power.state}',
  '{.status.power.message}',
  '{.status.conditions[?(@.type=="Evacuated")].message}',
  '{.status.maintenance.blocked}',
].join(SEPARATOR);

interface Progress {
  readonly text: string;
  readonly ended: 'done' | 'called off' | null;
}

const STATES: Readonly<Record<string, string>> = {
  On: 'the host is on',
  ShuttingDown: 'its power is being switched off',
  Off: 'the host is powered off',
  Starting: 'it is powered on, and boots',
};

const blockedMachines = z.array(blockedMachine);

/** Machines that can't move, and why. */
const blockedText = (text: string): string =>
  text === ''
    ? ''
    : blockedMachines
        .parse(JSON.parse(text))
        .map(({ virtualMachine: { namespace, name }, message }) => `${namespace}/${name}: ${message}`)
        .join('; ');

/** What a line of progress says to people. */
export const progressOf = (line: string, wish: 'park' | 'wake'): Progress => {
  const [parked, state = '', message = '', evacuation = '', blocked = ''] = line.split(SEPARATOR);
  const isParked = parked === 'true';
  if (isParked !== (wish === 'park'))
    return { text: isParked ? 'it was parked again' : 'the parking was called off', ended: 'called off' };
  const reached = state === (wish === 'park' ? 'Off' : 'On');
  const leaving = wish === 'park' && state === 'On' ? evacuation : (STATES[state] ?? '');
  const left = wish === 'park' && state === 'On' ? blockedText(blocked) : '';
  const text = [leaving, left, message].filter((part) => part !== '').join('; ');
  return { text: text === '' ? 'nothing is known of it yet' : text, ended: reached ? 'done' : null };
};

/** Parks a host or wakes it, and prints how far it is until it is done. The answer is the exit code. */
export const setParked = async (
  host: string,
  wish: 'park' | 'wake',
  options: ClusterOptions & { readonly noWait?: boolean },
): Promise<number> => {
  const flags = clusterFlags(options);
  const patch = JSON.stringify({ spec: { parked: wish === 'park' } });
  process.stdout.write(await readKubectl([...flags, 'patch', HOST, host, '--type=merge', `--patch=${patch}`]));
  if (options.noWait === true) return 0;
  let [last, code] = ['', 1];
  const args = [...flags, 'get', HOST, host, '--watch', `--output=jsonpath=${PROGRESS}{"\\n"}`];
  await watchKubectl(args, (line) => {
    const progress = progressOf(line, wish);
    if (progress.text !== last) say(`  ${progress.text}`);
    last = progress.text;
    if (progress.ended === 'done') code = 0;
    return progress.ended !== null;
  });
  return code;
};
