import type { Device, DeviceNodes, Nodes, StoreView } from './device.js';
import { backendOf, frontendOf, readNumber } from './device.js';
import type { Queue, RingRequest } from './xenbus.js';
import { XENBUS } from './xenbus.js';

/** `sectors` and all positions on the wire count these, whatever `sector-size` says (public/io/blkif.h). */
export const SECTOR_BYTES = 512;

/** Bits of `info` (public/io/blkif.h). */
export const VDISK = { cdrom: 1, removable: 2, readOnly: 4 } as const;

/** What a back-end finds when it opens what it serves. */
export interface PhysicalDisk {
  /** In units of 512 bytes. */
  readonly sectors: number;
  /** Logical block size in bytes, a power of two from 512. */
  readonly sectorSize: number;
  readonly physicalSectorSize: number;
  readonly cdrom: boolean;
  readonly removable: boolean;
  /** Has a volatile cache that can be flushed. */
  readonly flush: boolean;
  readonly discard: {
    readonly granularityBytes: number;
    readonly alignmentBytes: number;
    readonly secure: boolean;
  } | null;
}

/** What `xl`'s disk specification says (docs/man/xl-disk-configuration.5.pod). */
export interface BlockSettings {
  /** Name in the guest, such as `xvda` or `hdc`. */
  readonly vdev: string;
  /** Path of the block device or image; empty for an empty CD drive. */
  readonly target: string;
  readonly format: 'raw' | 'qcow' | 'qcow2' | 'vhd' | 'qed' | 'empty';
  readonly writable: boolean;
  readonly cdrom: boolean;
  readonly removable: boolean;
  readonly discard: boolean;
  /** Name of a block script, such as `block-iscsi`; null: `block`. */
  readonly script: string | null;
  /** A paravirtual guest's front-ends before Linux 2.6.26 relied on the toolstack to write the protocol. */
  readonly guestIsPv: boolean;
}

/** Where the scripts lie on Linux (`XEN_SCRIPT_DIR`, config/Paths.mk with its default prefix). */
export const SCRIPT_DIRECTORY = '/etc/xen/scripts';

export const scriptPath = (name: string): string => (name.startsWith('/') ? name : `${SCRIPT_DIRECTORY}/${name}`);

/** `format:` of qemu's back-end; a raw image is `aio` (libxl_disk.c, `libxl__device_disk_string_of_format`). */
const QDISK_FORMATS = { raw: 'aio', empty: 'aio', qcow: 'qcow', qcow2: 'qcow2', vhd: 'vhd', qed: 'qed' } as const;

/**
 * What libxl writes for a disk (tools/libs/light/libxl_disk.c, `device_disk_add`): `vbd` for a block device that the kernel serves, `qdisk` for an
 * image that qemu serves. Names and order are libxl's.
 */
export const blockDeviceNodes = (device: Device, disk: BlockSettings): DeviceNodes => {
  const byKernel = device.backendKind === 'vbd';
  const type = disk.cdrom ? 'cdrom' : 'disk';
  const source: Nodes = byKernel
    ? [
        ['params', disk.target],
        ['script', scriptPath(disk.script ?? 'block')],
      ]
    : [['params', `${QDISK_FORMATS[disk.format]}:${disk.target}`]];
  return {
    backend: [
      ...source,
      ['frontend-id', String(device.domid)],
      ['online', '1'],
      ['removable', disk.removable ? '1' : '0'],
      ['bootable', '1'],
      ['state', String(XENBUS.initialising)],
      ['dev', disk.vdev],
      ['type', byKernel ? 'phy' : 'qdisk'],
      ['mode', disk.writable ? 'w' : 'r'],
      ['device-type', type],
      ['discard-enable', disk.discard ? '1' : '0'],
      ['specification', 'xen'],
    ],
    frontend: [
      ['backend-id', String(device.backendDomid)],
      ['state', String(XENBUS.initialising)],
      ['virtual-device', String(device.devid)],
      ['device-type', type],
      ['trusted', '1'],
      ...(disk.guestIsPv ? ([['protocol', BLKIF_PROTOCOL]] as const) : []),
    ],
    readOnlyFrontend: [],
  };
};

/** The ring's layout that 64-bit guests name (public/io/protocols.h). */
export const BLKIF_PROTOCOL = 'x86_64-abi';
const KNOWN_PROTOCOLS = [BLKIF_PROTOCOL, 'x86_32-abi'];

/** Indirect segments that Linux's blkback takes in one request (drivers/block/xen-blkback/common.h, `MAX_INDIRECT_SEGMENTS`). */
export const BLKBACK_INDIRECT_SEGMENTS = 256;
/** Largest ring, as a power of two of pages (drivers/xen/xenbus, `XENBUS_MAX_RING_GRANT_ORDER`). */
export const BLKBACK_RING_PAGE_ORDER = 4;
/** Linux's defaults of blkfront's parameters `max_queues` and `max_ring_page_order` (drivers/block/xen-blkfront.c). */
const BLKFRONT_QUEUES = 4;
const BLKFRONT_RING_PAGE_ORDER = 0;

/** What blkback publishes when it finds a device (drivers/block/xen-blkback/xenbus.c, `xen_blkbk_probe`). */
export const blkbackFeatures = (cpus: number): Nodes => [
  ['feature-max-indirect-segments', String(BLKBACK_INDIRECT_SEGMENTS)],
  ['multi-queue-max-queues', String(cpus)],
  ['max-ring-page-order', String(BLKBACK_RING_PAGE_ORDER)],
];

