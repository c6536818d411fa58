import { randomFrom, reject } from '@xenolith/kernel';
import { applyToDomain } from './domain-inputs.js';
import { refuse, runTask } from './domain-tasks.js';
import { HARDWARE_PROFILES, threadsOf } from './hardware-profile.js';
import type { DomainFigures, DomainView, HostInput, HostModel, HostStep } from './host-model.js';
import {
  bootIdOf,
  freeBytes,
  rememberEnded,
  type DomainState,
  type Draft,
  type HostState,
  type Task,
} from './host-state.js';
import { jittered, type HostTiming } from './host-timing.js';

/** Commands that a host which boots keeps for later; more are refused. */
const WAITING_WHILE_DOWN = 1_024;

interface Due {
  readonly uid: string;
  readonly task: Task;
}

/** The earliest task of all; of equal ones the first of the oldest domain. */
const earliest = (host: HostState): Due | null => {
  let found: Due | null = null;
  for (const domain of Object.values(host.domains))
    for (const task of domain.tasks) if (!found || task.due < found.task.due) found = { uid: domain.uid, task };
  return found;
};

const nextDue = (host: HostState): number | null => host.upAt ?? earliest(host)?.task.due ?? null;

const moveTo = (draft: Draft, at: number): void => {
  if (at > draft.host.at) draft.host = { ...draft.host, at };
};

const finishBoot = (draft: Draft, timing: HostTiming): void => {
  const { waiting } = draft.host;
  draft.host = { ...draft.host, upAt: null, waiting: [] };
  draft.events.push({ type: 'booted', at: draft.host.at });
  for (const input of waiting) applyInput(draft, input, timing);
};

const passTime = (draft: Draft, until: number, timing: HostTiming): void => {
  for (let due = nextDue(draft.host); due !== null && due <= until; due = nextDue(draft.host)) {
    moveTo(draft, due);
    if (draft.host.upAt !== null) finishBoot(draft, timing);
    else {
      const next = earliest(draft.host);
      if (next) runTask(draft, next.uid, next.task, timing);
    }
  }
  moveTo(draft, until);
};

const crash = (draft: Draft, timing: HostTiming): void => {
  const lost = Object.values(draft.host.domains);
  const { at, name, boots, seed } = draft.host;
  draft.events.push({ type: 'crashed', at });
  for (const { ticket } of lost.flatMap((domain) => domain.waiting))
    refuse(draft, ticket, reject('host_crashed', `${name} crashed while it worked on the command`));
  draft.host = {
    ...draft.host,
    domains: {},
    usedBytes: 0,
    nextDomid: 1,
    boots: boots + 1,
    bootId: bootIdOf(draft.host, boots + 1),
    upAt: at + jittered(timing.hostBootMs, seed, `boot/${boots + 1}`),
  };
  for (const domain of lost) rememberEnded(draft, domain.uid, domain.incarnation);
};

const applyInput = (draft: Draft, input: HostInput, timing: HostTiming): void => {
  if (input.do === 'crash') crash(draft, timing);
  else if (draft.host.upAt === null) applyToDomain(draft, input, timing);
  else if (input.do !== 'guestEnds') keepForLater(draft, input);
};

const keepForLater = (draft: Draft, input: Exclude<HostInput, { do: 'crash' | 'guestEnds' }>): void => {
  const { host } = draft;
  if (host.waiting.length >= WAITING_WHILE_DOWN) {
    const message = `${host.name} crashed and boots again; ${host.waiting.length} commands wait for it already`;
    refuse(draft, input.ticket, reject('host_crashed', message));
    return;
  }
  draft.host = { ...host, waiting: [...host.waiting, input] };
};

const step = (host: HostState, at: number, timing: HostTiming, input?: HostInput): HostStep<HostState> => {
  const draft: Draft = { host, events: [] };
  const now = Math.max(at, host.at);
  passTime(draft, now, timing);
  if (input) {
    applyInput(draft, input, timing);
    // What takes no time is done at once.
    passTime(draft, now, timing);
  }
  return { state: draft.host, events: draft.events };
};

const viewOf = (domain: DomainState): DomainView => ({
  uid: domain.uid,
  incarnation: domain.incarnation,
  domid: domain.domid,
  state: domain.phase === 'shutdown' ? 'shutdown' : domain.paused || domain.phase === 'building' ? 'paused' : 'running',
});

/** Guests' figures hold for this long. */
const FIGURES_MS = 10_000;
/** Share of its virtual CPUs that an idle or busy guest uses, drawn for each domain; assumption, skewed to idle as the Azure traces are. */
const busyShare = (host: HostState, domain: DomainState, at: number): number => {
  if (domain.paused || domain.phase !== 'up') return 0;
  const level = randomFrom(`${host.seed}/${domain.uid}/level`).next() ** 3;
  const wave = randomFrom(`${host.seed}/${domain.uid}/${Math.floor(at / FIGURES_MS)}`).next();
  return Math.min(1, level * (0.7 + 0.6 * wave) + 0.01);
};

interface Load {
  readonly round: number;
  readonly figures: readonly DomainFigures[];
  readonly busyThreads: number;
}
/** What was last computed for a set of domains, which never changes: heartbeats ask far more often than the figures move. */
const loads = new WeakMap<HostState['domains'], Load>();

const loadOf = (host: HostState, at: number): Load => {
  const round = Math.floor(at / FIGURES_MS);
  const known = loads.get(host.domains);
  if (known?.round === round) return known;
  const figures = Object.values(host.domains).map((domain) => ({
    uid: domain.uid,
    cpu: Math.round(1000 * domain.settings.vcpus * busyShare(host, domain, at)) / 1000,
    memoryBytes: domain.memoryBytes,
  }));
  const load = { round, figures, busyThreads: figures.reduce((sum, { cpu }) => sum + cpu, 0) };
  loads.set(host.domains, load);
  return load;
};

/** Busy share of the control domain alone; assumption. */
const CONTROL_DOMAIN_LOAD = 0.01;

const cpuLoadOf = (host: HostState, at: number): number => {
  const threads = threadsOf(HARDWARE_PROFILES[host.profile]);
  return Math.min(1, Math.round(1000 * (CONTROL_DOMAIN_LOAD + loadOf(host, at).busyThreads / threads)) / 1000);
};

/**
 * The simple host model: domains with exact memory, domain ids and plausible durations, without the devices, schedulers and xenstore of a
 * real host. A domain answers as started when its guest has booted, or when it is built if it shall be paused.
 */
export const simpleHostModel = (timing: HostTiming): HostModel<HostState> => ({
  create: ({ name, seed, profile, at }) => ({
    name,
    seed,
    profile,
    bornAt: at,
    boots: 1,
    bootId: bootIdOf({ name, seed, bornAt: at }, 1),
    at,
    upAt: null,
    waiting: [],
    nextDomid: 1,
    usedBytes: 0,
    domains: {},
    ended: {},
  }),
  apply: (state, input, at) => step(state, at, timing, input),
  advance: (state, at) => step(state, at, timing),
  nextDue,
  isUp: (state) => state.upAt === null,
  bootId: (state) => state.bootId,
  profile: (state) => HARDWARE_PROFILES[state.profile],
  inventory: (state) =>
    Object.values(state.domains)
      .filter((domain) => domain.phase !== 'ending')
      .map(viewOf),
  figures: (state, at) => ({
    domains: Object.keys(state.domains).length,
    freeMemoryBytes: freeBytes(state),
    cpuLoad: cpuLoadOf(state, at),
  }),
  domainFigures: (state, at) => loadOf(state, at).figures,
});
