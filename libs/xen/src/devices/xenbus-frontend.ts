import type { Errno } from '../outcome.js';
import { blkfrontNodes, blkfrontRings } from './block.js';
import type { Device, Nodes, StoreOperation, StoreView } from './device.js';
import { backendOf, errorPathOf, frontendOf, readNumber } from './device.js';
import { netfrontNodes, netfrontRings } from './network.js';
import type { EndWatch, FrontendWake, Queue, XenbusAction, XenbusState, XenbusStep } from './xenbus.js';
import { errorText, stateAt, XENBUS } from './xenbus.js';

export type FrontendDriver = 'blkfront' | 'netfront';

/** The guest's end of a device, as its driver knows it. JSON. */
export interface FrontendEnd {
  readonly driver: FrontendDriver;
  readonly device: Device;
  readonly vcpus: number;
  /** What the driver last switched to; the node of the store is its copy. */
  readonly state: XenbusState;
  readonly queues: readonly Queue[];
  readonly asking: boolean;
  /** The driver was asked to let go and waits for the back-end. */
  readonly leaving: boolean;
  readonly registered: boolean;
  /** It took up a device again that its back-end still has Closed. */
  readonly reopening: boolean;
  /** Size of a connected disk in sectors of 512 bytes. */
  readonly sectors: number | null;
}

/** The end before its driver found the device. */
export const createFrontend = (driver: FrontendDriver, device: Device, vcpus: number): FrontendEnd => ({
  driver,
  device,
  vcpus,
  state: XENBUS.initialising,
  queues: [],
  asking: false,
  leaving: false,
  registered: false,
  reopening: false,
  sectors: null,
});

/** What the driver watches while it is registered: the other end's state, and whether its own directory still stands. */
export const frontendWatches = (end: FrontendEnd): readonly EndWatch[] => [
  { path: `${backendOf(end.device)}/state`, token: 'otherEnd' },
  { path: frontendOf(end.device), token: 'self' },
];

/** Neither connected nor closed. Whoever keeps time wakes it by `retry` after `XENBUS_RETRY_US`, and any end whose watch was lost. */
export const isFrontendWaiting = (end: FrontendEnd): boolean =>
  end.registered && end.state !== XENBUS.connected && (end.state !== XENBUS.closed || end.leaving);

/** A step in the making. */
interface Draft {
  end: FrontendEnd;
  readonly view: StoreView;
  readonly actions: XenbusAction[];
}

const transact = (draft: Draft, operations: readonly StoreOperation[]): void => {
  draft.actions.push({ do: 'transaction', operations });
};

/** Linux `xenbus_switch_state`: nothing where the state is reached, and no node where the toolstack took it away. */
const switchTo = (draft: Draft, state: XenbusState): void => {
  if (draft.end.state === state) return;
  draft.end = { ...draft.end, state };
  const path = `${frontendOf(draft.end.device)}/state`;
  if (draft.view.read(path) !== null) transact(draft, [{ op: 'write', path, value: String(state) }]);
};

/** Linux `xenbus_dev_fatal`: the words go to the error node, then the end closes. */
const giveUp = (draft: Draft, errno: Errno, what: string): void => {
  transact(draft, [{ op: 'write', path: errorPathOf(draft.end.device, 'frontend'), value: errorText(errno, what) }]);
  switchTo(draft, XENBUS.closing);
};

const freeRings = (draft: Draft): void => {
  if (draft.end.queues.length > 0) draft.actions.push({ do: 'freeRings', queues: draft.end.queues });
  draft.end = { ...draft.end, queues: [], asking: false, sectors: null };
};

const close = (draft: Draft): void => {
  freeRings(draft);
  switchTo(draft, XENBUS.closed);
};

const unregister = (draft: Draft): void => {
  close(draft);
  draft.end = { ...draft.end, registered: false, leaving: false };
  draft.actions.push({ do: 'unregister' });
};

const askForRings = (draft: Draft): void => {
  if (draft.end.asking) return;
  freeRings(draft);
  const { driver, device, vcpus } = draft.end;
  draft.end = { ...draft.end, asking: true };
  const request =
    driver === 'blkfront' ? blkfrontRings(draft.view, device, vcpus) : netfrontRings(draft.view, device, vcpus);
  draft.actions.push({ do: 'allocateRings', request });
};

/** drivers/block/xen-blkfront.c, `blkfront_connect`: what the back-end published of its disk. */
const connectDisk = (draft: Draft): void => {
  const back = backendOf(draft.end.device);
  const sectors = readNumber(draft.view, `${back}/sectors`);
  if (draft.end.state === XENBUS.connected) {
    // The back-end may say Connected again to tell that the disk has another size.
    if (sectors !== null) draft.end = { ...draft.end, sectors };
    return;
  }
  const known = [`${back}/info`, `${back}/sector-size`].every((path) => readNumber(draft.view, path) !== null);
  if (sectors === null || !known) {
    giveUp(draft, 'ENOENT', `reading backend fields at ${back}`);
    return;
  }
  draft.end = { ...draft.end, sectors };
  switchTo(draft, XENBUS.connected);
};

