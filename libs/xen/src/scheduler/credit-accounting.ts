import { assert, present } from '@xenolith/kernel';
import type { ScheduledDomain } from './simulation.js';

/** Priorities of credit.c; a higher number goes first. */
export const BOOST = 0;
export const UNDER = -1;
export const OVER = -2;
/** What a pCPU without work has to beat. */
export const IDLE_PRIORITY = -64;

/** CSCHED_CREDITS_PER_MSEC of xen/common/sched/credit.c. */
export const CREDITS_PER_MS = 10;
const NS_PER_MS = 1_000_000;

/** Bounds and defaults of xen/common/sched/credit.c; all in nanoseconds. */
export interface CreditParameters {
  /** sched_credit_tslice_ms: 30 ms, 1 to 1000. */
  readonly sliceNs: number;
  /** sched_ratelimit_us: 1 ms; 0: off, else 0.1 to 500 ms. */
  readonly rateLimitNs: number;
  /** vcpu_migration_delay: 0, at most 100 ms. */
  readonly migrationDelayNs: number;
  /** load-balance-ratelimit: 1 ms. */
  readonly balanceRateLimitNs: number;
}

export const CREDIT_DEFAULTS: CreditParameters = {
  sliceNs: 30 * NS_PER_MS,
  rateLimitNs: NS_PER_MS,
  migrationDelayNs: 0,
  balanceRateLimitNs: NS_PER_MS,
};

/** CSCHED_TICKS_PER_TSLICE. */
export const TICKS_PER_SLICE = 3;

export interface CreditVcpu {
  credit: number;
  /** Burnt time that did not make a whole credit, in millionths of a credit. */
  residual: number;
  /** Burnt up to here; while it does not run, how far that lies before the time when it stopped. */
  startNs: number;
  priority: number;
  /** Earns credits. */
  active: boolean;
  /** Was told to leave its pCPU. */
  leaving: boolean;
  /** Moved since it last woke: no boost. */
  moved: boolean;
  lastRanNs: number;
}

/** What the accounting keeps, apart from the vCPUs. */
export interface CreditAccounts {
  /** Domains with active vCPUs, in the order in which they are served. */
  activeDomains: number[];
  /** By domain, its active vCPUs. */
  readonly activeVcpus: number[][];
  /** Of all active vCPUs. */
  weight: number;
  /** Of all vCPUs after the last accounting. */
  balance: number;
}

/** Charges a running vCPU for the time since it was charged last. */
export const burnCredits = (vcpu: CreditVcpu, nowNs: number): void => {
  const elapsedNs = nowNs - vcpu.startNs;
  if (elapsedNs <= 0) return;
  const owed = elapsedNs * CREDITS_PER_MS + vcpu.residual;
  const credits = Math.floor(owed / NS_PER_MS);
  vcpu.residual = owed - credits * NS_PER_MS;
  vcpu.credit -= credits;
  vcpu.startNs += (credits * NS_PER_MS) / CREDITS_PER_MS;
};

const ceilingOf = (dividend: number, divisor: number): number => Math.floor((dividend + divisor - 1) / divisor);

/** Who must stop and who may go on after an accounting. */
export interface Verdicts {
  readonly park: (vcpu: number) => void;
  readonly unpark: (vcpu: number) => void;
  readonly isParked: (vcpu: number) => boolean;
}

interface Books {
  readonly accounts: CreditAccounts;
  readonly vcpus: readonly CreditVcpu[];
  readonly domains: readonly ScheduledDomain[];
  readonly pcpuCount: number;
  readonly creditsPerSlice: number;
}

const vcpuIn = (books: Books, vcpu: number): CreditVcpu => present(books.vcpus[vcpu], 'the vCPU exists');
const activeIn = (accounts: CreditAccounts, domain: number): number[] =>
  present(accounts.activeVcpus[domain], 'the domain exists');

/** `__csched_unit_acct_start`: the vCPU earns from now on. */
export const startEarning = (books: Books, vcpu: number, domain: number): void => {
  const { accounts } = books;
  const active = activeIn(accounts, domain);
  vcpuIn(books, vcpu).active = true;
  if (active.length === 0) accounts.activeDomains.unshift(domain);
  active.unshift(vcpu);
  accounts.weight += present(books.domains[domain], 'the domain exists').weight;
};

