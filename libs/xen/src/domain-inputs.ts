import { reject } from '@xenolith/kernel';
import type { HostInput } from './host-model.js';
import {
  domainBytes,
  freeBytes,
  putDomain,
  rememberEnded,
  takeDomid,
  type DomainState,
  type Draft,
  type Task,
} from './host-state.js';
import { answer, beginBuild, beginTeardown, guestEnds, guestStopsAt, refuse, runningAnswer } from './domain-tasks.js';
import type { HostTiming } from './host-timing.js';

type Input<Do extends HostInput['do']> = Extract<HostInput, { do: Do }>;

const isStarting = (domain: DomainState): boolean =>
  domain.phase === 'building' || domain.tasks.some((task) => task.do === 'booted');

const refuseStale = (draft: Draft, input: { ticket: string; uid: string; incarnation: number }, known: number): void =>
  refuse(
    draft,
    input.ticket,
    reject(
      'host_stale_incarnation',
      `the command is for run ${input.incarnation} of machine ${input.uid}; ${draft.host.name} knows run ${known} already`,
    ),
  );

const start = (draft: Draft, input: Input<'start'>, timing: HostTiming): void => {
  const { host } = draft;
  const domain = host.domains[input.uid];
  if (domain?.incarnation === input.incarnation && domain.phase !== 'ending' && domain.phase !== 'shutdown') {
    if (isStarting(domain))
      putDomain(draft, { ...domain, waiting: [...domain.waiting, { ticket: input.ticket, for: 'start' }] });
    else answer(draft, input.ticket, runningAnswer(draft, domain));
    return;
  }
  const known = Math.max(host.ended[input.uid] ?? 0, domain?.incarnation ?? 0);
  if (known > input.incarnation || host.ended[input.uid] === input.incarnation) {
    refuseStale(draft, input, known);
    return;
  }
  if (domain) {
    const message = `run ${domain.incarnation} of ${domain.settings.name} is still on ${host.name} as domain ${domain.domid}; destroy it first`;
    refuse(draft, input.ticket, reject('host_domain_exists', message));
    return;
  }
  const memoryBytes = domainBytes(input.settings);
  if (memoryBytes > freeBytes(host)) {
    const message = `${input.settings.name} needs ${memoryBytes} bytes on ${host.name} (overhead included), ${freeBytes(host)} are free`;
    refuse(
      draft,
      input.ticket,
      reject('host_out_of_memory', message, { details: { neededBytes: memoryBytes, freeBytes: freeBytes(host) } }),
    );
    return;
  }
  const fresh: DomainState = {
    uid: input.uid,
    incarnation: input.incarnation,
    domid: takeDomid(draft),
    phase: 'building',
    paused: input.paused,
    settings: input.settings,
    memoryBytes,
    waiting: [{ ticket: input.ticket, for: 'start' }],
    tasks: [],
  };
  beginBuild(draft, fresh, timing);
};

/** The domain that a command is for; otherwise the command is answered here: a younger run refuses it, an absent one is `gone`. */
const addressed = (
  draft: Draft,
  input: { ticket: string; uid: string; incarnation: number },
  gone: () => void,
): DomainState | null => {
  const domain = draft.host.domains[input.uid];
  const known = Math.max(draft.host.ended[input.uid] ?? 0, domain?.incarnation ?? 0);
  if (known > input.incarnation) refuseStale(draft, input, known);
  else if (domain?.incarnation !== input.incarnation) gone();
  else return domain;
  return null;
};

const unknownDomain = (draft: Draft, input: { ticket: string; uid: string }): void =>
  refuse(
    draft,
    input.ticket,
    reject('host_unknown_domain', `${draft.host.name} runs no domain of machine ${input.uid}`),
  );

const endCleanly = (
  draft: Draft,
  domain: DomainState,
  input: Input<'shutdown'> | Input<'reboot'>,
  timing: HostTiming,
): void => {
  const stopsAt = guestStopsAt(draft, domain, timing);
  const reason = input.do === 'shutdown' ? 'poweroff' : 'reboot';
  const asked: readonly Task[] = stopsAt === null ? [] : [{ due: stopsAt, do: 'guestEnds', reason }];
  const { ticket, timeoutMs } = input;
  putDomain(draft, {
    ...domain,
    waiting: [...domain.waiting, { ticket, for: input.do === 'shutdown' ? 'end' : 'reboot' }],
    // A later request replaces an earlier one, as the guest reads one key of xenstore.
    tasks: [
      ...domain.tasks.filter((task) => stopsAt === null || task.do !== 'guestEnds'),
      ...asked,
      { due: draft.host.at + timeoutMs, do: 'giveUp', ticket, timeoutMs },
    ],
  });
};