/** drivers/block/xen-blkfront.c, `blkback_changed`. */
const blkbackChanged = (draft: Draft, other: number): void => {
  const { state } = draft.end;
  if (other === XENBUS.initWait && state === XENBUS.initialising) {
    askForRings(draft);
    return;
  }
  if (other === XENBUS.connected) {
    // A front-end that missed InitWait catches up; one that closed the device does not take it up again.
    if (state === XENBUS.initialising) {
      askForRings(draft);
      return;
    }
    if (state === XENBUS.initialised || state === XENBUS.connected) {
      connectDisk(draft);
      return;
    }
  }
  if (other === XENBUS.closing && state !== XENBUS.closing) {
    close(draft);
    return;
  }
  if (other === XENBUS.closed && state !== XENBUS.closed) {
    close(draft);
    return;
  }
};

/** drivers/net/xen-netfront.c, `netback_changed`. */
const netbackChanged = (draft: Draft, other: number): void => {
  if (other === XENBUS.initWait && draft.end.state === XENBUS.initialising) {
    if (readNumber(draft.view, `${backendOf(draft.end.device)}/feature-rx-copy`) === 1) {
      askForRings(draft);
      return;
    }
    giveUp(draft, 'ENODEV', 'backend does not support copying receive path');
    return;
  }
  if (other === XENBUS.closing || other === XENBUS.closed) close(draft);
};

/** drivers/net/xen-netfront.c, `xennet_bus_close`: Closed only after the back-end has seen Closing. blkfront does not wait. */
const leave = (draft: Draft, other: number): void => {
  const heard = other === XENBUS.closing || other === XENBUS.closed || other === XENBUS.unknown;
  if (draft.end.driver === 'blkfront' || heard) {
    unregister(draft);
    return;
  }
  switchTo(draft, XENBUS.closing);
};

const lookAtOtherEnd = (draft: Draft): void => {
  if (!draft.end.registered) return;
  const other = stateAt(draft.view, backendOf(draft.end.device));
  // netfront's probe waits for the back-end to leave Closed; else the last closing would close the device anew.
  if (draft.end.reopening && other === XENBUS.closed && !draft.end.leaving) return;
  draft.end = { ...draft.end, reopening: false };
  if (draft.end.leaving) {
    leave(draft, other);
    return;
  }
  if (draft.end.driver === 'blkfront') blkbackChanged(draft, other);
  else netbackChanged(draft, other);
};

/** The toolstack removes the directory of a device that it took away by force. */
const lookAtSelf = (draft: Draft): void => {
  if (draft.end.registered && draft.view.read(`${frontendOf(draft.end.device)}/state`) === null) unregister(draft);
};

const retry = (draft: Draft): void => {
  lookAtSelf(draft);
  lookAtOtherEnd(draft);
  // Linux's blkfront stays in Closing when both ends are in it; the second look ends that.
  if (draft.end.registered && !draft.end.leaving && draft.end.state === XENBUS.closing) close(draft);
};

const publish = (draft: Draft, queues: readonly Queue[]): void => {
  draft.end = { ...draft.end, queues, asking: false };
  if (!draft.end.registered || draft.end.leaving || draft.end.state !== XENBUS.initialising) {
    freeRings(draft);
    return;
  }
  const { device, driver } = draft.end;
  const offered = draft.view.read(`${backendOf(device)}/multi-queue-max-queues`) !== null;
  const nodes: Nodes = driver === 'blkfront' ? blkfrontNodes(queues) : netfrontNodes(queues, offered);
  transact(
    draft,
    nodes.map(([name, value]) => ({ op: 'write', path: `${frontendOf(device)}/${name}`, value })),
  );
  switchTo(draft, driver === 'blkfront' ? XENBUS.initialised : XENBUS.connected);
  lookAtOtherEnd(draft);
};

const reopen = (draft: Draft): void => {
  if (draft.end.state !== XENBUS.closed) return;
  draft.end = { ...draft.end, registered: true, leaving: false, reopening: true };
  switchTo(draft, XENBUS.initialising);
  lookAtOtherEnd(draft);
};

/** Linux `xenbus_dev_resume`: blkfront shares new rings at once, netfront waits for the new back-end's InitWait. */
const resume = (draft: Draft, device: Device): void => {
  draft.end = { ...createFrontend(draft.end.driver, device, draft.end.vcpus), registered: true };
  if (draft.end.driver === 'blkfront') askForRings(draft);
  else lookAtOtherEnd(draft);
};

/**
 * What the guest's driver does when it is woken: a pure function. Errors become the error node and Closing, as in Linux.
 *
 * Source: drivers/block/xen-blkfront.c and drivers/net/xen-netfront.c of Linux, include/xen/interface/io/blkif.h's state diagrams.
 */
export const frontendStep = (end: FrontendEnd, wake: FrontendWake, view: StoreView): XenbusStep<FrontendEnd> => {
  const draft: Draft = { end, view, actions: [] };
  switch (wake.why) {
    case 'probe':
      draft.end = { ...end, registered: true };
      lookAtOtherEnd(draft);
      break;
    case 'watch':
      if (wake.token === 'self') lookAtSelf(draft);
      else lookAtOtherEnd(draft);
      break;
    case 'retry':
      retry(draft);
      break;
    case 'close':
      draft.end = { ...end, leaving: end.registered };
      lookAtOtherEnd(draft);
      break;
    case 'reopen':
      reopen(draft);
      break;
    case 'resume':
      resume(draft, wake.device);
      break;
    case 'ringsAllocated':
      publish(draft, wake.queues);
      break;
    case 'allocationFailed':
      draft.end = { ...end, asking: false };
      giveUp(draft, wake.errno, 'allocating ring');
      break;
  }
  return { end: draft.end, actions: draft.actions };
};
