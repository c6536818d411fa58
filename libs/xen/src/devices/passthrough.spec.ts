import { describe, expect, it } from 'vitest';
import type { PassthroughState, PciFunction } from './passthrough.js';
import {
  assignableFunctions,
  assignFunction,
  attachUsb,
  createPassthrough,
  detachUsb,
  functionsOf,
  makeAssignable,
  makeUnassignable,
  passthroughRefusal,
  releaseDevices,
  setVirtualFunctions,
  unassignFunction,
} from './passthrough.js';

const card = (bdf: string, iommuGroup: number, more: Partial<PciFunction> = {}): PciFunction => ({
  bdf,
  name: 'Ethernet Controller',
  driver: 'ixgbe',
  iommuGroup,
  isEndpoint: true,
  totalVfs: 0,
  physicalFunction: null,
  ...more,
});
const [A, B, C, BRIDGE] = ['0000:3b:00.0', '0000:3b:00.1', '0000:5e:00.0', '0000:00:1c.0'];

const host = (iommu = true): PassthroughState =>
  createPassthrough(
    iommu,
    [card(A, 1, { totalVfs: 63 }), card(B, 1), card(C, 2), card(BRIDGE, 3, { isEndpoint: false })],
    [
      { address: '1.1', deviceClass: 9 },
      ...Array.from({ length: 8 }, (_, index) => ({ address: `2.${index + 2}`, deviceClass: 0 })),
    ],
  );
const hvm = { domid: 5, guestType: 'hvm', populateOnDemand: false } as const;
const errno = (outcome: { ok: boolean; errno?: string }): string | null => outcome.errno ?? null;

describe('a PCI function', () => {
  it('is given to one domain alone, and only when it was made assignable', () => {
    const state = host();
    expect(errno(assignFunction(state, C, hvm))).toBe('ENODEV');
    makeAssignable(state, C);
    expect(assignableFunctions(state)).toEqual([C]);
    expect(assignFunction(state, C, hvm).ok).toBe(true);
    expect(errno(assignFunction(state, C, { ...hvm, domid: 6 }))).toBe('EBUSY');
    expect([assignableFunctions(state), functionsOf(state, 5)]).toEqual([[], [C]]);
    expect(errno(makeUnassignable(state, C))).toBe('EBUSY');
    expect(errno(unassignFunction(state, C, 6))).toBe('ENODEV');
    unassignFunction(state, C, 5);
    expect(makeUnassignable(state, C).ok).toBe(true);
  });

  it('shares its IOMMU group with no other domain', () => {
    const state = host();
    makeAssignable(state, A);
    makeAssignable(state, B);
    assignFunction(state, A, hvm);
    expect(errno(assignFunction(state, B, { ...hvm, domid: 6 }))).toBe('EBUSY');
    expect(assignFunction(state, B, hvm).ok).toBe(true);
    releaseDevices(state, 5);
    expect(assignableFunctions(state)).toEqual([A, B]);
  });

  it.each([
    ['an HVM guest without an IOMMU', { ...hvm }, false, 'EOPNOTSUPP'],
    ['a PV guest without an IOMMU', { ...hvm, guestType: 'pv' }, false, null],
    ['a PVH guest', { ...hvm, guestType: 'pvh' }, true, 'EINVAL'],
    ['a guest that populates on demand', { ...hvm, populateOnDemand: true }, true, 'EINVAL'],
  ] as const)('for %s: %s', (_name, domain, iommu, expected) => {
    const state = host(iommu);
    makeAssignable(state, C);
    expect(errno(assignFunction(state, C, domain))).toBe(expected);
  });

  it('that is a bridge, or is not there, can not be given away', () => {
    expect(errno(makeAssignable(host(), BRIDGE))).toBe('EINVAL');
    expect(errno(makeAssignable(host(), '0000:ff:00.0'))).toBe('ENOENT');
  });
});

describe('virtual functions', () => {
  it('appear behind their physical one, each for itself, up to what the card can have', () => {
    const state = host();
    expect(setVirtualFunctions(state, A, 3)).toEqual({
      ok: true,
      value: ['0000:3b:02.0', '0000:3b:02.1', '0000:3b:02.2'],
    });
    makeAssignable(state, '0000:3b:02.0');
    makeAssignable(state, '0000:3b:02.1');
    expect(assignFunction(state, '0000:3b:02.0', hvm).ok).toBe(true);
    expect(assignFunction(state, '0000:3b:02.1', { ...hvm, domid: 6 }).ok).toBe(true);
    expect(errno(setVirtualFunctions(state, A, 0))).toBe('EBUSY');
    expect(errno(makeAssignable(state, A))).toBe('EBUSY');
    releaseDevices(state, 5);
    releaseDevices(state, 6);
    expect(errno(setVirtualFunctions(state, A, 2))).toBe('EBUSY');
    expect(setVirtualFunctions(state, A, 0)).toEqual({ ok: true, value: [] });
    expect(assignableFunctions(state)).toEqual([]);
    expect(errno(setVirtualFunctions(state, A, 64))).toBe('EINVAL');
    expect(errno(setVirtualFunctions(state, C, 1))).toBe('ENODEV');
  });
});

describe('USB devices', () => {
  it('are attached several to a guest, to one guest each, in free ports', () => {
    const state = host();
    const controllers = [
      { devid: 0, ports: 2 },
      { devid: 1, ports: 8 },
    ];
    const places = ['2.2', '2.3', '2.4'].map((address) => attachUsb(state, address, 5, controllers));
    expect(places.map((place) => (place.ok ? [place.value.controller, place.value.port] : place.errno))).toEqual([
      [0, 1],
      [0, 2],
      [1, 1],
    ]);
    expect(errno(attachUsb(state, '2.2', 6, controllers))).toBe('EBUSY');
    expect(errno(attachUsb(state, '1.1', 6, controllers))).toBe('EINVAL');
    expect(errno(attachUsb(state, '9.9', 6, controllers))).toBe('ENODEV');
    for (const address of ['2.5', '2.6', '2.7']) attachUsb(state, address, 5, controllers);
    expect(errno(attachUsb(state, '2.8', 5, controllers))).toBe('ENOSPC');
    expect(errno(detachUsb(state, '2.2', 6))).toBe('ENODEV');
    expect(detachUsb(state, '2.2', 5).ok).toBe(true);
    expect(attachUsb(state, '2.8', 5, controllers)).toEqual({ ok: true, value: { domid: 5, controller: 0, port: 1 } });
  });
});

describe('what is passed through forbids', () => {
  it('what XAPI names, by its codes', () => {
    const operations = ['suspend', 'snapshot', 'checkpoint', 'pool_migrate', 'migrate_send', 'clean_shutdown'];
    const table = (has: Parameters<typeof passthroughRefusal>[1]): (string | null)[] =>
      operations.map((operation) => passthroughRefusal(operation, has));
    const pci = 'VM_HAS_PCI_ATTACHED';
    const usb = 'VM_HAS_VUSBS';
    expect(table(['pci'])).toEqual([pci, null, pci, pci, pci, null]);
    expect(table(['sriovVif'])).toEqual([pci, null, pci, pci, pci, null]);
    expect(table(['vusb'])).toEqual([usb, usb, usb, usb, usb, null]);
    expect(table(['vusb', 'pci'])).toEqual([pci, usb, pci, pci, pci, null]);
    expect(table([])).toEqual([null, null, null, null, null, null]);
  });
});
