import { ok, present, reject, type Rejection } from '@xenolith/kernel';
import type { GuestEnd, HostAnswer, OnGuestEnd, Ticket } from './host-model.js';
import {
  putDomain,
  removeDomain,
  takeDomid,
  type DomainState,
  type Draft,
  type Task,
  type Waiting,
} from './host-state.js';
import { buildMs, jittered, type HostTiming } from './host-timing.js';

export const answer = (draft: Draft, ticket: Ticket, value: HostAnswer): void => {
  draft.events.push({ type: 'answered', ticket, at: draft.host.at, result: ok(value) });
};

export const refuse = (draft: Draft, ticket: Ticket, refusal: { readonly rejection: Rejection }): void => {
  draft.events.push({ type: 'answered', ticket, at: draft.host.at, result: { ok: false, ...refusal } });
};

export const runningAnswer = (draft: Draft, domain: DomainState): HostAnswer => ({
  domid: domain.domid,
  state: domain.paused ? 'paused' : 'running',
  bootId: draft.host.bootId,
});

const label = (domain: DomainState, what: string): string => `${domain.uid}/${domain.domid}/${what}`;

/** Who waits for a guest to obey stops waiting in time, whatever becomes of the guest. */
const patience = (domain: DomainState): readonly Task[] => domain.tasks.filter((task) => task.do === 'giveUp');

/** Begins to build the domain (again): it is up when the task is done. */
export const beginBuild = (draft: Draft, domain: DomainState, timing: HostTiming): void => {
  const { staticMaxBytes, disks, nics } = domain.settings;
  const duration = buildMs(timing, { memoryBytes: staticMaxBytes, devices: disks.length + nics.length });
  const due = draft.host.at + jittered(duration, draft.host.seed, label(domain, 'build'));
  putDomain(draft, { ...domain, phase: 'building', tasks: [...patience(domain), { due, do: 'built' }] });
};

export const beginTeardown = (draft: Draft, domain: DomainState, timing: HostTiming): void => {
  if (domain.phase === 'ending') {
    putDomain(draft, domain);
    return;
  }
  const due = draft.host.at + jittered(timing.destroyMs, draft.host.seed, label(domain, 'destroy'));
  putDomain(draft, { ...domain, phase: 'ending', tasks: [{ due, do: 'gone' }] });
};

/** When a guest that was asked now will have stopped; null: never, it ignores us or cannot run. */
export const guestStopsAt = (draft: Draft, domain: DomainState, timing: HostTiming): number | null => {
  if (domain.settings.ignoresShutdown || domain.paused) return null;
  // A guest that still boots sees the request when it is up.
  const listensAt = Math.max(
    draft.host.at,
    ...domain.tasks.filter((task) => task.do === 'booted').map(({ due }) => due),
  );
  return listensAt + jittered(timing.guestShutdownMs, draft.host.seed, label(domain, 'shutdown'));
};

const answerWaiting = (
  draft: Draft,
  domain: DomainState,
  is: (waiting: Waiting) => boolean,
  value: HostAnswer,
): DomainState => {
  for (const waiting of domain.waiting) if (is(waiting)) answer(draft, waiting.ticket, value);
  return { ...domain, waiting: domain.waiting.filter((waiting) => !is(waiting)) };
};

const forStart = (waiting: Waiting): boolean => waiting.for !== 'end';

/** Refuses those who wait for the domain to be up. */
const refuseWaiting = (draft: Draft, domain: DomainState): DomainState => {
  const message = `${domain.settings.name} was ended on ${draft.host.name} before it was up`;
  for (const { ticket } of domain.waiting.filter(forStart)) refuse(draft, ticket, reject('command_cancelled', message));
  return { ...domain, waiting: domain.waiting.filter((waiting) => !forStart(waiting)) };
};

