import type { StoreOperation, StoreView } from '../devices/index.js';
import type { Access, Answer, Permission, WatchEvent, Xenstore } from '../xenstore/index.js';
import { plan } from './agenda.js';
import type { Host } from './host-state.js';

/**
 * From the commit of a change to the moment in which a watcher acts on it, in microseconds. Assumption: a wake-up of xenstored and one of the watcher, each
 * some tens of microseconds on an idle machine.
 */
const WATCH_LATENCY_US = 100;

/** A watch whose events only its own paths matter to; the store tells of everything below. */
export const BACKENDS_TOKEN = 'backends';
/** Likewise the bus of front-ends in a guest (drivers/xen/xenbus/xenbus_probe_frontend.c). */
export const DEVICES_TOKEN = 'devices';

/** What of its watch an end of a device looks at: whether its directory still stands. */
const SELF = ' self';

/** `/local/domain/<domid>/device/<kind>/<devid>` and `/local/domain/<domid>/backend/<kind>/<domid>/<devid>`: the directories of devices. */
const DIRECTORY = /\/(?:device\/[^/]+\/\d+|backend\/[^/]+\/\d+\/\d+)$/;

/**
 * Watches tell of everything below their path, and most of it is news to nobody: the bus of back-ends looks at a directory only when its state appears, a
 * device's end only when its directory goes. Such events are not worth the trip.
 */
const isHeard = ({ token, path }: WatchEvent): boolean => {
  if (token === BACKENDS_TOKEN || token === DEVICES_TOKEN) return path.endsWith('/state');
  return !token.endsWith(SELF) || DIRECTORY.test(path);
};

/** Sends watch events on their way. */
export const deliver = (host: Host, events: readonly WatchEvent[]): void => {
  const dueUs = host.state.nowUs + (host.timing.timedDevices ? WATCH_LATENCY_US : 0);
  for (const event of events) if (isHeard(event)) plan(host.state.agenda, dueUs, { do: 'watch', ...event });
};

/** Reads the store with a domain's eyes. */
export const viewOf = (xenstore: Xenstore, domid: number): StoreView => ({
  read: (path) => {
    const found = xenstore.read(domid, path);
    return found.ok ? found.value : null;
  },
});

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));

const cleanUp = (host: Host, domid: number, path: string): void => {
  tell(host, host.xenstore.rm(domid, path));
  for (let parent = parentOf(path); parent !== ''; parent = parentOf(parent)) {
    const children = host.xenstore.directory(domid, parent);
    if (!children.ok || children.value.length > 0) return;
    tell(host, host.xenstore.rm(domid, parent));
  }
};

/** A permission in xenstore's words, such as `r5`. */
const permissionOf = (word: string): Permission => ({ access: word.charAt(0) as Access, domid: Number(word.slice(1)) });

const apply = (host: Host, domid: number, operation: StoreOperation): void => {
  switch (operation.op) {
    case 'write':
      tell(host, host.xenstore.write(domid, operation.path, operation.value));
      break;
    case 'mkdir':
      tell(host, host.xenstore.mkdir(domid, operation.path));
      break;
    case 'rm':
      tell(host, host.xenstore.rm(domid, operation.path));
      return;
    case 'cleanup':
      cleanUp(host, domid, operation.path);
      return;
  }
  if (operation.permissions === undefined) return;
  tell(host, host.xenstore.setPermissions(domid, operation.path, operation.permissions.map(permissionOf)));
};

/**
 * Carries out what a domain does in one transaction. Nobody else touches the store meanwhile, so that it would commit at the first attempt and the store needs
 * to keep no copies; a domain that may not do a part of it does the rest, as the drivers and libxl ignore such answers.
 */
export const transact = (host: Host, domid: number, operations: readonly StoreOperation[]): void => {
  for (const operation of operations) apply(host, domid, operation);
};

/** Sets a watch. Its first event is dropped: whoever sets one looks at once. */
export const watch = (host: Host, domid: number, path: string, token: string): void => {
  host.xenstore.watch(domid, path, token);
};

export const unwatch = (host: Host, domid: number, path: string, token: string): void => {
  host.xenstore.unwatch(domid, path, token);
};

/** Sends on what an operation of its own caused. */
export const tell = (host: Host, answer: Answer): void => deliver(host, answer.events);
