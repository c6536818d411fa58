import { createServer, type AddressInfo } from 'node:net';
import { assert } from '@xenolith/kernel';

const LOOPBACK = '127.0.0.1';

/** Listens for a moment: the port that was bound, or null when somebody else has it. 0 asks for any free one. */
const bindOnce = (port: number): Promise<number | null> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen(port, LOOPBACK, () => {
      const bound = (server.address() as AddressInfo).port;
      server.close(() => resolve(bound));
    });
  });

export const isPortFree = async (port: number): Promise<boolean> => (await bindOnce(port)) !== null;

/**
 * A loopback port for each name: the one it had before if that is still free, else another. All ports differ, also from `taken`.
 */
export const assignPorts = async (
  names: readonly string[],
  before: Readonly<Record<string, number>>,
  taken: readonly number[],
): Promise<Readonly<Record<string, number>>> => {
  const assigned: Record<string, number> = {};
  const used = new Set(taken);
  for (const name of names) {
    const old = before[name];
    let port = old !== undefined && !used.has(old) ? await bindOnce(old) : null;
    while (port === null || used.has(port)) {
      port = await bindOnce(0);
      assert(port !== null, 'the system has no free loopback port');
    }
    used.add(port);
    assigned[name] = port;
  }
  return assigned;
};
