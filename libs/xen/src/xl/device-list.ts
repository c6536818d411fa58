import { left, lines, right } from './columns.js';
import type { DiskFacts, NicFacts } from './views.js';

/** `xl network-list` (tools/xl/xl_nic.c). */
export const networkListText = (nics: readonly NicFacts[]): string =>
  lines([
    `${left('Idx', 3)} ${left('BE', 2)} ${left('Mac Addr.', 17)} ${left('handle', 6)} ${left('state', 5)} ${left('evt-ch', 6)} ${right('tx-', 5)}/${left('rx-ring-ref', 5)} ${left('BE-path', 30)}`,
    ...nics.map((nic) => {
      const rings = `${right(nic.txRingRef, 5)}/${left(nic.rxRingRef, 11)}`;
      const numbers = `${right(nic.devid, 6)} ${right(nic.state, 5)} ${right(nic.eventChannel, 6)}`;
      return `${left(nic.devid, 3)} ${left(nic.backendDomid, 2)} ${nic.mac} ${numbers} ${rings} ${left(nic.backendPath, 30)}`;
    }),
  ]);

/** `xl block-list` (tools/xl/xl_block.c). */
export const blockListText = (disks: readonly DiskFacts[]): string => {
  const row = (cells: readonly (string | number)[]): string =>
    cells.map((cell, index) => left(cell, [5, 3, 6, 5, 6, 8, 30][index] ?? 0)).join(' ');
  return lines([
    row(['Vdev', 'BE', 'handle', 'state', 'evt-ch', 'ring-ref', 'BE-path']),
    ...disks.map((disk) =>
      row([
        ...[disk.devid, disk.backendDomid, disk.frontendDomid, disk.state],
        ...[disk.eventChannel, disk.ringRef, disk.backendPath],
      ]),
    ),
  ]);
};
