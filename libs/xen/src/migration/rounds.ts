import { assert } from '@xenolith/kernel';
import { afterRound, beginPrecopy, type PrecopyDecision, type PrecopyPolicy } from './policies.js';

/** Bytes of a page on x86 (`XC_PAGE_SHIFT` 12). */
export const PAGE_BYTES = 4096;
const US_PER_SECOND = 1_000_000;

/** Whole pages that a link of so many bits per second carries in a second; protocol overhead is left out. */
export const linkPagesPerSecond = (bitsPerSecond: number): number => Math.floor(bitsPerSecond / 8 / PAGE_BYTES);

/** What each of several migrations over one link gets; at least a page per second, so that each ends. */
export const shareOfLink = (pagesPerSecond: number, migrations: number): number =>
  Math.max(1, Math.floor(pagesPerSecond / Math.max(1, migrations)));

/** Microseconds to send the pages, rounded up. */
export const sendingUs = (pages: number, pagesPerSecond: number): number =>
  Math.ceil((pages * US_PER_SECOND) / pagesPerSecond);

/** How a guest writes to its memory: distinct pages per second, until its writable working set is dirty. */
export interface DirtyRate {
  readonly pagesPerSecond: number;
  /** Pages that it writes to again and again (the writable working set). */
  readonly workingSetPages: number;
}

/** One stretch of a guest's behaviour: `rate` holds until `untilUs` of virtual time; the last stretch holds forever. */
export interface DirtyStretch {
  readonly untilUs: number;
  readonly rate: DirtyRate;
}

/** A constant rate, or stretches in order of time. */
export type DirtyProfile = DirtyRate | readonly DirtyStretch[];

/** A stretch of sending at a constant speed. */
export interface Sending {
  readonly fromUs: number;
  readonly pages: number;
  readonly pagesPerSecond: number;
  /** Percent of its CPU time that the guest is denied meanwhile; it dirties that much less (assumption: in proportion). */
  readonly throttlePercent?: number;
}

const isConstant = (profile: DirtyProfile): profile is DirtyRate => !Array.isArray(profile);

const wholePages = (product: number, divisor: number): number => {
  assert(Number.isSafeInteger(product), 'page arithmetic stays within whole numbers');
  return Math.floor(product / divisor);
};

const slowed = (pages: number, throttlePercent: number): number => Math.floor((pages * (100 - throttlePercent)) / 100);

/**
 * Distinct pages that a guest dirties while pages are sent: its rate times the time, clipped at its writable working set and at its memory. Whole
 * numbers; a constant rate is reckoned by the ratio of the speeds, so that no rounding of time enters.
 */
export const dirtiedPages = (profile: DirtyProfile, memoryPages: number, sending: Sending): number => {
  const throttle = sending.throttlePercent ?? 0;
  if (isConstant(profile)) {
    const written = wholePages(sending.pages * profile.pagesPerSecond, sending.pagesPerSecond);
    return Math.min(memoryPages, profile.workingSetPages, slowed(written, throttle));
  }
  const endUs = sending.fromUs + sendingUs(sending.pages, sending.pagesPerSecond);
  let fromUs = sending.fromUs;
  let dirtied = 0;
  for (const [index, { untilUs, rate }] of profile.entries()) {
    const stretchEndUs = index === profile.length - 1 ? endUs : Math.min(untilUs, endUs);
    if (stretchEndUs <= fromUs) continue;
    const written = wholePages((stretchEndUs - fromUs) * rate.pagesPerSecond, US_PER_SECOND);
    dirtied += Math.min(rate.workingSetPages, slowed(written, throttle));
    fromUs = stretchEndUs;
  }
  return Math.min(memoryPages, dirtied);
};

/** Sending that may change its speed on the way, because other migrations over the same link begin or end; JSON. */
export interface Transfer {
  readonly pages: number;
  /** Pages sent before `sinceUs`. */
  readonly sent: number;
  readonly sinceUs: number;
  readonly pagesPerSecond: number;
  /** Pages that the guest dirtied before `sinceUs`, counting since the round began. */
  readonly dirtied: number;
}

export const beginTransfer = (pages: number, pagesPerSecond: number, nowUs: number): Transfer => ({
  pages,
  sent: 0,
  sinceUs: nowUs,
  pagesPerSecond,
  dirtied: 0,
});

/** When the last page will have been sent at the present speed. */
export const transferEndsAtUs = (transfer: Transfer): number =>
  transfer.sinceUs + sendingUs(transfer.pages - transfer.sent, transfer.pagesPerSecond);

/** Pages sent by then, for progress and figures. */
export const sentBy = (transfer: Transfer, nowUs: number): number =>
  Math.min(
    transfer.pages,
    transfer.sent + Math.floor(((nowUs - transfer.sinceUs) * transfer.pagesPerSecond) / US_PER_SECOND),
  );

interface Writer {
  readonly profile: DirtyProfile;
  readonly memoryPages: number;
  readonly throttlePercent?: number;
}

