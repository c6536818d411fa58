import type { Device, Nodes, StoreOperation, StoreView } from './device.js';
import { backendOf } from './device.js';
import { interfaceName } from './network.js';

/** One run of a script, as libxl starts it (tools/libs/light/libxl_linux.c, `libxl__get_hotplug_script_info`, `get_hotplug_env`). */
export interface HotplugRun {
  readonly device: Device;
  readonly script: string;
  readonly args: readonly string[];
  readonly env: Nodes;
}

/** For an interface: what the run brings up or takes down. */
export interface InterfaceLink {
  readonly name: string;
  readonly bridge: string | null;
  readonly up: boolean;
}

/** Device kinds whose attachment runs a script, and how often: once more for an emulated card beside a paravirtual one. */
const executionsOf = (device: Device, view: StoreView): number => {
  if (device.backendKind === 'vbd' || device.backendKind === 'tap') return 1;
  if (device.backendKind !== 'vif') return 0;
  return view.read(`${backendOf(device)}/type`) === 'vif_ioemu' ? 2 : 1;
};

const environment = (device: Device, script: string, view: StoreView): Nodes => {
  const kind = device.backendKind;
  const common: Nodes = [
    ['script', script],
    ['XENBUS_TYPE', kind],
    ['XENBUS_PATH', `backend/${kind}/${device.domid}/${device.devid}`],
    ['XENBUS_BASE_PATH', 'backend'],
  ];
  if (kind !== 'vif') return common;
  const back = backendOf(device);
  const emulated = view.read(`${back}/type`) === 'vif_ioemu';
  return [
    ...common,
    ['netdev', view.read(`${back}/gatewaydev`) ?? ''],
    ...(emulated ? ([['INTERFACE', interfaceName(device, 'tap')]] as const) : []),
    ['vif', interfaceName(device, 'vif')],
  ];
};

/**
 * The run number `execution` (from 0) for adding or removing a device; null: none is left to run. `noScript`: the back-end has no `script` node,
 * which libxl answers with ERROR_FAIL.
 */
export const hotplugRunOf = (
  device: Device,
  action: 'add' | 'remove',
  execution: number,
  view: StoreView,
): HotplugRun | null | 'noScript' => {
  if (execution >= executionsOf(device, view)) return null;
  const script = view.read(`${backendOf(device)}/script`);
  if (script === null) return 'noScript';
  const env = environment(device, script, view);
  if (device.backendKind !== 'vif') return { device, script, args: [action], env };
  const args = execution === 0 ? [action === 'add' ? 'online' : 'offline', 'type_if=vif'] : [action, 'type_if=tap'];
  return { device, script, args, env };
};

/** What a script finds on its host. */
export interface HotplugHost extends StoreView {
  /** Names of links that exist. */
  hasLink(name: string): boolean;
  /** Whether a bridge of that name stands, and of which kind. */
  bridgeKind(name: string): 'linux' | 'openvswitch' | null;
  /** Address of the interface that `vif-route` routes by; null: it is not up. */
  addressOf(link: string): string | null;
  /** Octets; null: there is no such link. */
  mtuOf(link: string): number | null;
  /** What a path is, and the numbers of its device (or of the loop device that it gets), in hexadecimal `major:minor`. */
  findDisk(path: string): { readonly kind: 'phy' | 'file'; readonly numbers: string; readonly node: string } | null;
  /** Who uses the device of these numbers in a way that forbids this use: the host's own mount, or another guest. */
  sharedWith(numbers: string, device: Device, writable: boolean): 'local' | 'guest' | null;
}

/** What a run did: its exit code, its changes of the store, and the interface that it touched. */
export interface HotplugResult {
  readonly exit: number;
  readonly operations: readonly StoreOperation[];
  readonly link: InterfaceLink | null;
}

/** How a run can be made to go wrong. */
export type HotplugFault = { readonly fault: 'stall' } | { readonly fault: 'fail'; readonly message: string };

/**
 * How long scripts take, in microseconds. Assumption: a few processes of a shell; an iSCSI login takes as long as its sessions do.
 */
