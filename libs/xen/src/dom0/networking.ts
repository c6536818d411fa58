import {
  DEFAULT_MTU,
  newLink,
  PORT_MAC,
  portsOf,
  type NetworkCommand,
  type NetworkState,
  type RouteState,
} from './network-state.js';

/** How an interface of a guest reaches the network; `nat` has a private network behind Dom0. */
export type VifMode = 'bridge' | 'openvswitch' | 'route' | 'nat';
/** The same of a host; `libvirt` has bridges that are behind Dom0. */
export type NetworkMode = VifMode | 'libvirt';

/** An interface of a guest as Dom0 sees it. */
export interface VifAddress {
  readonly domid: number;
  readonly devid: number;
}

/** The back-end's name (docs/man/xl-network-configuration.5.pod, `vifname`). */
export const vifName = ({ domid, devid }: VifAddress): string => `vif${domid}.${devid}`;
/** The interface that a device model serves for the same device (`tap` since qemu-dm, `-emu` in libxl). */
export const tapName = (vif: VifAddress, tool: 'xm' | 'xl' = 'xl'): string =>
  tool === 'xl' ? `${vifName(vif)}-emu` : `tap${vif.domid}.${vif.devid}`;
/** Xen's bridge, and libvirt's, which is a network of its own behind Dom0. */
export const XEN_BRIDGE = 'xenbr0';
export const LIBVIRT_BRIDGE = 'virbr0';
/** libvirt's default network. */
export const LIBVIRT_ADDRESS = '192.168.122.1/24';

const NUMBER = /\d+$/;
/** The name that a physical interface gets when a bridge takes its own: `peth0`. */
export const physicalName = (nic: string): string => `p${nic}`;

/** Makes an interface a port: down, no ARP, the dummy MAC, no addresses (tools/hotplug/Linux/xen-network-common.sh `_setup_bridge_port`). */
const portSetup = (dev: string): readonly NetworkCommand[] => [
  { do: 'down', dev },
  { do: 'arp', dev, on: false },
  { do: 'mac', dev, mac: PORT_MAC },
  { do: 'flush', dev },
];

const moveRoutes = (state: NetworkState, from: string, to: string): readonly NetworkCommand[] =>
  state.routes
    .filter(({ dev }) => dev === from)
    .map((route): NetworkCommand => ({ do: 'addRoute', route: { ...route, dev: to } }));

/** A bridge with the physical interface as its port, which gives it its address and routes: what a distribution's network scripts do. */
export const bridgeStart = (
  state: NetworkState,
  { nic, bridge, by }: { readonly nic: string; readonly bridge: string; readonly by: 'linux' | 'openvswitch' },
): readonly NetworkCommand[] => [
  { do: 'addBridge', bridge, by },
  { do: 'mac', dev: bridge, mac: state.links[nic]?.mac ?? PORT_MAC },
  ...(state.links[nic]?.addresses ?? []).map((address): NetworkCommand => ({ do: 'addAddress', dev: bridge, address })),
  { do: 'flush', dev: nic },
  { do: 'addPort', bridge, dev: nic, by },
  { do: 'up', dev: nic },
  { do: 'up', dev: bridge },
  ...moveRoutes(state, nic, bridge),
];

/**
 * xend's network-bridge with netloop: `veth0` takes the address and MAC of `eth0` and then its name; the real interface becomes `peth0`
 * without ARP and with the dummy MAC; it and `vif0.0`, the other end of the pair, are the bridge's ports.
 */
export const legacyBridgeStart = (state: NetworkState, nic: string): readonly NetworkCommand[] => {
  const number = NUMBER.exec(nic)?.[0] ?? '0';
  const [bridge, veth, vif0, pdev] = [`xenbr${number}`, `veth${number}`, `vif0.${number}`, physicalName(nic)];
  const link = state.links[nic];
  return [
    { do: 'addBridge', bridge, by: 'linux' },
    { do: 'addPair', dev: veth, peer: vif0 },
    { do: 'mac', dev: veth, mac: link?.mac ?? PORT_MAC },
    ...(link?.addresses ?? []).map((address): NetworkCommand => ({ do: 'addAddress', dev: veth, address })),
    { do: 'flush', dev: nic },
    { do: 'down', dev: nic },
    { do: 'rename', dev: nic, name: pdev },
    { do: 'rename', dev: veth, name: nic },
    ...portSetup(pdev),
    ...portSetup(vif0),
    { do: 'addPort', bridge, dev: pdev, by: 'linux' },
    { do: 'addPort', bridge, dev: vif0, by: 'linux' },
    { do: 'up', dev: bridge },
    { do: 'up', dev: vif0 },
    { do: 'up', dev: pdev },
    { do: 'up', dev: nic },
    ...moveRoutes(state, nic, nic),
  ];
};

