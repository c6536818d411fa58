import { done, fail, type Outcome } from '../outcome.js';

/** A network interface of Dom0. */
export interface LinkState {
  readonly kind: 'physical' | 'bridge' | 'vif' | 'tap' | 'loop-pair' | 'openvswitch';
  up: boolean;
  mac: string;
  arp: boolean;
  mtu: number;
  /** The bridge that it is a port of. */
  master: string | null;
  /** With their prefix length, such as `10.0.0.1/16`. */
  addresses: string[];
  proxyArp: boolean;
  /** 802.1Q tag of an Open vSwitch port. */
  tag: number | null;
}

export interface RouteState {
  readonly to: string;
  readonly dev: string;
  readonly src: string | null;
  readonly metric: number | null;
}

export interface NetworkState {
  /** By name, in the order of their creation, as `ip link` lists them. */
  readonly links: Record<string, LinkState>;
  routes: RouteState[];
  /** Masquerading and forwarding for guests behind Dom0. */
  forwarding: boolean;
  masquerade: string[];
}

/** One command of a start-up or hot-plug script, as data; `commandLine` prints it. */
export type NetworkCommand =
  | { readonly do: 'addBridge'; readonly bridge: string; readonly by: 'linux' | 'openvswitch' }
  | { readonly do: 'addPair'; readonly dev: string; readonly peer: string }
  | {
      readonly do: 'addPort';
      readonly bridge: string;
      readonly dev: string;
      readonly by: 'linux' | 'openvswitch';
      readonly tag?: number;
    }
  | { readonly do: 'dropPort'; readonly bridge: string; readonly dev: string; readonly by: 'linux' | 'openvswitch' }
  | { readonly do: 'rename'; readonly dev: string; readonly name: string }
  | { readonly do: 'mac'; readonly dev: string; readonly mac: string }
  | { readonly do: 'arp'; readonly dev: string; readonly on: boolean }
  | { readonly do: 'mtu'; readonly dev: string; readonly mtu: number }
  | { readonly do: 'up' | 'down' | 'flush'; readonly dev: string }
  | { readonly do: 'addAddress'; readonly dev: string; readonly address: string }
  | { readonly do: 'proxyArp'; readonly dev: string }
  | { readonly do: 'addRoute' | 'dropRoute'; readonly route: RouteState }
  | { readonly do: 'forward' }
  | { readonly do: 'masquerade'; readonly network: string };

/** The largest MAC address that is no broadcast, so that no bridge takes its ports' address (tools/hotplug/Linux/xen-network-common.sh). */
export const PORT_MAC = 'fe:ff:ff:ff:ff:ff';
/** Ethernet's. */
export const DEFAULT_MTU = 1500;

export const newLink = (kind: LinkState['kind'], mac: string): LinkState => ({
  kind,
  up: false,
  mac,
  arp: true,
  mtu: DEFAULT_MTU,
  master: null,
  addresses: [],
  proxyArp: false,
  tag: null,
});

export const createNetwork = (): NetworkState => ({ links: {}, routes: [], forwarding: false, masquerade: [] });

const isBridge = (link: LinkState): boolean => link.kind === 'bridge' || link.kind === 'openvswitch';

/** Ports of a bridge in the order of the links. */
export const portsOf = (state: NetworkState, bridge: string): readonly string[] =>
  Object.entries(state.links).flatMap(([name, link]) => (link.master === bridge ? [name] : []));

const routeText = ({ to, dev, src, metric }: RouteState): string =>
  `${to} dev ${dev}${src === null ? '' : ` src ${src}`}${metric === null ? '' : ` metric ${metric}`}`;

/** A command as the scripts run it. */
export const commandLine = (command: NetworkCommand): string => {
  switch (command.do) {
    case 'addBridge':
      return command.by === 'linux'
        ? `brctl addbr ${command.bridge}`
        : `ovs-vsctl --may-exist add-br ${command.bridge}`;
    case 'addPair':
      return `ip link add ${command.dev} type veth peer name ${command.peer}`;
    case 'addPort':
      return command.by === 'linux'
        ? `brctl addif ${command.bridge} ${command.dev}`
        : `ovs-vsctl --timeout=30 -- --if-exists del-port ${command.dev} -- add-port ${command.bridge} ${command.dev}${command.tag === undefined ? '' : ` tag=${command.tag}`}`;
    case 'dropPort':
      return command.by === 'linux'
        ? `brctl delif ${command.bridge} ${command.dev}`
        : `ovs-vsctl --timeout=30 -- --if-exists del-port ${command.dev}`;
    case 'rename':
      return `ip link set ${command.dev} name ${command.name}`;
    case 'mac':
      return `ip link set dev ${command.dev} address ${command.mac}`;
    case 'arp':
      return `ip link set dev ${command.dev} arp ${command.on ? 'on' : 'off'}`;
    case 'mtu':
      return `ip link set dev ${command.dev} mtu ${command.mtu}`;
    case 'up':
    case 'down':
      return `ip link set dev ${command.dev} ${command.do}`;
    case 'flush':
      return `ip address flush dev ${command.dev}`;
    case 'addAddress':
      return `ip addr add ${command.address} dev ${command.dev}`;
    case 'proxyArp':
      return `echo 1 >/proc/sys/net/ipv4/conf/${command.dev}/proxy_arp`;
    case 'addRoute':
    case 'dropRoute':
      return `ip route ${command.do === 'addRoute' ? 'add' : 'del'} ${routeText(command.route)}`;
    case 'forward':
      return 'echo 1 >/proc/sys/net/ipv4/ip_forward';
    case 'masquerade':
      return `iptables -t nat -A POSTROUTING -s ${command.network} -j MASQUERADE`;
  }
};

