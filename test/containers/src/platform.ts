import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { freePort, queryOnce, runKubectl } from '@xenolith/testing';
import { NATS_IMAGE, POSTGRES_IMAGE } from '@xenolith/testing/containers';
import pg from 'pg';
import { makeAccess, type Access } from './access.js';
import { makeCollector, type Collector } from './collector.js';
import { isReady, makeNetwork, runToEnd, RunningMember, type Member, type PrivateNetwork } from './container.js';
import { engine, imageOf, PROCESSES, type ProcessName } from './engine.js';

const ROOT = resolve(import.meta.dirname, '../../..');
const PASSWORD = 'xenolith';
const DATABASE_INSIDE = `postgresql://postgres:${PASSWORD}@postgres:5432/postgres`;
/** Room for 384 machines of one CPU on each, so that a fast machine's callers don't fill them. */
const HARDWARE = '2x24-768';
const HOSTS = 4;
const SIDE_PORT = 9090;
const GATEWAY_PORT = 8443;
/** As `./xenolith up` has it: an agent's whole inventory is larger than the server's own limit. */
const NATS_CONFIGURATION = {
  server_name: 'xenolith',
  listen: '0.0.0.0:4222',
  http: '0.0.0.0:8222',
  max_payload: 8 * 2 ** 20,
  jetstream: { store_dir: '/jetstream' },
};

export const SERVERS = ['postgres', 'nats'] as const;
export const MEMBERS = [...SERVERS, ...PROCESSES] as const;
export type MemberName = (typeof MEMBERS)[number];

const postgres = async (): Promise<{ readonly member: Member; readonly url: string }> => {
  const port = await freePort();
  const url = `postgresql://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`;
  const member: Member = {
    name: 'postgres',
    image: POSTGRES_IMAGE,
    environment: { POSTGRES_PASSWORD: PASSWORD },
    command: ['postgres', '-c', 'max_connections=200', '-c', 'idle_in_transaction_session_timeout=60s'],
    ports: { 5432: port },
    ready: () => queryOnce(url, 'select 1'),
    confined: false,
  };
  return { member, url };
};

