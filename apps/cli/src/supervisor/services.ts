import path from 'node:path';
import { AGENT_USER, seedFile } from '../platform/bus-users.js';
import { authorityFile } from '../platform/certificates.js';
import { compileCache, type DataFolder } from '../folders.js';
import { programFile } from '../programs.js';
import type { Settings } from '../settings.js';
import type { PlatformDatabase } from './database.js';
import type { ProcessPlan } from './process-plan.js';

/** In the order in which `status` shows them. */
export const SERVICES = ['gateway', 'compute', 'storage', 'network', 'scheduler'] as const;
export const NODE_PROCESSES = [...SERVICES, 'agent'] as const;
export type NodeProcess = (typeof NODE_PROCESSES)[number];

/** A service drains what it has in hand before it ends. */
const STOP_TIMEOUT_MS = 15_000;
const READY_TIMEOUT_MS = 2_000;
/** A guest of a few gigabytes boots in about this long on a real host. */
const DEFAULT_BOOT_TIME_SECONDS = 5;

/** Where the servers are and how much is told about it. */
export interface ServiceContext {
  readonly folder: DataFolder;
  readonly settings: Settings;
  readonly database: Pick<PlatformDatabase, 'service'>;
  readonly natsUrl: string;
  /** Whether it is the platform's own server, which knows each process. */
  readonly ownNats: boolean;
  readonly otlpUrl?: string;
  readonly ports: Readonly<Record<string, number>>;
  /** What the user's own environment says; ours wins. */
  readonly inherited: Readonly<Record<string, string>>;
}

const ownVariables = (name: NodeProcess, context: ServiceContext): Record<string, string> => {
  const { folder, settings } = context;
  if (name === 'gateway')
    return {
      GATEWAY_PORT: String(settings.port),
      TLS_CERT_FILE: path.join(folder.tls, 'server.crt'),
      TLS_KEY_FILE: path.join(folder.tls, 'server.key'),
      CA_FILE: path.join(folder.tls, 'ca.crt'),
      TOKENS_FILE: folder.tokensFile,
    };
  if (name === 'agent')
    return {
      AGENT_HOSTS: String(settings.hosts),
      AGENT_KVM_HOSTS: String(settings.kvmHosts ?? 0),
      AGENT_HOST_PROFILES: JSON.stringify(settings.hostProfiles ?? []),
      AGENT_BOOT_TIME: String(settings.bootTimeSeconds ?? DEFAULT_BOOT_TIME_SECONDS),
      AGENT_SEED: String(settings.seed),
      AGENT_DATA_DIR: folder.agent,
    };
  return {};
};

/** Who the process is to the platform's own NATS server; what the user's environment says of another one does not count there. */
const busVariables = (name: NodeProcess, { folder, ownNats }: ServiceContext): Record<string, string> =>
  ownNats
    ? {
        NATS_CA_FILE: authorityFile(folder),
        NATS_NKEY_FILE: seedFile(folder, name === 'agent' ? AGENT_USER : name),
        NATS_CERT_FILE: '',
        NATS_KEY_FILE: '',
        NATS_CREDS_FILE: '',
        NATS_USER: '',
        NATS_PASSWORD_FILE: '',
      }
    : {};

/** An agent has nothing to do with the log. */
const NO_DATABASE = { DATABASE_URL: '', DATABASE_PASSWORD_FILE: '' };

/** What a process says of itself at /readyz: 200 when it can do its work, else the checks that fail. Never throws. */
export const probe = async (url: string): Promise<string | null> => {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(READY_TIMEOUT_MS) });
    const text = await answer.text();
    if (answer.ok) return null;
    const failing = text.split('\n').filter((line) => line.startsWith('[-]'));
    return failing.length > 0 ? failing.join('; ').slice(0, 200) : `/readyz answers ${answer.status}`;
  } catch {
    return 'does not answer yet';
  }
};

/**
 * On a big machine V8 lets new objects take 128 MiB before it looks among them, which a service that is busy then keeps for good. A quarter of it
 * does as well: what a request makes is garbage when it is answered. V8 also lets the heap grow to three times what lives in it: to stay within two
 * fifths above that costs some hundredths of the CPU, and saves a third of the memory of a full platform.
 */
const NODE_FLAGS = ['--max-semi-space-size=16', '--heap-growing-percent=40'];

export const servicePlan = (name: NodeProcess, context: ServiceContext): ProcessPlan => {
  const port = context.ports[name] ?? 0;
  return {
    name,
    command: process.execPath,
    args: [...NODE_FLAGS, programFile(name)],
    cwd: context.folder.root,
    env: {
      LOG_LEVEL: 'info',
      ...context.inherited,
      NODE_ENV: 'production',
      NODE_COMPILE_CACHE: compileCache(name),
      ...(name === 'agent' ? NO_DATABASE : context.database.service(name)),
      NATS_URL: context.natsUrl,
      ...busVariables(name, context),
      HTTP_HOST: '127.0.0.1',
      HTTP_PORT: String(port),
      INSTANCE: `${name}-0`,
      ...(context.otlpUrl === undefined ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: context.otlpUrl }),
      ...ownVariables(name, context),
    },
    stopSignal: 'SIGTERM',
    stopTimeoutMs: STOP_TIMEOUT_MS,
    // The gateway and the agent take work in, so they stop before the services that do it.
    tier: name === 'gateway' || name === 'agent' ? 3 : 2,
    checkReady: () => probe(`http://127.0.0.1:${port}/readyz`),
  };
};
