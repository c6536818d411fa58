import { operationKind, VIRTUAL_MACHINE_ACTIONS, virtualMachineKind } from '@xenolith/contracts';
import type { KindDefinition } from '@xenolith/contracts';
import { z } from 'zod';
import { say, UserError } from '../terminal.js';
import { clusterFlags, namespaceOf, type ClusterOptions } from './cluster.js';
import { readKubectl, watchKubectl } from './kubectl.js';

export interface ActionOptions extends ClusterOptions {
  readonly wait?: boolean | undefined;
  readonly to?: string | undefined;
  readonly policy?: string | undefined;
  readonly allowOvercommit?: boolean | undefined;
  readonly name?: string | undefined;
  readonly paused?: boolean | undefined;
}

const FINAL_PHASES = new Set(['Succeeded', 'Failed', 'Cancelled', 'NeedsOperator']);

/** Actions with the kind that has them. What an operator chooses for an operation is one of its actions. */
export const ACTIONS: ReadonlyMap<string, KindDefinition> = new Map<string, KindDefinition>([
  ...Object.keys(VIRTUAL_MACHINE_ACTIONS).map((action) => [action, virtualMachineKind] as const),
  ...(operationKind.actions ?? []).map((action) => [action, operationKind] as const),
]);

/** What each flag that an action takes is for. */
const TAKEN_BY = {
  to: ['migrate', 'revert'],
  policy: ['migrate'],
  allowOvercommit: ['migrate', 'start', 'resume'],
  name: ['snapshot', 'checkpoint'],
  paused: ['start', 'resume'],
} as const satisfies Partial<Record<keyof ActionOptions, readonly string[]>>;

type Flag = keyof typeof TAKEN_BY;
const FLAGS = Object.keys(TAKEN_BY) as readonly Flag[];

const takers = (flag: Flag): readonly string[] => TAKEN_BY[flag];

/** As it is typed. */
const typed = (flag: Flag): string => `--${flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The flags as the action's parameters; one that the action does not take is a mistake. */
export const parametersOf = (action: string, options: ActionOptions): Readonly<Record<string, string | boolean>> => {
  const flags = FLAGS.flatMap((flag) => {
    const value = options[flag];
    return value === undefined ? [] : [{ flag, value }];
  });
  for (const { flag } of flags)
    if (!takers(flag).includes(action))
      throw new UserError(`${action} takes no ${typed(flag)}.`, [`${takers(flag).join(' and ')} does.`]);
  return Object.fromEntries(flags.map(({ flag, value }) => [flag, value]));
};

const operationSchema = z.looseObject({ metadata: z.looseObject({ name: z.string() }) });

const PROGRESS =
  '{.status.phase}|{.status.progress}|{.status.step}|{.status.migration.round}|{.status.migration.remainingPages}|{.status.message}{"\\n"}';

/** Prints a line per change until the operation has ended; the answer is the exit code. */
const waitForEnd = async (options: ActionOptions, namespace: string, operation: string): Promise<number> => {
  let last = '';
  const args = [...clusterFlags(options), '--namespace', namespace, 'get', 'operation', operation];
  await watchKubectl([...args, '--watch', `--output=jsonpath=${PROGRESS}`], (line) => {
    const [phase = '', progress = '', step = '', round = '', remaining = '', message = ''] = line.split('|');
    last = phase;
    const words = [
      progress === '' ? phase : `${phase} ${progress} %`,
      step,
      round === '' ? '' : `round ${round}, ${remaining} pages left`,
      message,
    ];
    say(`  ${words.filter((word) => word !== '').join('  ')}`);
    return FINAL_PHASES.has(phase);
  });
  return last === 'Succeeded' ? 0 : 1;
};

/** POSTs to the action's subresource and prints the operation that it made. */
export const act = async (action: string, name: string | undefined, options: ActionOptions): Promise<number> => {
  const kind = ACTIONS.get(action);
  if (kind === undefined)
    throw new UserError(`there is no action "${action}".`, [
      `There are: ${[...ACTIONS.keys()].join(', ')}.`,
      'kubectl xen help says more.',
    ]);
  if (name === undefined)
    throw new UserError(
      `${action} needs the name of ${kind.kind === operationKind.kind ? 'an operation' : 'a virtual machine'}.`,
      [`Such as: kubectl xen ${action} ${kind.kind === operationKind.kind ? 'web-1-reboot-x7k2p' : 'web-1'}`],
    );
  const parameters = parametersOf(action, options);
  const namespace = await namespaceOf(options);
  const target = `/apis/${kind.group}/${kind.version}/namespaces/${encodeURIComponent(namespace)}/${kind.plural}/${encodeURIComponent(name)}/${action}`;
  const body = JSON.stringify(Object.keys(parameters).length === 0 ? {} : { parameters });
  const answer = await readKubectl([...clusterFlags(options), 'create', '--raw', target, '--filename=-'], body);
  const operation = operationSchema.parse(JSON.parse(answer)).metadata.name;
  process.stdout.write(
    `operation.${operationKind.group}/${operation} ${kind.kind === operationKind.kind ? action : 'created'}\n`,
  );
  if (options.wait !== true) return 0;
  return waitForEnd(options, namespace, operation);
};
