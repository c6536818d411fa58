import { reject } from '@xenolith/kernel';
import { imageBytesPerSecondOf } from '../hardware-profile.js';
import type { HostInput, SavedGuestImage } from '../host-model.js';
import { plan } from '../host/agenda.js';
import { answer, refuse, US_PER_MS } from '../host/answers.js';
import { goOn, holdClock, quit } from './kvm-guest.js';
import { waitingFor, type KvmGuest, type KvmHost, type KvmMachine } from './kvm-state.js';

const MEBIBYTE = 2 ** 20;
const MS_PER_SECOND = 1_000;
/** Of the layout below. An image of Xen's is none of KVM's, as its devices are others. */
const CONTENT = 'kvm/1';
/** Assumption: devices and vCPUs in the stream of `virsh save`. */
const DEVICE_STATE_BYTES = 2 * MEBIBYTE;

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** All that a guest is when it does not run, and whether it was stopped by `virsh suspend`, as QEMU's stream says too. */
export const contentOf = ({ guest, paused }: KvmMachine): string => JSON.stringify({ content: CONTENT, guest, paused });

/** The guest in such a text; null: it is none that this host could wake. */
export const guestIn = (content: string): { readonly guest: KvmGuest; readonly paused: boolean } | null => {
  try {
    const read: unknown = JSON.parse(content);
    if (!isRecord(read) || read['content'] !== CONTENT) return null;
    return { guest: read['guest'] as KvmGuest, paused: read['paused'] === true };
  } catch {
    return null;
  }
};

/** Milliseconds that the storage takes for an image. */
export const imageMs = (host: KvmHost, bytes: number): number =>
  host.timing.timedDevices ? (bytes * MS_PER_SECOND) / imageBytesPerSecondOf(host.state.profile) : 0;

/** `virsh save`, and what a snapshot of memory does: QEMU stops the vCPUs and writes all that the guest is; nobody asks the guest. */
export const beginSave = (
  host: KvmHost,
  machine: KvmMachine,
  input: HostInput & { do: 'suspend' | 'checkpoint' },
): void => {
  const { name } = machine.settings;
  if (machine.phase === 'starting') {
    const message = `${name} can't be saved on ${host.state.name}: its process is only starting`;
    refuse(host, input.ticket, reject('host_domain_unsupported', message));
    return;
  }
  const { ticket } = input;
  machine.waiting.push(
    input.do === 'suspend' ? { ticket, for: 'suspend' } : { ticket, for: 'checkpoint', paused: input.paused === true },
  );
  // Who asks while the image is written gets the same: the guest stands still.
  if (machine.phase === 'saving') return;
  machine.phase = 'saving';
  holdClock(host, machine);
  const bytes = machine.settings.dynamicMaxBytes + DEVICE_STATE_BYTES;
  const dueUs = host.state.nowUs + Math.round(imageMs(host, bytes) * US_PER_MS);
  machine.savedUs = dueUs;
  plan(host.state.agenda, dueUs, { do: 'saved', uid: machine.uid, pid: machine.pid, dueUs, sizeBytes: bytes });
};

/** The image is written: QEMU quits where somebody wants that, otherwise `cont` lets the guest go on. */
export const saved = (host: KvmHost, machine: KvmMachine, sizeBytes: number): void => {
  if (machine.phase !== 'saving') return;
  machine.savedUs = null;
  const image: SavedGuestImage = { sizeBytes, content: contentOf(machine) };
  if (machine.waiting.some((waiting) => waiting.for === 'checkpoint' && waiting.paused)) machine.paused = true;
  for (const { ticket } of waitingFor(machine, ({ for: what }) => what === 'checkpoint'))
    answer(host, ticket, { ...image });
  if (endsSaved(machine)) {
    machine.image = image;
    quit(host, machine);
  } else goOn(host, machine);
};

/** Its process ends when its image is written. */
export const endsSaved = (machine: KvmMachine): boolean => machine.waiting.some(({ for: what }) => what === 'suspend');

/** The guest is reset while its image is written: there is nothing left to write. */
export const giveUpSave = (host: KvmHost, machine: KvmMachine): void => {
  machine.savedUs = null;
  for (const { ticket } of waitingFor(machine, ({ for: what }) => what === 'checkpoint')) {
    const message = `${machine.settings.name} was rebooted on ${host.state.name} before it was saved`;
    refuse(host, ticket, reject('command_cancelled', message));
  }
};
