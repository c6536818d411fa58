import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '@xenolith/testing';
import { logEnd, testRunLabel } from '@xenolith/testing/containers';
import type Dockerode from 'dockerode';
import { engine } from './engine.js';
import type { PrivateNetwork } from './container.js';
import type { Pod, Probe, RenderedRelease, Variable, Volume } from './rendered-pods.js';

const PROBE_LIMIT_MS = 3_000;
const POLL_MS = 200;
/** Fifteen containers start at once on a machine that does other things, too. */
const START_LIMIT_MS = 240_000;
const UNITS: Readonly<Record<string, number>> = { Mi: 2 ** 20, Gi: 2 ** 30 };

const bytesOf = (quantity: string): number => {
  const [, count = '', unit = ''] = /^(\d+)(\w+)$/.exec(quantity) ?? [];
  return Number(count) * (UNITS[unit] ?? 1);
};

/** The variables of a container, as the kubelet would set them: references are followed, `$(NAME)` is filled in. */
const environmentOf = (pod: Pod, { data }: RenderedRelease): Readonly<Record<string, string>> => {
  const known: Record<string, string> = {};
  const valueOf = ({ name, value, valueFrom }: Variable): string => {
    if (value !== undefined) return value.replaceAll(/\$\((\w+)\)/g, (whole, other: string) => known[other] ?? whole);
    if (valueFrom?.fieldRef?.fieldPath === 'metadata.name') return pod.name;
    const { secretKeyRef } = valueFrom ?? {};
    const found = secretKeyRef && data.get(`Secret/${secretKeyRef.name}`)?.[secretKeyRef.key];
    if (found === undefined) throw new Error(`${pod.name}: nothing gives ${name} a value`);
    return found;
  };
  for (const variable of pod.container.env ?? []) known[variable.name] = valueOf(variable);
  return known;
};

/** What the kubelet gives files of ConfigMaps and Secrets where a volume says nothing else, and adds for a Pod's group. */
const DEFAULT_MODE = 0o644;
const GROUP_MODE = 0o440;

/** The files of a ConfigMap or a Secret, readable by the Pod's group, as the kubelet writes them. */
const materialise = async (folder: string, volume: Volume, pod: Pod, { data }: RenderedRelease): Promise<void> => {
  const { secret, configMap } = volume;
  const source = secret ? `Secret/${secret.secretName}` : `ConfigMap/${configMap?.name ?? ''}`;
  const texts = data.get(source);
  if (texts === undefined) throw new Error(`${pod.name}: the chart renders no ${source}`);
  const { items: chosen, defaultMode = DEFAULT_MODE } = secret ?? configMap ?? {};
  const items = chosen ?? Object.keys(texts).map((key) => ({ key, path: key }));
  for (const { key, path } of items) {
    const text = texts[key];
    if (text === undefined) throw new Error(`${pod.name}: ${source} has no key ${key}`);
    await writeFile(join(folder, path), text);
    await chown(join(folder, path), 0, pod.security.fsGroup);
    await chmod(join(folder, path), defaultMode | GROUP_MODE);
  }
};

/** Folders of this machine, as the kubelet makes them of its node: what may be written belongs to the Pod's group. */
const bindsOf = async (pod: Pod, release: RenderedRelease, folder: string): Promise<readonly string[]> => {
  const binds: string[] = [];
  const variables = environmentOf(pod, release);
  for (const { name, mountPath, readOnly, subPath, subPathExpr } of pod.container.volumeMounts ?? []) {
    const volume = pod.volumes.find((each) => each.name === name);
    if (volume === undefined) throw new Error(`${pod.name} mounts ${name}, which it does not have`);
    const source = join(folder, pod.name, name);
    await mkdir(source, { recursive: true });
    await chown(source, 0, pod.security.fsGroup);
    if (volume.emptyDir) await chmod(source, 0o2777);
    else if (volume.claim) await chmod(source, 0o2770);
    else await materialise(source, volume, pod, release);
    const inside =
      subPath ?? subPathExpr?.replaceAll(/\$\((\w+)\)/g, (_, variable: string) => variables[variable] ?? '');
    binds.push(`${join(source, inside ?? '')}:${mountPath}${readOnly === true ? ':ro' : ''}`);
  }
  return binds;
};

