import type { BackendDraft } from './backend-draft.js';
import {
  disconnect,
  frontendState,
  giveUp,
  isOnline,
  refuseState,
  switchTo,
  unregister,
  writeNodes,
} from './backend-draft.js';
import { blkbackFeatures, blockProperties, readBlockQueues } from './block.js';
import { backendOf, readNumber } from './device.js';
import { XENBUS } from './xenbus.js';

const isWritable = (draft: BackendDraft): boolean =>
  (draft.view.read(`${backendOf(draft.end.device)}/mode`) ?? '').includes('w');

/** Publishes the disk and says Connected, once the rings are mapped and the disk is open (`xen_update_blkif_status`, `connect`). */
export const connectDisk = (draft: BackendDraft): void => {
  const { disk, mapped, state, device } = draft.end;
  if (!mapped || disk === null || state === XENBUS.connected) return;
  const discardEnabled = (readNumber(draft.view, `${backendOf(device)}/discard-enable`) ?? 1) !== 0;
  writeNodes(draft, blockProperties(disk, { writable: isWritable(draft), discardEnabled }));
  switchTo(draft, XENBUS.connected);
};

const mapRings = (draft: BackendDraft): void => {
  if (!disconnect(draft)) {
    giveUp(draft, 'EBUSY', 'pending I/O');
    return;
  }
  const published = readBlockQueues(draft.view, draft.end.device, draft.end.cpus);
  if (!published.ok) {
    giveUp(draft, published.errno, published.what);
    return;
  }
  draft.end = { ...draft.end, queues: published.queues };
  draft.actions.push({ do: 'mapRings', queues: published.queues });
};

/** blkback finds a device: it says what it can do and waits in InitWait (`xen_blkbk_probe`). */
export const probeBlkback = (draft: BackendDraft): void => {
  writeNodes(draft, blkbackFeatures(draft.end.cpus));
  switchTo(draft, XENBUS.initWait);
};

const PHYSICAL_DEVICE = /^[0-9a-f]+:[0-9a-f]+$/;

/** The hot-plug script names the disk. The first look, when the watch is set, finds nothing and is no error (`backend_changed`). */
export const lookAtPhysicalDevice = (draft: BackendDraft): void => {
  const back = backendOf(draft.end.device);
  const name = draft.view.read(`${back}/physical-device`);
  // A change of the device behind a disk is not supported: Linux warns and goes on with the first.
  if (name === null || draft.end.disk !== null) return;
  if (!PHYSICAL_DEVICE.test(name)) {
    giveUp(draft, 'EINVAL', 'reading physical-device');
    return;
  }
  if (draft.view.read(`${back}/mode`) === null) {
    giveUp(draft, 'ENOENT', 'reading mode');
    return;
  }
  const disk = draft.view.openDisk(name, isWritable(draft));
  if (disk === null) {
    giveUp(draft, 'ENOENT', 'creating vbd structure');
    return;
  }
  draft.end = { ...draft.end, disk };
  connectDisk(draft);
};

/** drivers/block/xen-blkback/xenbus.c, `frontend_changed`. */
export const blkbackFrontendChanged = (draft: BackendDraft): void => {
  const front = frontendState(draft);
  switch (front) {
    case XENBUS.initialising:
      if (draft.end.state === XENBUS.closed) switchTo(draft, XENBUS.initWait);
      return;
    case XENBUS.initialised:
    case XENBUS.connected:
      // Two changes in close succession may be seen as one, so both values mean the same.
      if (draft.end.state !== XENBUS.connected) mapRings(draft);
      return;
    case XENBUS.closing: {
      switchTo(draft, XENBUS.closing);
      return;
    }
    case XENBUS.closed:
      disconnect(draft);
      switchTo(draft, XENBUS.closed);
      if (!isOnline(draft)) unregister(draft);
      return;
    case XENBUS.unknown: {
      unregister(draft);
      return;
    }
    default: {
      refuseState(draft, front);
      return;
    }
  }
};

/** qemu opens the image itself and needs no script (hw/block/xen-block.c). */
export const probeQdisk = (draft: BackendDraft): void => {
  const params = draft.view.read(`${backendOf(draft.end.device)}/params`) ?? '';
  const image = params.slice(params.indexOf(':') + 1);
  const disk = draft.view.openDisk(image, isWritable(draft));
  if (disk === null) {
    giveUp(draft, 'ENOENT', `failed to open ${image}`);
    return;
  }
  draft.end = { ...draft.end, disk };
  writeNodes(draft, blkbackFeatures(draft.end.cpus));
  switchTo(draft, XENBUS.initWait);
};

/** hw/block/xen-block.c, `xen_block_frontend_changed`, and hw/xen/xen-bus.c, `xen_device_frontend_changed`. */
export const qdiskFrontendChanged = (draft: BackendDraft): void => {
  const front = frontendState(draft);
  switch (front) {
    case XENBUS.initialised:
    case XENBUS.connected:
      if (draft.end.state !== XENBUS.connected) mapRings(draft);
      return;
    case XENBUS.closing: {
      switchTo(draft, XENBUS.closing);
      return;
    }
    case XENBUS.closed:
    case XENBUS.unknown:
      // qemu acts on a change alone: it has gone round already.
      if (front === XENBUS.closed && draft.end.state === XENBUS.initWait && isOnline(draft)) return;
      disconnect(draft);
      switchTo(draft, XENBUS.closed);
      // A device that is to stay goes round to InitWait at once, for the next driver of the guest.
      if (!isOnline(draft) || front === XENBUS.unknown) unregister(draft);
      else switchTo(draft, XENBUS.initWait);
      return;
    default:
      return;
  }
};

/** qemu also watches its own state: the toolstack's Closing ends a device that no guest uses (hw/xen/xen-bus.c, `xen_device_backend_changed`). */
export const qdiskOwnStateChanged = (draft: BackendDraft): void => {
  const own = readNumber(draft.view, `${backendOf(draft.end.device)}/state`);
  if (own !== XENBUS.closing) return;
  draft.end = { ...draft.end, state: XENBUS.closing, shown: XENBUS.closing };
  const front = frontendState(draft);
  if (front >= XENBUS.initWait && front <= XENBUS.closing) return;
  disconnect(draft);
  switchTo(draft, XENBUS.closed);
  if (!isOnline(draft)) unregister(draft);
};
