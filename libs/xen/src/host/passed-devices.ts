import { reject, type Rejection } from '@xenolith/kernel';
import {
  assignFunction,
  attachUsb,
  createPassthrough,
  functionsOf,
  makeAssignable,
  MAX_USB_DEVICES,
  releaseDevices,
  setVirtualFunctions,
  XENBUS,
  type PassthroughState,
  type StoreOperation,
} from '../devices/index.js';
import type { DomainSettings, WishedDevice } from '../host-model.js';
import type { Errno } from '../outcome.js';
import type { InstalledDevice } from '../xen-setup.js';
import { backendPath, frontendPath } from '../xenstore/index.js';
import { setupOf, type Host, type HostState, type Machine } from './host-state.js';
import { transact } from './store-access.js';

/** A device that guests can be given, as the host tells of it. */
export interface DeviceView {
  readonly kind: 'pci' | 'sriov' | 'usb';
  readonly address: string;
  readonly model: string;
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
    const { kind, address, model } = device;
    const parts = Object.values(functions).filter(({ physicalFunction }) => physicalFunction === address);
    return [
      { kind, address, model, class: device.class, ...(parts.length > 0 && { virtualFunctions: parts.length }) },
      ...parts.map(({ bdf, name }) => {
        return { kind: 'sriov', address: bdf, model: name, class: device.class, physicalFunction: address } as const;
      }),
    ];
  });
};

// What a machine is given.

const isCard = ({ kind }: Pick<WishedDevice, 'kind'>): boolean => kind !== 'usb';

/** Whether its guest has functions of the host's cards, which no other host has. */
export const hasFunctions = ({ devices = [] }: DomainSettings): boolean => devices.some(isCard);

const isFree = (state: PassthroughState, { kind, address }: DeviceView): boolean =>
  kind === 'usb' ? state.attachedUsb[address] === undefined : state.assignable[address] === null;

/** The devices that fulfil a wish, the first that are free; null: there are not so many. */
const choose = (host: Host, { kind, class: name, address, count = 1 }: WishedDevice): readonly DeviceView[] | null => {
  const { passthrough } = host.state;
  if (!passthrough) return null;
  const fitting = deviceViews(setupOf(host.state).devices ?? []).filter(
    (device) =>
      device.kind === kind &&
      (address === undefined ? device.class === name : device.address === address) &&
      isFree(passthrough, device),
  );
  return fitting.length < count ? null : fitting.slice(0, count);
};

const SENTENCES: Partial<Record<Errno, string>> = {
  EOPNOTSUPP: 'the host has no IOMMU, without which only a pv guest is trusted with it',
  EBUSY: 'another guest has it, or one of its IOMMU group',
  ENOSPC: `a guest has ${MAX_USB_DEVICES} USB devices at most`,
};

const refusal = (
  host: Host,
  { settings }: Machine,
  wish: WishedDevice,
  why: string,
): { readonly rejection: Rejection } => {
  const what = wish.address ?? `${wish.count ?? 1} of class ${wish.class ?? ''}`;
  const message = `${settings.name} can't have ${wish.kind} device ${wish.name} (${what}) on ${host.state.name}: ${why}`;
  return reject('host_device_failed', message, { details: { device: wish.name } });
};

/** Controllers that libxl makes by itself: QEMU's for an HVM guest, a paravirtual one for the others (tools/libs/light/libxl_usb.c, `libxl__device_usbctrl_setdefault`). */
export const usbController = ({ guestType }: DomainSettings) =>
  guestType === 'hvm'
    ? ({ devid: 0, type: 'devicemodel', version: 2, ports: 6 } as const)
    : ({ devid: 0, type: 'qusb', version: 2, ports: 8 } as const);

const giveOne = (host: Host, machine: Machine, { kind, address }: DeviceView): Errno | null => {
  const { passthrough } = host.state;
  const { domid, settings } = machine;
  const { guestType } = settings;
  if (!passthrough) return 'ENODEV';
  const populateOnDemand = settings.dynamicMaxBytes < settings.staticMaxBytes;
  const given =
    kind === 'usb'
      ? attachUsb(passthrough, address, domid, [usbController(settings)])
      : assignFunction(passthrough, address, { domid, guestType, populateOnDemand });
  return given.ok ? null : given.errno;
};

const whyNot = (errno: Errno, { guestType }: DomainSettings): string => {
  if (errno !== 'EINVAL') return SENTENCES[errno] ?? errno;
  return guestType === 'pvh'
    ? 'Xen passes nothing through to pvh guests'
    : 'it began with less memory than its maximum, and the IOMMU needs all of it';
};

/** Why the machine can't have what it wishes; what it could have, it has. */
const give = (host: Host, machine: Machine): { readonly rejection: Rejection } | null => {
  for (const wish of machine.settings.devices ?? []) {
    const chosen = choose(host, wish);
    if (chosen === null) return refusal(host, machine, wish, 'the host has none that is free');
    for (const device of chosen) {
      const errno = giveOne(host, machine, device);
      if (errno !== null) return refusal(host, machine, wish, whyNot(errno, machine.settings));
    }
  }
  return null;
};

/** Gives the new domain all that the machine wishes, or nothing and says why. */
export const giveDevices = (host: Host, machine: Machine): { readonly rejection: Rejection } | null => {
  const refused = give(host, machine);
  if (refused && host.state.passthrough) releaseDevices(host.state.passthrough, machine.domid);
  return refused;
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

const pciBackend = (frontend: number): string => backendPath({ backend: 0, kind: 'pci', frontend, devid: 0 });

/**
 * What libxl writes for the functions of a domain (tools/libs/light/libxl_pci.c, `libxl__create_pci_backend`, `libxl_add_pci_backend_entry`). The handshake of pciback
 * with a PV guest's pcifront is not modelled: both ends are there at once.
 */
export const writeFunctions = (host: Host, machine: Machine): void => {
  const { passthrough } = host.state;
  const { domid, settings } = machine;
  const functions = passthrough ? functionsOf(passthrough, domid) : [];
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

/** Functions that nobody has, as `xl pci-assignable-list` finds them. */
export const passthroughOf = ({ passthrough }: Pick<HostState, 'passthrough'>): PassthroughState =>
  passthrough ?? createPassthrough(false, []);
