import { reject, type Rejection } from '@xenolith/kernel';
import type { GuestEnd, OnGuestEnd } from '../host-model.js';
import { releaseDevices } from '../devices/index.js';
import { jittered } from '../host-timing.js';
import { plan } from '../host/agenda.js';
import { answer, nowMs, refuse, rememberEnded, US_PER_MS } from '../host/answers.js';
import { letDevicesGo } from './kvm-devices.js';
import {
  planIn,
  runningAnswer,
  runs,
  waitingFor,
  type KvmHost,
  type KvmMachine,
  type KvmWaiting,
} from './kvm-state.js';

export const forUp = (waiting: KvmWaiting): boolean => waiting.for === 'start' || waiting.for === 'reboot';

const endedBefore = ({ state }: KvmHost, { settings }: KvmMachine, what = 'up'): { readonly rejection: Rejection } =>
  reject('command_cancelled', `${settings.name} was ended on ${state.name} before it was ${what}`);

const label = ({ uid, pid }: KvmMachine, what: string): string => `${uid}/${pid}/${what}`;

// The guest's own time, which a stopped process does not have.

const proceed = (host: KvmHost, machine: KvmMachine, what: 'booted' | 'stop', ms: number): void => {
  machine.guest.next = { what, dueUs: null, leftUs: Math.round(ms * US_PER_MS) };
  if (runs(machine)) startClock(host, machine);
};

const startClock = (host: KvmHost, machine: KvmMachine): void => {
  const { next } = machine.guest;
  if (next === null || next.dueUs !== null) return;
  const dueUs = host.state.nowUs + next.leftUs;
  machine.guest.next = { ...next, dueUs };
  plan(host.state.agenda, dueUs, { do: 'guest', uid: machine.uid, pid: machine.pid, dueUs });
};

/** The guest's time stands still. */
export const holdClock = (host: KvmHost, machine: KvmMachine): void => {
  const { next } = machine.guest;
  if (next === null || next.dueUs === null) return;
  machine.guest.next = { ...next, dueUs: null, leftUs: next.dueUs - host.state.nowUs };
};

const boot = (host: KvmHost, machine: KvmMachine): void => {
  machine.guest = { phase: 'booting', next: null, stopping: null };
  const ms = machine.settings.bootMs ?? host.timing.guestBootMs;
  proceed(host, machine, 'booted', jittered(ms, host.state.seed, label(machine, `boot/${host.state.nowUs}`)));
};

/** `cont`: a new guest begins to boot, one that was stopped goes on where it was. */
export const letRun = (host: KvmHost, machine: KvmMachine): void => {
  machine.paused = false;
  if (machine.guest.phase === 'off') boot(host, machine);
  else startClock(host, machine);
  listen(host, machine);
};

/** `stop`. One that was to come up, or to boot again, is as far as it gets. */
export const holdStill = (host: KvmHost, machine: KvmMachine): void => {
  machine.paused = true;
  holdClock(host, machine);
  for (const { ticket } of waitingFor(machine, ({ for: what }) => what === 'start'))
    answer(host, ticket, runningAnswer(host, machine));
};

/** Its process stands ready: the guest runs where it shall, and who waits for it hears so once it has booted, or is held. */
export const goOn = (host: KvmHost, machine: KvmMachine): void => {
  machine.phase = 'up';
  if (!machine.paused) letRun(host, machine);
  if (!machine.paused && machine.guest.phase !== 'up') return;
  for (const { ticket } of waitingFor(machine, ({ for: what }) => what === 'start'))
    answer(host, ticket, runningAnswer(host, machine));
};

/** `system_reset`: the same process boots its guest again. */
export const reset = (host: KvmHost, machine: KvmMachine): void => {
  machine.phase = 'up';
  machine.paused = false;
  machine.asked = null;
  // Who wanted it to boot again waits for it to be up now, as for a new one.
  machine.waiting = machine.waiting.map((waiting) =>
    waiting.for === 'reboot' ? { ...waiting, for: 'start' } : waiting,
  );
  boot(host, machine);
};

