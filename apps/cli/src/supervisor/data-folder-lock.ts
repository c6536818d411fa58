import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { createServer, type Server } from 'node:net';

/**
 * Holds the data folder for one supervisor at a time: null when another has it. The lock is a name in the kernel's abstract socket
 * space, which vanishes with its holder, so it is never stale. Elsewhere than on Linux the run file must do.
 */
export const lockDataFolder = (root: string): Promise<Server | 'unlocked' | null> => {
  if (process.platform !== 'linux') return Promise.resolve('unlocked');
  const name = createHash('sha256').update(realpathSync(root)).digest('hex').slice(0, 32);
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (fault: NodeJS.ErrnoException) => {
      if (fault.code === 'EADDRINUSE') resolve(null);
      else reject(fault);
    });
    server.listen(`\0xenolith-${name}`, () => {
      server.unref();
      resolve(server);
    });
  });
};
