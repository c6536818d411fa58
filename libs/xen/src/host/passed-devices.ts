import { reject, type Rejection } from '@xenolith/kernel';
import {
  assignFunction,
  attachUsb,
  createPassthrough,
  detachUsb,
  functionsOf,
  makeAssignable,
  MAX_USB_DEVICES,
  releaseDevices,
  setVirtualFunctions,
  unassignFunction,
  XENBUS,
  type PassthroughState,
  type StoreOperation,
} from '../devices/index.js';
import type { DomainSettings, GivenDevice } from '../host-model.js';
import type { Errno } from '../outcome.js';
import type { InstalledDevice } from '../xen-setup.js';
import { backendPath, frontendPath } from '../xenstore/index.js';
import type { Host, HostState, Machine } from './host-state.js';
import { transact } from './store-access.js';

/** A device that guests can be given, as the host tells of it. */
export interface DeviceView {
  readonly kind: 'pci' | 'sriov' | 'usb';
  readonly address: string;
  readonly model: string;
  readonly id?: string;
  readonly class: string;
  readonly physicalFunction?: string;
  readonly virtualFunctions?: number;
}

/** What Dom0 has bound to pciback when it has booted: cards that are parted stay with it, and their virtual functions are given instead. */
export const freshPassthrough = (devices: readonly InstalledDevice[], iommu: boolean): PassthroughState => {
  const cards = devices.filter(({ kind }) => kind === 'pci');
  const state = createPassthrough(
    iommu,
    cards.map((card, iommuGroup) => ({
      bdf: card.address,
      name: card.model,
      driver: null,
      iommuGroup,
      isEndpoint: true,
      totalVfs: card.virtualFunctions ?? 0,
      physicalFunction: null,
    })),
    devices.filter(({ kind }) => kind === 'usb').map(({ address }) => ({ address, deviceClass: 0 })),
  );
  for (const { address, virtualFunctions = 0 } of cards) {
    const made = virtualFunctions > 0 ? setVirtualFunctions(state, address, virtualFunctions) : null;
    for (const bdf of made?.ok ? made.value : [address]) makeAssignable(state, bdf);
  }
  return state;
};

/** All devices of a host: cards first, each followed by its parts. */
export const deviceViews = (devices: readonly InstalledDevice[]): readonly DeviceView[] => {
  const { functions } = freshPassthrough(devices, true);
  return devices.flatMap((device): readonly DeviceView[] => {
    const { kind, address, model, id } = device;
    const parts = Object.values(functions).filter(({ physicalFunction }) => physicalFunction === address);
    return [
      {
        kind,
        address,
        model,
        ...(id && { id }),
        class: device.class,
        ...(parts.length > 0 && { virtualFunctions: parts.length }),
      },
      ...parts.map(({ bdf, name }) => {
        return { kind: 'sriov', address: bdf, model: name, class: device.class, physicalFunction: address } as const;
      }),
    ];
  });
};

// What a machine is given.

export const isCard = ({ kind }: Pick<GivenDevice, 'kind'>): boolean => kind !== 'usb';

/** Whether its guest has functions of the host's cards, which no other host has. */
export const hasFunctions = ({ devices = [] }: DomainSettings): boolean => devices.some(isCard);

/** Whether the IOMMU knows its memory from the start (docs/man/xl.cfg.5.pod.in, `passthrough`). */
export const mayHaveFunctions = (settings: DomainSettings): boolean =>
  settings.passthrough === 'enabled' || hasFunctions(settings);

/** The settings with more devices of the host, and without those of a name. */
export const withGiven = (settings: DomainSettings, more: readonly GivenDevice[]): DomainSettings => ({
  ...settings,
  devices: [...(settings.devices ?? []), ...more],
});
export const withoutNamed = (settings: DomainSettings, name: string): DomainSettings => ({
  ...settings,
  devices: (settings.devices ?? []).filter((device) => device.name !== name),
});

