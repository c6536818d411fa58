import {
  attachVolumeAnswer,
  attachVolumeData,
  changeData,
  deleteData,
  deprovisionVolumeData,
  detachVolumeData,
  imageEvents,
  imageKind,
  provisionVolumeData,
  storageDomainEvents,
  storageDomainKind,
  volumeEvents,
  volumeKind,
  type VolumeSpec,
} from '@xenolith/contracts';
import type { CommandRoute, ServiceDefinition } from '@xenolith/engine';
import { ok, reject, type JsonObject, type Reply, type Uuid } from '@xenolith/kernel';
import { IMAGE_CATEGORY, imageAggregate } from './image.js';
import { STORAGE_DOMAIN_CATEGORY, storageDomainAggregate } from './storage-domain.js';
import { StorageIndex } from './storage.index.js';
import { volumeAggregate } from './volume.aggregate.js';
import { VOLUME_CATEGORY } from './volume.js';
import type { VolumeState } from './volume.state.js';

/** Answer to whoever got a lease: the token that its host must show to the storage. */
const attachAnswer = (state: unknown, streamId: Uuid): Reply => {
  const volume = state as VolumeState;
  if (volume.phase !== 'present' || volume.own.lease === null)
    return reject('volume_not_available', `volume ${streamId} has no lease`);
  return ok(
    attachVolumeAnswer.parse({
      fencingToken: volume.own.lease.fencingToken,
      sizeBytes: volume.own.allocation.sizeBytes,
      name: volume.meta.name,
      uid: streamId,
    }) as JsonObject,
  );
};

const volumeRoutes = (index: StorageIndex): readonly CommandRoute[] => {
  const withResolved = (data: JsonObject): JsonObject => ({
    ...data,
    resolved: index.resolve(data['spec'] as unknown as VolumeSpec) as unknown as JsonObject,
  });
  const category = VOLUME_CATEGORY;
  return [
    { type: 'ChangeVolume', category, schema: changeData, prepare: (message) => ok(withResolved(message.data)) },
    { type: 'DeleteVolume', category, schema: deleteData },
    {
      type: 'ProvisionVolume',
      category,
      schema: provisionVolumeData,
      prepare: (message) => ok(withResolved(message.data)),
      answer: attachAnswer,
    },
    { type: 'DeprovisionVolume', category, schema: deprovisionVolumeData },
    { type: 'AttachVolume', category, schema: attachVolumeData, answer: attachAnswer },
    { type: 'DetachVolume', category, schema: detachVolumeData },
  ];
};

const baseRoutes = (index: StorageIndex): readonly CommandRoute[] => [
  { type: 'ChangeStorageDomain', category: STORAGE_DOMAIN_CATEGORY, schema: changeData },
  {
    type: 'DeleteStorageDomain',
    category: STORAGE_DOMAIN_CATEGORY,
    schema: deleteData,
    prepare: (message) => ok({ ...message.data, users: index.usersOfDomain(message.streamId) }),
  },
  { type: 'ChangeImage', category: IMAGE_CATEGORY, schema: changeData },
  {
    type: 'DeleteImage',
    category: IMAGE_CATEGORY,
    schema: deleteData,
    prepare: (message) => ok({ ...message.data, users: index.usersOfImage(message.streamId) }),
  },
];

/** The storage service: storage domains, images and volumes. */
export const storageService = (): ServiceDefinition => {
  const index = new StorageIndex();
  return {
    name: 'storage',
    kinds: [storageDomainKind, imageKind, volumeKind],
    aggregates: [volumeAggregate, storageDomainAggregate, imageAggregate],
    routes: [...volumeRoutes(index), ...baseRoutes(index)],
    indexes: [index],
    processes: [],
    reactions: [],
    eventSchemas: { ...storageDomainEvents, ...imageEvents, ...volumeEvents },
  };
};
