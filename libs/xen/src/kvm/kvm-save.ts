import { reject } from '@xenolith/kernel';
import { imageBytesPerSecondOf } from '../hardware-profile.js';
import type { HostInput, SavedGuestImage } from '../host-model.js';
import { holdClock, quit } from './kvm-guest.js';
import { planIn, refuse, type KvmGuest, type KvmHost, type KvmMachine } from './kvm-state.js';

const MEBIBYTE = 2 ** 20;
const MS_PER_SECOND = 1_000;
/** Of the layout below. An image of Xen's is none of KVM's, as its devices are others. */
const CONTENT = 'kvm/1';
/** Assumption: devices and vCPUs in the stream of `virsh save`. */
const DEVICE_STATE_BYTES = 2 * MEBIBYTE;

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** The guest in an image; null: it is none that this host could wake. */
export const guestIn = (image: SavedGuestImage): KvmGuest | null => {
  try {
    const read: unknown = JSON.parse(image.content);
    return isRecord(read) && read['content'] === CONTENT ? (read['guest'] as KvmGuest) : null;
  } catch {
    return null;
  }
};

/** Milliseconds that the storage takes for an image. */
export const imageMs = (host: KvmHost, bytes: number): number =>
  host.timing.timedDevices ? (bytes * MS_PER_SECOND) / imageBytesPerSecondOf(host.state.profile) : 0;

/** `virsh save`: QEMU stops the vCPUs and writes all that the guest is; nobody asks the guest. */
export const beginSave = (host: KvmHost, machine: KvmMachine, input: HostInput & { do: 'suspend' }): void => {
  const { name } = machine.settings;
  if (machine.phase === 'starting') {
    const message = `${name} can't be suspended on ${host.state.name}: its process is only starting`;
    refuse(host, input.ticket, reject('host_domain_unsupported', message));
    return;
  }
  machine.waiting.push({ ticket: input.ticket, for: 'suspend' });
  if (machine.phase === 'saving') return;
  machine.phase = 'saving';
  holdClock(host, machine);
  const bytes = machine.settings.dynamicMaxBytes + DEVICE_STATE_BYTES;
  planIn(host, imageMs(host, bytes), { do: 'saved', uid: machine.uid, pid: machine.pid, sizeBytes: bytes });
};

/** The image is written, and QEMU quits. */
export const saved = (host: KvmHost, machine: KvmMachine, sizeBytes: number): void => {
  if (machine.phase !== 'saving') return;
  machine.image = { sizeBytes, content: JSON.stringify({ content: CONTENT, guest: machine.guest }) };
  quit(host, machine);
};
