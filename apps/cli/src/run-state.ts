import { readFile, rm } from 'node:fs/promises';
import { z } from 'zod';
import type { DataFolder } from './folders.js';
import { isAlive, signalProcess, type ProcessIdentity } from './process-identity.js';
import { writePrivateFile } from './settings.js';
import { waitUntil } from './waiting.js';

const identity = z.strictObject({ pid: z.int(), startTime: z.string() });

/** What the supervisor says of the processes that it watches. A view for people and for `down`; the supervisor never reads it back. */
export const runStateSchema = z.strictObject({
  supervisor: identity,
  phase: z.enum(['starting', 'running', 'stopping']),
  ready: z.boolean(),
  port: z.int(),
  hosts: z.int(),
  kvmHosts: z.int().optional(),
  profiledHosts: z.int().optional(),
  processes: z.array(
    z.strictObject({
      name: z.string(),
      pid: z.int().nullable(),
      startTime: z.string(),
      ready: z.boolean(),
      restarts: z.int(),
      /** Why it is not ready, or how it ended last. */
      note: z.string(),
      /** RFC 3339. */
      startedAt: z.string().nullable(),
    }),
  ),
});
export type RunState = z.infer<typeof runStateSchema>;

export const readRunState = async (folder: DataFolder): Promise<RunState | null> => {
  try {
    return runStateSchema.parse(JSON.parse(await readFile(folder.runFile, 'utf8')));
  } catch {
    // Absent, or damaged by a full disk: either way nothing can be learnt from it.
    return null;
  }
};

export const writeRunState = (folder: DataFolder, state: RunState): Promise<void> =>
  writePrivateFile(folder.runFile, `${JSON.stringify(state, null, 2)}\n`);

export const removeRunState = (folder: DataFolder): Promise<void> => rm(folder.runFile, { force: true });

export const supervisorRuns = (state: RunState | null): state is RunState =>
  state !== null && isAlive(state.supervisor);

export interface Leftover extends ProcessIdentity {
  readonly name: string;
  /** RFC 3339. */
  readonly startedAt: string | null;
}

/** Those of its processes that run, whether or not their supervisor does. */
export const livingProcesses = (state: RunState): readonly Leftover[] =>
  state.processes.flatMap(({ name, pid, startTime, startedAt }) =>
    pid === null || !isAlive({ pid, startTime }) ? [] : [{ name, pid, startTime, startedAt }],
  );

/** Postgres checkpoints before it ends; everything else is quicker. */
const LEFTOVER_GRACE_MS = 15_000;

/** Ends what an earlier supervisor left behind, newest first, and answers how many processes that were. */
export const endLeftovers = async (state: RunState): Promise<number> => {
  const left = [...livingProcesses(state)].reverse();
  // On SIGTERM Postgres would wait for its clients; SIGINT makes it end their connections.
  for (const each of left) signalProcess(each, each.name === 'postgres' ? 'SIGINT' : 'SIGTERM');
  const gone = (): boolean => left.every((each) => !isAlive(each));
  if (!(await waitUntil(gone, { timeoutMs: LEFTOVER_GRACE_MS, everyMs: 50 })))
    for (const each of left) signalProcess(each, 'SIGKILL');
  await waitUntil(gone, { timeoutMs: LEFTOVER_GRACE_MS, everyMs: 20 });
  return left.length;
};
