import { reject, type Rejection } from '@xenolith/kernel';
import type { HostInput, PeerMessage } from '../host-model.js';
import { buildMs, jittered } from '../host-timing.js';
import { migrationNames } from '../migration/protocol.js';
import type { EndInput, EndStep, MigrationEffect, MigrationMessage } from '../migration/protocol.js';
import { beginTarget, stepTarget, type TargetState } from '../migration/target-end.js';
import { admissionRefused, refuseStale } from './addressing.js';
import { beginAdd, beginRemove } from './device-control.js';
import { askWhatWasAsked, makeHome } from './domain-store.js';
import { devicesOf, renewedDevice } from './machine-devices.js';
import {
  carryEffects,
  boundSessions,
  forgetSession,
  handOut,
  isHere,
  isOverAtTarget,
  MIGRATIONS_AT_ONCE,
  newSession,
  planEffect,
  planKeepalive,
  reconnect,
  say,
  sessionKey,
  SILENCE_US,
  targetsOf,
  type Carried,
  type TargetSession,
} from './migration-session.js';
import { newGuest, rememberEnded, US_PER_MS, type Host, type Machine, type MachineDevice } from './host-state.js';
import { guestIn } from './suspend.js';
import { answer, beginTeardown, makeDomain, refuse, runningAnswer, unbuildable, unpauseDomain } from './toolstack.js';

const machineOf = (host: Host, session: TargetSession): Machine | null => {
  const machine = host.state.machines[session.uid];
  return machine?.incarnation === session.toIncarnation ? machine : null;
};

// Effects.

const buildShell = (host: Host, session: TargetSession, machine: Machine): Carried => {
  const duration = buildMs(host.timing, machine.settings.dynamicMaxBytes);
  const ms = jittered(duration, host.state.seed, `${machine.uid}/${machine.domid}/build`);
  planEffect(host, session, host.state.nowUs + ms * US_PER_MS);
  return 'underWay';
};

/** The domain has its memory: it gets its home, and its interfaces, whose scripts fail before the switch if they must. */
const shellBuilt = (host: Host, machine: Machine): void => {
  makeHome(host, machine);
  machine.devices = devicesOf(machine);
  for (const device of machine.devices) if (device.kind === 'nic') beginAdd(host, machine, device);
};

const restoreDomain = (session: TargetSession, machine: Machine): Carried => {
  const guest = guestIn(session.content ?? '');
  if (guest === null) return 'failed';
  machine.wakes = { guest, readingUs: 0 };
  return 'done';
};

const isPlugged = ({ task, back }: MachineDevice): boolean => task === null && back !== null;

/** Disks are opened where the machine is: not before the switch. One that failed is tried anew. */
const restoreDevices = (host: Host, machine: Machine): Carried => {
  machine.devices = machine.devices.map((device) => (isPlugged(device) ? device : renewedDevice(device)));
  for (const device of machine.devices) if (!isPlugged(device)) beginAdd(host, machine, device);
  return 'underWay';
};

const unpause = (host: Host, session: TargetSession, machine: Machine): Carried => {
  // It goes on without devices that did not come up.
  machine.devices = machine.devices.filter(isPlugged);
  machine.phase = 'up';
  askWhatWasAsked(host, machine);
  if (!machine.paused) unpauseDomain(host, machine);
  session.runsUs = host.state.nowUs;
  return 'done';
};

const carryOut = (host: Host, session: TargetSession, effect: MigrationEffect): Carried => {
  const machine = machineOf(host, session);
  if (machine === null) return effect.do === 'buildShell' || effect.do === 'restoreDomain' ? 'failed' : 'done';
  switch (effect.do) {
    case 'buildShell':
      return buildShell(host, session, machine);
    case 'restoreDomain':
      return restoreDomain(session, machine);
    case 'restoreDevices':
      return machine.phase === 'arriving' ? restoreDevices(host, machine) : 'done';
    case 'unpauseDomain':
      return machine.phase === 'arriving' ? unpause(host, session, machine) : 'done';
    case 'renameDomain':
      if (host.state.hypervisor.domains[machine.domid]?.handle === effect.from)
        host.hypervisor.domains.setHandle(machine.domid, effect.to);
      return 'done';
    case 'destroyDomain':
      beginTeardown(host, machine);
      return 'underWay';
    case 'importMetadata':
    case 'removeMetadata':
      return 'done';
    case 'squashMemory':
    case 'restoreMemoryRange':
    case 'enableLogDirty':
    case 'disableLogDirty':
    case 'sendRound':
    case 'suspendDomain':
    case 'sendFinal':
    case 'resumeDomain':
      // The source's.
      return 'failed';
  }
};

const work = (host: Host, session: TargetSession): void =>
  carryEffects(session, {
    carryOut: (effect) => carryOut(host, session, effect),
    tell: (input) => step(host, session, input),
  });

