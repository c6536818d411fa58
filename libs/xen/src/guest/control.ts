import { needsOf, type GuestKind } from './guest-kind.js';

/** What a toolstack may write to `control/shutdown` (docs/misc/xenstore-paths.pandoc). */
export const SHUTDOWN_REQUESTS = ['poweroff', 'halt', 'reboot', 'suspend'] as const;
export type ShutdownRequest = (typeof SHUTDOWN_REQUESTS)[number];

export const isShutdownRequest = (value: string): value is ShutdownRequest =>
  SHUTDOWN_REQUESTS.some((known) => known === value);

/** A guest as its control nodes see it. */
export interface ControlledGuest {
  readonly kind: GuestKind;
  /** It has a driver for its control nodes but does nothing with what it reads there. */
  readonly ignoresRequests: boolean;
  /** When its kernel was up, so that the driver listens; null: it still boots. */
  readonly upSinceUs: number | null;
  readonly paused: boolean;
}

/** A plain HVM guest has no driver that reads xenstore. */
const listens = (guest: ControlledGuest): boolean => needsOf(guest.kind).ioPath === 'ring';

/**
 * Nodes under the domain's home that a guest writes when its driver starts (Linux drivers/xen/manage.c, `setup_shutdown_watcher`): names of what it can obey.
 * In the order in which it writes them.
 */
export const controlFeatures = (kind: GuestKind): readonly (readonly [path: string, value: string])[] =>
  needsOf(kind).ioPath === 'ring'
    ? [
        ['control/feature-poweroff', '1'],
        ['control/feature-reboot', '1'],
        ['control/feature-suspend', '1'],
      ]
    : [];

/** From the watch event to the guest's acknowledgement. Assumption: a wake-up and a xenstore transaction. */
export const ACKNOWLEDGE_US = 2_000;
/** A suspend takes the guest this long after it acknowledged: it freezes its processes and disconnects its devices. Assumption. */
export const SUSPEND_US = 20_000;

export interface ControlAnswer {
  /** When the guest writes "" to `control/shutdown`: it has taken the request. */
  readonly acknowledgedUs: number;
  /** When its SCHEDOP_shutdown reaches Xen. */
  readonly shutdownUs: number;
  readonly reason: 'poweroff' | 'reboot' | 'suspend';
}

/**
 * What a guest does with a request; null: nothing (yet). `shutdownTakesUs`: how long its services take to stop. A guest that boots or is paused reads the node when it
 * can: ask again then.
 */
export const answerRequest = (
  guest: ControlledGuest,
  request: ShutdownRequest,
  times: { readonly nowUs: number; readonly shutdownTakesUs: number },
): ControlAnswer | null => {
  if (!listens(guest) || guest.ignoresRequests || guest.paused || guest.upSinceUs === null) return null;
  const acknowledgedUs = Math.max(times.nowUs, guest.upSinceUs) + ACKNOWLEDGE_US;
  switch (request) {
    case 'poweroff':
    case 'halt':
      return { acknowledgedUs, shutdownUs: acknowledgedUs + times.shutdownTakesUs, reason: 'poweroff' };
    case 'reboot':
      return { acknowledgedUs, shutdownUs: acknowledgedUs + times.shutdownTakesUs, reason: 'reboot' };
    case 'suspend':
      return { acknowledgedUs, shutdownUs: acknowledgedUs + SUSPEND_US, reason: 'suspend' };
  }
};
