import { randomUUID } from 'node:crypto';
import { killContainer, logEnd, LoopbackContainer, ReadyWhen, testRunLabel } from '@xenolith/testing/containers';
import type { StartedTestContainer } from 'testcontainers';
import { engine } from './engine.js';

/** What a service drains before it ends, and a database writes, takes less. */
const STOP_LIMIT_MS = 30_000;
const PROBE_LIMIT_MS = 2_000;

/** A network of the engine that a platform has for itself. */
export interface PrivateNetwork {
  readonly id: string;
  readonly name: string;
}

export const makeNetwork = async (): Promise<PrivateNetwork> => {
  const { container } = await engine();
  const name = `xenolith-${randomUUID()}`;
  const { id } = await container.dockerode.createNetwork({
    Name: name,
    Driver: 'bridge',
    Labels: { ...testRunLabel() },
  });
  return { id, name };
};

export interface Member {
  readonly name: string;
  readonly image: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** What runs in place of what its image names. */
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  /** Ports of the container, each with the port of this machine that it keeps over restarts. */
  readonly ports: Readonly<Record<number, number>>;
  readonly ready: () => Promise<boolean>;
  /** Files that are put into it before it starts. */
  readonly files?: Readonly<Record<string, string>>;
  /** Folders of this machine that it may read. */
  readonly folders?: Readonly<Record<string, string>>;
  /** A folder of its own that outlives its end. */
  readonly volume?: string;
  /** Runs as our images are meant to: nothing can be written to its root, and it has no capability. */
  readonly confined: boolean;
}

class MemberContainer extends LoopbackContainer {
  constructor(member: Member, network: PrivateNetwork) {
    super(member.image);
    this.withLabels({ ...testRunLabel(), 'dev.xenolith.member': member.name })
      .withNetworkMode(network.name)
      .withEnvironment({ ...member.environment })
      .withLoopbackPorts(member.ports)
      .withBindMounts(Object.entries(member.folders ?? {}).map(([target, source]) => ({ source, target, mode: 'ro' })))
      .withCopyContentToContainer(Object.entries(member.files ?? {}).map(([target, content]) => ({ target, content })))
      .withWaitStrategy(new ReadyWhen(member.ready));
    if (member.entrypoint !== undefined) this.withEntrypoint([...member.entrypoint]);
    if (member.command !== undefined) this.withCommand([...member.command]);
    if (member.volume !== undefined) this.hostConfig.Mounts = [{ Type: 'volume', Source: '', Target: member.volume }];
    if (member.confined) {
      this.hostConfig.ReadonlyRootfs = true;
      this.withDroppedCapabilities('ALL').withSecurityOpt('no-new-privileges').withTmpFs({ '/tmp': 'size=16m' });
    }
    // Its name in the network; with `withNetworkAliases` it would join the engine's default network as well.
    this.createOpts.NetworkingConfig = { EndpointsConfig: { [network.name]: { Aliases: [member.name] } } };
    // As any orchestrator does: one that ends by itself is started again; one that the test ends stays ended.
    this.hostConfig.RestartPolicy = { Name: 'unless-stopped' };
  }
}

/** One container of a platform. */
export class RunningMember {
  private constructor(
    readonly member: Member,
    private readonly network: PrivateNetwork,
    private readonly container: StartedTestContainer,
  ) {}

  static async start(member: Member, network: PrivateNetwork): Promise<RunningMember> {
    return new RunningMember(member, network, await new MemberContainer(member, network).start());
  }

  get name(): string {
    return this.member.name;
  }

  get id(): string {
    return this.container.getId();
  }

  async kill(): Promise<void> {
    await killContainer(this.id);
  }

  /** Asks it to end, by the signal that its image names, and gives its exit code. */
  async stop(): Promise<number> {
    const { container } = await engine();
    const handle = container.getById(this.id);
    await container.stop(handle, { timeout: STOP_LIMIT_MS });
    return (await container.inspect(handle)).State.ExitCode;
  }

  /** Starts it again; settles when it is ready. */
  async startAgain(): Promise<void> {
    await this.container.restart({ timeout: STOP_LIMIT_MS });
  }

  /** Cuts it from the platform's network: it runs on, and nobody can reach it. */
  async cut(): Promise<void> {
    const { network } = await engine();
    await network.getById(this.network.id).disconnect({ Container: this.id });
  }

  async join(): Promise<void> {
    const { network } = await engine();
    await network.getById(this.network.id).connect({ Container: this.id, EndpointConfig: { Aliases: [this.name] } });
    await new ReadyWhen(this.member.ready).waitUntilReady({ id: this.id });
  }

  /** What its image's own check says. */
  async health(): Promise<string | undefined> {
    const { container } = await engine();
    return (await container.inspect(container.getById(this.id))).State.Health?.Status;
  }

  async remove(): Promise<void> {
    const { container } = await engine();
    await container.getById(this.id).remove({ force: true, v: true });
  }

  logEnd(): Promise<string> {
    return logEnd(this.id);
  }
}

/** Runs a container to its end, and takes it away; throws with its last lines when it did not end well. */
export const runToEnd = async (
  job: Pick<Member, 'name' | 'image' | 'environment'> & { readonly entrypoint: readonly string[] },
  network: PrivateNetwork,
): Promise<void> => {
  const { container } = await engine();
  const made = await container.dockerode.createContainer({
    Image: job.image,
    Entrypoint: [...job.entrypoint],
    Env: Object.entries(job.environment ?? {}).map(([name, value]) => `${name}=${value}`),
    Labels: { ...testRunLabel(), 'dev.xenolith.member': job.name },
    HostConfig: {
      NetworkMode: network.name,
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
    },
  });
  await made.start();
  const { StatusCode } = (await made.wait()) as { StatusCode: number };
  const told = await logEnd(made.id);
  await made.remove({ force: true, v: true });
  if (StatusCode !== 0) throw new Error(`${job.name} ended with ${StatusCode}\n${told}`);
};

/** Whether a process says on its side port that it can do its work. */
export const isReady = async (port: number): Promise<boolean> => {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(PROBE_LIMIT_MS) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
};
