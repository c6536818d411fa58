import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, PermissionViolationError, type NatsConnection } from '@nats-io/transport-node';
import { inboxPrefix } from '@xenolith/contracts';
import { connectionSecurity } from '@xenolith/messaging';
import type { RenderedRelease } from './rendered-pods.js';

/** Logs in to a NATS server of the chart from outside, as one of its users, with what the chart's secrets hold. */
export class BusDoor {
  private constructor(
    private readonly folder: string,
    private readonly url: string,
    private readonly keys: Readonly<Record<string, string>>,
  ) {}

  static async find({ data }: RenderedRelease, port: number): Promise<BusDoor> {
    const folder = await mkdtemp(join(tmpdir(), 'xenolith-bus-'));
    const keys = data.get('Secret/x-xenolith-nats-keys');
    const authority = data.get('Secret/x-xenolith-nats-tls')?.['ca.crt'];
    if (keys === undefined || authority === undefined) throw new Error('the chart renders no keys or no authority');
    await writeFile(join(folder, 'ca.crt'), authority);
    return new BusDoor(folder, `tls://localhost:${port}`, keys);
  }

  /** Knocks; without a user, without a key. */
  async enter(user?: string): Promise<NatsConnection> {
    const caFile = join(this.folder, 'ca.crt');
    const options = { servers: this.url, reconnect: false };
    if (user === undefined) return connect({ ...options, ...connectionSecurity(this.url, { caFile }) });
    const nkeyFile = join(this.folder, user);
    await writeFile(nkeyFile, this.keys[user] ?? '');
    return connect({
      ...options,
      inboxPrefix: inboxPrefix(user),
      ...connectionSecurity(this.url, { caFile, nkeyFile }),
    });
  }

  /** Those of the users whose message on that subject the server takes. */
  async mayPublish(users: readonly string[], subject: string): Promise<readonly string[]> {
    const able: string[] = [];
    for (const user of users) {
      const connection = await this.enter(user);
      const refusals: Error[] = [];
      const watching = (async () => {
        for await (const status of connection.status())
          if (status.type === 'error' && status.error instanceof PermissionViolationError) refusals.push(status.error);
      })();
      connection.publish(subject, 'x');
      // The server answers in order: a flush brings its refusal, another one sees that it was told.
      await connection.flush();
      await connection.flush();
      await connection.close();
      await watching;
      if (refusals.length === 0) able.push(user);
    }
    return able;
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}