/**
 * Runs one command. ENODEV for an interface that does not exist, EEXIST for a name that does, EBUSY for a port of another bridge, EINVAL for a
 * command of Linux' bridge on one of Open vSwitch or the other way round: the two never mix on one bridge.
 */
export const runCommand = (state: NetworkState, command: NetworkCommand): Outcome<null> => {
  switch (command.do) {
    case 'addBridge': {
      const known = state.links[command.bridge];
      const kind = command.by === 'linux' ? 'bridge' : 'openvswitch';
      if (known) return fail(known.kind === kind ? 'EEXIST' : 'EINVAL');
      state.links[command.bridge] = newLink(kind, PORT_MAC);
      return done(null);
    }
    case 'addPair':
      if (state.links[command.dev] ?? state.links[command.peer]) return fail('EEXIST');
      state.links[command.dev] = newLink('loop-pair', '00:00:00:00:00:00');
      state.links[command.peer] = newLink('loop-pair', PORT_MAC);
      return done(null);
    case 'addPort':
    case 'dropPort':
      return runPort(state, command);
    case 'rename':
      return rename(state, command.dev, command.name);
    case 'addRoute':
      if (!state.links[command.route.dev]) return fail('ENODEV');
      state.routes.push(command.route);
      return done(null);
    case 'dropRoute': {
      const text = routeText(command.route);
      const left = state.routes.filter((route) => routeText(route) !== text);
      if (left.length === state.routes.length) return fail('ESRCH');
      state.routes = left;
      return done(null);
    }
    case 'forward':
      state.forwarding = true;
      return done(null);
    case 'masquerade':
      if (!state.masquerade.includes(command.network)) state.masquerade.push(command.network);
      return done(null);
    case 'mac':
    case 'arp':
    case 'mtu':
    case 'up':
    case 'down':
    case 'flush':
    case 'addAddress':
    case 'proxyArp':
      return runOnLink(state, command);
  }
};

type OnLink = Exclude<
  NetworkCommand,
  {
    do:
      'addBridge' | 'addPair' | 'addPort' | 'dropPort' | 'rename' | 'addRoute' | 'dropRoute' | 'forward' | 'masquerade';
  }
>;

const runOnLink = (state: NetworkState, command: OnLink): Outcome<null> => {
  const link = state.links[command.dev];
  if (!link) return fail('ENODEV');
  switch (command.do) {
    case 'mac':
      link.mac = command.mac;
      break;
    case 'arp':
      link.arp = command.on;
      break;
    case 'mtu':
      link.mtu = command.mtu;
      break;
    case 'up':
      link.up = true;
      break;
    case 'down':
      link.up = false;
      // The kernel drops the routes of an interface that goes down.
      state.routes = state.routes.filter(({ dev }) => dev !== command.dev);
      break;
    case 'flush':
      link.addresses = [];
      // With its last address an interface loses its routes.
      state.routes = state.routes.filter(({ dev }) => dev !== command.dev);
      break;
    case 'addAddress':
      if (link.addresses.includes(command.address)) return fail('EEXIST');
      link.addresses.push(command.address);
      break;
    case 'proxyArp':
      link.proxyArp = true;
      break;
  }
  return done(null);
};

const runPort = (
  state: NetworkState,
  command: Extract<NetworkCommand, { do: 'addPort' | 'dropPort' }>,
): Outcome<null> => {
  const bridge = state.links[command.bridge];
  const link = state.links[command.dev];
  if (!bridge || !link) return fail('ENODEV');
  if (!isBridge(bridge) || (bridge.kind === 'bridge') !== (command.by === 'linux')) return fail('EINVAL');
  if (command.do === 'dropPort') {
    if (link.master !== command.bridge) return fail('EINVAL');
    link.master = null;
    link.tag = null;
    return done(null);
  }
  if (link.master !== null && link.master !== command.bridge) return fail('EBUSY');
  link.master = command.bridge;
  link.tag = command.tag ?? null;
  return done(null);
};

const rename = (state: NetworkState, dev: string, name: string): Outcome<null> => {
  const link = state.links[dev];
  if (!link) return fail('ENODEV');
  if (state.links[name]) return fail('EEXIST');
  // The kernel renames no interface that is up.
  if (link.up) return fail('EBUSY');
  const entries = Object.entries(state.links);
  for (const [known] of entries) Reflect.deleteProperty(state.links, known);
  for (const [known, each] of entries) {
    state.links[known === dev ? name : known] = each;
    if (each.master === dev) each.master = name;
  }
  state.routes = state.routes.map((route) => (route.dev === dev ? { ...route, dev: name } : route));
  return done(null);
};

/** Runs a script until a command fails, as the scripts do; what was done stays done. */
export const runScript = (state: NetworkState, commands: readonly NetworkCommand[]): Outcome<null> => {
  for (const command of commands) {
    const outcome = runCommand(state, command);
    if (!outcome.ok) return outcome;
  }
  return done(null);
};
