import { randomFrom } from '@xenolith/kernel';
import type { HotplugHost, InterfaceLink } from '../devices/index.js';
import {
  bridgeStart,
  createNetwork,
  createVif,
  forwardingStart,
  legacyBridgeStart,
  LIBVIRT_BRIDGE,
  newLink,
  portsOf,
  removeVif,
  runScript,
  vifOffline,
  vifOnline,
  XEN_BRIDGE,
  type NetworkCommand,
  type NetworkState,
  type VifAttachment,
  type VifMode,
} from '../dom0/index.js';
import { releaseOf, type XenSetup } from '../xen-setup.js';
import { setupOf, type Host, type Machine, type MachineDevice } from './host-state.js';

/** The card of the host that its bridge is made of. */
const PHYSICAL = 'eth0';
/** Assumption: management networks of a lab are 10.0.0.0/16; the last two numbers come from the host's name. */
const MANAGEMENT = '10.0';

/** Software of bridges; a host has one kind only. */
const bridgesBy = ({ network }: XenSetup): 'linux' | 'openvswitch' =>
  network === 'openvswitch' ? 'openvswitch' : 'linux';

/** What makes the host's card a way for guests. */
const startCommands = (state: NetworkState, setup: XenSetup): readonly NetworkCommand[] => {
  switch (setup.network) {
    case 'bridge':
      if (releaseOf(setup).bridgeRecipe === 'legacy') return legacyBridgeStart(state, PHYSICAL);
      return bridgeStart(state, { nic: PHYSICAL, bridge: XEN_BRIDGE, by: 'linux' });
    case 'openvswitch':
      return bridgeStart(state, { nic: PHYSICAL, bridge: XEN_BRIDGE, by: 'openvswitch' });
    case 'route':
    case 'nat':
    case 'libvirt':
      return [{ do: 'up', dev: PHYSICAL }, ...forwardingStart(setup.network)];
  }
};

/** Dom0's network when it has booted: its card with an address, which a bridge takes over where there is one. */
export const freshNetwork = (hostName: string, setup: XenSetup): NetworkState => {
  const state = createNetwork();
  const random = randomFrom(`${hostName}/${PHYSICAL}`);
  // Locally administered, as nobody made the card.
  const octets = [0x02, 0x78, ...Array.from({ length: 4 }, () => random.below(0x100))];
  const mac = octets.map((octet) => octet.toString(16).padStart(2, '0')).join(':');
  const address = `${MANAGEMENT}.${random.below(0x100)}.${1 + random.below(0xfe)}/16`;
  state.links[PHYSICAL] = { ...newLink('physical', mac), addresses: [address] };
  runScript(state, startCommands(state, setup));
  return state;
};

/** libvirt's network is a bridge to its guests. */
const vifModeOf = ({ network }: XenSetup): VifMode => (network === 'libvirt' ? 'bridge' : network);

const attachmentOf = (host: Host, { device }: MachineDevice): VifAttachment => ({
  mode: vifModeOf(setupOf(host.state)),
  vif: { domid: device.domid, devid: device.devid },
  kind: 'vif',
  bridge: '',
});

/** The network in which a device's back-end lives: Dom0's, or that of its driver domain. */
const networkOf = ({ state }: Host, { device }: MachineDevice): NetworkState =>
  Object.values(state.drivers ?? {}).find(({ domid }) => domid === device.backendDomid)?.network ?? state.network;

const nicOf = (machine: Machine, { name }: MachineDevice) => machine.settings.nics.find((nic) => nic.name === name);

/** The platform makes a network's bridge on a host before it plugs the first interface into it. */
export const makeBridge = (host: Host, machine: Machine, device: MachineDevice): void => {
  const network = networkOf(host, device);
  const setup = setupOf(host.state);
  const bridge = nicOf(machine, device)?.bridge ?? '';
  if (device.kind !== 'nic' || bridge === '' || network.links[bridge]) return;
  if (setup.network === 'route' || setup.network === 'nat' || setup.network === 'libvirt') return;
  runScript(network, [
    { do: 'addBridge', bridge, by: bridgesBy(setup) },
    { do: 'up', dev: bridge },
  ]);
};

/** netback took the device up: Dom0 has its interface. */
export const interfaceAppears = (host: Host, device: MachineDevice): void => {
  if (device.kind === 'nic') createVif(networkOf(host, device), attachmentOf(host, device));
};

/** netback let the device go: its interface is gone, and with the last of them the bridge that was made for it. */
export const interfaceGoes = (host: Host, device: MachineDevice): void => {
  if (device.kind !== 'nic') return;
  const network = networkOf(host, device);
  const { domid, devid } = device.device;
  const bridge = network.links[`vif${domid}.${devid}`]?.master ?? null;
  removeVif(network, attachmentOf(host, device));
  if (bridge === null || bridge === XEN_BRIDGE || bridge === LIBVIRT_BRIDGE || portsOf(network, bridge).length > 0)
    return;
  Reflect.deleteProperty(network.links, bridge);
};

/** What a script did to Dom0's network. */
export const applyLink = (host: Host, machine: Machine, device: MachineDevice, link: InterfaceLink): void => {
  const network = networkOf(host, device);
  const attachment: VifAttachment = {
    ...attachmentOf(host, device),
    bridge: link.bridge ?? network.links[link.name]?.master ?? '',
    dom0Address: addressOf(network, PHYSICAL) ?? '',
    guestAddresses: nicOf(machine, device)?.ips ?? [],
  };
  // A script that takes an interface down goes on whatever fails, as the driver may have taken it away already.
  for (const command of link.up ? vifOnline(attachment) : vifOffline(attachment)) runScript(network, [command]);
};

const addressOf = ({ links }: NetworkState, name: string): string | null =>
  links[name]?.up === true ? (links[name].addresses[0]?.split('/')[0] ?? null) : null;

/** What the scripts of a device find of the network. */
export const networkView = (
  host: Host,
  device: MachineDevice,
): Pick<HotplugHost, 'hasLink' | 'bridgeKind' | 'addressOf' | 'mtuOf'> => {
  const network = networkOf(host, device);
  const { links } = network;
  return {
    hasLink: (name) => links[name] !== undefined,
    bridgeKind: (name) => {
      const kind = links[name]?.kind;
      if (kind === 'bridge') return 'linux';
      return kind === 'openvswitch' ? 'openvswitch' : null;
    },
    addressOf: (name) => addressOf(network, name),
    mtuOf: (name) => links[name]?.mtu ?? null,
  };
};
