import type { GuestEnd } from '../host-model.js';
import { jittered } from '../host-timing.js';
import { SHUTDOWN } from '../hypervisor/index.js';
import { XENBUS } from '../devices/index.js';
import { US_PER_MS } from './answers.js';
import { plan } from './agenda.js';
import { accountCpu } from './cpu-account.js';
import { frontendAppeared, probeFront, wakeFront } from './device-control.js';
import { acknowledge, askedToStop, listenForRequests } from './domain-store.js';
import { obeyResources, watchResources } from './guest-resources.js';
import { kindOf } from './guest-needs.js';
import { hasFrontends, isStuck } from './machine-devices.js';
import { bootStages, ROOT_DISK_PATIENCE_US } from '../guest/boot.js';
import { SUSPEND_US } from '../guest/control.js';
import { DOWNTIME_COSTS } from '../migration/rounds.js';
import type { Guest, GuestStep, Host, Machine } from './host-state.js';

/** The toolstack's part of what follows when a guest stops. */
export interface GuestWatcher {
  booted(host: Host, machine: Machine): void;
  stopped(host: Host, machine: Machine, reason: GuestEnd): void;
  /** It stands still and may be saved, or go on. */
  suspended(host: Host, machine: Machine): void;
}

const label = (machine: Machine, what: string): string => `${machine.uid}/${machine.domid}/${what}`;

const runs = (machine: Machine): boolean => machine.phase === 'up' && !machine.paused && !isStuck(machine);

/** Its drivers take up a device that comes now. */
export const guestConnects = (machine: Machine): boolean =>
  runs(machine) && machine.guest.phase === 'up' && hasFrontends(machine);

/** The guest will do this after so long a time of its own; a pause of the domain stops its clock. */
const proceed = (host: Host, machine: Machine, what: GuestStep['what'], ms: number): void => {
  const leftUs = Math.round(ms * US_PER_MS);
  machine.guest.next = { what, dueUs: null, leftUs };
  if (runs(machine)) startClock(host, machine);
};

const startClock = (host: Host, machine: Machine): void => {
  const { next } = machine.guest;
  if (next === null || next.dueUs !== null) return;
  const dueUs = host.state.nowUs + next.leftUs;
  machine.guest.next = { ...next, dueUs };
  plan(host.state.agenda, dueUs, { do: 'guest', uid: machine.uid, domid: machine.domid, dueUs });
};

const stopClock = (host: Host, machine: Machine): void => {
  const { next } = machine.guest;
  if (next?.dueUs === null || next === null) return;
  machine.guest.next = { ...next, dueUs: null, leftUs: next.dueUs - host.state.nowUs };
};

/** A saved guest finds itself in another domain: its front-ends connect anew, then it goes on. */
const wakeGuest = (machine: Machine, guest: Guest): void => {
  machine.guest = { ...guest, phase: 'probing', next: null, stopping: null };
  machine.wakes = null;
};

/** Milliseconds of the guest's boot: until its drivers look for their devices (its kernel is up), and from the root disk on. */
const bootTimes = (host: Host, machine: Machine): { readonly untilProbeMs: number; readonly restMs: number } => {
  const wholeMs = machine.settings.bootMs ?? host.timing.guestBootMs;
  const bootUs = Math.round(jittered(wholeMs, host.state.seed, label(machine, 'boot')) * US_PER_MS);
  const stages = bootStages(kindOf(machine.settings), bootUs);
  const kernel = stages.findIndex(({ stage }) => stage === 'kernel');
  const untilProbeUs = stages.slice(0, kernel + 1).reduce((sum, { durationUs }) => sum + durationUs, 0);
  return { untilProbeMs: untilProbeUs / US_PER_MS, restMs: (bootUs - untilProbeUs) / US_PER_MS };
};

/** The domain's vCPUs are let go: a new guest begins to load, one that was paused goes on where it was. */
export const resumeGuest = (host: Host, machine: Machine): void => {
  const { guest } = machine;
  accountCpu(host);
  if (isStuck(machine)) return;
  if (machine.wakes !== null) {
    wakeGuest(machine, machine.wakes.guest);
    if (hasFrontends(machine)) for (const device of machine.devices) probeFront(host, machine, device);
    proceed(host, machine, 'booted', host.timing.timedDevices ? DOWNTIME_COSTS.resumeUs / US_PER_MS : 0);
    return;
  }
  if (guest.phase === 'off') {
    guest.phase = 'loading';
    proceed(host, machine, 'probe', bootTimes(host, machine).untilProbeMs);
    return;
  }
  startClock(host, machine);
  // What its drivers were told while it did not run.
  for (const device of machine.devices) if (device.front) wakeFront(host, machine, device, { why: 'retry' });
  probeNewDevices(host, machine);
  obeyResources(host, machine);
  lookForRequest(host, machine);
};

export const pauseGuest = (host: Host, machine: Machine): void => {
  accountCpu(host);
  stopClock(host, machine);
};