export const refusal = (
  { state }: { readonly state: { readonly name: string } },
  settings: DomainSettings,
  { kind, name, address }: GivenDevice,
  why: string,
): { readonly rejection: Rejection } =>
  reject(
    'host_device_failed',
    `${settings.name} can't have ${kind} device ${name} (${address}) on ${state.name}: ${why}`,
    {
      details: { device: name },
    },
  );

/** Controllers that libxl makes by itself: QEMU's for an HVM guest, a paravirtual one for the others (tools/libs/light/libxl_usb.c, `libxl__device_usbctrl_setdefault`). */
export const usbController = ({ guestType }: DomainSettings) =>
  guestType === 'hvm'
    ? ({ devid: 0, type: 'devicemodel', version: 2, ports: 6 } as const)
    : ({ devid: 0, type: 'qusb', version: 2, ports: 8 } as const);

/** The first slot of an HVM guest's bus behind what QEMU has on it. Assumption: host bridge, ISA bridge, screen, platform device and one network card. */
const FIRST_FREE_SLOT = 5;
/** PCI: of one bus. */
const SLOTS = 32;

/** An HVM guest's bus has a place for it, the first that is free; a PV guest's bus is its own driver's. */
const takeSlot = (machine: Machine, address: string): Errno | null => {
  if (machine.settings.guestType !== 'hvm') return null;
  const slots = { ...machine.slots };
  const taken = new Set(Object.values(slots));
  let slot = FIRST_FREE_SLOT;
  while (taken.has(slot)) slot += 1;
  if (slot >= SLOTS) return 'ENOSPC';
  machine.slots = { ...slots, [address]: slot };
  return null;
};

const errnoOf = (host: Host, machine: Machine, device: GivenDevice): Errno | null => {
  const { passthrough } = host.state;
  const { domid, settings } = machine;
  const { kind, address } = device;
  if (!passthrough) return 'ENODEV';
  if (kind === 'usb') {
    const attached = attachUsb(passthrough, address, domid, [usbController(settings)]);
    return attached.ok ? null : attached.errno;
  }
  const populateOnDemand = settings.dynamicMaxBytes < settings.staticMaxBytes;
  const assigned = assignFunction(passthrough, address, { domid, guestType: settings.guestType, populateOnDemand });
  return assigned.ok ? takeSlot(machine, address) : assigned.errno;
};

const SENTENCES: Partial<Record<Errno, string>> = {
  ENODEV: 'the host has no such device to give',
  EOPNOTSUPP: 'the host has no IOMMU, without which only a pv guest is trusted with it',
  EBUSY: 'another guest has it, or one of its IOMMU group',
};

const whyNot = (errno: Errno, { guestType }: DomainSettings, device: GivenDevice): string => {
  if (errno === 'ENOSPC')
    return isCard(device) ? 'its bus has no free slot' : `a guest has ${MAX_USB_DEVICES} USB devices at most`;
  if (errno !== 'EINVAL') return SENTENCES[errno] ?? errno;
  return guestType === 'pvh'
    ? 'Xen passes nothing through to pvh guests'
    : 'it began with less memory than its maximum, and the IOMMU needs all of it';
};

/** Gives the domain one device; or why it can't have it. */
export const giveOne = (
  host: Host,
  machine: Machine,
  device: GivenDevice,
): { readonly rejection: Rejection } | null => {
  const errno = errnoOf(host, machine, device);
  return errno === null ? null : refusal(host, machine.settings, device, whyNot(errno, machine.settings, device));
};

/** Takes one device from the domain. */
export const takeOne = ({ state: { passthrough } }: Host, machine: Machine, device: GivenDevice): void => {
  if (!passthrough) return;
  const { address } = device;
  if (isCard(device)) unassignFunction(passthrough, address, machine.domid);
  else detachUsb(passthrough, address, machine.domid);
  if (machine.slots) Reflect.deleteProperty(machine.slots, address);
};