const finishEffect = (host: Host, session: TargetSession): void => {
  session.effects.shift();
  session.doing = null;
  session.effectDueUs = null;
  work(host, session);
};

const failEffect = (host: Host, session: TargetSession): void => {
  session.effects = [];
  session.doing = null;
  session.effectDueUs = null;
  step(host, session, { type: 'failed', errno: 'EIO' });
};

// Steps.

/** The source's answer to who asks, and its downtime, need to know when the guest ran here. */
const dressed = (session: TargetSession, message: MigrationMessage): PeerMessage => {
  const tells = (message.type === 'handshake' && message.point === '4') || message.type === 'holds';
  return tells && session.runsUs !== null ? { ...message, runsUs: session.runsUs } : message;
};

const isInterruptible = (end: TargetState): boolean =>
  end.failing !== null && end.working && end.phase !== 'aborting' && end.phase !== 'resuming';

/** Moves the target's end on and does what it says. */
export const step = (host: Host, session: TargetSession, input: EndInput): void => {
  const wasHere = isHere(session);
  const next: EndStep<TargetState> = stepTarget(session.end, input);
  session.end = next.state;
  const machine = machineOf(host, session);
  if (isHere(session) && !wasHere && machine) session.here = { domid: machine.domid, bootId: host.state.bootId };
  for (const message of next.messages) say(host, session, dressed(session, message));
  handOut(session, next);
  // It had its memory from the beginning, even if nothing was built of it.
  if (session.end.phase === 'aborted' && machine?.phase === 'arriving') beginTeardown(host, machine);
  if (session.doing !== null && isInterruptible(next.state)) failEffect(host, session);
  else work(host, session);
};

// What happens to it.

/** The time of what is under way has come. */
export const targetEffectEnds = (host: Host, session: TargetSession): void => {
  const machine = machineOf(host, session);
  if (session.doing !== 'buildShell' || machine === null) return;
  session.effectDueUs = null;
  shellBuilt(host, machine);
};

/** Whether devices of a kind are there; null: some are still on their way. Those that failed are taken away again. */
const devicesUp = (host: Host, machine: Machine, kinds: readonly MachineDevice['kind'][]): boolean | null => {
  const wanted = machine.devices.filter(({ kind }) => kinds.includes(kind));
  for (const device of wanted)
    if (device.task?.action === 'add' && device.task.phase === 'done' && device.task.rc !== 0)
      beginRemove(host, machine, device);
  if (wanted.some(({ task }) => task !== null && task.phase !== 'done')) return null;
  const failed = wanted.some(({ task }) => task?.action === 'remove');
  for (const device of wanted) if (device.task?.action === 'add') device.task = null;
  return !failed;
};

/** Looks at the domain: whether its devices are there, or whether it is gone. */
export const followTarget = (host: Host, session: TargetSession): void => {
  const machine = machineOf(host, session);
  const stands = machine !== null && machine.phase !== 'ending';
  if (session.doing === 'destroyDomain' && machine === null) finishEffect(host, session);
  else if (!stands && session.doing !== null && session.doing !== 'destroyDomain') failEffect(host, session);
  else if (!stands && !isHere(session) && !isOverAtTarget(session) && session.end.phase !== 'aborting')
    step(host, session, { type: 'lost' });
  else if (machine && session.doing === 'buildShell' && session.effectDueUs === null)
    continueDevices(host, session, machine, ['nic']);
  else if (machine && session.doing === 'restoreDevices') continueDevices(host, session, machine, ['disk', 'nic']);
  answerSettlers(host, session);
  admitHeld(host);
};

const continueDevices = (
  host: Host,
  session: TargetSession,
  machine: Machine,
  kinds: readonly MachineDevice['kind'][],
): void => {
  const up = devicesUp(host, machine, kinds);
  if (up === null) return;
  if (up) finishEffect(host, session);
  else failEffect(host, session);
};

const notHere = (host: Host, session: Pick<TargetSession, 'uid' | 'peer'>): { readonly rejection: Rejection } =>
  reject('migration_failed', `${session.uid} did not come from ${session.peer} to ${host.state.name}, and will not`);

/** Who wants to know hears it as soon as it is certain. */
const answerSettlers = (host: Host, session: TargetSession): void => {
  const { end, here } = session;
  if (end.phase !== 'holding' && end.phase !== 'done' && end.phase !== 'aborted') return;
  const machine = machineOf(host, session);
  for (const ticket of session.tickets.splice(0))
    if (end.phase === 'aborted' || here === null) refuse(host, ticket, notHere(host, session));
    else answer(host, ticket, machine ? runningAnswer(host, machine) : { ...here, state: 'running' });
  if (end.phase === 'done') forgetSession(host, session);
};

const receiving = (host: Host): number =>
  targetsOf(host.state).filter((session) => session.end.phase !== 'idle' && !isOverAtTarget(session)).length;

