import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

const ROOT = resolve(import.meta.dirname, '../../..');
export const CHART = resolve(ROOT, 'deploy/helm/xenolith');

/** An object that the chart renders. */
export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** The real Helm; throws with what it prints on standard error when it fails. */
export const helm = async (...args: readonly string[]): Promise<string> => {
  try {
    const { stdout } = await promisify(execFile)(resolve(ROOT, 'xenolith'), ['helm', ...args], {
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  } catch (fault) {
    throw new Error(`helm ${args.join(' ')}: ${(fault as { stderr?: string }).stderr ?? String(fault)}`, {
      cause: fault,
    });
  }
};

/** What the chart renders of values in Helm's own syntax, such as `agent.hosts=40`. */
export const render = async (...values: readonly string[]): Promise<readonly Rendered[]> => {
  const set = values.flatMap((value) => [value.includes('={') || value.includes('=[') ? '--set-json' : '--set', value]);
  const text = await helm('template', 'x', CHART, '--namespace', 'virtual', ...set);
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw new Error(document.errors.map(({ message }) => message).join('; '));
    const object = document.toJS() as Rendered | null;
    return object === null ? [] : [object];
  });
};
