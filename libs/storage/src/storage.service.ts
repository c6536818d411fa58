import {
  attachVolumeAnswer,
  attachVolumeData,
  cancelVolumeHandoverData,
  changeData,
  commandSubject,
  deleteData,
  deprovisionVolumeData,
  detachVolumeData,
  discardSealedVolumeData,
  imageEvents,
  imageKind,
  prepareVolumeHandoverData,
  provisionVolumeData,
  revertVolumeData,
  snapshotVolumeAnswer,
  snapshotVolumeData,
  storageDomainEvents,
  storageDomainKind,
  volumeEvents,
  volumeKind,
  type VolumeSpec,
} from '@xenolith/contracts';
import type { CommandRoute, Reaction, ServiceDefinition } from '@xenolith/engine';
import { ok, reject, uuidFrom, type JsonObject, type Reply, type Uuid } from '@xenolith/kernel';
import { IMAGE_CATEGORY, imageAggregate } from './image.js';
import { STORAGE_DOMAIN_CATEGORY, storageDomainAggregate } from './storage-domain.js';
import { StorageIndex } from './storage.index.js';
import { volumeAggregate } from './volume.aggregate.js';
import { VOLUME_CATEGORY } from './volume.js';
import type { VolumeState } from './volume.state.js';

/** Ending leases of a machine that is gone is one local decision each; longer means that the service is not there. */
const DETACH_TIMEOUT_MS = 10_000;

/** Answer to whoever got a lease, or is to have it next: the token that its host must show to the storage. */
const leaseAnswer =
  (which: 'lease' | 'heir') =>
  (state: unknown, streamId: Uuid): Reply => {
    const volume = state as VolumeState;
    const lease = volume.phase === 'present' ? volume.own[which] : null;
    if (volume.phase !== 'present' || lease === null)
      return reject('volume_not_available', `volume ${streamId} has no lease`);
    return ok(
      attachVolumeAnswer.parse({
        fencingToken: lease.fencingToken,
        sizeBytes: volume.own.allocation.sizeBytes,
        name: volume.meta.name,
        uid: streamId,
      }) as JsonObject,
    );
  };

/** Of the volume that a snapshot was taken of: what it has is what the snapshot holds. */
const snapshotAnswer = (state: unknown, streamId: Uuid): Reply => {
  const volume = state as VolumeState;
  return volume.phase === 'present'
    ? ok(snapshotVolumeAnswer.parse({ sizeBytes: volume.own.allocation.sizeBytes }) as JsonObject)
    : reject('not_found', `volume ${streamId} is gone`);
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
      answer: leaseAnswer('lease'),
    },
    { type: 'DeprovisionVolume', category, schema: deprovisionVolumeData },
    { type: 'AttachVolume', category, schema: attachVolumeData, answer: leaseAnswer('lease') },
    { type: 'PrepareVolumeHandover', category, schema: prepareVolumeHandoverData, answer: leaseAnswer('heir') },
    { type: 'CancelVolumeHandover', category, schema: cancelVolumeHandoverData },
    { type: 'DetachVolume', category, schema: detachVolumeData },
    { type: 'SnapshotVolume', category, schema: snapshotVolumeData, answer: snapshotAnswer },
    { type: 'DiscardSealedVolume', category, schema: discardSealedVolumeData },
    {
      type: 'RevertVolume',
      category,
      schema: revertVolumeData,
      prepare: ({ data }) => ok({ ...data, held: index.heldIn(data['to'] as Uuid) as unknown as JsonObject }),
    },
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

/**
 * Leases end with their machine, should its teardown have left them behind: an operator may abandon what does not succeed. Nobody else could end them, and a volume
 * that is held is not deleted.
 */
const endLeasesOfTheDead = (index: StorageIndex): Reaction => ({
  name: 'end-leases-of-deleted-machines',
  on: ['VirtualMachineDeleted'],
  react: ({ eventId, streamId: machine }) =>
    index.leasedBy(machine).map((volume) => ({
      key: volume,
      commandId: uuidFrom(eventId, 'DetachVolume', volume),
      subject: commandSubject('storage', 'DetachVolume'),
      type: 'DetachVolume',
      streamId: volume,
      data: { virtualMachine: { uid: machine }, incarnation: Number.MAX_SAFE_INTEGER },
      timeoutMs: DETACH_TIMEOUT_MS,
    })),
});

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
    reactions: [endLeasesOfTheDead(index)],
    eventSchemas: { ...storageDomainEvents, ...imageEvents, ...volumeEvents },
  };
};