const nats = async (): Promise<Member> => {
  const port = await freePort();
  return {
    name: 'nats',
    image: NATS_IMAGE,
    command: ['--config', '/etc/xenolith/nats.json'],
    files: { '/etc/xenolith/nats.json': JSON.stringify(NATS_CONFIGURATION) },
    ports: { 8222: port },
    ready: async () => {
      try {
        return (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
      } catch {
        return false;
      }
    },
    confined: false,
  };
};

const ownEnvironment: Readonly<Partial<Record<ProcessName, Readonly<Record<string, string>>>>> = {
  gateway: {
    GATEWAY_HOST: '0.0.0.0',
    GATEWAY_PORT: String(GATEWAY_PORT),
    TLS_CERT_FILE: '/access/server.crt',
    TLS_KEY_FILE: '/access/server.key',
    TOKENS_FILE: '/access/tokens.json',
  },
  agent: { AGENT_HOSTS: String(HOSTS), AGENT_PROFILE: HARDWARE, AGENT_BOOT_TIME: '0.05', AGENT_DATA_DIR: '/data' },
};

export interface ProcessOptions {
  /** Its name among the platform's containers, and what it calls itself. */
  readonly name?: string;
  readonly image?: string;
}

interface Surroundings {
  readonly network: PrivateNetwork;
  readonly access: Access;
  readonly gatewayPort: number;
  /** The database, as this machine sees it. */
  readonly databaseUrl: string;
  readonly collector: Collector;
}

/** A whole platform in containers, on a network of its own. */
export class ContainerPlatform {
  private readonly members = new Map<string, RunningMember>();

  private constructor(private readonly surroundings: Surroundings) {}

  /** What the processes tell of their traces. */
  get collector(): Collector {
    return this.surroundings.collector;
  }

  static async start(): Promise<ContainerPlatform> {
    const [network, database, queue, collector, gatewayPort] = await Promise.all([
      makeNetwork(),
      postgres(),
      nats(),
      makeCollector(),
      freePort(),
    ]);
    const access = await makeAccess(gatewayPort);
    const { url: databaseUrl } = database;
    const platform = new ContainerPlatform({ network, access, gatewayPort, databaseUrl, collector });
    try {
      await Promise.all([database.member, queue, collector.member].map((member) => platform.add(member)));
      await platform.migrate();
      await Promise.all(PROCESSES.map((name) => platform.startProcess(name)));
      await platform.kubectl('apply', '-f', join(ROOT, 'deploy', 'starter'));
      await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
      return platform;
    } catch (cause) {
      const told = await platform.told(cause);
      await platform.down();
      throw told;
    }
  }

  /** Brings the database up to the release, as its owner; services wait for that. */
  private migrate(): Promise<void> {
    return runToEnd(
      {
        name: 'migrate',
        image: imageOf('gateway'),
        entrypoint: ['/bin/node', '/app/migrate.js'],
        environment: { DATABASE_URL: DATABASE_INSIDE },
      },
      this.surroundings.network,
    );
  }

  /** Starts one more container of a process; settles when it is ready. */
  async startProcess(process: ProcessName, options: ProcessOptions = {}): Promise<RunningMember> {
    const sidePort = await freePort();
    const name = options.name ?? process;
    return this.add({
      name,
      image: options.image ?? imageOf(process),
      environment: {
        INSTANCE: `${name}-0`,
        DATABASE_URL: DATABASE_INSIDE,
        NATS_URL: 'nats://nats:4222',
        OTEL_EXPORTER_OTLP_ENDPOINT: this.collector.endpoint,
        ...ownEnvironment[process],
      },
      ports: {
        [SIDE_PORT]: sidePort,
        ...(process === 'gateway' ? { [GATEWAY_PORT]: this.surroundings.gatewayPort } : {}),
      },
      ready: () => isReady(sidePort),
      ...(process === 'gateway' ? { folders: { '/access': this.surroundings.access.folder } } : {}),
      ...(process === 'agent' ? { volume: '/data' } : {}),
      confined: true,
    });
  }

  member(name: string): RunningMember {
    const found = this.members.get(name);
    if (found === undefined) throw new Error(`the platform has no container ${name}`);
    return found;
  }

  /** Takes a container away for good. */
  async remove(name: string): Promise<void> {
    await this.member(name).remove();
    this.members.delete(name);
  }

  /** Runs kubectl; throws with its output when it fails. */
  async kubectl(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tryKubectl(args);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')} ended with ${code}\n${stdout}\n${stderr}`);
    return stdout;
  }

  tryKubectl(args: readonly string[], input?: string): ReturnType<typeof runKubectl> {
    return runKubectl(this.surroundings.access.kubeconfig, args, input);
  }

  async items<Item>(kinds: string): Promise<readonly Item[]> {
    return (JSON.parse(await this.kubectl('get', kinds, '-A', '-o', 'json')) as { items: Item[] }).items;
  }

  /** Asks the database itself. */
  async query<Row extends pg.QueryResultRow>(sql: string): Promise<readonly Row[]> {
    const client = new pg.Client({ connectionString: this.surroundings.databaseUrl });
    await client.connect();
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  /** The same failure, with what the containers wrote last. */
  async told(cause: unknown): Promise<Error> {
    const ends = await Promise.all(
      [...this.members.values()].map((member) => member.logEnd().catch(() => member.name)),
    );
    const message = cause instanceof Error ? cause.message : String(cause);
    return new Error([message, ...ends].join('\n\n'), { cause });
  }

  async down(): Promise<void> {
    await Promise.all([...this.members.values()].map((member) => member.remove()));
    await this.removeStrays();
    const { network } = await engine();
    await network.getById(this.surroundings.network.id).remove();
    await rm(this.surroundings.access.folder, { recursive: true, force: true });
  }

  private async add(member: Member): Promise<RunningMember> {
    const running = await RunningMember.start(member, this.surroundings.network);
    this.members.set(member.name, running);
    return running;
  }

  /** Containers whose start failed are on the network, too. */
  private async removeStrays(): Promise<void> {
    const { container } = await engine();
    const all = await container.dockerode.listContainers({
      all: true,
      filters: { network: [this.surroundings.network.id] },
    });
    await Promise.all(all.map(({ Id }) => container.getById(Id).remove({ force: true, v: true })));
  }
}
