import type { BackendDraft, BackendDriver, BackendEnd, BackendView } from './backend-draft.js';
import { giveUp, unmap } from './backend-draft.js';
import {
  blkbackFrontendChanged,
  connectDisk,
  lookAtPhysicalDevice,
  probeBlkback,
  probeQdisk,
  qdiskFrontendChanged,
  qdiskOwnStateChanged,
} from './blkback.js';
import type { Device } from './device.js';
import { backendOf, frontendOf } from './device.js';
import { lookAtHotplugStatus, netbackFrontendChanged, netbackMapped, probeNetback } from './netback.js';
import type { BackendWake, EndWatch, WatchToken, XenbusStep } from './xenbus.js';
import { XENBUS } from './xenbus.js';

export type { BackendDriver, BackendEnd, BackendView } from './backend-draft.js';

/** The end before its driver found the device. */
export const createBackend = (driver: BackendDriver, device: Device, cpus: number): BackendEnd => ({
  driver,
  device,
  cpus,
  state: XENBUS.initialising,
  shown: XENBUS.initialising,
  queues: [],
  mapped: false,
  disk: null,
  awaitsHotplug: false,
  registered: false,
});

const OWN_WATCH: Readonly<Record<BackendDriver, readonly [node: string, token: WatchToken]>> = {
  blkback: ['physical-device', 'physicalDevice'],
  netback: ['hotplug-status', 'hotplugStatus'],
  qdisk: ['state', 'ownState'],
};

/** What the driver watches while it is registered: the front-end's state, a node of its own, and whether its directory still stands. */
export const backendWatches = (end: BackendEnd): readonly EndWatch[] => {
  const [node, token] = OWN_WATCH[end.driver];
  const back = backendOf(end.device);
  return [
    { path: `${frontendOf(end.device)}/state`, token: 'otherEnd' },
    { path: `${back}/${node}`, token },
    { path: back, token: 'self' },
  ];
};

/** Neither connected nor closed, or holding its state back. Whoever keeps time wakes it by `retry` after `XENBUS_RETRY_US`. */
export const isBackendWaiting = (end: BackendEnd): boolean =>
  end.registered && ((end.shown !== XENBUS.connected && end.shown !== XENBUS.closed) || end.awaitsHotplug);

const lookAtFrontend = (draft: BackendDraft): void => {
  if (!draft.end.registered) return;
  switch (draft.end.driver) {
    case 'blkback': {
      blkbackFrontendChanged(draft);
      return;
    }
    case 'netback': {
      netbackFrontendChanged(draft);
      return;
    }
    case 'qdisk': {
      qdiskFrontendChanged(draft);
      return;
    }
  }
};

const lookAtOwnNode = (draft: BackendDraft): void => {
  if (!draft.end.registered) return;
  switch (draft.end.driver) {
    case 'blkback': {
      lookAtPhysicalDevice(draft);
      return;
    }
    case 'netback': {
      lookAtHotplugStatus(draft);
      return;
    }
    case 'qdisk': {
      qdiskOwnStateChanged(draft);
      return;
    }
  }
};

/** The toolstack removed the directory: the device goes, and there is no node left to say so. */
const lookAtSelf = (draft: BackendDraft): void => {
  if (!draft.end.registered || draft.view.read(`${backendOf(draft.end.device)}/state`) !== null) return;
  unmap(draft);
  draft.end = { ...draft.end, state: XENBUS.closed, shown: XENBUS.closed, awaitsHotplug: false, registered: false };
  draft.actions.push({ do: 'unregister' });
};

const probe = (draft: BackendDraft): void => {
  draft.end = { ...draft.end, registered: true };
  switch (draft.end.driver) {
    case 'blkback':
      probeBlkback(draft);
      break;
    case 'netback':
      probeNetback(draft);
      break;
    case 'qdisk':
      probeQdisk(draft);
      break;
  }
  // A watch fires once when it is set. A device that was given up is not looked at again.
  if (draft.end.state !== XENBUS.closing) {
    lookAtOwnNode(draft);
    lookAtFrontend(draft);
  }
};

const retry = (draft: BackendDraft): void => {
  lookAtSelf(draft);
  lookAtOwnNode(draft);
  lookAtFrontend(draft);
};

const ringsMapped = (draft: BackendDraft): void => {
  draft.end = { ...draft.end, mapped: true };
  if (draft.end.driver === 'netback') {
    netbackMapped(draft);
    return;
  }
  connectDisk(draft);
};

/**
 * What the serving domain's driver does when it is woken: a pure function. Errors become the error node and Closing, as in Linux.
 *
 * Source: drivers/block/xen-blkback/xenbus.c and drivers/net/xen-netback/xenbus.c of Linux, hw/block/xen-block.c of QEMU.
 */
export const backendStep = (end: BackendEnd, wake: BackendWake, view: BackendView): XenbusStep<BackendEnd> => {
  const draft: BackendDraft = { end, view, actions: [] };
  switch (wake.why) {
    case 'probe':
      probe(draft);
      break;
    case 'watch':
      if (wake.token === 'self') lookAtSelf(draft);
      else if (wake.token === 'otherEnd') lookAtFrontend(draft);
      else lookAtOwnNode(draft);
      break;
    case 'retry':
      retry(draft);
      break;
    case 'ringsMapped':
      ringsMapped(draft);
      break;
    case 'mappingFailed':
      draft.end = { ...end, queues: [], mapped: false };
      giveUp(draft, wake.errno, 'mapping ring-ref');
      break;
  }
  return { end: draft.end, actions: draft.actions };
};
