import type { Outcome } from '../outcome.js';
import { done, fail } from '../outcome.js';

/** A disk by its place in the guest: `xvda1` is disk 0, partition 1 of the Xen kind. */
interface VirtualDisk {
  readonly disk: number;
  readonly partition: number;
}

/** Numbers that the interface reserves for its extended form (docs/man/xen-vbd-interface.7.pandoc). */
const EXTENDED = 2 ** 28;
const XEN_MAJOR = 202;
const SCSI_MAJOR = 8;
const IDE_MAJORS = [3, 22] as const;
const LETTERS = 26;
const LARGEST_DISK = 2 ** 20 - 1;
const LARGEST_PARTITION = 255;

const diskOfLetters = (letters: string): number => {
  let disk = -1;
  for (let index = 0; index < letters.length; index += 1) disk = (disk + 1) * LETTERS + letters.charCodeAt(index) - 97;
  return disk;
};

const lettersOfDisk = (disk: number): string =>
  (disk >= LETTERS ? lettersOfDisk(Math.floor(disk / LETTERS) - 1) : '') + String.fromCharCode(97 + (disk % LETTERS));

/** Reads `<prefix><letters>[<partition>]`; null: it is none, or beyond the bounds. */
const match = (vdev: string, prefix: string, largest: VirtualDisk): VirtualDisk | null => {
  const parts = new RegExp(`^${prefix}([a-z]+)([1-9]\\d*)?$`).exec(vdev);
  if (parts === null) return null;
  const found = { disk: diskOfLetters(parts[1] ?? ''), partition: Number(parts[2] ?? 0) };
  return found.disk > largest.disk || found.partition > largest.partition ? null : found;
};

const xenDisk = (vdev: string): VirtualDisk | null => {
  const numbered = /^d(\d+)(?:p(\d+))?$/.exec(vdev);
  const limits = { disk: LARGEST_DISK, partition: LARGEST_PARTITION };
  if (numbered === null) return match(vdev, 'xvd', limits);
  const found = { disk: Number(numbered[1]), partition: Number(numbered[2] ?? 0) };
  return found.disk > limits.disk || found.partition > limits.partition ? null : found;
};

/**
 * The number that a disk's name stands for: `xvda` is 51712. Names are `xvd*`, `d<n>p<n>`, `hd*`, `sd*`, or the number itself, decimal, octal or
 * hexadecimal; EINVAL where `xl` says "Invalid or unsupported virtual disk identifier" (docs/man/xen-vbd-interface.7.pandoc;
 * tools/libs/light/libxl_device.c, `libxl__device_disk_dev_number`).
 */
export const vbdNumber = (vdev: string): Outcome<number> => {
  const xen = xenDisk(vdev);
  if (xen !== null) {
    const small = xen.disk <= 15 && xen.partition <= 15;
    return done(small ? XEN_MAJOR * 256 + xen.disk * 16 + xen.partition : EXTENDED + xen.disk * 256 + xen.partition);
  }
  if (/^(?:0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.test(vdev)) {
    const octal = /^0[0-7]+$/.test(vdev);
    const number = octal ? Number.parseInt(vdev, 8) : Number(vdev);
    return number < 2 ** 31 ? done(number) : fail('EINVAL');
  }
  const ide = match(vdev, 'hd', { disk: 3, partition: 63 });
  if (ide !== null) return done(IDE_MAJORS[ide.disk < 2 ? 0 : 1] * 256 + (ide.disk % 2) * 64 + ide.partition);
  const scsi = match(vdev, 'sd', { disk: 15, partition: 15 });
  return scsi === null ? fail('EINVAL') : done(SCSI_MAJOR * 256 + scsi.disk * 16 + scsi.partition);
};

/** The name that libxl shows for a number; it takes each for a Xen disk (tools/libs/light/libxl_device.c, `libxl__devid_to_vdev`). */
export const vbdName = (number: number): string => {
  const extended = number >= EXTENDED;
  const minor = extended ? number - EXTENDED : number % 256;
  const partitions = extended ? 256 : 16;
  const partition = minor % partitions;
  return `xvd${lettersOfDisk(Math.floor(minor / partitions))}${partition === 0 ? '' : partition}`;
};
