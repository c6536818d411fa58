import { execFile } from 'node:child_process';

/** An engine that is there answers in far less, even when it is busy. */
const ANSWER_LIMIT_MS = 30_000;

/** Says what this machine lacks for containers; null when an engine answers. DOCKER names another client than `docker`. */
export const dockerLack = (): Promise<string | null> =>
  new Promise((resolve) => {
    const client = process.env['DOCKER'] ?? 'docker';
    execFile(client, ['version', '--format', '{{.Server.Version}}'], { timeout: ANSWER_LIMIT_MS }, (fault) =>
      resolve(fault === null ? null : 'no Docker engine answers'),
    );
  });