export const HOTPLUG_DURATION_US: Readonly<Record<string, number>> = {
  'vif-bridge': 30_000,
  'vif-route': 25_000,
  'vif-nat': 60_000,
  'vif-openvswitch': 40_000,
  block: 20_000,
  'block-iscsi': 1_500_000,
  'block-tap': 100_000,
};
const OTHER_SCRIPT_US = 50_000;

const nameOfScript = (run: HotplugRun): string => run.script.slice(run.script.lastIndexOf('/') + 1);

export const hotplugDurationUs = (run: HotplugRun): number => HOTPLUG_DURATION_US[nameOfScript(run)] ?? OTHER_SCRIPT_US;

const write = (run: HotplugRun, name: string, value: string): StoreOperation => ({
  op: 'write',
  path: `${backendOf(run.device)}/${name}`,
  value,
});

/** `fatal` of xen-hotplug-common.sh. */
const fatal = (run: HotplugRun, message: string): HotplugResult => ({
  exit: 1,
  operations: [write(run, 'hotplug-error', message), write(run, 'hotplug-status', 'error')],
  link: null,
});

/** `ebusy` of block-common.sh. */
const busy = (run: HotplugRun, message: string): HotplugResult => ({
  exit: 1,
  operations: [write(run, 'hotplug-error', message), write(run, 'hotplug-status', 'busy')],
  link: null,
});

const BUSY_WORDS = {
  local: { who: 'the privileged ', when: 'by a guest' },
  guest: { who: 'a guest ', when: 'now' },
} as const;

/** `do_ebusy` of the block script: who has it, and what may not be done. */
const sharingMessage = (node: string, writable: boolean, owner: 'local' | 'guest'): string => {
  const { who, when } = BUSY_WORDS[owner];
  const [how, mount] = writable ? ['', ''] : ['read-write ', 'read-only '];
  return `Device ${node} is mounted ${how}in ${who}domain,\nand so cannot be mounted ${mount}${when}.`;
};

const runBlock = (run: HotplugRun, host: HotplugHost): HotplugResult => {
  const back = backendOf(run.device);
  const nothing: HotplugResult = { exit: 0, operations: [], link: null };
  if (run.args[0] !== 'add') return nothing;
  // Hot-plug may be set up so that the script runs twice.
  if (host.read(`${back}/physical-device`) !== null) return nothing;
  const params = host.read(`${back}/params`) ?? '';
  if (params === '') return { ...nothing, operations: [write(run, 'hotplug-status', 'connected')] };
  const disk = host.findDisk(params);
  if (disk === null) return fatal(run, `${params} does not exist.`);
  const state = host.read(`${back}/state`);
  if (disk.kind === 'file' && state !== '2')
    return fatal(
      run,
      `Path closed or removed during hotplug add: ${run.env[2]?.[1] ?? ''} state: ${state ?? 'unknown'}`,
    );
  const mode = host.read(`${back}/mode`) ?? 'r';
  const owner = mode.includes('!') ? null : host.sharedWith(disk.numbers, run.device, mode.includes('w'));
  if (owner !== null) return busy(run, sharingMessage(disk.node, mode.includes('w'), owner));
  return {
    ...nothing,
    operations: [
      ...(disk.kind === 'file' ? [write(run, 'node', disk.node)] : []),
      write(run, 'physical-device', disk.numbers),
      write(run, 'physical-device-path', disk.node),
      write(run, 'hotplug-status', 'connected'),
    ],
  };
};

interface Interface {
  readonly type: 'vif' | 'tap';
  readonly name: string;
  readonly up: boolean;
}

const interfaceOf = (run: HotplugRun, host: HotplugHost): Interface => {
  const type = run.args[1] === 'type_if=tap' ? 'tap' : 'vif';
  const chosen = host.read(`${backendOf(run.device)}/vifname`);
  const own = interfaceName(run.device, type);
  const name = chosen === null ? own : type === 'tap' ? `${chosen}-emu` : chosen;
  return { type, name, up: run.args[0] === 'online' || run.args[0] === 'add' };
};

