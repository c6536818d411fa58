import type { GuestType } from '@xenolith/kernel';
import type { Errno, Outcome } from '../outcome.js';
import { done, fail } from '../outcome.js';

/** A PCI function of the host, by its address `0000:3b:00.0`. */
export interface PciFunction {
  readonly bdf: string;
  readonly name: string;
  /** Dom0's driver that it goes back to. */
  readonly driver: string | null;
  /** Functions that the IOMMU can't tell apart have one number. */
  readonly iommuGroup: number;
  /** Bridges and the like can't be given away. */
  readonly isEndpoint: boolean;
  /** SR-IOV: how many virtual functions a physical one can have. */
  readonly totalVfs: number;
  /** SR-IOV: the physical function of a virtual one. */
  readonly physicalFunction: string | null;
}

/** Devices of a host that guests can be given. JSON, changed in place. */
export interface PassthroughState {
  readonly iommu: boolean;
  readonly functions: Record<string, PciFunction>;
  /** Bound to pciback, with the domain that has it; null: nobody (`xl pci-assignable-list`). */
  readonly assignable: Record<string, number | null>;
  readonly usb: Record<string, UsbDevice>;
  /** `<bus>.<address>` of attached USB devices, and where they are. */
  readonly attachedUsb: Record<string, UsbAttachment>;
}

export interface UsbDevice {
  /** `<bus>.<address>`, as `xl usbdev-attach` names it. */
  readonly address: string;
  /** bDeviceClass of USB. */
  readonly deviceClass: number;
}

export interface UsbAttachment {
  readonly domid: number;
  readonly controller: number;
  readonly port: number;
}

/** Of a domain, what decides whether it may have a device. */
export interface PassthroughDomain {
  readonly domid: number;
  readonly guestType: GuestType;
  /** Populate-on-demand: it began with less memory than its maximum. */
  readonly populateOnDemand: boolean;
}

const HUB_CLASS = 9;

export const createPassthrough = (
  iommu: boolean,
  functions: readonly PciFunction[],
  usb: readonly UsbDevice[] = [],
): PassthroughState => ({
  iommu,
  functions: Object.fromEntries(functions.map((item) => [item.bdf, item])),
  assignable: {},
  usb: Object.fromEntries(usb.map((device) => [device.address, device])),
  attachedUsb: {},
});

/**
 * `xl pci-assignable-add`: takes a function from Dom0's driver. ENOENT: there is none; EINVAL: a bridge; EBUSY: it has virtual functions. Adding twice is no
 * error (tools/libs/light/libxl_pci.c, `libxl__device_pci_assignable_add`).
 */
export const makeAssignable = (state: PassthroughState, bdf: string): Outcome<null> => {
  const item = state.functions[bdf];
  if (item === undefined) return fail('ENOENT');
  if (!item.isEndpoint) return fail('EINVAL');
  if (virtualFunctionsOf(state, bdf).length > 0) return fail('EBUSY');
  state.assignable[bdf] ??= null;
  return done(null);
};

/** `xl pci-assignable-remove`: gives it back to Dom0's driver. EBUSY: a domain has it; ENODEV: it was not assignable. */
export const makeUnassignable = (state: PassthroughState, bdf: string): Outcome<null> => {
  const owner = state.assignable[bdf];
  if (owner === undefined) return fail('ENODEV');
  if (owner !== null) return fail('EBUSY');
  Reflect.deleteProperty(state.assignable, bdf);
  return done(null);
};

/** What `xl pci-assignable-list` prints: bound to pciback and with nobody. */
export const assignableFunctions = (state: PassthroughState): readonly string[] =>
  Object.keys(state.assignable)
    .filter((bdf) => state.assignable[bdf] === null)
    .sort();

const virtualFunctionsOf = (state: PassthroughState, physical: string): readonly PciFunction[] =>
  Object.values(state.functions).filter((item) => item.physicalFunction === physical);

/** Another domain has a function of the same IOMMU group, so that this one could reach its memory. */
const sharesGroup = (state: PassthroughState, bdf: string, domid: number): boolean => {
  const group = state.functions[bdf]?.iommuGroup;
  return Object.entries(state.assignable).some(
    ([other, owner]) => owner !== null && owner !== domid && state.functions[other]?.iommuGroup === group,
  );
};