const built = (draft: Draft, domain: DomainState, timing: HostTiming): void => {
  const up: DomainState = { ...domain, phase: 'up' };
  if (up.paused) {
    putDomain(draft, answerWaiting(draft, up, forStart, runningAnswer(draft, up)));
    return;
  }
  const bootMs = domain.settings.bootMs ?? timing.guestBootMs;
  const due = draft.host.at + jittered(bootMs, draft.host.seed, label(domain, 'boot'));
  putDomain(draft, { ...up, tasks: [...up.tasks, { due, do: 'booted' }] });
};

const giveUp = (draft: Draft, domain: DomainState, task: Task & { do: 'giveUp' }): void => {
  if (!domain.waiting.some(({ ticket }) => ticket === task.ticket)) return;
  const why = domain.paused ? 'it is paused and cannot run' : 'it did not stop';
  refuse(
    draft,
    task.ticket,
    reject(
      'guest_ignored_shutdown',
      `the guest of ${domain.settings.name} was asked to stop and given ${task.timeoutMs} ms, but ${why}; use a hard shutdown to end it`,
    ),
  );
  putDomain(draft, { ...domain, waiting: domain.waiting.filter(({ ticket }) => ticket !== task.ticket) });
};

const policyOf = (domain: DomainState, reason: GuestEnd): OnGuestEnd => {
  switch (reason) {
    case 'poweroff':
      return domain.settings.onPoweroff;
    case 'reboot':
      return domain.settings.onReboot;
    case 'crash':
      return domain.settings.onCrash;
  }
};

const rebuild = (draft: Draft, domain: DomainState, timing: HostTiming): number => {
  const domid = takeDomid(draft);
  beginBuild(draft, { ...domain, domid, paused: false }, timing);
  return domid;
};

/**
 * The guest stopped. Where somebody waits for just that, it was asked to; else it did so by itself and its settings say what follows. A restart after
 * poweroff or crash is a new run, which only the platform may begin: the host tears down and reports.
 */
export const guestEnds = (draft: Draft, domain: DomainState, reason: GuestEnd, timing: HostTiming): void => {
  const rest: DomainState = { ...domain, tasks: patience(domain) };
  if (reason !== 'crash' && domain.waiting.some((waiting) => waiting.for === 'end')) {
    beginTeardown(draft, rest, timing);
    return;
  }
  if (reason === 'reboot' && domain.waiting.some((waiting) => waiting.for === 'reboot')) {
    rebuild(draft, rest, timing);
    return;
  }
  const policy = policyOf(domain, reason);
  const event = {
    type: 'guestEnded' as const,
    at: draft.host.at,
    uid: domain.uid,
    incarnation: domain.incarnation,
    reason,
  };
  if (policy === 'preserve') {
    putDomain(draft, { ...refuseWaiting(draft, rest), phase: 'shutdown' });
    draft.events.push(event);
  } else if (policy === 'restart' && reason === 'reboot') {
    draft.events.push({ ...event, domid: rebuild(draft, rest, timing) });
  } else {
    beginTeardown(draft, rest, timing);
    draft.events.push(event);
  }
};

const gone = (draft: Draft, domain: DomainState): void => {
  removeDomain(draft, domain);
  answerWaiting(draft, refuseWaiting(draft, domain), () => true, {});
};

/** Does what fell due for a domain. */
export const runTask = (draft: Draft, uid: string, task: Task, timing: HostTiming): void => {
  const held = present(draft.host.domains[uid], 'a task belongs to a domain');
  const domain: DomainState = { ...held, tasks: held.tasks.filter((other) => other !== task) };
  putDomain(draft, domain);
  switch (task.do) {
    case 'built':
      built(draft, domain, timing);
      return;
    case 'booted':
      putDomain(draft, answerWaiting(draft, domain, forStart, runningAnswer(draft, domain)));
      return;
    case 'guestEnds':
      // A guest that was paused meanwhile does not run, and so does not stop either.
      if (!domain.paused) guestEnds(draft, domain, task.reason, timing);
      return;
    case 'giveUp':
      giveUp(draft, domain, task);
      return;
    case 'gone':
      gone(draft, domain);
      return;
  }
};
