import { assert, randomFrom } from '@xenolith/kernel';
import {
  blockDeviceNodes,
  networkDeviceNodes,
  SECTOR_BYTES,
  vbdNumber,
  type Device,
  type DeviceNodes,
  type PhysicalDisk,
} from '../devices/index.js';
import { LIBVIRT_BRIDGE, type NetworkMode } from '../dom0/index.js';
import type { DeviceSettings, DomainSettings } from '../host-model.js';
import type { Host, Machine, MachineDevice } from './host-state.js';

/** A guest with front-ends of its own; one without drives what qemu emulates. */
export const hasFrontends = ({ settings }: Machine): boolean => settings.guestType !== 'hvm' || settings.pvDrivers;

/** Its vCPUs wait for a device model that has died (xen/arch/x86/hvm/ioreq.c, `hvm_wait_for_io`). */
export const isStuck = (machine: Machine): boolean => machine.deviceModel === 'lost' && !hasFrontends(machine);

/** What a back-end finds behind a disk of the machine. */
export const diskOf = (machine: Machine, device: MachineDevice): PhysicalDisk | null => {
  const disk = machine.settings.disks.find(({ name }) => name === device.name);
  if (!disk) return null;
  return {
    sectors: Math.floor(disk.sizeBytes / SECTOR_BYTES),
    sectorSize: SECTOR_BYTES,
    physicalSectorSize: SECTOR_BYTES,
    cdrom: false,
    removable: false,
    flush: true,
    discard: null,
  };
};

/** Where a volume's block device lies on the host. */
export const volumePath = (volume: string): string => `/dev/xenolith/${volume}`;

/** Numbers of a volume's device-mapper node (major 253 in Documentation/admin-guide/devices.txt: experimental), always the same for a volume. */
export const volumeNumbers = (path: string): string => `fd:${randomFrom(path).below(0xfffff).toString(16)}`;

const ALPHABET = 26;
const FIRST_LETTER = 'a'.charCodeAt(0);

/** Letters of the n-th disk in its guest: a … z, aa … */
export const diskLetters = (index: number): string => {
  const last = String.fromCharCode(FIRST_LETTER + (index % ALPHABET));
  return index < ALPHABET ? last : `${String.fromCharCode(FIRST_LETTER + Math.floor(index / ALPHABET) - 1)}${last}`;
};

const diskNodeName = (index: number): string => `xvd${diskLetters(index)}`;

const diskNumber = (index: number): number => {
  const number = vbdNumber(diskNodeName(index));
  assert(number.ok, 'the name of a disk has a number');
  return number.value;
};

/** What the toolstack writes for a device; `network` says which script attaches an interface. */
export const deviceNodes = (machine: Machine, device: MachineDevice, network: NetworkMode): DeviceNodes => {
  const { settings } = machine;
  if (device.kind === 'disk') {
    const disk = settings.disks.find(({ name }) => name === device.name);
    return blockDeviceNodes(device.device, {
      vdev: diskNodeName(device.slot),
      target: volumePath(disk?.volume ?? ''),
      format: 'raw',
      writable: disk?.readOnly !== true,
      cdrom: false,
      removable: false,
      discard: true,
      script: null,
      guestIsPv: settings.guestType === 'pv',
    });
  }
  const nic = settings.nics.find(({ name }) => name === device.name);
  return networkDeviceNodes(device.device, {
    mac: nic?.mac ?? '',
    // Whatever network a guest is to be in, libvirt's hosts have one.
    bridge: network === 'libvirt' ? LIBVIRT_BRIDGE : (nic?.bridge ?? ''),
    script: `vif-${network === 'libvirt' ? 'bridge' : network}`,
    type: 'vif',
    ip: nic && nic.ips.length > 0 ? nic.ips.join(' ') : null,
    vifname: null,
    gatewaydev: null,
    mtu: null,
    rate: null,
  });
};

const newDevice = (name: string, kind: MachineDevice['kind'], slot: number, device: Device): MachineDevice => ({
  name,
  kind,
  slot,
  device,
  task: null,
  script: null,
  scripts: 0,
  back: null,
  front: null,
  mappings: [],
  flows: [],
  stalledBy: null,
  retries: {},
  complaint: null,
});

/** Who serves devices of a kind on the host. */
const backendFor = ({ state }: Host, kind: MachineDevice['kind']): number =>
  state.drivers?.[kind === 'disk' ? 'storage' : 'network']?.domid ?? 0;

const deviceAt = (
  host: Host,
  machine: Machine,
  { kind, name, slot }: Pick<MachineDevice, 'kind' | 'name' | 'slot'>,
): MachineDevice => {
  const of = { domid: machine.domid, backendDomid: backendFor(host, kind) };
  return kind === 'disk'
    ? newDevice(name, kind, slot, { kind: 'vbd', backendKind: 'vbd', devid: diskNumber(slot), ...of })
    : newDevice(name, kind, slot, { kind: 'vif', backendKind: 'vif', devid: slot, ...of });
};

/** The same device, as nothing had been done for it. */
export const renewedDevice = ({ name, kind, slot, device }: MachineDevice): MachineDevice =>
  newDevice(name, kind, slot, device);

/** The devices of a machine's domain, before anything was done for them. */
export const devicesOf = (host: Host, machine: Machine): MachineDevice[] => {
  return [
    ...machine.settings.disks.map(({ name }, index) => deviceAt(host, machine, { kind: 'disk', name, slot: index })),
    ...machine.settings.nics.map(({ name }, index) => deviceAt(host, machine, { kind: 'nic', name, slot: index })),
  ];
};

/** A device that comes to those that a machine has, at the first place that is free. */
export const pluggedDevice = (host: Host, machine: Machine, { kind, settings }: DeviceSettings): MachineDevice => {
  const taken = machine.devices.filter((device) => device.kind === kind).map(({ slot }) => slot);
  let slot = 0;
  while (taken.includes(slot)) slot += 1;
  return deviceAt(host, machine, { kind, name: settings.name, slot });
};

interface Named {
  readonly kind: MachineDevice['kind'];
  readonly name: string;
}

export const hasDevice = (settings: DomainSettings, { kind, name }: Named): boolean =>
  (kind === 'disk' ? settings.disks : settings.nics).some((device) => device.name === name);

export const withDevice = (settings: DomainSettings, added: DeviceSettings): DomainSettings =>
  added.kind === 'disk'
    ? { ...settings, disks: [...settings.disks, added.settings] }
    : { ...settings, nics: [...settings.nics, added.settings] };

export const withoutDevice = (settings: DomainSettings, { kind, name }: Named): DomainSettings =>
  kind === 'disk'
    ? { ...settings, disks: settings.disks.filter((disk) => disk.name !== name) }
    : { ...settings, nics: settings.nics.filter((nic) => nic.name !== name) };