/** Gives the new domain all that the machine is to have, or nothing and says why. */
export const giveDevices = (host: Host, machine: Machine): { readonly rejection: Rejection } | null => {
  Reflect.deleteProperty(machine, 'slots');
  for (const device of machine.settings.devices ?? []) {
    const refused = giveOne(host, machine, device);
    if (refused === null) continue;
    if (host.state.passthrough) releaseDevices(host.state.passthrough, machine.domid);
    return refused;
  }
  return null;
};

/** The domain is gone: all that it had is free. */
export const takeDevicesBack = (host: Host, domid: number): void => {
  const { passthrough } = host.state;
  if (!passthrough || functionsOf(passthrough, domid).length + usbOf(passthrough, domid).length === 0) return;
  releaseDevices(passthrough, domid);
  transact(host, 0, [{ op: 'cleanup', path: pciBackend(domid) }]);
};

/** What a guest has by USB, by the port that it is at. */
export const usbOf = (
  state: PassthroughState,
  domid: number,
): readonly { readonly port: number; readonly address: string }[] =>
  Object.entries(state.attachedUsb)
    .filter(([, attachment]) => attachment.domid === domid)
    .map(([address, { port }]) => ({ port, address }))
    .sort((a, b) => a.port - b.port);

/** The functions that a machine has, in the order in which it got them. */
export const functionsGiven = ({ settings }: Machine): readonly string[] =>
  (settings.devices ?? []).filter(isCard).map(({ address }) => address);

const pciBackend = (frontend: number): string => backendPath({ backend: 0, kind: 'pci', frontend, devid: 0 });

/**
 * What libxl writes for the functions of a domain (tools/libs/light/libxl_pci.c, `libxl__create_pci_backend`, `libxl_add_pci_backend_entry`). The handshake of pciback
 * with a PV guest's pcifront is not modelled: both ends are there at once.
 */
export const writeFunctions = (host: Host, machine: Machine): void => {
  const { domid, settings } = machine;
  const functions = functionsGiven(machine);
  if (functions.length === 0) return;
  const [back, front] = [pciBackend(domid), frontendPath(domid, 'pci', 0)];
  const state = String(settings.guestType === 'pv' ? XENBUS.connected : XENBUS.initialising);
  const nodes: readonly (readonly [string, string])[] = [
    [`${back}/frontend`, front],
    [`${back}/frontend-id`, String(domid)],
    [`${back}/online`, '1'],
    [`${back}/state`, state],
    [`${back}/domain`, settings.name],
    ...functions.flatMap((bdf, index): (readonly [string, string])[] => [
      [`${back}/key-${index}`, bdf],
      [`${back}/dev-${index}`, bdf],
      [`${back}/opts-${index}`, 'msitranslate=0,power_mgmt=0,permissive=0'],
      [`${back}/state-${index}`, state],
    ]),
    [`${back}/num_devs`, String(functions.length)],
    [`${front}/backend`, back],
    [`${front}/backend-id`, '0'],
    [`${front}/state`, state],
  ];
  transact(
    host,
    0,
    nodes.map(([path, value]): StoreOperation => ({ op: 'write', path, value })),
  );
};

/** The same after some of them were taken: those behind move up (libxl_pci.c, `libxl_remove_pci_backend_entry`). */
export const rewriteFunctions = (host: Host, machine: Machine): void => {
  transact(host, 0, [
    { op: 'cleanup', path: pciBackend(machine.domid) },
    { op: 'cleanup', path: frontendPath(machine.domid, 'pci', 0) },
  ]);
  writeFunctions(host, machine);
};

/** Functions that nobody has, as `xl pci-assignable-list` finds them. */
export const passthroughOf = ({ passthrough }: Pick<HostState, 'passthrough'>): PassthroughState =>
  passthrough ?? createPassthrough(false, []);