/** libvirt's private bridge, or plain routing: Dom0 forwards, and for `nat` masquerades its guests' networks. */
export const forwardingStart = (mode: 'route' | 'nat' | 'libvirt'): readonly NetworkCommand[] => {
  if (mode === 'route') return [{ do: 'forward' }];
  if (mode === 'nat') return [{ do: 'forward' }, { do: 'masquerade', network: '10.0.0.0/8' }];
  return [
    { do: 'addBridge', bridge: LIBVIRT_BRIDGE, by: 'linux' },
    { do: 'addAddress', dev: LIBVIRT_BRIDGE, address: LIBVIRT_ADDRESS },
    { do: 'up', dev: LIBVIRT_BRIDGE },
    { do: 'forward' },
    { do: 'masquerade', network: '192.168.122.0/24' },
  ];
};

/** A guest's address in `nat` (tools/hotplug/Linux/vif-nat `ip_from_dom`). */
export const natAddress = ({ domid, devid }: VifAddress): string =>
  `10.${Math.floor(domid / 256)}.${domid % 256}.${devid + 1}/16`;

/** Dom0's address towards that guest: the last number and 127 (`routing_ip`). */
export const natRouterAddress = (vif: VifAddress): string =>
  `10.${Math.floor(vif.domid / 256)}.${vif.domid % 256}.${vif.devid + 1 + 127}`;

export interface VifAttachment {
  readonly mode: VifMode;
  readonly vif: VifAddress;
  /** The emulated twin of a device goes the same way, with a better metric. */
  readonly kind: 'vif' | 'tap';
  /** For `bridge` and `openvswitch`. */
  readonly bridge: string;
  readonly mtu?: number;
  readonly tag?: number;
  /** For `route`: Dom0's address, and the guest's. */
  readonly dom0Address?: string;
  readonly guestAddresses?: readonly string[];
}

const deviceOf = ({ kind, vif }: VifAttachment): string => (kind === 'vif' ? vifName(vif) : tapName(vif));

/** The interface that the back-end driver makes before the script runs. */
export const createVif = (state: NetworkState, attachment: VifAttachment): void => {
  state.links[deviceOf(attachment)] ??= newLink(attachment.kind, PORT_MAC);
};

const routesOf = (attachment: VifAttachment): readonly RouteState[] =>
  (attachment.guestAddresses ?? []).map((to) => ({
    to,
    dev: deviceOf(attachment),
    src: attachment.dom0Address ?? null,
    metric: attachment.kind === 'tap' ? 1 : 2,
  }));

/** What the hot-plug script of a mode runs when an interface comes (tools/hotplug/Linux/vif-bridge, -openvswitch, -route, -nat). */
export const vifOnline = (attachment: VifAttachment): readonly NetworkCommand[] => {
  const dev = deviceOf(attachment);
  const { mode, bridge, mtu = DEFAULT_MTU, tag } = attachment;
  switch (mode) {
    case 'bridge':
      return [
        ...portSetup(dev),
        { do: 'mtu', dev, mtu },
        { do: 'addPort', bridge, dev, by: 'linux' },
        { do: 'up', dev },
      ];
    case 'openvswitch':
      return [
        ...portSetup(dev),
        { do: 'addPort', bridge, dev, by: 'openvswitch', ...(tag === undefined ? {} : { tag }) },
        { do: 'up', dev },
      ];
    case 'route':
      return [
        { do: 'addAddress', dev, address: `${attachment.dom0Address ?? ''}/32` },
        { do: 'up', dev },
        { do: 'proxyArp', dev },
        ...routesOf(attachment).map((route): NetworkCommand => ({ do: 'addRoute', route })),
      ];
    case 'nat': {
      const router = natRouterAddress(attachment.vif);
      const [guest = ''] = natAddress(attachment.vif).split('/');
      return [
        { do: 'up', dev },
        { do: 'arp', dev, on: true },
        { do: 'addAddress', dev, address: router },
        { do: 'addRoute', route: { to: guest, dev, src: router, metric: null } },
        { do: 'proxyArp', dev },
      ];
    }
  }
};