/** The guest's ACPI driver hears the power button, and lets go of devices that it was asked for. */
export const listen = (host: KvmHost, machine: KvmMachine): void => {
  const { guest, settings } = machine;
  if (!runs(machine) || guest.phase !== 'up') return;
  letDevicesGo(host, machine);
  if (machine.asked === null || settings.ignoresShutdown) return;
  guest.stopping = machine.asked;
  machine.asked = null;
  if (guest.next?.what === 'stop') return;
  proceed(host, machine, 'stop', jittered(host.timing.guestShutdownMs, host.state.seed, label(machine, 'shutdown')));
};

/** What the guest had planned for this moment. */
export const guestStep = (host: KvmHost, machine: KvmMachine, dueUs: number): void => {
  const { guest } = machine;
  if (guest.next?.dueUs !== dueUs || !runs(machine)) return;
  const { what } = guest.next;
  guest.next = null;
  if (what === 'stop') {
    stopped(host, machine, guest.stopping ?? 'poweroff');
    return;
  }
  guest.phase = 'up';
  for (const { ticket } of waitingFor(machine, forUp)) answer(host, ticket, runningAnswer(host, machine));
  listen(host, machine);
};

// The end.

/** The process is told to quit: its guest stops at once. */
export const quit = (host: KvmHost, machine: KvmMachine): void => {
  if (machine.phase === 'ending') return;
  machine.phase = 'ending';
  machine.guest.next = null;
  const ms = jittered(host.timing.destroyMs, host.state.seed, label(machine, 'quit'));
  planIn(host, ms, { do: 'exited', uid: machine.uid, pid: machine.pid });
};

/** The process is gone. */
export const exited = (host: KvmHost, machine: KvmMachine): void => {
  Reflect.deleteProperty(host.state.machines, machine.uid);
  if (host.state.passthrough) releaseDevices(host.state.passthrough, machine.pid);
  rememberEnded(host, machine.uid, machine.incarnation);
  for (const waiting of machine.waiting.splice(0))
    if (waiting.for === 'end' || waiting.for === 'unplug' || waiting.for === 'take') answer(host, waiting.ticket, {});
    else if (waiting.for === 'suspend' && machine.image) answer(host, waiting.ticket, { ...machine.image });
    else refuse(host, waiting.ticket, endedBefore(host, machine, WANTED[waiting.for]));
};

/** What who still waits at its end wanted the machine to be. */
const WANTED: Readonly<Record<KvmWaiting['for'], string>> = {
  start: 'up',
  reboot: 'up',
  end: 'ended',
  suspend: 'saved',
  checkpoint: 'saved',
  plug: 'given the device',
  unplug: 'rid of the device',
  take: 'rid of the device',
};

const policyOf = ({ settings }: KvmMachine, reason: GuestEnd): OnGuestEnd =>
  ({ poweroff: settings.onPoweroff, reboot: settings.onReboot, crash: settings.onCrash })[reason];

/**
 * The guest stopped (QEMU's events SHUTDOWN, RESET, GUEST_PANICKED). Where somebody waits for just that, it was asked to; else its settings say what
 * follows. A restart after poweroff or crash is a new run, which only the platform may begin.
 */
export const stopped = (host: KvmHost, machine: KvmMachine, reason: GuestEnd): void => {
  const waits = (what: KvmWaiting['for']): boolean => machine.waiting.some((waiting) => waiting.for === what);
  machine.guest = { phase: 'ended', next: null, stopping: null };
  if (reason !== 'crash' && waits('end')) {
    quit(host, machine);
    return;
  }
  const { uid, incarnation, pid } = machine;
  const event = { type: 'guestEnded' as const, at: nowMs(host), uid, incarnation, reason, endedDomid: pid };
  const policy = policyOf(machine, reason);
  if (reason === 'reboot' && (waits('reboot') || policy === 'restart')) {
    if (!waits('reboot')) host.events.push({ ...event, domid: pid });
    reset(host, machine);
    return;
  }
  host.events.push(event);
  if (policy !== 'preserve') {
    quit(host, machine);
    return;
  }
  machine.phase = 'shutdown';
  for (const { ticket } of waitingFor(machine, forUp)) refuse(host, ticket, endedBefore(host, machine));
};
