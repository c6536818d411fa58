import { reject, type Rejection, type Uuid } from '@xenolith/kernel';
import type { HostInput } from '../host-model.js';
import { answer, refuse, rememberEnded, US_PER_MS } from './answers.js';
import { admissionRefused, isOver, unknownDomain } from './addressing.js';
import { plan } from './agenda.js';
import { askToStop } from './domain-store.js';
import { stopGuest } from './guest-life.js';
import { addressed } from './runs.js';
import { lostDaemons, refusedWithout, refusedWithoutDeviceModel } from './daemon-deaths.js';
import { change } from './live-change.js';
import { toolstack } from './guest-watcher.js';
import { applyMigration } from './migration.js';
import { isArriving, mayRunElsewhere } from './migration-session.js';
import { guestIn, readingUs, save } from './suspend.js';
import { continuePlugs, plug } from './plugging.js';
import { continueTakes, give, take } from './passing.js';
import type { HostCommand } from './course.js';
import { newGuest, type Host, type Machine } from './host-state.js';
import { beginBuild, beginRestart, beginTeardown, pauseDomain, runningAnswer, unpauseDomain } from './toolstack.js';
import { xenMigrations } from './xen-migrations.js';

type Input<Do extends HostInput['do']> = Extract<HostInput, { do: Do }>;

const isStarting = (machine: Machine): boolean =>
  machine.phase !== 'up' || (!machine.paused && machine.guest.phase !== 'up');

const unreadable = (host: Host, input: Input<'resume'>): { readonly rejection: Rejection } =>
  reject(
    'host_domain_unsupported',
    `the image of ${input.settings.name} holds no guest that ${host.state.name} can wake`,
  );

const start = (host: Host, input: Input<'start'> | Input<'resume'>): void => {
  const { settings, uid, incarnation, ticket } = input;
  const guest = input.do === 'resume' ? guestIn(input.image.content) : null;
  if (input.do === 'resume' && guest === null) {
    refuse(host, ticket, unreadable(host, input));
    return;
  }
  const machine = host.state.machines[uid];
  if (machine?.incarnation === incarnation && !isOver(machine) && !isArriving(host.state, machine)) {
    if (isStarting(machine)) machine.waiting.push({ ticket, for: 'start' });
    else answer(host, ticket, runningAnswer(host, machine));
    return;
  }
  if (admissionRefused(host, input)) return;
  beginBuild(host, {
    uid,
    incarnation,
    domid: -1,
    createdUs: host.state.nowUs,
    phase: 'building',
    restart: null,
    asked: null,
    paused: input.paused,
    settings,
    guest: newGuest(),
    wakes: guest && input.do === 'resume' ? { guest, readingUs: readingUs(host, input.image) } : null,
    image: null,
    devices: [],
    waiting: [{ ticket, for: 'start' }],
  });
};

const endCleanly = (host: Host, machine: Machine, input: Input<'shutdown'> | Input<'reboot'>): void => {
  const { uid, ticket, timeoutMs } = input;
  const what = input.do === 'shutdown' ? 'poweroff' : 'reboot';
  machine.waiting.push({ ticket, for: input.do === 'shutdown' ? 'end' : 'reboot' });
  const dueUs = host.state.nowUs + timeoutMs * US_PER_MS;
  plan(host.state.agenda, dueUs, { do: 'giveUp', uid, ticket, timeoutMs });
  // A domain that is being built has no home yet in which its guest could read this.
  if (machine.phase === 'up') askToStop(host, machine, what);
  else machine.asked = what;
};

const shutdown = (host: Host, input: Input<'shutdown'>): void => {
  const machine = addressed(host, input, () => answer(host, input.ticket, {}));
  if (!machine) return;
  if (input.mode === 'clean' && !isOver(machine)) {
    endCleanly(host, machine, input);
    return;
  }
  machine.waiting.push({ ticket: input.ticket, for: 'end' });
  beginTeardown(host, machine);
};

