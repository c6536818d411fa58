import type { VolumeLease } from '@xenolith/contracts';
import { approximateBytes, type NewEvent } from '@xenolith/kernel';

/** An event in the words of Kubernetes' Events. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

const normal = (reason: string, message: string): EventDescription => ({ reason, message, type: 'Normal' });

/** What people read of a storage event; null for those that tell them nothing. */
export const describeStorageEvent = (event: NewEvent): EventDescription | null => {
  const data = event.data as Readonly<Record<string, unknown>>;
  switch (event.type) {
    case 'VolumeCreated': {
      const { allocation, lease } = data as {
        allocation: { storageDomain: string; sizeBytes: number };
        lease?: VolumeLease;
      };
      const place = `${approximateBytes(allocation.sizeBytes)} on storage domain "${allocation.storageDomain}"`;
      return normal('Allocated', lease ? `${place}, for virtual machine "${lease.virtualMachine.name}"` : place);
    }
    case 'VolumeGrown': {
      const { fromBytes, toBytes } = data as { fromBytes: number; toBytes: number };
      return normal('Grown', `from ${approximateBytes(fromBytes)} to ${approximateBytes(toBytes)}`);
    }
    case 'VolumeAttached': {
      const { lease } = data as { lease: VolumeLease };
      return normal('Attached', `virtual machine "${lease.virtualMachine.name}" holds the lease`);
    }
    case 'VolumeSnapshotted': {
      const { name } = data as { name: string };
      return normal('Snapshotted', `volume "${name}" holds what it held`);
    }
    case 'VolumeReverted': {
      const { to } = data as { to: { name: string } };
      return normal('Reverted', `to what volume "${to.name}" holds`);
    }
    case 'VolumeDetached':
      return normal('Detached', 'the lease has ended');
    case 'VolumeDeletionRequested':
    case 'ImageDeletionRequested':
    case 'StorageDomainDeletionRequested':
      return normal('Deleting', 'deletion was asked for');
    case 'StorageDomainCreated':
    case 'ImageCreated':
      return normal('Created', 'ready for use');
    default:
      return null;
  }
};