/** What a back-end publishes of its disk when it connects, in one transaction (drivers/block/xen-blkback/xenbus.c, `connect`). */
export const blockProperties = (
  disk: PhysicalDisk,
  options: { readonly writable: boolean; readonly discardEnabled: boolean },
): Nodes => {
  const { discard } = disk;
  const discardNodes: Nodes =
    discard === null
      ? [['feature-discard', '0']]
      : [
          ['discard-granularity', String(discard.granularityBytes)],
          ['discard-alignment', String(discard.alignmentBytes)],
          ['discard-secure', discard.secure ? '1' : '0'],
          ['feature-discard', '1'],
        ];
  const info =
    (disk.cdrom ? VDISK.cdrom : 0) | (disk.removable ? VDISK.removable : 0) | (options.writable ? 0 : VDISK.readOnly);
  return [
    ['feature-flush-cache', disk.flush ? '1' : '0'],
    ...(options.discardEnabled ? discardNodes : []),
    ['feature-barrier', disk.flush ? '1' : '0'],
    ['feature-persistent', '1'],
    ['sectors', String(disk.sectors)],
    ['info', String(info)],
    ['sector-size', String(disk.sectorSize)],
    ['physical-sector-size', String(disk.physicalSectorSize)],
  ];
};

/** What blkfront asks for, by what the back-end offers (drivers/block/xen-blkfront.c, `negotiate_mq`, `talk_to_blkback`). */
export const blkfrontRings = (view: StoreView, device: Device, vcpus: number): RingRequest => {
  const back = backendOf(device);
  const offered = readNumber(view, `${back}/multi-queue-max-queues`) ?? 1;
  const order = Math.min(BLKFRONT_RING_PAGE_ORDER, readNumber(view, `${back}/max-ring-page-order`) ?? 0);
  return {
    queues: Math.max(1, Math.min(offered, BLKFRONT_QUEUES, vcpus)),
    ringsPerQueue: 1,
    pagesPerRing: 2 ** order,
    portsPerQueue: 1,
  };
};

const ringNodes = (prefix: string, queue: Queue): Nodes => {
  const pages = queue.rings[0] ?? [];
  const references: Nodes =
    pages.length === 1
      ? [[`${prefix}ring-ref`, String(pages[0])]]
      : pages.map((reference, page) => [`${prefix}ring-ref${page}`, String(reference)] as const);
  return [...references, [`${prefix}event-channel`, String(queue.ports[0])]];
};

/** What blkfront publishes of its rings, in one transaction (drivers/block/xen-blkfront.c, `talk_to_blkback`). */
export const blkfrontNodes = (queues: readonly Queue[]): Nodes => {
  const pages = queues[0]?.rings[0]?.length ?? 1;
  const [only] = queues;
  return [
    ...(pages > 1 ? ([['ring-page-order', String(Math.log2(pages))]] as const) : []),
    ...(queues.length === 1 && only !== undefined
      ? ringNodes('', only)
      : [
          ['multi-queue-num-queues', String(queues.length)] as const,
          ...queues.flatMap((queue, number) => ringNodes(`queue-${number}/`, queue)),
        ]),
    ['protocol', BLKIF_PROTOCOL],
    ['feature-persistent', '1'],
  ];
};

/** What a back-end read of a front-end's rings; or the words with which it gives the device up. */
export type PublishedQueues =
  | { readonly ok: true; readonly queues: readonly Queue[] }
  | { readonly ok: false; readonly errno: 'EINVAL' | 'ENOENT' | 'ENOSYS'; readonly what: string };

const readRing = (view: StoreView, directory: string, order: number | null): Queue | string => {
  const port = readNumber(view, `${directory}/event-channel`);
  if (port === null) return 'event-channel';
  const references: number[] = [];
  for (let page = 0; page < 2 ** (order ?? 0); page += 1) {
    const name = order === null ? 'ring-ref' : `ring-ref${page}`;
    const reference = readNumber(view, `${directory}/${name}`);
    if (reference === null) return name;
    references.push(reference);
  }
  return { rings: [references], ports: [port] };
};

/** What blkback reads before it maps the rings (drivers/block/xen-blkback/xenbus.c, `connect_ring`, `read_per_ring_refs`). */
export const readBlockQueues = (view: StoreView, device: Device, cpus: number): PublishedQueues => {
  const front = frontendOf(device);
  const protocol = view.read(`${front}/protocol`);
  if (protocol !== null && !KNOWN_PROTOCOLS.includes(protocol))
    return { ok: false, errno: 'ENOSYS', what: `unknown fe protocol ${protocol}` };
  const count = readNumber(view, `${front}/multi-queue-num-queues`) ?? 1;
  if (count === 0 || count > cpus)
    return {
      ok: false,
      errno: 'ENOSYS',
      what: `guest requested ${count} queues, exceeding the maximum of ${cpus}.`,
    };
  const order = readNumber(view, `${front}/ring-page-order`);
  if (order !== null && order > BLKBACK_RING_PAGE_ORDER) {
    const what = `${front}/request ${order} ring page order exceed max:${BLKBACK_RING_PAGE_ORDER}`;
    return { ok: false, errno: 'EINVAL', what };
  }
  const queues: Queue[] = [];
  for (let number = 0; number < count; number += 1) {
    const directory = count === 1 ? front : `${front}/queue-${number}`;
    const queue = readRing(view, directory, order);
    if (typeof queue === 'string') return { ok: false, errno: 'EINVAL', what: `reading ${directory}/${queue}` };
    queues.push(queue);
  }
  return { ok: true, queues };
};
