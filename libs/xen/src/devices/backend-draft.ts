import type { Errno } from '../outcome.js';
import type { PhysicalDisk } from './block.js';
import type { Device, Nodes, StoreOperation, StoreView } from './device.js';
import { backendOf, errorPathOf, frontendOf } from './device.js';
import type { Queue, XenbusAction, XenbusState } from './xenbus.js';
import { errorText, stateAt, XENBUS } from './xenbus.js';

export type BackendDriver = 'blkback' | 'netback' | 'qdisk';

/** The serving domain's end of a device, as its driver knows it. JSON. */
export interface BackendEnd {
  readonly driver: BackendDriver;
  readonly device: Device;
  /** Of the serving domain: how many queues it offers. */
  readonly cpus: number;
  readonly state: XenbusState;
  /** What the store was told last. netback holds its state back until the hot-plug script is done; the others never differ. */
  readonly shown: XenbusState;
  readonly queues: readonly Queue[];
  readonly mapped: boolean;
  readonly disk: PhysicalDisk | null;
  /** netback: a script that has not said `connected`. */
  readonly awaitsHotplug: boolean;
  readonly registered: boolean;
}

/** What a back-end sees beside the store. */
export interface BackendView extends StoreView {
  /** Opens what `physical-device` (`major:minor` in hexadecimal) or, for qemu, `params` names; null: it can't be opened. */
  openDisk(name: string, writable: boolean): PhysicalDisk | null;
  /** Requests of this device that were taken from its rings and not answered. */
  readonly inFlight: number;
}

/** A step of a back-end in the making. */
export interface BackendDraft {
  end: BackendEnd;
  readonly view: BackendView;
  readonly actions: XenbusAction[];
}

export const transact = (draft: BackendDraft, operations: readonly StoreOperation[]): void => {
  if (operations.length > 0) draft.actions.push({ do: 'transaction', operations });
};

export const writeNodes = (draft: BackendDraft, nodes: Nodes): void => {
  const back = backendOf(draft.end.device);
  transact(
    draft,
    nodes.map(([name, value]) => ({ op: 'write', path: `${back}/${name}`, value })),
  );
};

/** Linux `xenbus_switch_state`: nothing where the state is reached, and no node where the toolstack took it away. */
export const show = (draft: BackendDraft, state: XenbusState): void => {
  if (draft.end.shown === state) return;
  draft.end = { ...draft.end, shown: state };
  const path = `${backendOf(draft.end.device)}/state`;
  if (draft.view.read(path) !== null) transact(draft, [{ op: 'write', path, value: String(state) }]);
};

export const switchTo = (draft: BackendDraft, state: XenbusState): void => {
  draft.end = { ...draft.end, state };
  show(draft, state);
};

/** Linux `xenbus_dev_fatal`: the words go to the error node, then the end closes. */
export const giveUp = (draft: BackendDraft, errno: Errno, what: string): void => {
  transact(draft, [{ op: 'write', path: errorPathOf(draft.end.device, 'backend'), value: errorText(errno, what) }]);
  switchTo(draft, XENBUS.closing);
};

/** A front-end in a state that no driver has there: the device is given up. */
export const refuseState = (draft: BackendDraft, state: number): void => {
  giveUp(draft, 'EINVAL', `saw state ${state} at frontend`);
};

/** Ends the sharing of rings, whatever is in flight. Idempotent. */
export const unmap = (draft: BackendDraft): void => {
  if (draft.end.mapped) draft.actions.push({ do: 'unmapRings', queues: draft.end.queues });
  draft.end = { ...draft.end, queues: [], mapped: false };
};

/** The same, but not while requests are in flight; false: the rings stay (Linux `xen_blkif_disconnect`, EBUSY). */
export const disconnect = (draft: BackendDraft): boolean => {
  if (draft.end.mapped && draft.view.inFlight > 0) return false;
  unmap(draft);
  return true;
};

export const frontendState = (draft: BackendDraft): number => stateAt(draft.view, frontendOf(draft.end.device));

/** The toolstack wants the device to stay when its front-end closes it, so that a guest may take it up again. */
export const isOnline = (draft: BackendDraft): boolean =>
  draft.view.read(`${backendOf(draft.end.device)}/online`) === '1';

/** Linux `device_unregister`: whatever is in flight is waited for, then the device is closed and forgotten. */
export const unregister = (draft: BackendDraft): void => {
  unmap(draft);
  draft.end = { ...draft.end, disk: null, awaitsHotplug: false };
  switchTo(draft, XENBUS.closed);
  draft.end = { ...draft.end, registered: false };
  draft.actions.push({ do: 'unregister' });
};
