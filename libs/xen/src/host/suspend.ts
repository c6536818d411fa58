import { reject, type Rejection } from '@xenolith/kernel';
import type { HostInput, SavedGuestImage, Ticket } from '../host-model.js';
import { imageBytesPerSecondOf } from '../hardware-profile.js';
import { saveSteps, SUSPEND_ACK_TIMEOUT_US, SUSPEND_TIMEOUT_US } from '../migration/save.js';
import { answer, refuse, US_PER_MS } from './answers.js';
import { living } from './addressing.js';
import { plan } from './agenda.js';
import { accountCpu } from './cpu-account.js';
import { askToStop, askedToStop, askWhatWasAsked, withdrawRequest } from './domain-store.js';
import { pauseGuest, resumeGuest } from './guest-life.js';
import { followBalloons } from './guest-resources.js';
import { hasFrontends } from './machine-devices.js';
import { leavingSession } from './migration-session.js';
import { continuePlugs } from './plugging.js';
import { wantsImage, type Guest, type Host, type Machine } from './host-state.js';
import { answerAll, beginTeardown, refuseStopping, runningAnswer } from './toolstack.js';

// What of a guest goes with it.

/** Of the layout below, so that another host can tell whether it understands it. */
const CONTENT_VERSION = 1;

/** All that a guest is when it does not run: whoever wakes it, on any host, lets it go on there. */
export const contentOf = (machine: Machine): string =>
  JSON.stringify({ version: CONTENT_VERSION, guest: machine.guest });

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** The guest in such a text; null: it is no guest's, or another version's. */
export const guestIn = (content: string): Guest | null => {
  try {
    const read: unknown = JSON.parse(content);
    if (!isRecord(read) || read['version'] !== CONTENT_VERSION || !isRecord(read['guest'])) return null;
    return typeof read['guest']['phase'] === 'string' ? (read['guest'] as unknown as Guest) : null;
  } catch {
    return null;
  }
};

// Asking a guest to stand still.

/** The toolstack asks; a domain that has no home yet is asked as soon as it has, and a guest that does it already not again. */
export const askToSuspend = (host: Host, machine: Machine): void => {
  if (machine.phase === 'up') {
    if (machine.guest.stopping !== 'suspend') askToStop(host, machine, 'suspend');
  } else machine.asked = 'suspend';
};

const refusedSuspend = (host: Host, machine: Machine, ms: number): { readonly rejection: Rejection } => {
  const why = machine.paused ? 'it is paused and cannot run' : 'it did not';
  const message = `the guest of ${machine.settings.name} on ${host.state.name} was asked to suspend and given ${ms} ms, but ${why}; it runs on`;
  return reject('guest_ignored_shutdown', message);
};

type SaveInput = HostInput & { do: 'suspend' | 'checkpoint' };

/** Why the guest can't be made to stand still for it; null: it can. */
const obstacleTo = (host: Host, machine: Machine, { do: what }: SaveInput): string | null => {
  if (!hasFrontends(machine)) return 'its guest has no drivers for it';
  if (machine.settings.devices?.length) return 'it has devices of the host, whose state nobody can save';
  // A guest that goes on here after its image is written must not have left meanwhile.
  if (what === 'checkpoint' && leavingSession(host.state, machine.uid)) return 'it is being migrated';
  return null;
};

/** Saves the guest and ends its domain, or lets it go on there. Whoever asks for the guest's image while it is asked or written gets the same. */
export const save = (host: Host, input: SaveInput): void => {
  const machine = living(host, input);
  if (!machine) return;
  const { uid, ticket, timeoutMs } = input;
  const obstacle = obstacleTo(host, machine, input);
  if (obstacle !== null) {
    const message = `${machine.settings.name} can't be suspended on ${host.state.name}: ${obstacle}`;
    refuse(host, ticket, reject('host_domain_unsupported', message));
    return;
  }
  const patienceUs = Math.min(timeoutMs * US_PER_MS, SUSPEND_ACK_TIMEOUT_US);
  machine.waiting.push(
    input.do === 'suspend' ? { ticket, for: 'suspend' } : { ticket, for: 'checkpoint', paused: input.paused === true },
  );
  plan(host.state.agenda, host.state.nowUs + patienceUs, {
    do: 'suspendTimer',
    uid,
    ticket,
    timeoutMs: Math.ceil(patienceUs / US_PER_MS),
  });
  if (machine.phase !== 'suspended') askToSuspend(host, machine);
};