/** Others wait in the order in which they came. */
const admitHeld = (host: Host): void => {
  for (const session of targetsOf(host.state)) {
    if (session.held === null || receiving(host) >= MIGRATIONS_AT_ONCE) continue;
    const message = session.held;
    session.held = null;
    step(host, session, { type: 'message', message });
  }
};

/** A message of the source's. */
export const targetHears = (host: Host, session: TargetSession, message: PeerMessage): void => {
  // Whoever speaks to an end that has given up learns so at once.
  if (session.end.phase === 'aborted' && message.type !== 'disconnected' && message.type !== 'inquire')
    say(host, session, { type: 'handshakeError', errno: session.end.failing ?? 'EIO' });
  else if (message.type === 'ping') say(host, session, { type: 'pong' });
  else if (message.type === 'disconnected') hearClosed(host, session);
  else if (message.type !== 'pong') hearMessage(host, session, message);
};

const hearClosed = (host: Host, session: TargetSession): void => {
  reconnect(session);
  session.held = null;
  step(host, session, { type: 'lost' });
  if (session.end.phase === 'aborted' && session.tickets.length === 0) forgetSession(host, session);
};

const hearMessage = (host: Host, session: TargetSession, message: MigrationMessage & { content?: string }): void => {
  // What was said before over the old connection does not matter any more.
  if (message.type === 'inquire') reconnect(session);
  if (message.type === 'importMetadata') planKeepalive(host, session);
  session.content ??= message.content ?? null;
  if (message.type === 'importMetadata' && receiving(host) >= MIGRATIONS_AT_ONCE) session.held = message;
  else step(host, session, { type: 'message', message });
};

/** The source's host takes no message any more. */
export const targetIsRefused = (host: Host, session: TargetSession): void => step(host, session, { type: 'lost' });

/** A source that has been silent for long is gone; from the switch on that does not matter. */
export const targetKeepsAlive = (host: Host, session: TargetSession): void => {
  if (isHere(session) || isOverAtTarget(session) || session.end.phase === 'aborting') return;
  if (host.state.nowUs - session.heardUs >= SILENCE_US) {
    session.held = null;
    step(host, session, { type: 'lost' });
  } else planKeepalive(host, session);
};

/** What the toolstack finds on its disk when the host has booted again: which machines had become this host's, and that it has none of the others. */
export const targetAfterCrash = (session: TargetSession): void => {
  const end: TargetState = { ...session.end, working: false, disconnected: true, asked: false };
  session.end = { ...end, phase: isHere(session) ? 'holding' : 'aborted' };
  Object.assign(session, { effects: [], doing: null, effectDueUs: null, keepaliveUs: null, held: null });
};

// Commands.

export const receive = (host: Host, input: HostInput & { do: 'receive' }): void => {
  const { uid, incarnation, settings, from, fromIncarnation, ticket } = input;
  const key = sessionKey(uid, incarnation);
  const known = host.state.migrations[key];
  if (known?.role === 'target' && known.end.phase !== 'aborted') {
    answer(host, ticket, {});
    return;
  }
  if (known) {
    refuseStale(host, input);
    return;
  }
  if (admissionRefused(host, input)) return;
  const machine: Machine = {
    uid,
    incarnation,
    domid: -1,
    createdUs: host.state.nowUs,
    phase: 'arriving',
    restart: null,
    asked: null,
    paused: false,
    settings,
    guest: newGuest(),
    wakes: null,
    image: null,
    devices: [],
    waiting: [],
  };
  const errno = makeDomain(host, machine, migrationNames(uid).target);
  if (errno !== null) {
    refuse(host, ticket, unbuildable(host, machine, errno));
    return;
  }
  const session: TargetSession = {
    ...newSession(uid, incarnation, from),
    role: 'target',
    fromIncarnation,
    end: beginTarget(uid),
    held: null,
    content: null,
    tickets: [],
    runsUs: null,
    here: null,
  };
  host.state.migrations[key] = session;
  boundSessions(host);
  answer(host, ticket, {});
};

/** Whether the machine is here for good; if it is not, it never will be. */
export const settleMigration = (host: Host, input: HostInput & { do: 'settleMigration' }): void => {
  const { uid, incarnation, ticket } = input;
  const session = host.state.migrations[sessionKey(uid, incarnation)];
  if (session?.role === 'target') {
    session.tickets.push(ticket);
    if (!isHere(session) && !isOverAtTarget(session)) {
      session.held = null;
      step(host, session, { type: 'lost' });
    }
    return;
  }
  const machine = host.state.machines[uid];
  if (machine?.incarnation === incarnation && machine.phase !== 'ending' && machine.phase !== 'arriving') {
    answer(host, ticket, runningAnswer(host, machine));
    return;
  }
  rememberEnded(host, uid, incarnation);
  refuse(host, ticket, notHere(host, { uid, peer: 'another host' }));
};
