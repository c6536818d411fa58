import { createServer } from 'node:net';

/** A real server process for tests. `kill` is SIGKILL; `restart` ends it (gently unless killed already) and starts it again on the same port and data. */
export interface TestServer {
  readonly url: string;
  /** Undefined when the server is not ours (its URL came from the environment): such a server can't be killed or restarted. */
  readonly pid: () => number | undefined;
  readonly kill: () => Promise<void>;
  readonly restart: () => Promise<void>;
  /** Ends the server and removes its data. */
  readonly stop: () => Promise<void>;
}

/** A port of loopback that nothing listens at. */
export const freePort = async (): Promise<number> =>
  new Promise((resolve, fail) => {
    const server = createServer();
    server.once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port);
        else fail(new Error('the operating system gave no free port'));
      });
    });
  });

/** Whether the database answers. */
export const queryOnce = async (url: string, text: string): Promise<boolean> => {
  const { Client } = (await import('pg')).default;
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query(text);
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
};
