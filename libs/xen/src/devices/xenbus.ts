import type { Errno } from '../outcome.js';
import type { Device, StoreOperation, StoreView } from './device.js';

/** States of an end (xen/include/public/io/xenbus.h). */
export const XENBUS = {
  unknown: 0,
  initialising: 1,
  initWait: 2,
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
  reconfiguring: 7,
  reconfigured: 8,
} as const;
export type XenbusState = (typeof XENBUS)[keyof typeof XENBUS];

/** What one queue shares: the grant references of each ring's pages, and its event channels. */
export interface Queue {
  /** blkif: one ring; netif: transmit, then receive. */
  readonly rings: readonly (readonly number[])[];
  /** One for all of it, or one for transmit and one for receive. */
  readonly ports: readonly number[];
}

/** What a front-end wants to share. */
export interface RingRequest {
  readonly queues: number;
  readonly ringsPerQueue: number;
  readonly pagesPerRing: number;
  readonly portsPerQueue: number;
}

/** What an end wants done, in order. */
export type XenbusAction =
  /** One transaction; whoever carries it out tries again on EAGAIN, as both Linux and libxl do. */
  | { readonly do: 'transaction'; readonly operations: readonly StoreOperation[] }
  /** Grant pages to the back-end's domain and allocate unbound ports for it; answer at once by `ringsAllocated` or `allocationFailed`. */
  | { readonly do: 'allocateRings'; readonly request: RingRequest }
  /** End the grants and close the ports. */
  | { readonly do: 'freeRings'; readonly queues: readonly Queue[] }
  /** Map the front-end's pages and bind its ports; answer at once by `ringsMapped` or `mappingFailed`. */
  | { readonly do: 'mapRings'; readonly queues: readonly Queue[] }
  | { readonly do: 'unmapRings'; readonly queues: readonly Queue[] }
  /** The driver lets the device go: watches end, and the end is forgotten. */
  | { readonly do: 'unregister' };

/** Why a watch was set; its token. */
export type WatchToken = 'otherEnd' | 'self' | 'physicalDevice' | 'hotplugStatus' | 'ownState';

export interface EndWatch {
  readonly path: string;
  readonly token: WatchToken;
}

interface Woken {
  /** A driver is there and finds the device. */
  readonly why: 'probe';
}
export type FrontendWake =
  | Woken
  | { readonly why: 'watch'; readonly token: WatchToken }
  /** The end looks again at all that it waits for. */
  | { readonly why: 'retry' }
  /** The driver is unbound or unloaded. */
  | { readonly why: 'close' }
  /** A driver takes up a closed device again. */
  | { readonly why: 'reopen' }
  /** The guest was resumed on another host or from a file; its device may have moved to other paths. */
  | { readonly why: 'resume'; readonly device: Device }
  | { readonly why: 'ringsAllocated'; readonly queues: readonly Queue[] }
  | { readonly why: 'allocationFailed'; readonly errno: Errno };

export type BackendWake =
  | Woken
  | { readonly why: 'watch'; readonly token: WatchToken }
  | { readonly why: 'retry' }
  | { readonly why: 'ringsMapped' }
  | { readonly why: 'mappingFailed'; readonly errno: Errno };

export interface XenbusStep<End> {
  readonly end: End;
  readonly actions: readonly XenbusAction[];
}

/**
 * How long an end that is neither connected nor closed waits before it looks again, in microseconds. Assumption: Linux looks only when a
 * watch fires, and a lost one hangs the device until its guest is rebooted; the interval is libxl's time for a device to come up, so that a
 * lost watch shows as a device that is late by as much.
 */
export const XENBUS_RETRY_US = 10_000_000;

/** The state that a directory's `state` node names; Unknown where there is none (Linux `xenbus_read_driver_state`). */
export const stateAt = (view: StoreView, directory: string): number => {
  const text = view.read(`${directory}/state`);
  return text === null || !/^\d+$/.test(text) ? XENBUS.unknown : Number(text);
};

/** Linux's numbers of the errors that drivers write into their error node (include/uapi/asm-generic/errno-base.h). */
const LINUX_ERRNO: Readonly<Partial<Record<Errno, number>>> = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  ENOSYS: 38,
};

/** What `xenbus_dev_error` writes: the error's number and what failed. */
export const errorText = (errno: Errno, what: string): string => `${LINUX_ERRNO[errno] ?? 5} ${what}`;
