import type { GuestType, Random } from '@xenolith/kernel';
import type { Outcome } from '../outcome.js';
import { done, fail } from '../outcome.js';
import type { PublishedQueues } from './block.js';
import { scriptPath } from './block.js';
import type { Device, DeviceNodes, Nodes, StoreView } from './device.js';
import { backendOf, frontendOf, readNumber } from './device.js';
import type { Queue, RingRequest } from './xenbus.js';
import { XENBUS } from './xenbus.js';

/** Octets that a front-end assumes where no `mtu` stands (xen/include/public/io/netif.h). */
export const DEFAULT_MTU = 1500;

/** What `xl`'s network specification says (docs/man/xl-network-configuration.5.pod). */
export interface NetworkSettings {
  readonly mac: string;
  /** `xenbr0` for a Linux bridge; for Open vSwitch also `br0.7` (VLAN tag) or `br0:1:2` (trunk). */
  readonly bridge: string;
  /** Name or path of the script; null: `vif-bridge`. */
  readonly script: string | null;
  /** `vif`: paravirtual only; `vif_ioemu`: qemu emulates a card beside it. */
  readonly type: 'vif' | 'vif_ioemu';
  /** Addresses that the scripts use, separated by blanks; null: any. */
  readonly ip: string | null;
  /** Name of the interface in the serving domain; null: `vif<domid>.<devid>`. */
  readonly vifname: string | null;
  readonly gatewaydev: string | null;
  readonly mtu: number | null;
  readonly rate: RateLimit | null;
}

/** Transmit credit: so many bytes at most in each interval. */
export interface RateLimit {
  readonly bytesPerInterval: number;
  readonly intervalUs: number;
}

const RATE = /^(\d+)([GMK]?)([Bb])\/s(?:@(\d+)([mu]?)s?)?$/;
const RATE_FACTORS = { G: 1_000_000_000, M: 1_000_000, K: 1000, '': 1 } as const;
const INTERVAL_FACTORS = { '': 1_000_000, m: 1000, u: 1 } as const;
/** The interval in which credit is given where none is named (tools/libs/util/libxlu_vif.c). */
const RATE_INTERVAL_US = 50_000;
const UINT32_MAX = 2 ** 32 - 1;

/** Reads xl's `rate`, such as `10Mb/s` or `1MB/s@20ms`; EINVAL as `xl` refuses it (tools/libs/util/libxlu_vif.c, `xlu_vif_parse_rate`). */
export const parseRate = (text: string): Outcome<RateLimit> => {
  const parts = RATE.exec(text);
  if (parts === null) return fail('EINVAL');
  const amount = Number(parts[1]);
  if (amount === 0 || amount > UINT32_MAX) return fail('EINVAL');
  const bytes = Math.floor((amount * RATE_FACTORS[parts[2] as 'G']) / (parts[3] === 'b' ? 8 : 1));
  const intervalUs =
    parts[4] === undefined ? RATE_INTERVAL_US : Number(parts[4]) * INTERVAL_FACTORS[(parts[5] ?? '') as 'm'];
  if (intervalUs === 0 || intervalUs > UINT32_MAX) return fail('EINVAL');
  return done({ bytesPerInterval: Math.floor((bytes * intervalUs) / 1_000_000), intervalUs });
};

/** A MAC address as libxl makes one up: Xen's prefix 00:16:3e and 23 random bits (libxl_nic.c, `libxl__device_nic_setdefault`). */
export const randomMac = (random: Random): string => {
  const octets = [0x00, 0x16, 0x3e, random.below(0x80), random.below(0x100), random.below(0x100)];
  return octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':');
};

/** libxl's default for a guest: a paravirtual card, and for an HVM guest that boots an emulated one beside it; EINVAL: no emulated card for PV and PVH. */
export const networkTypeFor = (
  guestType: GuestType,
  options: { readonly asked: NetworkSettings['type'] | null; readonly hotplug: boolean },
): Outcome<NetworkSettings['type']> => {
  if (guestType !== 'hvm') return options.asked === 'vif_ioemu' ? fail('EINVAL') : done('vif');
  return done(options.asked ?? (options.hotplug ? 'vif' : 'vif_ioemu'));
};

/** `vif7.0`, or `vif7.0-emu` for the emulated card beside it (libxl_nic.c, `libxl__device_nic_devname`). */
export const interfaceName = (device: Device, type: 'vif' | 'tap'): string =>
  `vif${device.domid}.${device.devid}${type === 'tap' ? '-emu' : ''}`;

const optional = (name: string, value: string | null): Nodes => (value === null ? [] : [[name, value]]);

/** What libxl writes for a network card (tools/libs/light/libxl_nic.c, `libxl__set_xenstore_nic`; libxl_device.c, `libxl__device_add_async`). */
export const networkDeviceNodes = (device: Device, card: NetworkSettings): DeviceNodes => ({
  backend: [
    ['frontend-id', String(device.domid)],
    ['online', '1'],
    ['state', String(XENBUS.initialising)],
    ['script', scriptPath(card.script ?? 'vif-bridge')],
    ...optional('vifname', card.vifname),
    ['mac', card.mac],
    ...optional('ip', card.ip),
    ...optional('gatewaydev', card.gatewaydev),
    ...optional('rate', card.rate === null ? null : `${card.rate.bytesPerInterval},${card.rate.intervalUs}`),
    ...optional('mtu', card.mtu === null || card.mtu === DEFAULT_MTU ? null : String(card.mtu)),
    ['bridge', card.bridge],
    ['handle', String(device.devid)],
    ['type', card.type],
    // Makes the back-end wait for the script before it says that it is connected.
    ['hotplug-status', ''],
  ],
  frontend: [
    ['backend-id', String(device.backendDomid)],
    ['state', String(XENBUS.initialising)],
    ['handle', String(device.devid)],
    ['mac', card.mac],
    ['trusted', '1'],
  ],
  readOnlyFrontend: [['mtu', String(card.mtu ?? DEFAULT_MTU)]],
});