/** And when it goes; scripts go on whatever fails here. */
export const vifOffline = (attachment: VifAttachment): readonly NetworkCommand[] => {
  const dev = deviceOf(attachment);
  const { mode, bridge } = attachment;
  switch (mode) {
    case 'bridge':
      return [
        { do: 'down', dev },
        { do: 'dropPort', bridge, dev, by: 'linux' },
      ];
    case 'openvswitch':
      return [
        { do: 'dropPort', bridge, dev, by: 'openvswitch' },
        { do: 'down', dev },
      ];
    case 'route':
      return [
        ...routesOf(attachment).map((route): NetworkCommand => ({ do: 'dropRoute', route })),
        { do: 'down', dev },
      ];
    case 'nat':
      return [{ do: 'down', dev }];
  }
};

/** The interface is gone with its back-end. */
export const removeVif = (state: NetworkState, attachment: VifAttachment): void => {
  const dev = deviceOf(attachment);
  Reflect.deleteProperty(state.links, dev);
  state.routes = state.routes.filter((route) => route.dev !== dev);
};

/**
 * The bridge that `vif-bridge` takes: an `xenbrN` that does not exist means `ethN` where that is a bridge; none given means the first there is. Null
 * where the script ends with "Could not find bridge device".
 */
export const bridgeFor = (state: NetworkState, asked: string | null): string | null => {
  if (asked === null) return Object.entries(state.links).find(([, link]) => link.kind === 'bridge')?.[0] ?? null;
  if (state.links[asked]) return asked;
  const twin = `eth${asked.slice('xenbr'.length)}`;
  return asked.startsWith('xenbr') && state.links[twin]?.kind === 'bridge' ? twin : null;
};

/** A bridge's identifier as `brctl show` prints it: the priority and the lowest MAC of its ports. */
export const bridgeId = (state: NetworkState, bridge: string): string => {
  const macs = portsOf(state, bridge).map((port) => state.links[port]?.mac ?? PORT_MAC);
  const [lowest = '00:00:00:00:00:00'] = macs.sort();
  return `8000.${lowest.replaceAll(':', '')}`;
};

const PORT_INDENT = '        ';

/** A bridge's own port is the host's end of it. */
const switchPort = (state: NetworkState, bridge: string, port: string): readonly string[] => {
  const tag = state.links[port]?.tag ?? null;
  return [
    `${PORT_INDENT}Port ${port}`,
    ...(tag === null ? [] : [`${PORT_INDENT}    tag: ${tag}`]),
    `${PORT_INDENT}    Interface ${port}`,
    ...(port === bridge ? [`${PORT_INDENT}        type: internal`] : []),
  ];
};

/**
 * `ovs-vsctl show`: bridges of Open vSwitch only, with their ports (openvswitch/ovs utilities/ovs-vsctl.c, `cmd_show`). Rows are in the order of their creation; the
 * real order is that of random row identifiers.
 */
export const ovsShow = (state: NetworkState, system: { readonly uuid: string; readonly version: string }): string => {
  const bridges = Object.entries(state.links).flatMap(([name, link]) => (link.kind === 'openvswitch' ? [name] : []));
  const lines = bridges.flatMap((bridge) => [
    `    Bridge ${bridge}`,
    ...[bridge, ...portsOf(state, bridge)].flatMap((port) => switchPort(state, bridge, port)),
  ]);
  return `${[system.uuid, ...lines, `    ovs_version: "${system.version}"`].join('\n')}\n`;
};

/** `brctl show`: Linux' bridges only, one line for each and one more for each further port. */
export const brctlShow = (state: NetworkState): string => {
  const lines = ['bridge name\tbridge id\t\tSTP enabled\tinterfaces'];
  for (const [name, link] of Object.entries(state.links)) {
    if (link.kind !== 'bridge') continue;
    const [first = '', ...others] = portsOf(state, name);
    lines.push(`${name}\t\t${bridgeId(state, name)}\tno\t\t${first}`, ...others.map((port) => `\t\t\t\t\t\t\t${port}`));
  }
  return `${lines.join('\n')}\n`;
};