const domainRefusal = (state: PassthroughState, domain: PassthroughDomain): Errno | null => {
  // libxl: "passthrough not yet supported for x86 PVH guests".
  if (domain.guestType === 'pvh') return 'EINVAL';
  // libxl: "cannot be assigned - no IOMMU". A PV guest is trusted with its devices instead.
  if (domain.guestType === 'hvm' && !state.iommu) return 'EOPNOTSUPP';
  // libxl: "IOMMU required for device passthrough but not supported together with PoD".
  return domain.guestType === 'hvm' && domain.populateOnDemand ? 'EINVAL' : null;
};

/**
 * Gives a function to one domain alone. ENODEV: it is not assignable; EBUSY: another domain has it or shares its IOMMU group; EINVAL, EOPNOTSUPP: this kind
 * of domain can't have any (libxl_pci.c, `libxl__device_pci_add`; libxl_create.c; xen/drivers/passthrough/pci.c, `device_assigned`).
 */
export const assignFunction = (state: PassthroughState, bdf: string, domain: PassthroughDomain): Outcome<null> => {
  const refusal = domainRefusal(state, domain);
  if (refusal !== null) return fail(refusal);
  const owner = state.assignable[bdf];
  if (owner === undefined) return fail('ENODEV');
  if (owner !== null || sharesGroup(state, bdf, domain.domid)) return fail('EBUSY');
  state.assignable[bdf] = domain.domid;
  return done(null);
};

/** Takes a function from its domain; it stays assignable. ENODEV: the domain does not have it. */
export const unassignFunction = (state: PassthroughState, bdf: string, domid: number): Outcome<null> => {
  if (state.assignable[bdf] !== domid) return fail('ENODEV');
  state.assignable[bdf] = null;
  return done(null);
};

/** Functions that a domain has. */
export const functionsOf = (state: PassthroughState, domid: number): readonly string[] =>
  Object.keys(state.assignable)
    .filter((bdf) => state.assignable[bdf] === domid)
    .sort();

const VFS_PER_SLOT = 8;

/** The routing identifiers of virtual functions follow their physical one's; first offset 16, stride 1: assumption, as Intel's cards have it. */
const FIRST_VF_OFFSET = 16;

const addressBehind = (bdf: string, offset: number): string => {
  const [domain = '0000', bus = '00', rest = '00.0'] = bdf.split(':');
  const [slot = '00', fn = '0'] = rest.split('.');
  const routing = Number.parseInt(bus, 16) * 256 + Number.parseInt(slot, 16) * VFS_PER_SLOT + Number(fn) + offset;
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `${domain}:${hex(Math.floor(routing / 256))}:${hex(Math.floor((routing % 256) / VFS_PER_SLOT))}.${routing % VFS_PER_SLOT}`;
};

/**
 * Writes `sriov_numvfs`: makes or unmakes virtual functions, each an IOMMU group of its own. ENODEV: no SR-IOV; EINVAL: more than it can have, EBUSY: some
 * exist already or are with a guest, or the physical function itself is given away (Linux drivers/pci/iov.c, `sriov_numvfs_store`).
 */
export const setVirtualFunctions = (
  state: PassthroughState,
  bdf: string,
  count: number,
): Outcome<readonly string[]> => {
  const physical = state.functions[bdf];
  if (physical === undefined || physical.totalVfs === 0) return fail('ENODEV');
  if (count < 0 || count > physical.totalVfs) return fail('EINVAL');
  if (state.assignable[bdf] !== undefined) return fail('EBUSY');
  const present = virtualFunctionsOf(state, bdf);
  if (present.some((item) => typeof state.assignable[item.bdf] === 'number')) return fail('EBUSY');
  if (count > 0 && present.length > 0) return fail('EBUSY');
  for (const item of present) {
    Reflect.deleteProperty(state.assignable, item.bdf);
    Reflect.deleteProperty(state.functions, item.bdf);
  }
  const firstGroup = Math.max(0, ...Object.values(state.functions).map((item) => item.iommuGroup)) + 1;
  const made = Array.from({ length: count }, (_, index) => addressBehind(bdf, FIRST_VF_OFFSET + index));
  made.forEach((address, index) => {
    state.functions[address] = {
      bdf: address,
      name: `${physical.name} Virtual Function`,
      driver: null,
      iommuGroup: firstGroup + index,
      isEndpoint: true,
      totalVfs: 0,
      physicalFunction: bdf,
    };
  });
  return done(made);
};

