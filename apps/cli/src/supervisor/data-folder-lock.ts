import { createHash } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';

const socketOf = (root: string): string =>
  `\0xenolith-${createHash('sha256').update(realpathSync(root)).digest('hex').slice(0, 32)}`;

/** True while a supervisor has the folder, also when it has not come to writing its run file yet. */
export const isDataFolderLocked = (root: string): Promise<boolean> => {
  if (process.platform !== 'linux' || !existsSync(root)) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = connect(socketOf(root));
    const answer = (held: boolean) => (): void => {
      socket.destroy();
      resolve(held);
    };
    socket.once('connect', answer(true));
    socket.once('error', answer(false));
  });
};

/**
 * Holds the data folder for one supervisor at a time: null when another has it. The lock is a name in the kernel's abstract socket
 * space, which vanishes with its holder, so it is never stale. Elsewhere than on Linux the run file must do.
 */
export const lockDataFolder = (root: string): Promise<Server | 'unlocked' | null> => {
  if (process.platform !== 'linux') return Promise.resolve('unlocked');
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (fault: NodeJS.ErrnoException) => {
      if (fault.code === 'EADDRINUSE') resolve(null);
      else reject(fault);
    });
    server.listen(socketOf(root), () => {
      server.unref();
      resolve(server);
    });
  });
};