/** Linux's limit of queues of a card, of netback and netfront alike (`MAX_QUEUES_DEFAULT`). */
const NETIF_QUEUES = 8;

export const netbackQueues = (cpus: number): number => Math.min(NETIF_QUEUES, cpus);

/** What netback publishes in a transaction when it finds a device (drivers/net/xen-netback/xenbus.c, `netback_probe`). */
export const netbackFeatures = (cpus: number): Nodes => [
  ['feature-sg', '1'],
  ['feature-gso-tcpv4', '1'],
  ['feature-gso-tcpv6', '1'],
  ['feature-ipv6-csum-offload', '1'],
  ['feature-rx-copy', '1'],
  ['feature-rx-flip', '0'],
  ['feature-multicast-control', '1'],
  ['feature-dynamic-multicast-control', '1'],
  ['feature-split-event-channels', '1'],
  ['multi-queue-max-queues', String(netbackQueues(cpus))],
  ['feature-ctrl-ring', '1'],
];

/** What netfront asks for, by what the back-end offers (drivers/net/xen-netfront.c, `talk_to_netback`). */
export const netfrontRings = (view: StoreView, device: Device, vcpus: number): RingRequest => {
  const back = backendOf(device);
  const offered = readNumber(view, `${back}/multi-queue-max-queues`) ?? 1;
  const split = readNumber(view, `${back}/feature-split-event-channels`) === 1;
  return {
    queues: Math.max(1, Math.min(offered, NETIF_QUEUES, vcpus)),
    ringsPerQueue: 2,
    pagesPerRing: 1,
    portsPerQueue: split ? 2 : 1,
  };
};

const queueNodes = (prefix: string, queue: Queue): Nodes => {
  const [transmit, receive] = queue.rings;
  const [first, second] = queue.ports;
  const ports: Nodes =
    second === undefined
      ? [[`${prefix}event-channel`, String(first)]]
      : [
          [`${prefix}event-channel-tx`, String(first)],
          [`${prefix}event-channel-rx`, String(second)],
        ];
  return [[`${prefix}tx-ring-ref`, String(transmit?.[0])], [`${prefix}rx-ring-ref`, String(receive?.[0])], ...ports];
};

/** What netfront publishes, in one transaction (drivers/net/xen-netfront.c, `talk_to_netback`). */
export const netfrontNodes = (queues: readonly Queue[], multiQueueOffered: boolean): Nodes => {
  const [only] = queues;
  return [
    ...(multiQueueOffered ? ([['multi-queue-num-queues', String(queues.length)]] as const) : []),
    ...(queues.length === 1 && only !== undefined
      ? queueNodes('', only)
      : queues.flatMap((queue, number) => queueNodes(`queue-${number}/`, queue))),
    ['request-rx-copy', '1'],
    ['feature-rx-notify', '1'],
    ['feature-sg', '1'],
    ['feature-gso-tcpv4', '1'],
    ['feature-gso-tcpv6', '1'],
    ['feature-ipv6-csum-offload', '1'],
  ];
};

const readQueue = (view: StoreView, directory: string): Queue | string => {
  const transmit = readNumber(view, `${directory}/tx-ring-ref`);
  const receive = readNumber(view, `${directory}/rx-ring-ref`);
  if (transmit === null || receive === null) return `reading ${directory}/ring-ref`;
  const rings = [[transmit], [receive]];
  const [out, back] = ['event-channel-tx', 'event-channel-rx'].map((name) => readNumber(view, `${directory}/${name}`));
  if (typeof out === 'number' && typeof back === 'number') return { rings, ports: [out, back] };
  const shared = readNumber(view, `${directory}/event-channel`);
  return shared === null ? `reading ${directory}/event-channel(-tx/rx)` : { rings, ports: [shared] };
};

const MAC = /^[0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}$/i;

/** What netback reads before it maps the rings (drivers/net/xen-netback/xenbus.c, `connect`, `connect_data_rings`). */
export const readNetworkQueues = (view: StoreView, device: Device, cpus: number): PublishedQueues => {
  const [front, back] = [frontendOf(device), backendOf(device)];
  const count = readNumber(view, `${front}/multi-queue-num-queues`) ?? 1;
  const most = netbackQueues(cpus);
  if (count === 0 || count > most)
    return {
      ok: false,
      errno: 'EINVAL',
      what: `guest requested ${count} queues, exceeding the maximum of ${most}.`,
    };
  if (!MAC.test(view.read(`${back}/mac`) ?? '')) return { ok: false, errno: 'ENOENT', what: `parsing ${back}/mac` };
  const queues: Queue[] = [];
  for (let number = 0; number < count; number += 1) {
    const queue = readQueue(view, count === 1 ? front : `${front}/queue-${number}`);
    if (typeof queue === 'string') return { ok: false, errno: 'ENOENT', what: queue };
    queues.push(queue);
  }
  return { ok: true, queues };
};
