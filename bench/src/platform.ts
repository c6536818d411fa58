import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { NamedProcess } from './process-cpu.js';

const XENOLITH = resolve(import.meta.dirname, '../../xenolith');
/** 10,000 hosts take minutes to register on a busy machine. */
const START_LIMIT_MS = 600_000;

/** What `up` keeps in its data folder of the servers that it started. */
const settings = z.object({ databasePassword: z.string(), ports: z.looseObject({ postgres: z.number() }) });

const status = z.looseObject({ processes: z.array(z.looseObject({ name: z.string(), pid: z.number() })) });

const freePort = async (): Promise<number> => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
};

/** A whole platform of its own, started as a user starts one. */
export class Platform {
  private constructor(
    readonly data: string,
    private readonly arguments_: readonly string[],
  ) {}

  /** The emulated guests boot in no time. */
  static async start(hosts: number): Promise<Platform> {
    const data = await mkdtemp(join(tmpdir(), 'xenolith-bench-'));
    const port = await freePort();
    const platform = new Platform(data, ['--hosts', String(hosts), '--port', String(port), '--boot-time', '0']);
    try {
      await platform.up();
      return platform;
    } catch (fault) {
      await platform.remove();
      throw fault;
    }
  }

  get kubeconfig(): string {
    return join(this.data, 'kubeconfig');
  }

  /** Milliseconds until it was ready. */
  async up(): Promise<number> {
    const start = performance.now();
    await this.#run(['up', '--detach', ...this.arguments_]);
    return performance.now() - start;
  }

  async down(): Promise<void> {
    await this.#run(['down']);
  }

  /** The processes that it consists of, its supervisor aside. */
  async processes(): Promise<readonly NamedProcess[]> {
    return status.parse(JSON.parse(await this.#run(['status', '-o', 'json']))).processes;
  }

  async databaseUrl(): Promise<string> {
    const { databasePassword, ports } = settings.parse(
      JSON.parse(await readFile(join(this.data, 'settings.json'), 'utf8')),
    );
    const trust = `sslmode=verify-full&sslrootcert=${encodeURIComponent(join(this.data, 'tls', 'ca.crt'))}`;
    return `postgresql://xenolith:${databasePassword}@127.0.0.1:${ports.postgres}/postgres?${trust}`;
  }

  async remove(): Promise<void> {
    await this.down();
    await rm(this.data, { recursive: true, force: true });
  }

  async #run(command: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(XENOLITH, [...command, '--data', this.data], {
      timeout: START_LIMIT_MS,
    });
    return stdout;
  }
}
