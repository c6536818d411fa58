import { mkdtemp, chmod, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NATS_IMAGE, POSTGRES_IMAGE, testRunLabel } from '@xenolith/testing/containers';
import { makeNetwork, type PrivateNetwork } from './container.js';
import { engine, imageOf, TAG } from './engine.js';
import { renderPods, type Pod, type RenderedRelease, type Service } from './rendered-pods.js';
import { portOf, RunningPod } from './running-pod.js';

/** What stands between clients and Pods where a Service has a port of its own: it takes them in turn, as kube-proxy does. */
const PROXY = `
const { createServer, connect } = require('node:net');
const [port, ...targets] = process.argv.slice(1);
let turn = 0;
createServer((client) => {
  const [host, to] = targets[turn++ % targets.length].split(':');
  const server = connect(Number(to), host);
  const end = () => { client.destroy(); server.destroy(); };
  for (const socket of [client, server]) socket.on('error', end).on('close', end);
  client.pipe(server).pipe(client);
}).listen(Number(port));
`;

const selects = ({ selector }: Service, pod: Pod): boolean =>
  Object.entries(selector).every(([label, value]) => pod.labels[label] === value);

/** All Pods of the chart, run by the engine on a network of their own, where they are named as Services name them. */
export class ChartPods {
  readonly running: RunningPod[] = [];

  private constructor(
    readonly release: RenderedRelease,
    private readonly place: { readonly network: PrivateNetwork; readonly folder: string },
  ) {}

  static async start(...values: readonly string[]): Promise<ChartPods> {
    const images = [`image.tag=${TAG}`, `postgres.image=${POSTGRES_IMAGE}`, `nats.image=${NATS_IMAGE}`];
    const release = await renderPods(...images, ...values);
    const folder = await mkdtemp(join(tmpdir(), 'xenolith-pods-'));
    await chmod(folder, 0o755);
    const pods = new ChartPods(release, { network: await makeNetwork(), folder });
    try {
      // At once and in no order, as a cluster starts them; the job that migrates, too.
      // None is left to be made when one could not be.
      const added = await Promise.allSettled(release.pods.map((pod) => pods.add(pod)));
      for (const each of added) if (each.status === 'rejected') throw each.reason;
      for (const service of release.services) await pods.forward(service);
      await Promise.all([pods.runToEnd(release.jobs.migrate), ...pods.running.map((pod) => pod.ready())]);
      return pods;
    } catch (fault) {
      await pods.remove().catch(() => undefined);
      throw fault;
    }
  }

  /** A Pod by the end of its name. */
  named(name: string): RunningPod {
    const found = this.running.find(({ pod }) => pod.name === `x-xenolith-${name}`);
    if (found === undefined) throw new Error(`no Pod ${name} runs`);
    return found;
  }

  /** Starts a Pod that is not of the release, waits until it says something, whether it is ready then, and takes it away. */
  async tryOut(pod: Pod, release: RenderedRelease, saying: RegExp): Promise<{ readonly ready: boolean }> {
    const running = await RunningPod.start(pod, release, this.place);
    try {
      await running.says(saying);
      const { readinessProbe } = pod.container;
      return { ready: readinessProbe !== undefined && (await running.holds(readinessProbe)) };
    } finally {
      await running.remove();
    }
  }

  /** Runs a Pod to its end; throws with what it wrote when it does not end well. */
  async runToEnd(pod: Pod): Promise<string> {
    const running = await RunningPod.start(pod, this.release, this.place);
    const { code, told } = await running.ended();
    await running.remove();
    if (code !== 0) throw new Error(`${pod.name} ended with ${code}\n${told}`);
    return told;
  }

  async remove(): Promise<void> {
    const { container, network } = await engine();
    const { id } = this.place.network;
    const all = await container.dockerode.listContainers({ all: true, filters: { network: [id] } });
    await Promise.all(all.map(({ Id }) => container.getById(Id).remove({ force: true, v: true })));
    await network.getById(id).remove();
    await rm(this.place.folder, { recursive: true, force: true });
  }

  private async add(pod: Pod): Promise<void> {
    this.running.push(await RunningPod.start(pod, this.release, this.place));
  }

  private async forward(service: Service): Promise<void> {
    const chosen = this.running.filter(({ pod }) => selects(service, pod));
    for (const { port, targetPort } of service.ports) {
      if (chosen.every(({ pod }) => portOf(pod, targetPort) === port)) continue;
      const targets = await Promise.all(
        chosen.map(async (running) => `${await running.address()}:${portOf(running.pod, targetPort)}`),
      );
      const { container } = await engine();
      const proxy = await container.dockerode.createContainer({
        Image: imageOf('gateway'),
        Entrypoint: ['/bin/node', '-e', PROXY, String(port), ...targets],
        Labels: { ...testRunLabel(), 'dev.xenolith.member': service.name },
        Healthcheck: { Test: ['NONE'] },
        HostConfig: { NetworkMode: this.place.network.name },
        NetworkingConfig: { EndpointsConfig: { [this.place.network.name]: { Aliases: [service.name] } } },
      });
      await proxy.start();
    }
  }
}
