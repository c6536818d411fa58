import { backendPath, consolePath, domainPath, frontendPath, libxlDevicePath } from '../xenstore/paths.js';
import type { BackendKind, FrontendKind } from '../xenstore/paths.js';

/** A split device: who has its front-end, who serves it, and its number. */
export interface Device {
  readonly kind: FrontendKind;
  readonly domid: number;
  readonly devid: number;
  readonly backendKind: BackendKind;
  readonly backendDomid: number;
}

/** The domain that the toolstack runs in (`LIBXL_TOOLSTACK_DOMID`). */
export const TOOLSTACK_DOMID = 0;

/** Back-ends that qemu-dm serves: no hot-plug script runs for them (`QEMU_BACKEND` of libxl_internal.h). */
export const servedByQemu = (device: Device): boolean =>
  device.backendKind === 'qdisk' ||
  device.backendKind === 'vfb' ||
  device.backendKind === 'vkbd' ||
  device.backendKind === 'qusb';

/** One change of the store. `permissions` are xenstore's words, such as `n5` (owner, nobody else) and `r0`. */
export type StoreOperation =
  | { readonly op: 'write'; readonly path: string; readonly value: string; readonly permissions?: readonly string[] }
  | { readonly op: 'mkdir'; readonly path: string; readonly permissions: readonly string[] }
  | { readonly op: 'rm'; readonly path: string }
  /** Remove the path, then each directory above it that has become empty (`libxl__xs_path_cleanup`). */
  | { readonly op: 'cleanup'; readonly path: string };

/** Reads a node as its asker sees it now; null: there is none. */
export interface StoreView {
  read(path: string): string | null;
}

/** Pairs of a node's name below its directory and its value, in the order in which they are written. */
export type Nodes = readonly (readonly [name: string, value: string])[];

/** The front-end's directory (tools/libs/light/libxl_device.c, `libxl__device_frontend_path`). */
export const frontendOf = (device: Device): string =>
  device.kind === 'console'
    ? consolePath(device.domid, device.devid)
    : frontendPath(device.domid, device.kind, device.devid);

/** The back-end's directory (tools/libs/light/libxl_device.c, `libxl__device_backend_path`). */
export const backendOf = (device: Device): string =>
  backendPath({
    backend: device.backendDomid,
    kind: device.backendKind,
    frontend: device.domid,
    devid: device.devid,
  });

/** The toolstack's own copy, which neither end can write (`libxl__device_libxl_path`). */
export const toolstackCopyOf = (device: Device): string => libxlDevicePath(device.domid, device.kind, device.devid);

/** Where Linux's `xenbus_dev_error` leaves its words: below `error` in the home of the end that failed. */
export const errorPathOf = (device: Device, end: 'frontend' | 'backend'): string => {
  const home = domainPath(end === 'frontend' ? device.domid : device.backendDomid);
  const directory = end === 'frontend' ? frontendOf(device) : backendOf(device);
  return `${home}/error${directory.slice(home.length)}/error`;
};

/** Reads a whole number; null where there is no node or no number. */
export const readNumber = (view: StoreView, path: string): number | null => {
  const text = view.read(path);
  if (text === null || !/^\d+$/.test(text)) return null;
  return Number(text);
};

/** What the toolstack writes for a device beside the two links between its ends. */
export interface DeviceNodes {
  readonly frontend: Nodes;
  /** The guest may read these and not write them. */
  readonly readOnlyFrontend: Nodes;
  readonly backend: Nodes;
}

const writes = (directory: string, nodes: Nodes, permissions?: readonly string[]): StoreOperation[] =>
  nodes.map(([name, value]) =>
    permissions === undefined
      ? { op: 'write', path: `${directory}/${name}`, value }
      : { op: 'write', path: `${directory}/${name}`, value, permissions },
  );

/**
 * The transaction by which libxl makes a device: both ends in Initialising, linked with each other, and the toolstack's copy of what the
 * back-end was told (tools/libs/light/libxl_device.c, `libxl__device_generic_add`; order and permissions are its own).
 */
export const addDeviceOperations = (device: Device, nodes: DeviceNodes): readonly StoreOperation[] => {
  const [front, back, own] = [frontendOf(device), backendOf(device), toolstackCopyOf(device)];
  const guestWrites = [`n${device.domid}`, `r${device.backendDomid}`];
  const guestReads = [`n${device.backendDomid}`, `r${device.domid}`];
  // The directory of console 0 also held the VNC port, which the guest must not change.
  const directory = device.kind === 'console' && device.devid === 0 ? guestReads : guestWrites;
  return [
    { op: 'rm', path: own },
    { op: 'write', path: `${own}/frontend`, value: front },
    { op: 'write', path: `${own}/backend`, value: back },
    { op: 'rm', path: front },
    { op: 'mkdir', path: front, permissions: directory },
    { op: 'write', path: `${front}/backend`, value: back },
    ...writes(front, nodes.frontend, guestWrites),
    ...writes(front, nodes.readOnlyFrontend, guestReads),
    { op: 'rm', path: back },
    { op: 'mkdir', path: back, permissions: guestReads },
    { op: 'write', path: `${back}/frontend`, value: front },
    ...writes(back, nodes.backend),
    ...writes(own, nodes.backend),
  ];
};

/** The transaction that forgets a device (tools/libs/light/libxl_device.c, `libxl__device_destroy`). */
export const destroyDeviceOperations = (device: Device): readonly StoreOperation[] => [
  { op: 'cleanup', path: frontendOf(device) },
  { op: 'cleanup', path: toolstackCopyOf(device) },
  { op: 'cleanup', path: backendOf(device) },
];
