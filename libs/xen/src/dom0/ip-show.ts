import type { LinkState, NetworkState } from './network-state.js';

// What `ip` of iproute2 prints of Dom0's network (ip/ipaddress.c, `print_linkinfo`; ip/iproute.c, `print_route`).

const LOOPBACK = [
  '1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000',
  '    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00',
];
const LOOPBACK_ADDRESS = ['    inet 127.0.0.1/8 scope host lo', '       valid_lft forever preferred_lft forever'];
/** Numbers of links begin behind lo's. */
const FIRST_INDEX = 2;
const ALL_BITS = 32;

/** The kernel queues for cards; what is soft needs none, and netback asks for 32. */
const queueOf = ({ kind }: LinkState): string =>
  kind === 'physical' ? 'mq' : kind === 'vif' ? 'pfifo_fast' : 'noqueue';
const lengthOf = ({ kind }: LinkState): number => (kind === 'vif' ? 32 : 1000);

const linkLines = (name: string, link: LinkState, index: number): readonly string[] => {
  const flags = ['BROADCAST', ...(link.arp ? [] : ['NOARP']), 'MULTICAST', ...(link.up ? ['UP', 'LOWER_UP'] : [])];
  const master = link.master === null ? '' : ` master ${link.master}`;
  const state = `state ${link.up ? 'UP' : 'DOWN'} mode DEFAULT group default qlen ${lengthOf(link)}`;
  return [
    `${index}: ${name}: <${flags.join(',')}> mtu ${link.mtu} qdisc ${queueOf(link)}${master} ${state}`,
    `    link/ether ${link.mac} brd ff:ff:ff:ff:ff:ff`,
  ];
};

const addressLines = (name: string, { addresses }: LinkState): readonly string[] =>
  addresses.flatMap((address) => [
    `    inet ${address.includes('/') ? address : `${address}/${ALL_BITS}`} scope global ${name}`,
    '       valid_lft forever preferred_lft forever',
  ]);

const textOf = (lines: readonly string[]): string => `${lines.join('\n')}\n`;

/** `ip link show`, and with their addresses `ip address show`, which leaves out the mode. */
export const ipLinks = ({ links }: NetworkState, withAddresses: boolean): string => {
  const shown = (lines: readonly string[]): readonly string[] =>
    withAddresses ? lines.map((line) => line.replace(' mode DEFAULT', '')) : lines;
  return textOf([
    ...shown(LOOPBACK),
    ...(withAddresses ? LOOPBACK_ADDRESS : []),
    ...Object.entries(links).flatMap(([name, link], index) => [
      ...shown(linkLines(name, link, FIRST_INDEX + index)),
      ...(withAddresses ? addressLines(name, link) : []),
    ]),
  ]);
};

/** The network that an address is of: `10.0.7.9/16` is of 10.0.0.0/16. */
const networkOf = (address: string): string | null => {
  const [number = '', length] = address.split('/');
  const bits = Number(length ?? ALL_BITS);
  // A single address needs no route.
  if (bits === ALL_BITS) return null;
  const value = number.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const size = 2 ** (ALL_BITS - bits);
  const first = Math.floor(value / size) * size;
  const octets = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return `${octets.join('.')}/${bits}`;
};

/** `ip route show`: routes of networks that the kernel made with addresses, and those that scripts added. */
export const ipRoutes = ({ links, routes }: NetworkState): string => {
  const kernel = Object.entries(links).flatMap(([dev, { addresses, up }]) =>
    addresses.flatMap((address) => {
      const network = up ? networkOf(address) : null;
      return network === null
        ? []
        : [`${network} dev ${dev} proto kernel scope link src ${address.split('/')[0] ?? ''}`];
    }),
  );
  const added = routes.map(({ to, dev, src, metric }) => {
    const from = src === null ? '' : ` src ${src}`;
    return `${to} dev ${dev} scope link${from}${metric === null ? '' : ` metric ${metric}`}`;
  });
  const all = [...kernel, ...added];
  return all.length === 0 ? '' : textOf(all.map((line) => `${line} `));
};
