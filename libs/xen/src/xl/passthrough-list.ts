import { left, lines } from './columns.js';

/** `xl pci-list`; `slot`: where the guest sees it (tools/xl/xl_pci.c). */
export const pciListText = (functions: readonly { readonly slot: number; readonly bdf: string }[]): string =>
  lines(['Vdev Device', ...functions.map(({ slot, bdf }) => `${slot.toString(16).padStart(2, '0')}.0 ${bdf}`)]);

/** `xl pci-assignable-list`. */
export const pciAssignableText = (functions: readonly string[]): string => functions.map((bdf) => `${bdf}\n`).join('');

export interface UsbFacts {
  readonly devid: number;
  readonly type: string;
  readonly backendDomid: number;
  readonly state: number;
  readonly version: number;
  readonly ports: number;
  /** By port: bus and number of the host's device there. */
  readonly devices: Readonly<Record<number, { readonly bus: number; readonly device: number }>>;
}

const WIDTHS = [6, 12, 3, 5, 7, 5] as const;
const row = (cells: readonly (string | number)[]): string =>
  cells.map((cell, index) => left(cell, WIDTHS[index] ?? 0)).join(' ');
const hex = (value: number): string => value.toString(16).padStart(3, '0');

/** `xl usb-list` (tools/xl/xl_usb.c). */
export const usbListText = (controllers: readonly UsbFacts[]): string =>
  controllers
    .map(({ devid, type, backendDomid, state, version, ports, devices }) =>
      lines([
        row(['Devid', 'Type', 'BE', 'state', 'usb-ver', 'ports']),
        row([devid, type, backendDomid, state, version, ports]),
        ...Array.from({ length: ports }, (_, index) => {
          const at = devices[index + 1];
          return `  Port ${index + 1}:${at ? ` Bus ${hex(at.bus)} Device ${hex(at.device)}` : ''}`;
        }),
      ]),
    )
    .join('');
