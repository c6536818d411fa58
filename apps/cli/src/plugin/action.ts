import { operationKind, VIRTUAL_MACHINE_ACTIONS, virtualMachineKind } from '@xenolith/contracts';
import type { KindDefinition } from '@xenolith/contracts';
import { z } from 'zod';
import { say, UserError } from '../terminal.js';
import { clusterFlags, namespaceOf, type ClusterOptions } from './cluster.js';
import { readKubectl, watchKubectl } from './kubectl.js';

export interface ActionOptions extends ClusterOptions {
  readonly wait?: boolean | undefined;
}

const FINAL_PHASES = new Set(['Succeeded', 'Failed', 'Cancelled', 'NeedsOperator']);

/** Actions with the kind that has them. What an operator chooses for an operation is one of its actions. */
export const ACTIONS: ReadonlyMap<string, KindDefinition> = new Map<string, KindDefinition>([
  ...Object.keys(VIRTUAL_MACHINE_ACTIONS).map((action) => [action, virtualMachineKind] as const),
  ...(operationKind.actions ?? []).map((action) => [action, operationKind] as const),
]);

const operationSchema = z.looseObject({ metadata: z.looseObject({ name: z.string() }) });

const PROGRESS = '{.status.phase}|{.status.progress}|{.status.step}|{.status.message}{"\\n"}';

/** Prints a line per change until the operation has ended; the answer is the exit code. */
const waitForEnd = async (options: ActionOptions, namespace: string, operation: string): Promise<number> => {
  let last = '';
  const args = [...clusterFlags(options), '--namespace', namespace, 'get', 'operation', operation];
  await watchKubectl([...args, '--watch', `--output=jsonpath=${PROGRESS}`], (line) => {
    const [phase = '', progress = '', step = '', message = ''] = line.split('|');
    last = phase;
    say(
      `  ${phase}${progress === '' ? '' : ` ${progress} %`}${step === '' ? '' : `  ${step}`}${message === '' ? '' : `  ${message}`}`,
    );
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
  const namespace = await namespaceOf(options);
  const target = `/apis/${kind.group}/${kind.version}/namespaces/${encodeURIComponent(namespace)}/${kind.plural}/${encodeURIComponent(name)}/${action}`;
  const answer = await readKubectl([...clusterFlags(options), 'create', '--raw', target, '--filename=-'], '{}');
  const operation = operationSchema.parse(JSON.parse(answer)).metadata.name;
  process.stdout.write(
    `operation.${operationKind.group}/${operation} ${kind.kind === operationKind.kind ? action : 'created'}\n`,
  );
  if (options.wait !== true) return 0;
  return waitForEnd(options, namespace, operation);
};