/** Distinct pages dirtied from the beginning of the round to its end, when nothing changes any more. */
export const dirtiedByTransfer = (transfer: Transfer, guest: Writer): number => {
  const rest = dirtiedPages(guest.profile, guest.memoryPages, {
    fromUs: transfer.sinceUs,
    pages: transfer.pages - transfer.sent,
    pagesPerSecond: transfer.pagesPerSecond,
    throttlePercent: guest.throttlePercent ?? 0,
  });
  const bound = isConstant(guest.profile) ? guest.profile.workingSetPages : guest.memoryPages;
  return Math.min(guest.memoryPages, bound, transfer.dirtied + rest);
};

/** The same transfer from now on at another speed. */
export const retimed = (transfer: Transfer, pagesPerSecond: number, nowUs: number, guest: Writer): Transfer => {
  const sent = sentBy(transfer, nowUs);
  const upToNow: Transfer = { ...transfer, pages: sent };
  return { ...transfer, sent, sinceUs: nowUs, pagesPerSecond, dirtied: dirtiedByTransfer(upToNow, guest) };
};

/**
 * What the guest's standstill is made of beside the final copy, in microseconds. Assumptions, chosen so that usual guests (a ratio of dirtying to sending of
 * 0.6 to 0.75 on 1 GiB and 10 Gb/s) stand still for 60–300 ms, as operators see.
 */
export interface DowntimeCosts {
  /** The guest's own suspend path: its drivers disconnect, its vCPUs stop. */
  readonly suspendUs: number;
  /** Block and network front-ends reconnect at the target, side by side. */
  readonly deviceSwitchUs: number;
  /** Bridge or switch learn the new place by gratuitous ARP. */
  readonly networkSwitchUs: number;
  readonly resumeUs: number;
}

export const DOWNTIME_COSTS: DowntimeCosts = {
  suspendUs: 20_000,
  deviceSwitchUs: 20_000,
  networkSwitchUs: 5_000,
  resumeUs: 15_000,
};

/** Microseconds during which the guest runs nowhere. */
export const downtimeUs = (finalPages: number, pagesPerSecond: number, costs: DowntimeCosts = DOWNTIME_COSTS): number =>
  costs.suspendUs +
  sendingUs(finalPages, pagesPerSecond) +
  costs.deviceSwitchUs +
  costs.networkSwitchUs +
  costs.resumeUs;

/** One finished round, as the Operation shows it. */
export interface RoundReport {
  readonly pages: number;
  readonly durationUs: number;
  /** Distinct pages dirtied meanwhile. */
  readonly dirtied: number;
}

/** A whole migration, reckoned in advance. */
export interface PrecopyForecast {
  readonly rounds: readonly RoundReport[];
  readonly outcome: Exclude<PrecopyDecision['do'], 'send'>;
  /** Pages that are sent while the guest stands still; with post-copy, that are fetched after it runs at the target. */
  readonly finalPages: number;
  readonly sentPages: number;
  readonly throttlePercent: number;
  /** Beginning of the first round to the end of the last one. */
  readonly liveUs: number;
  /** 0 when the migration is given up. */
  readonly downtimeUs: number;
}

/** Rounds after which a forecast ends whatever the policy says; each of the built-in policies ends far earlier. */
const MAX_FORECAST_ROUNDS = 1_000;

/** Runs the policy against a guest and a link that stay as they are. Pages of 4 KiB, pages per second, microseconds. */
export const forecastPrecopy = (migration: {
  readonly policy: PrecopyPolicy;
  readonly memoryPages: number;
  readonly linkPagesPerSecond: number;
  readonly dirty: DirtyProfile;
  readonly startUs?: number;
  readonly costs?: DowntimeCosts;
}): PrecopyForecast => {
  const { memoryPages, linkPagesPerSecond: link, dirty } = migration;
  const startUs = migration.startUs ?? 0;
  const rounds: RoundReport[] = [];
  let nowUs = startUs;
  let dirtied = 0;
  let { state, decision } = beginPrecopy(migration.policy, memoryPages);
  while (decision.do === 'send') {
    assert(rounds.length < MAX_FORECAST_ROUNDS, 'a pre-copy policy ends');
    const { throttlePercent } = state;
    dirtied = dirtiedPages(dirty, memoryPages, {
      fromUs: nowUs,
      pages: decision.pages,
      pagesPerSecond: link,
      throttlePercent,
    });
    const durationUs = sendingUs(decision.pages, link);
    rounds.push({ pages: decision.pages, durationUs, dirtied });
    nowUs += durationUs;
    ({ state, decision } = afterRound(state, { dirtyPages: dirtied, linkPagesPerSecond: link }));
  }
  const stillPages = decision.do === 'stopAndCopy' ? dirtied : 0;
  return {
    rounds,
    outcome: decision.do,
    finalPages: dirtied,
    sentPages: state.sentPages + (decision.do === 'abort' ? 0 : dirtied),
    throttlePercent: state.throttlePercent,
    liveUs: nowUs - startUs,
    downtimeUs: decision.do === 'abort' ? 0 : downtimeUs(stillPages, link, migration.costs),
  };
};