const reboot = (host: Host, input: Input<'reboot'>): void => {
  const machine = addressed(host, input, () => unknownDomain(host, input));
  if (!machine) return;
  if (machine.phase === 'ending') {
    unknownDomain(host, input);
    return;
  }
  if (input.mode === 'clean' && machine.phase !== 'shutdown') {
    endCleanly(host, machine, input);
    return;
  }
  if (mayRunElsewhere(host.state, machine.uid)) {
    const message = `${machine.settings.name} can't be rebooted on ${host.state.name}: its migration has come so far that another host may run it already`;
    refuse(host, input.ticket, reject('migration_switched', message));
    return;
  }
  machine.waiting.push({ ticket: input.ticket, for: 'reboot' });
  machine.asked = null;
  beginRestart(host, machine, 'asked');
};

const setPaused = (host: Host, input: Input<'pause'> | Input<'unpause'>): void => {
  const machine = addressed(host, input, () => unknownDomain(host, input));
  if (!machine) return;
  if (isOver(machine)) {
    unknownDomain(host, input);
    return;
  }
  const paused = input.do === 'pause';
  const changes = paused !== machine.paused;
  machine.paused = paused;
  if (changes && machine.phase === 'up') {
    if (paused) pauseDomain(host, machine);
    else unpauseDomain(host, machine);
    continuePlugs(host, machine);
    continueTakes(host, machine);
  }
  answer(host, input.ticket, runningAnswer(host, machine));
};

const destroy = (host: Host, input: Input<'destroy'>): void => {
  const machine = host.state.machines[input.uid];
  // A run that is not come yet must not come later either.
  if (machine?.incarnation !== input.incarnation) rememberEnded(host, input.uid, input.incarnation);
  // An older run that is still here is one that the platform believes gone: it ends with the younger.
  if (machine && machine.incarnation <= input.incarnation) {
    machine.waiting.push({ ticket: input.ticket, for: 'end' });
    beginTeardown(host, machine);
  } else answer(host, input.ticket, {});
};

/** Somebody has waited long enough for a guest to obey. */
export const giveUp = (host: Host, uid: Uuid, ticket: string, timeoutMs: number): void => {
  const machine = host.state.machines[uid];
  if (!machine?.waiting.some((waiting) => waiting.ticket === ticket)) return;
  machine.waiting = machine.waiting.filter((waiting) => waiting.ticket !== ticket);
  const why = machine.paused ? 'it is paused and cannot run' : 'it did not stop';
  const message = `the guest of ${machine.settings.name} was asked to stop and given ${timeoutMs} ms, but ${why}; use a hard shutdown to end it`;
  refuse(host, ticket, reject('guest_ignored_shutdown', message));
};

/** Applies a command to one of the host's machines. */
export const applyCommand = (host: Host, input: HostCommand): void => {
  if (refusedWithout(host, lostDaemons(host.state), input) || refusedWithoutDeviceModel(host, input)) return;
  switch (input.do) {
    case 'start':
    case 'resume':
      start(host, input);
      return;
    case 'shutdown':
      shutdown(host, input);
      return;
    case 'reboot':
      reboot(host, input);
      return;
    case 'pause':
    case 'unpause':
      setPaused(host, input);
      return;
    case 'destroy':
      destroy(host, input);
      return;
    case 'change':
      change(host, input);
      return;
    case 'suspend':
    case 'checkpoint':
      save(host, input);
      return;
    case 'receive':
    case 'migrate':
    case 'cancelMigration':
    case 'settleMigration':
    case 'peer':
    case 'peerRefused':
      applyMigration(xenMigrations(host), input);
      return;
    case 'attach':
    case 'detach':
      plug(host, input);
      return;
    case 'give':
      give(host, input);
      return;
    case 'take':
      take(host, input);
      return;
    case 'guestEnds': {
      const machine = host.state.machines[input.uid];
      if (machine?.phase === 'up' && !machine.paused) stopGuest(host, machine, input.reason, toolstack);
      return;
    }
  }
};