/** USB devices that XAPI lets one VM have (xen-api ocaml/xapi/xapi_vusb.ml: TOO_MANY_VUSBS). */
export const MAX_USB_DEVICES = 6;

/**
 * Attaches a USB device to the first free port of the domain's virtual controllers. ENODEV: there is none; EINVAL: a hub; EBUSY: a domain has it; ENOSPC:
 * no port is free, or it has as many as XAPI allows (tools/libs/light/libxl_usb.c, `libxl__device_usbdev_add`).
 */
export const attachUsb = (
  state: PassthroughState,
  address: string,
  domid: number,
  controllers: readonly { readonly devid: number; readonly ports: number }[],
): Outcome<UsbAttachment> => {
  const device = state.usb[address];
  if (device === undefined) return fail('ENODEV');
  if (device.deviceClass === HUB_CLASS) return fail('EINVAL');
  if (state.attachedUsb[address] !== undefined) return fail('EBUSY');
  const own = Object.values(state.attachedUsb).filter((attachment) => attachment.domid === domid);
  if (own.length >= MAX_USB_DEVICES) return fail('ENOSPC');
  for (const { devid, ports } of controllers)
    for (let port = 1; port <= ports; port += 1) {
      if (own.some((taken) => taken.controller === devid && taken.port === port)) continue;
      const attachment = { domid, controller: devid, port };
      state.attachedUsb[address] = attachment;
      return done(attachment);
    }
  return fail('ENOSPC');
};

/** ENODEV: the domain does not have it. */
export const detachUsb = (state: PassthroughState, address: string, domid: number): Outcome<null> => {
  if (state.attachedUsb[address]?.domid !== domid) return fail('ENODEV');
  Reflect.deleteProperty(state.attachedUsb, address);
  return done(null);
};

/** The domain is gone: all that it had is free again. */
export const releaseDevices = (state: PassthroughState, domid: number): void => {
  for (const bdf of functionsOf(state, domid)) state.assignable[bdf] = null;
  for (const [address, attachment] of Object.entries(state.attachedUsb))
    if (attachment.domid === domid) Reflect.deleteProperty(state.attachedUsb, address);
};

/** What a guest has of the host itself. */
export type PassedThrough = 'pci' | 'sriovVif' | 'vusb';

/**
 * Operations that XAPI refuses for what is passed through, with its error code, whose one argument is the VM's reference (xen-api
 * ocaml/xapi/xapi_vm_lifecycle.ml). A virtual function behind a network card is an attached PCI device like any other.
 */
export const FORBIDDEN_BY_PASSTHROUGH: Readonly<
  Record<PassedThrough, { readonly code: string; readonly operations: readonly string[] }>
> = {
  pci: { code: 'VM_HAS_PCI_ATTACHED', operations: ['suspend', 'checkpoint', 'pool_migrate', 'migrate_send'] },
  sriovVif: { code: 'VM_HAS_PCI_ATTACHED', operations: ['suspend', 'checkpoint', 'pool_migrate', 'migrate_send'] },
  vusb: { code: 'VM_HAS_VUSBS', operations: ['suspend', 'snapshot', 'checkpoint', 'migrate_send', 'pool_migrate'] },
};

/** XAPI's code for an operation that what is passed through forbids, in the order of XAPI's checks; null: nothing forbids it. */
export const passthroughRefusal = (operation: string, has: readonly PassedThrough[]): string | null => {
  for (const kind of ['pci', 'sriovVif', 'vusb'] as const) {
    const { code, operations } = FORBIDDEN_BY_PASSTHROUGH[kind];
    if (has.includes(kind) && operations.includes(operation)) return code;
  }
  return null;
};

/**
 * What the hypervisor refuses a domain that has PCI devices: tracking dirty pages with EINVAL (xen/arch/x86/mm/paging.c), populating on demand (p2m-pod.c),
 * and sharing pages with EXDEV, which reads EINVAL here (mem_sharing.c).
 */
export const FORBIDDEN_BY_IOMMU: Readonly<Record<'logDirty' | 'populateOnDemand' | 'memorySharing', Errno>> = {
  logDirty: 'EINVAL',
  populateOnDemand: 'EINVAL',
  memorySharing: 'EINVAL',
};