const shutdown = (draft: Draft, input: Input<'shutdown'>, timing: HostTiming): void => {
  const domain = addressed(draft, input, () => answer(draft, input.ticket, {}));
  if (!domain) return;
  if (input.mode === 'clean' && domain.phase !== 'ending' && domain.phase !== 'shutdown') {
    endCleanly(draft, domain, input, timing);
    return;
  }
  beginTeardown(draft, { ...domain, waiting: [...domain.waiting, { ticket: input.ticket, for: 'end' }] }, timing);
};

const reboot = (draft: Draft, input: Input<'reboot'>, timing: HostTiming): void => {
  const domain = addressed(draft, input, () => unknownDomain(draft, input));
  if (!domain) return;
  if (domain.phase === 'ending') {
    unknownDomain(draft, input);
    return;
  }
  if (input.mode === 'clean' && domain.phase !== 'shutdown') {
    endCleanly(draft, domain, input, timing);
    return;
  }
  const waiting = [...domain.waiting, { ticket: input.ticket, for: 'reboot' as const }];
  beginBuild(draft, { ...domain, domid: takeDomid(draft), paused: false, waiting }, timing);
};

const setPaused = (draft: Draft, input: Input<'pause'> | Input<'unpause'>, timing: HostTiming): void => {
  const domain = addressed(draft, input, () => unknownDomain(draft, input));
  if (!domain) return;
  if (domain.phase === 'ending' || domain.phase === 'shutdown') {
    unknownDomain(draft, input);
    return;
  }
  const paused = input.do === 'pause';
  // A guest that was built paused begins to boot now; nobody waits for it to be up.
  const boots = !paused && domain.paused && domain.phase === 'up';
  putDomain(draft, { ...domain, paused });
  if (boots) retryAskedStop(draft, input.uid, timing);
  answer(draft, input.ticket, runningAnswer(draft, { ...domain, paused }));
};

/** A guest that was asked to stop while it was paused sees the request when it runs again. */
const retryAskedStop = (draft: Draft, uid: string, timing: HostTiming): void => {
  const domain = draft.host.domains[uid];
  const asked = domain?.waiting.find((waiting) => waiting.for !== 'start');
  if (!domain || !asked || domain.tasks.some((task) => task.do === 'guestEnds')) return;
  const due = guestStopsAt(draft, domain, timing);
  if (due === null) return;
  const reason = asked.for === 'end' ? 'poweroff' : 'reboot';
  putDomain(draft, { ...domain, tasks: [...domain.tasks, { due, do: 'guestEnds', reason }] });
};

const destroy = (draft: Draft, input: Input<'destroy'>, timing: HostTiming): void => {
  const domain = draft.host.domains[input.uid];
  // A run that is not come yet must not come later either.
  if (domain?.incarnation !== input.incarnation) rememberEnded(draft, input.uid, input.incarnation);
  // An older run that is still here is one that the platform believes gone: it ends with the younger.
  if (domain && domain.incarnation <= input.incarnation)
    beginTeardown(draft, { ...domain, waiting: [...domain.waiting, { ticket: input.ticket, for: 'end' }] }, timing);
  else answer(draft, input.ticket, {});
};

/** Applies a command to one of the host's domains. */
export const applyToDomain = (draft: Draft, input: Exclude<HostInput, { do: 'crash' }>, timing: HostTiming): void => {
  switch (input.do) {
    case 'start':
      start(draft, input, timing);
      return;
    case 'shutdown':
      shutdown(draft, input, timing);
      return;
    case 'reboot':
      reboot(draft, input, timing);
      return;
    case 'pause':
    case 'unpause':
      setPaused(draft, input, timing);
      return;
    case 'destroy':
      destroy(draft, input, timing);
      return;
    case 'guestEnds': {
      const domain = draft.host.domains[input.uid];
      if (domain?.phase === 'up' && !domain.paused) guestEnds(draft, domain, input.reason, timing);
      return;
    }
  }
};
