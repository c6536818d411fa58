import type { PortAddresses, PortAttachment } from '@xenolith/contracts';
import type { NewEvent } from '@xenolith/kernel';

/** An event in the words of Kubernetes' Events. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

const normal = (reason: string, message: string): EventDescription => ({ reason, message, type: 'Normal' });

/** What people read of a network event; null for those that tell them nothing. */
export const describeNetworkEvent = (event: NewEvent): EventDescription | null => {
  const data = event.data as Readonly<Record<string, unknown>>;
  switch (event.type) {
    case 'PortCreated': {
      const { addresses, attachment } = data as { addresses: PortAddresses; attachment?: PortAttachment };
      const where = `${addresses.mac}, ${addresses.ip} on network "${addresses.network}"`;
      return normal(
        'Addressed',
        attachment ? `${where}, for virtual machine "${attachment.virtualMachine.name}"` : where,
      );
    }
    case 'PortAttached': {
      const { attachment } = data as { attachment: PortAttachment };
      return normal('Attached', `virtual machine "${attachment.virtualMachine.name}" uses it`);
    }
    case 'PortDetached':
      return normal('Detached', 'no virtual machine uses it');
    case 'NetworkCreated':
      return normal('Created', 'ready for use');
    case 'NetworkSpecChanged':
      return normal('Changed', 'its settings were changed');
    case 'NetworkDeletionRequested':
    case 'PortDeletionRequested':
      return normal('Deleting', 'deletion was asked for');
    default:
      return null;
  }
};