/** The request is taken back where the guest has not taken it (tools/libs/light/libxl_dom_suspend.c, `domain_suspend_common_pvcontrol_suspending`). */
export const withdrawSuspend = (host: Host, machine: Machine): void => {
  if (machine.asked === 'suspend') machine.asked = null;
  if (machine.phase === 'up' && askedToStop(host, machine) === 'suspend') withdrawRequest(host, machine);
};

/** Somebody has waited long enough for a guest to acknowledge, or to stand still after it did. */
export const suspendTimerEnds = (host: Host, machine: Machine, ticket: Ticket, timeoutMs: number): void => {
  if (machine.phase === 'suspended' || !machine.waiting.some((waiting) => waiting.ticket === ticket)) return;
  if (machine.guest.stopping === 'suspend' && timeoutMs * US_PER_MS < SUSPEND_TIMEOUT_US) {
    const dueUs = host.state.nowUs + SUSPEND_TIMEOUT_US;
    const given = Math.floor(SUSPEND_TIMEOUT_US / US_PER_MS);
    plan(host.state.agenda, dueUs, { do: 'suspendTimer', uid: machine.uid, ticket, timeoutMs: given });
    return;
  }
  machine.waiting = machine.waiting.filter((waiting) => waiting.ticket !== ticket);
  refuse(host, ticket, refusedSuspend(host, machine, timeoutMs));
  if (!machine.waiting.some(wantsImage)) withdrawSuspend(host, machine);
};

// Saving.

/** Memory that an image holds, with the time that its storage takes for it. */
const writingOf = (host: Host, machine: Machine): { readonly bytes: number; readonly durationUs: number } => {
  const pages = host.hypervisor.memory.guestPages(machine.domid, host.state.nowUs);
  const { guestType, maxVcpus } = machine.settings;
  const guest = { isPv: guestType === 'pv', pages, vcpus: maxVcpus };
  for (const step of saveSteps('save', guest, imageBytesPerSecondOf(host.state.profile)))
    if (step.do === 'writeImage') return step;
  return { bytes: 0, durationUs: 0 };
};

export const readingUs = (host: Host, image: SavedGuestImage): number =>
  host.timing.timedDevices ? Math.ceil((image.sizeBytes * 1_000_000) / imageBytesPerSecondOf(host.state.profile)) : 0;

/** The guest stands still and somebody wants its image. */
export const beginSave = (host: Host, machine: Machine): void => {
  const { uid, domid } = machine;
  const { bytes, durationUs } = writingOf(host, machine);
  const dueUs = host.state.nowUs + (host.timing.timedDevices ? durationUs : 0);
  plan(host.state.agenda, dueUs, { do: 'saved', uid, domid, sizeBytes: bytes });
};

/** The image is written. The guest goes on or is paused, unless somebody wants its domain to end, who gets the image when it is gone. */
export const imageWritten = (host: Host, machine: Machine, sizeBytes: number): void => {
  if (machine.phase !== 'suspended' || !machine.waiting.some(wantsImage)) return;
  const image: SavedGuestImage = { sizeBytes, content: contentOf(machine) };
  if (machine.waiting.some((waiting) => waiting.for === 'checkpoint' && waiting.paused)) machine.paused = true;
  answerAll(
    machine,
    ({ for: what }) => what === 'checkpoint',
    (ticket) => answer(host, ticket, image),
  );
  if (!machine.waiting.some(wantsImage)) {
    resumeInPlace(host, machine);
    return;
  }
  refuseStopping(host, machine, 'was saved');
  machine.image = image;
  beginTeardown(host, machine);
};

/** A guest that stood still goes on in the domain that it has (XEN_DOMCTL_resumedomain; tools/libs/light/libxl_domain.c, `domain_resume_done`). */
export const resumeInPlace = (host: Host, machine: Machine): void => {
  const { domid } = machine;
  machine.phase = 'up';
  if (machine.paused) host.hypervisor.domains.pause(domid, host.state.nowUs);
  host.hypervisor.domains.resume(domid, host.state.nowUs);
  host.xenstore.domains.resume(0, domid);
  askWhatWasAsked(host, machine);
  followBalloons(host);
  if (machine.paused) pauseGuest(host, machine);
  else resumeGuest(host, machine);
  accountCpu(host);
  // Who asked meanwhile for the domain to be there, or for a device to be gone.
  answerAll(
    machine,
    ({ for: what }) => what === 'start',
    (ticket) => answer(host, ticket, runningAnswer(host, machine)),
  );
  continuePlugs(host, machine);
};
