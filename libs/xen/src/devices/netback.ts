import type { BackendDraft } from './backend-draft.js';
import {
  frontendState,
  giveUp,
  isOnline,
  refuseState,
  show,
  transact,
  unmap,
  unregister,
  writeNodes,
} from './backend-draft.js';
import { backendOf, readNumber } from './device.js';
import { netbackFeatures, readNetworkQueues } from './network.js';
import type { XenbusState } from './xenbus.js';
import { XENBUS } from './xenbus.js';

/** netback's own switch: the store hears of it when no script is awaited (drivers/net/xen-netback/xenbus.c, `backend_switch_state`). */
const switchState = (draft: BackendDraft, state: XenbusState): void => {
  draft.end = { ...draft.end, state };
  if (!draft.end.awaitsHotplug) show(draft, state);
};

const mapRings = (draft: BackendDraft): void => {
  const published = readNetworkQueues(draft.view, draft.end.device, draft.end.cpus);
  if (!published.ok) {
    giveUp(draft, published.errno, published.what);
    return;
  }
  draft.end = { ...draft.end, queues: published.queues };
  draft.actions.push({ do: 'mapRings', queues: published.queues });
};

/** A state that `frontend_changed` may want. */
type Wanted = typeof XENBUS.initWait | typeof XENBUS.connected | typeof XENBUS.closing | typeof XENBUS.closed;

/** One step on the shortest legal way to the wanted state. */
const stepTowards = (draft: BackendDraft, wanted: Wanted): void => {
  switch (draft.end.state) {
    case XENBUS.initialising: {
      switchState(draft, wanted === XENBUS.closed ? XENBUS.closed : XENBUS.initWait);
      return;
    }
    case XENBUS.closed: {
      switchState(draft, wanted === XENBUS.closing ? XENBUS.closing : XENBUS.initWait);
      return;
    }
    case XENBUS.initWait: {
      switchState(draft, XENBUS.closing);
      return;
    }
    case XENBUS.connected:
      unmap(draft);
      {
        switchState(draft, XENBUS.closing);
        return;
      }
    case XENBUS.closing:
    case XENBUS.unknown:
    case XENBUS.initialised:
    case XENBUS.reconfiguring:
    case XENBUS.reconfigured: {
      // netback is never in the last four.
      switchState(draft, XENBUS.closed);
      return;
    }
  }
};

/** `set_backend_state`. The way to Connected stops in InitWait until the rings are mapped: `netbackMapped` makes the last step. */
const setState = (draft: BackendDraft, wanted: Wanted): void => {
  while (draft.end.state !== wanted) {
    if (wanted === XENBUS.connected && draft.end.state === XENBUS.initWait) {
      mapRings(draft);
      return;
    }
    stepTowards(draft, wanted);
  }
};

/** netback finds a device and makes its interface, which starts the script where udev does that (`netback_probe`). */
export const probeNetback = (draft: BackendDraft): void => {
  const back = backendOf(draft.end.device);
  writeNodes(draft, netbackFeatures(draft.end.cpus));
  if (draft.view.read(`${back}/script`) === null) {
    giveUp(draft, 'ENOENT', 'reading script');
    return;
  }
  if (readNumber(draft.view, `${back}/handle`) === null) giveUp(draft, 'ENOENT', 'reading handle');
};

/** The script said `connected`: what was held back is shown (`hotplug_status_changed`). */
export const lookAtHotplugStatus = (draft: BackendDraft): void => {
  if (!draft.end.awaitsHotplug) return;
  if (draft.view.read(`${backendOf(draft.end.device)}/hotplug-status`) !== 'connected') return;
  draft.end = { ...draft.end, awaitsHotplug: false };
  show(draft, draft.end.state);
};

/** The rings are mapped: carrier on, and Connected as soon as the script allows it (`connect`). */
export const netbackMapped = (draft: BackendDraft): void => {
  const status = draft.view.read(`${backendOf(draft.end.device)}/hotplug-status`);
  draft.end = { ...draft.end, awaitsHotplug: status !== null && status !== 'connected' };
  switchState(draft, XENBUS.connected);
};

const forget = (draft: BackendDraft): void => {
  unregister(draft);
  transact(draft, [{ op: 'rm', path: `${backendOf(draft.end.device)}/hotplug-status` }]);
};

/** drivers/net/xen-netback/xenbus.c, `frontend_changed`. */
export const netbackFrontendChanged = (draft: BackendDraft): void => {
  const front = frontendState(draft);
  switch (front) {
    case XENBUS.initialising: {
      setState(draft, XENBUS.initWait);
      return;
    }
    case XENBUS.initialised:
      return;
    case XENBUS.connected: {
      setState(draft, XENBUS.connected);
      return;
    }
    case XENBUS.closing: {
      setState(draft, XENBUS.closing);
      return;
    }
    case XENBUS.closed:
      setState(draft, XENBUS.closed);
      if (!isOnline(draft)) forget(draft);
      return;
    case XENBUS.unknown: {
      forget(draft);
      return;
    }
    default: {
      refuseState(draft, front);
      return;
    }
  }
};