/** A guest can't come up without the disks that it found; it waits for a network, and for what was plugged in since, while it runs. */
const disksReady = (machine: Machine): boolean =>
  machine.devices.every(({ kind, front }) => kind !== 'disk' || front === null || front.state === XENBUS.connected);

const probeDevices = (host: Host, machine: Machine): void => {
  machine.guest.phase = 'probing';
  if (hasFrontends(machine)) for (const device of machine.devices) probeFront(host, machine, device);
  proceed(host, machine, 'panic', ROOT_DISK_PATIENCE_US / US_PER_MS);
  mountRoot(host, machine);
};

/** With its disks there the guest goes on to its login prompt; its kernel panics when they do not come. */
const mountRoot = (host: Host, machine: Machine): void => {
  if (disksReady(machine)) proceed(host, machine, 'booted', bootTimes(host, machine).restMs);
};

const finishBoot = (host: Host, machine: Machine, watcher: GuestWatcher): void => {
  if (hasFrontends(machine) && !disksReady(machine)) return;
  machine.guest.phase = 'up';
  listenForRequests(host, machine);
  if (hasFrontends(machine)) watchResources(host, machine);
  accountCpu(host);
  watcher.booted(host, machine);
  probeNewDevices(host, machine);
  obeyResources(host, machine);
  lookForRequest(host, machine);
};

/** Its drivers look for devices that have come since they last did. */
export const probeNewDevices = (host: Host, machine: Machine): void => {
  if (!guestConnects(machine)) return;
  for (const device of machine.devices)
    if (device.front === null && frontendAppeared(host, device)) probeFront(host, machine, device);
};

/** A disk came up: a guest that waited for it goes on. */
export const deviceConnected = (host: Host, machine: Machine, watcher: GuestWatcher): void => {
  const { phase, next } = machine.guest;
  if (phase !== 'probing') return;
  if (next?.what === 'panic') mountRoot(host, machine);
  else if (next === null) finishBoot(host, machine, watcher);
};

/** The guest reads what the toolstack asks of it, and begins to stop. */
export const lookForRequest = (host: Host, machine: Machine): void => {
  const { guest, settings } = machine;
  if (!runs(machine) || guest.phase !== 'up' || settings.ignoresShutdown) return;
  const asked = askedToStop(host, machine);
  if (asked === null) return;
  // A guest on its way down does not stand still, and one that stands still looks again when it goes on (drivers/xen/manage.c, `shutting_down`).
  if (guest.stopping === 'suspend' || (guest.stopping !== null && asked === 'suspend')) return;
  acknowledge(host, machine);
  // A later request replaces an earlier one.
  guest.stopping = asked;
  if (guest.next?.what === 'stop') return;
  if (asked === 'suspend') {
    proceed(host, machine, 'stop', host.timing.timedDevices ? SUSPEND_US / US_PER_MS : 0);
    return;
  }
  proceed(host, machine, 'stop', jittered(host.timing.guestShutdownMs, host.state.seed, label(machine, 'shutdown')));
};

const CODES = { poweroff: SHUTDOWN.poweroff, reboot: SHUTDOWN.reboot, crash: SHUTDOWN.crash } as const;

/** The guest makes its last hypercall; the toolstack hears of it. */
export const stopGuest = (host: Host, machine: Machine, reason: GuestEnd, watcher: GuestWatcher): void => {
  machine.guest = { phase: 'ended', next: null, stopping: null };
  host.hypervisor.domains.shutdown(machine.domid, CODES[reason], host.state.nowUs);
  host.xenstore.domains.domainChanged(machine.domid, 'shutdown');
  accountCpu(host);
  watcher.stopped(host, machine, reason);
};

/** The guest makes SCHEDOP_shutdown(suspend): it stands still and is as it will be wherever it goes on. */
const suspendGuest = (host: Host, machine: Machine, watcher: GuestWatcher): void => {
  machine.guest.stopping = null;
  machine.phase = 'suspended';
  host.hypervisor.domains.shutdown(machine.domid, SHUTDOWN.suspend, host.state.nowUs);
  host.xenstore.domains.domainChanged(machine.domid, 'shutdown');
  accountCpu(host);
  watcher.suspended(host, machine);
};

/** What the guest had planned for this moment. */
export const guestStep = (host: Host, machine: Machine, dueUs: number, watcher: GuestWatcher): void => {
  const { guest } = machine;
  if (guest.next?.dueUs !== dueUs || !runs(machine)) return;
  const { what } = guest.next;
  guest.next = null;
  switch (what) {
    case 'probe':
      probeDevices(host, machine);
      return;
    case 'booted':
      finishBoot(host, machine, watcher);
      return;
    case 'panic':
      stopGuest(host, machine, 'crash', watcher);
      return;
    case 'stop':
      if (guest.stopping === 'suspend') suspendGuest(host, machine, watcher);
      else stopGuest(host, machine, guest.stopping ?? 'poweroff', watcher);
      return;
  }
};
