import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { UserError } from '../terminal.js';

const MISSING = new UserError('kubectl was not found on PATH.', [
  'Install it, or use ./xenolith kubectl xen …, which brings its own.',
]);

const isMissing = (cause: unknown): boolean => (cause as NodeJS.ErrnoException).code === 'ENOENT';

/** What kubectl prints. Its own error message has been shown already when this throws. */
export const readKubectl = async (args: readonly string[], input = ''): Promise<string> => {
  const child = spawn('kubectl', args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  // kubectl may refuse before it reads its input.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new UserError('kubectl refused.', [], code ?? 1);
  } catch (cause) {
    throw isMissing(cause) ? MISSING : cause;
  }
  return Buffer.concat(chunks).toString('utf8');
};

/** Hands over kubectl's lines until `take` says that it has seen enough, or kubectl ends. */
export const watchKubectl = async (args: readonly string[], take: (line: string) => boolean): Promise<void> => {
  const child = spawn('kubectl', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const failed = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) if (take(line)) break;
  child.kill();
  await failed.catch((cause: unknown) => {
    throw isMissing(cause) ? MISSING : cause;
  });
};
