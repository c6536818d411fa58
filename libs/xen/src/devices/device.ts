/** Kinds of the front-ends, as they stand in `device/<kind>` (tools/libs/light/libxl_types_internal.idl). */
export type DeviceKind = 'vbd' | 'vif' | 'console' | 'vkbd' | 'vfb' | 'pci' | 'vusb';

/** Kinds of the back-ends, as they stand in `backend/<kind>`. One kind of front-end may be served by several. */
export type BackendKind = 'vbd' | 'vbd3' | 'qdisk' | 'vif' | 'console' | 'vkbd' | 'vfb' | 'pci' | 'vusb' | 'qusb';

/** A split device: who has its front-end, who serves it, and its number. */
export interface Device {
  readonly kind: DeviceKind;
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

const homeOf = (domid: number): string => `/local/domain/${domid}`;

/** `device/vbd/51712`, relative to its domain's home: what Linux calls the node's name. Console 0 stands in `console`. */
export const frontendName = (device: Device): string =>
  device.kind === 'console' && device.devid === 0 ? 'console' : `device/${device.kind}/${device.devid}`;

/** `backend/vbd/7/51712`, relative to the home of the domain that serves it. */
export const backendName = (device: Device): string => `backend/${device.backendKind}/${device.domid}/${device.devid}`;

/** tools/libs/light/libxl_device.c, `libxl__device_frontend_path`. */
export const frontendPath = (device: Device): string => `${homeOf(device.domid)}/${frontendName(device)}`;

/** tools/libs/light/libxl_device.c, `libxl__device_backend_path`. */
export const backendPath = (device: Device): string => `${homeOf(device.backendDomid)}/${backendName(device)}`;

/** The toolstack's own copy, which neither end can write (`libxl__device_libxl_path`). */
export const toolstackPath = (device: Device): string => `/libxl/${device.domid}/device/${device.kind}/${device.devid}`;

/** Where Linux's `xenbus_dev_error` leaves its words: below `error` in the home of the end that failed. */
export const errorPath = (device: Device, end: 'frontend' | 'backend'): string =>
  end === 'frontend'
    ? `${homeOf(device.domid)}/error/${frontendName(device)}/error`
    : `${homeOf(device.backendDomid)}/error/${backendName(device)}/error`;

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
  const [front, back, own] = [frontendPath(device), backendPath(device), toolstackPath(device)];
  const guestWrites = [`n${device.domid}`, `r${device.backendDomid}`];
  const guestReads = [`n${device.backendDomid}`, `r${device.domid}`];
  // The directory of console 0 also held the VNC port, which the guest must not change.
  const directory = frontendName(device) === 'console' ? guestReads : guestWrites;
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
  { op: 'cleanup', path: frontendPath(device) },
  { op: 'cleanup', path: toolstackPath(device) },
  { op: 'cleanup', path: backendPath(device) },
];