/** What the network calls it: by the Services that select it, and by its own name where its StatefulSet governs one. */
const aliasesOf = (pod: Pod, { services }: RenderedRelease): readonly string[] => [
  ...services
    .filter(
      ({ selector, ports }) =>
        Object.entries(selector).every(([label, value]) => pod.labels[label] === value) &&
        // Where the Service has another port than its Pods, something must stand between.
        ports.every(({ port, targetPort }) => portOf(pod, targetPort) === port),
    )
    .map(({ name }) => name),
  ...(pod.governing === undefined ? [] : [`${pod.name}.${pod.governing}`]),
];

export const portOf = ({ container }: Pod, port: string | number): number =>
  typeof port === 'number' ? port : (container.ports?.find(({ name }) => name === port)?.containerPort ?? 0);

const createOptions = async (
  pod: Pod,
  release: RenderedRelease,
  place: { readonly network: PrivateNetwork; readonly folder: string },
  published: Readonly<Record<number, number>>,
): Promise<Dockerode.ContainerCreateOptions> => {
  const { container, security } = pod;
  const binds = await bindsOf(pod, release, place.folder);
  const { limits } = container.resources ?? {};
  return {
    Image: container.image,
    ...(container.command === undefined ? {} : { Entrypoint: [...container.command] }),
    ...(container.args === undefined ? {} : { Cmd: [...container.args] }),
    Env: Object.entries(environmentOf(pod, release)).map(([name, value]) => `${name}=${value}`),
    User: `${security.runAsUser}:${security.runAsGroup}`,
    Hostname: pod.name,
    Labels: { ...testRunLabel(), 'dev.xenolith.member': pod.name },
    ExposedPorts: Object.fromEntries(Object.keys(published).map((port) => [`${port}/tcp`, {}])),
    HostConfig: {
      NetworkMode: place.network.name,
      Binds: [...binds],
      GroupAdd: [String(security.fsGroup)],
      ReadonlyRootfs: container.securityContext?.readOnlyRootFilesystem === true,
      CapDrop: [...(container.securityContext?.capabilities?.drop ?? [])],
      SecurityOpt: container.securityContext?.allowPrivilegeEscalation === false ? ['no-new-privileges'] : [],
      PortBindings: Object.fromEntries(
        Object.entries(published).map(([port, host]) => [
          `${port}/tcp`,
          [{ HostIp: '127.0.0.1', HostPort: `${host}` }],
        ]),
      ),
      ...(limits?.memory === undefined ? {} : { Memory: bytesOf(limits.memory) }),
    },
    NetworkingConfig: { EndpointsConfig: { [place.network.name]: { Aliases: [...aliasesOf(pod, release)] } } },
  };
};

const pause = (): Promise<void> => new Promise((done) => setTimeout(done, POLL_MS));

/** One Pod of the chart as a container of the engine, with its own command, variables, files, user, limits and probes. */
export class RunningPod {
  private constructor(
    readonly pod: Pod,
    private readonly container: Dockerode.Container,
    private readonly published: Readonly<Record<number, number>>,
  ) {}