const stopEarning = (books: Books, vcpu: number, domain: number): void => {
  const { accounts } = books;
  const active = activeIn(accounts, domain);
  vcpuIn(books, vcpu).active = false;
  active.splice(active.indexOf(vcpu), 1);
  if (active.length === 0) accounts.activeDomains = accounts.activeDomains.filter((other) => other !== domain);
  accounts.weight -= present(books.domains[domain], 'the domain exists').weight;
};

/** What each vCPU of a domain gets, and how far below zero a capped one may be without being parked. */
interface Allowance {
  readonly perVcpu: number;
  readonly parkBelow: number | null;
}

/** How the credits of one slice are shared; `left` and `total` shrink and grow while domains are served. */
interface Round {
  readonly weight: number;
  readonly balance: number;
  weightLeft: number;
  total: number;
  /** A domain before could have used more. */
  someWantMore: boolean;
}

const allowanceOf = (books: Books, domainIndex: number, round: Round): Allowance => {
  const domain = present(books.domains[domainIndex], 'the domain exists');
  const count = activeIn(books.accounts, domainIndex).length;
  const weight = domain.weight * count;
  round.weightLeft -= weight;
  let peak = count * books.creditsPerSlice;
  if (round.balance < 0) peak += ceilingOf(-round.balance * weight, round.weight);
  let parkBelow: number | null = null;
  if (domain.cap !== 0) {
    const capped = ceilingOf(domain.cap * books.creditsPerSlice, 100);
    peak = Math.min(peak, capped);
    parkBelow = -ceilingOf(capped, count);
  }
  let fair = ceilingOf(round.total * weight, round.weight);
  if (fair < peak) {
    round.someWantMore = true;
  } else {
    if (round.weightLeft > 0) round.total += ceilingOf((fair - peak) * round.weight, round.weightLeft);
    if (round.someWantMore) {
      // Served first the next time, so that those who want more get what it leaves.
      const rest = books.accounts.activeDomains.filter((other) => other !== domainIndex);
      books.accounts.activeDomains = [domainIndex, ...rest];
    }
    fair = peak;
  }
  return { perVcpu: ceilingOf(fair, count), parkBelow };
};

const settle = (books: Books, vcpu: number, allowance: Allowance, verdicts: Verdicts): boolean => {
  const state = vcpuIn(books, vcpu);
  state.credit += allowance.perVcpu;
  if (state.credit < 0) {
    state.priority = OVER;
    const { parkBelow } = allowance;
    if (parkBelow !== null && state.credit < parkBelow && !verdicts.isParked(vcpu)) verdicts.park(vcpu);
    state.credit = Math.max(state.credit, -books.creditsPerSlice);
    return true;
  }
  state.priority = UNDER;
  if (verdicts.isParked(vcpu)) verdicts.unpark(vcpu);
  if (state.credit <= books.creditsPerSlice) return true;
  // It does not use what it earns: it stops earning, and starts again a little ahead.
  state.credit = Math.trunc(state.credit / 2);
  return false;
};

/**
 * `csched_acct`: shares the credits of one slice among the active domains by weight and cap. Credits are whole and every division
 * rounds up, so a vCPU may get up to one credit in a slice (1/300 of a pCPU) more than its share.
 */
export const accountSlice = (books: Books, verdicts: Verdicts): void => {
  const { accounts } = books;
  const round: Round = {
    weight: accounts.weight,
    balance: accounts.balance,
    weightLeft: accounts.weight,
    total: books.pcpuCount * books.creditsPerSlice - Math.min(0, accounts.balance),
    someWantMore: false,
  };
  accounts.balance = 0;
  if (round.weight === 0) return;
  for (const domain of [...accounts.activeDomains]) {
    const allowance = allowanceOf(books, domain, round);
    for (const vcpu of [...activeIn(accounts, domain)]) {
      if (!settle(books, vcpu, allowance, verdicts)) stopEarning(books, vcpu, domain);
      accounts.balance += vcpuIn(books, vcpu).credit;
    }
  }
  assert(round.weightLeft === 0, 'the weights of the active domains add up');
};
