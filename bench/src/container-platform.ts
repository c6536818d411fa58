import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { NamedProcess } from './process-cpu.js';

const SERVE = resolve(import.meta.dirname, '../../test/containers/dist/serve-chart.js');

/** One of each, as `up` has it: what is compared is containers with processes, and not how many there are. */
const ALONE = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'nats'].map((part) => `${part}.replicas=1`);

const served = z.object({
  kubeconfig: z.string(),
  processes: z.array(z.object({ name: z.string(), pid: z.number() })),
});

/** The chart's Pods as containers of an engine that answers, by the tests' own means: limits of memory, TLS and rights included. */
export class ContainerPlatform {
  private constructor(
    readonly kubeconfig: string,
    private readonly members: readonly NamedProcess[],
    private readonly server: ChildProcess,
  ) {}

  /** Throws when there is no engine, or it has no images; what is missing is printed. */
  static async start(hosts: number): Promise<ContainerPlatform> {
    const values = ['size=medium', ...ALONE, `agent.hosts=${hosts}`, 'agent.bootTimeSeconds=0', 'logLevel=warn'];
    const server = spawn(process.execPath, [SERVE, ...values], { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = once(server, 'exit');
    const line = new Promise<string>((done) => createInterface({ input: server.stdout }).once('line', done));
    const told = await Promise.race([line, ended.then(() => null)]);
    if (told === null)
      throw new Error(
        'the containers did not start: bring an engine (.ci/docker-engine start FOLDER), bases (deploy/docker/bases/make) and images (deploy/docker/build test)',
      );
    const { kubeconfig, processes } = served.parse(JSON.parse(told));
    return new ContainerPlatform(kubeconfig, processes, server);
  }

  processes(): Promise<readonly NamedProcess[]> {
    return Promise.resolve(this.members);
  }

  async remove(): Promise<void> {
    const ended = once(this.server, 'exit');
    this.server.stdin?.end();
    await ended;
  }
}
