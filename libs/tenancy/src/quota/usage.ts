import {
  memorySizes,
  virtualMachineKind,
  volumeKind,
  type Amounts,
  type KindDefinition,
  type OwnerReference,
} from '@xenolith/contracts';
import { bytesOf, type JsonObject } from '@xenolith/kernel';

/** Size of an image's disks in bytes; 0 for one that is not there. */
export type ImageBytes = (image: string) => number;

/** Kinds that make other objects as parts of their own, which are counted with them. */
const MAKERS: readonly string[] = ['VirtualMachine', 'VirtualMachineSnapshot'];

interface Content {
  readonly metadata?: { readonly ownerReferences?: readonly OwnerReference[] };
  readonly spec?: unknown;
}

/** Whether the object is a part of a machine or of a snapshot. */
export const isPart = (document: JsonObject): boolean =>
  ((document as Content).metadata?.ownerReferences ?? []).some(
    ({ kind, apiVersion }) => MAKERS.includes(kind) && apiVersion.startsWith(`${virtualMachineKind.group}/`),
  );

export const countName = ({ group, plural }: Pick<KindDefinition, 'group' | 'plural'>): string =>
  `count/${group === '' ? plural : `${plural}.${group}`}`;

interface Disk {
  readonly size?: string | undefined;
  readonly source?: { readonly image: string } | undefined;
  /** A volume that is there by itself. */
  readonly volume?: string | undefined;
}

/** What is counted of a machine; documents of every release have it. */
interface Machine {
  readonly cpu?: { readonly vcpus: number };
  readonly memory?: Parameters<typeof memorySizes>[0];
  readonly disks?: readonly Disk[];
}

const diskBytes = (disk: Disk, imageBytes: ImageBytes): number =>
  disk.size !== undefined ? bytesOf(disk.size) : disk.source ? imageBytes(disk.source.image) : 0;

const machineAmounts = ({ cpu, memory, disks = [] }: Machine, imageBytes: ImageBytes): Amounts => ({
  'requests.cpu': cpu?.vcpus ?? 0,
  'requests.memory': memory === undefined ? 0 : bytesOf(memorySizes(memory).staticMax),
  'requests.storage': disks
    .filter(({ volume }) => volume === undefined)
    .reduce((sum, disk) => sum + diskBytes(disk, imageBytes), 0),
});

/**
 * What an object takes of a quota: one of its kind; a machine also its virtual CPUs, its memory and its own disks, a volume its size. Parts of machines
 * and snapshots take nothing: they were counted with what they are parts of.
 */
export const amountsOf = (kind: KindDefinition, document: JsonObject, imageBytes: ImageBytes): Amounts => {
  if (isPart(document)) return {};
  const count = { [countName(kind)]: 1 };
  const { spec } = document as Content;
  if (kind === virtualMachineKind) return { ...count, ...machineAmounts(spec ?? {}, imageBytes) };
  if (kind === volumeKind) return { ...count, 'requests.storage': diskBytes(spec ?? {}, imageBytes) };
  return count;
};
