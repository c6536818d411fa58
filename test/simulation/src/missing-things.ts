import { bytesOf, type Uuid } from '@xenolith/kernel';
import type { Evidence } from './evidence.js';

/** A machine, as far as its disks say what it needs. */
export interface MachineWithDisks {
  readonly spec: {
    readonly disks: readonly {
      readonly volume?: string;
      readonly size?: string;
      readonly storageDomain?: string;
      readonly source?: { readonly image: string };
    }[];
  };
}

interface Thing {
  readonly uid: Uuid;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly default?: boolean; readonly size?: string };
  readonly status: { readonly usable?: number; readonly available?: string; readonly networkUid?: Uuid };
}

const thingsOf = (evidence: Evidence, category: string): readonly Thing[] =>
  evidence.log
    .documents([category])
    .documents.map(({ streamId, document }) => ({ uid: streamId, ...(document as unknown as Omit<Thing, 'uid'>) }));

const nameOf = ({ metadata: { name, namespace } }: Thing): string =>
  namespace === undefined ? name : `${namespace}/${name}`;

/** Whether a volume, a network with a free address, an image, or a storage domain with room for the machine's disks is not there. */
export const isThingMissing = (evidence: Evidence, machine: MachineWithDisks | undefined, key: string): boolean => {
  const category = key.slice(0, key.indexOf(':'));
  const name = key.slice(category.length + 1);
  const things = thingsOf(evidence, category);
  const thing = things.find((one) => (name === '' ? one.spec.default === true : nameOf(one) === name));
  if (thing === undefined || thing.metadata.deletionTimestamp !== undefined) return true;
  if (category === 'network') return isNetworkFull(evidence, thing);
  return category === 'storagedomain' && isDomainFull(evidence, thing, { name, machine });
};

const isNetworkFull = (evidence: Evidence, network: Thing): boolean =>
  thingsOf(evidence, 'port').filter((port) => port.status.networkUid === network.uid).length >=
  (network.status.usable ?? 0);

const isDomainFull = (
  evidence: Evidence,
  domain: Thing,
  wanted: { readonly name: string; readonly machine: MachineWithDisks | undefined },
): boolean => {
  const available = bytesOf(domain.status.available ?? '0');
  const images = thingsOf(evidence, 'image');
  return (wanted.machine?.spec.disks ?? []).some((disk) => {
    if (disk.volume !== undefined || (disk.storageDomain ?? '') !== wanted.name) return false;
    const image = images.find(({ metadata }) => metadata.name === disk.source?.image);
    return bytesOf(disk.size ?? image?.spec.size ?? '0') > available;
  });
};