  static async start(
    pod: Pod,
    release: RenderedRelease,
    place: { readonly network: PrivateNetwork; readonly folder: string },
  ): Promise<RunningPod> {
    for (const container of pod.before) {
      const alone = { ...pod, labels: {}, before: [], container };
      const first = await RunningPod.start(alone, release, place);
      const { code, told } = await first.ended();
      await first.remove();
      if (code !== 0) throw new Error(`${pod.name}: its container ${container.name} ended with ${code}\n${told}`);
    }
    const ports = (pod.container.ports ?? []).map(({ containerPort }) => containerPort);
    const published = Object.fromEntries(
      await Promise.all(ports.map(async (port) => [port, await freePort()] as const)),
    ) as Record<number, number>;
    const { container: client } = await engine();
    const container = await client.dockerode.createContainer(await createOptions(pod, release, place, published));
    await container.start();
    return new RunningPod(pod, container, published);
  }

  /** Settles when the startup probe, then the readiness probe holds; throws with its last lines when it ends before that. */
  async ready(): Promise<void> {
    const { startupProbe, readinessProbe } = this.pod.container;
    for (const probe of [startupProbe, readinessProbe]) if (probe) await this.until(probe);
  }

  /** Whether a probe holds now. */
  async holds(probe: Probe): Promise<boolean> {
    // What has ended runs no command.
    if (probe.exec)
      return this.execute(...probe.exec.command).then(
        ({ code }) => code === 0,
        () => false,
      );
    const { path = '/', port = 0 } = probe.httpGet ?? {};
    const url = `http://127.0.0.1:${this.reachedBy(port)}${path}`;
    return fetch(url, { signal: AbortSignal.timeout(PROBE_LIMIT_MS) }).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  /** Runs a command in it: its exit code, and what it wrote. */
  async execute(...command: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
    const exec = await this.container.exec({ Cmd: [...command], Tty: true, AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({ Tty: true });
    let output = '';
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await new Promise<void>((done) => {
      stream.on('end', done);
      stream.on('error', () => done());
    });
    return { code: (await exec.inspect()).ExitCode, output };
  }

  /** Settles when it has written a line like that; throws with its last lines when it does not. */
  async says(pattern: RegExp): Promise<void> {
    const limit = Date.now() + START_LIMIT_MS;
    while (!pattern.test(await logEnd(this.container.id))) {
      if (Date.now() > limit)
        throw new Error(`${this.pod.name} does not say ${String(pattern)}\n${await logEnd(this.container.id)}`);
      await pause();
    }
  }

  /** Settles when it has ended: its exit code, and what it wrote last. */
  async ended(): Promise<{ readonly code: number; readonly told: string }> {
    const { StatusCode } = (await this.container.wait()) as { StatusCode: number };
    return { code: StatusCode, told: await logEnd(this.container.id) };
  }

  /** The port of this machine by which one of its ports is reached. */
  reachedBy(port: string | number): number {
    return this.published[portOf(this.pod, port)] ?? 0;
  }

  /** Where it is on the Pods' network. */
  async address(): Promise<string> {
    const { NetworkSettings } = await this.container.inspect();
    return Object.values(NetworkSettings.Networks)[0]?.IPAddress ?? '';
  }

  /** Its first process, as the engine's machine sees it. */
  async pid(): Promise<number> {
    return (await this.container.inspect()).State.Pid;
  }

  /** The memory that the engine lets it have. */
  async memoryLimitBytes(): Promise<number> {
    return (await this.container.inspect()).HostConfig.Memory ?? 0;
  }

  /** Asks it to end by the signal of its image, as the kubelet does. */
  async stop(limitSeconds: number): Promise<number> {
    await this.container.stop({ t: limitSeconds });
    return (await this.container.inspect()).State.ExitCode;
  }

  async remove(): Promise<void> {
    await this.container.remove({ force: true, v: true });
  }

  private async until(probe: Probe): Promise<void> {
    const limit = Date.now() + START_LIMIT_MS;
    while (!(await this.holds(probe))) {
      const { State } = await this.container.inspect();
      if (!State.Running)
        throw new Error(`${this.pod.name} ended while it started\n${await logEnd(this.container.id)}`);
      if (Date.now() > limit) throw new Error(`${this.pod.name} is not ready\n${await logEnd(this.container.id)}`);
      await pause();
    }
  }
}