/** A card that is up: the script says so for the paravirtual one alone. */
const attached = (
  run: HotplugRun,
  card: Interface,
  bridge: string | null,
  more: StoreOperation[] = [],
): HotplugResult => ({
  exit: 0,
  operations: card.type === 'vif' && card.up ? [...more, write(run, 'hotplug-status', 'connected')] : [],
  link: { name: card.name, bridge, up: card.up },
});

const OPENVSWITCH_BRIDGE = /^([^.:]+)(?:\.\d+)?(?::\d+(?::\d+)*)?$/;

const runBridge = (run: HotplugRun, host: HotplugHost, card: Interface): HotplugResult => {
  const back = backendOf(run.device);
  const asked = host.read(`${back}/bridge`) ?? '';
  if (asked === '') return fatal(run, 'Could not find bridge, and none was specified');
  // Before xl, the bridge of eth0 was itself called eth0: old configurations ask for xenbr0.
  const legacy = `eth${asked.slice('xenbr'.length)}`;
  const translated = asked.startsWith('xenbr') && host.bridgeKind(asked) === null && host.bridgeKind(legacy) !== null;
  const bridge = translated ? legacy : asked;
  if (host.bridgeKind(bridge) !== 'linux') return fatal(run, `Could not find bridge device ${bridge}`);
  const mtu = host.read(`${back}/mtu`) ?? String(host.mtuOf(bridge) ?? '');
  const front = host.read(`${back}/frontend`);
  const tellsGuest = mtu !== '' && front !== null;
  return attached(run, card, bridge, tellsGuest ? [{ op: 'write', path: `${front}/mtu`, value: mtu }] : []);
};

const runOpenVSwitch = (run: HotplugRun, host: HotplugHost, card: Interface): HotplugResult => {
  const asked = host.read(`${backendOf(run.device)}/bridge`) ?? '';
  const bridge = OPENVSWITCH_BRIDGE.exec(asked)?.[1];
  if (bridge === undefined) return fatal(run, 'No valid bridge was specified');
  if (host.bridgeKind(bridge) !== 'openvswitch')
    return fatal(
      run,
      `ovs-vsctl --timeout=30 -- --if-exists del-port ${card.name} -- add-port ${bridge} ${card.name} failed`,
    );
  return attached(run, card, bridge);
};

const runRoute = (run: HotplugRun, host: HotplugHost, card: Interface): HotplugResult => {
  const gateway = host.read(`${backendOf(run.device)}/gatewaydev`) ?? '';
  const link = gateway === '' ? 'eth0' : gateway;
  if (host.addressOf(link) === null)
    return fatal(
      run,
      `${gateway} is not up.  Bring it up or specify another interface with  netdev=<if> as a parameter to ${run.script}.`,
    );
  return attached(run, card, null);
};

const runInterface = (run: HotplugRun, host: HotplugHost): HotplugResult => {
  const card = interfaceOf(run, host);
  const own = interfaceName(run.device, card.type);
  if (!card.up) return attached(run, card, null);
  if (card.name !== own && host.hasLink(card.name))
    return fatal(run, `Cannot rename interface ${own}. An interface with name ${card.name} already exists.`);
  switch (nameOfScript(run)) {
    case 'vif-openvswitch':
      return runOpenVSwitch(run, host, card);
    case 'vif-route':
      return runRoute(run, host, card);
    case 'vif-nat':
      return attached(run, card, null);
    default:
      return runBridge(run, host, card);
  }
};

/**
 * What the run does when it ends, `hotplugDurationUs` after its start; null: it never ends by itself, and libxl kills it after its 40 s
 * (tools/hotplug/Linux: block, vif-bridge, vif-openvswitch, vif-route, vif-nat).
 */
export const runHotplug = (
  run: HotplugRun,
  host: HotplugHost,
  fault: HotplugFault | null = null,
): HotplugResult | null => {
  if (fault?.fault === 'stall') return null;
  if (fault?.fault === 'fail') return fatal(run, fault.message);
  return run.device.backendKind === 'vif' ? runInterface(run, host) : runBlock(run, host);
};
