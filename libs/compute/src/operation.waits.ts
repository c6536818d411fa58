import type { PlanStep, PortAddresses, VolumeAllocation } from '@xenolith/contracts';
import type { LoggedEvent, Uuid } from '@xenolith/kernel';

interface Wanted {
  readonly namespace?: string;
  readonly spec?: {
    readonly network?: string;
    readonly storageDomain?: string;
    readonly source?: { readonly image?: string };
  };
}

export const networkKey = (namespace: string, name: string): string => `network:${namespace}/${name}`;
export const imageKey = (name: string): string => `image:${name}`;
/** Of no name: the default storage domain, whichever that is. */
export const storageDomainKey = (name = ''): string => `storagedomain:${name}`;
export const volumeKey = (namespace: string, name: string): string => `volume:${namespace}/${name}`;

/** Reasons of a machine's Ready condition, by the rejection that its start waits upon. */
export const WAIT_REASONS: Readonly<Record<string, string>> = {
  placement_pending: 'Unschedulable',
  not_found: 'VolumeNotFound',
  network_not_found: 'NetworkNotFound',
  network_full: 'NetworkFull',
  image_not_found: 'ImageNotFound',
  storage_domain_not_found: 'StorageDomainNotFound',
  storage_domain_full: 'StorageDomainFull',
};

/** What a step waits for that was refused with `code`: the key of the thing, or else the step's own stream. */
export const waitKey = (step: PlanStep, code: string): string => {
  const { namespace, spec } = step.data as Wanted;
  switch (code) {
    case 'network_not_found':
    case 'network_full':
      return networkKey(namespace ?? '', spec?.network ?? '');
    case 'image_not_found':
      return imageKey(spec?.source?.image ?? '');
    case 'storage_domain_not_found':
    case 'storage_domain_full':
      return storageDomainKey(spec?.storageDomain);
    default:
      return step.streamId;
  }
};

/** Keys of networks and storage domains by uid, as far as they are known. */
export type KeyOf = (uid: Uuid) => string | undefined;

export interface Wake {
  readonly key: string;
  /** How many of those that wait: the longest waiting come first. */
  readonly atMost: number;
}

/**
 * Room that came free serves few of those that wait, and each attempt in vain is two events. Each one of them that gets through wakes the next, so that all of
 * them come in while there is room, this many side by side.
 */
const WOKEN_AT_ONCE = 8;

const many = (...keys: readonly string[]): Wake[] => keys.map((key) => ({ key, atMost: WOKEN_AT_ONCE }));
const next = (...keys: readonly string[]): Wake[] => keys.map((key) => ({ key, atMost: 1 }));
const known = (key: string | undefined): string[] => (key === undefined ? [] : [key]);

/** A domain that gained room, or became the default, serves those that named none, too. */
const ofDomain = (key: string | undefined): string[] => (key === undefined ? [] : [key, storageDomainKey()]);

const ofVolumeCreated = (event: LoggedEvent): Wake[] => {
  const { metadata, spec, allocation } = event.data as {
    metadata?: { name: string; namespace?: string };
    spec?: { source?: { image: string } };
    allocation?: VolumeAllocation;
  };
  return [
    ...(metadata === undefined ? [] : many(volumeKey(metadata.namespace ?? '', metadata.name))),
    ...(allocation === undefined ? [] : next(...ofDomain(storageDomainKey(allocation.storageDomain)))),
    ...(spec?.source === undefined ? [] : next(imageKey(spec.source.image))),
  ];
};

/** What an event makes worth another look. */
export const wakesOf = (event: LoggedEvent, keyOf: KeyOf): readonly Wake[] => {
  const metadata = event.data['metadata'] as { name: string; namespace?: string } | undefined;
  const name = metadata?.name ?? '';
  switch (event.type) {
    case 'PlacementDecided':
      return many(event.streamId);
    case 'VolumeCreated':
      return ofVolumeCreated(event);
    case 'ImageCreated':
      return many(imageKey(name));
    case 'NetworkCreated':
      return many(networkKey(metadata?.namespace ?? '', name));
    case 'NetworkSpecChanged':
      return many(...known(keyOf(event.streamId)));
    case 'PortDeleted':
      return many(...known(keyOf(event.data['networkUid'] as Uuid)));
    case 'PortCreated': {
      const addresses = event.data['addresses'] as unknown as PortAddresses | undefined;
      return next(...known(addresses && keyOf(addresses.networkUid)));
    }
    case 'StorageDomainCreated':
      return many(...ofDomain(storageDomainKey(name)));
    case 'StorageDomainSpecChanged':
    case 'StorageReleased':
      return many(...ofDomain(keyOf(event.streamId)));
    default:
      return [];
  }
};
