import type { DomainFigures } from '@xenolith/xen';

/** A host at rest at two moments: `spanMs` after `at` it will be as `second` says, if nothing happens to it. */
export interface DomainSamples {
  readonly at: number;
  readonly spanMs: number;
  readonly first: readonly DomainFigures[];
  readonly second: readonly DomainFigures[];
}

/** Decimals that figures carry: CPU time is told to the millisecond. */
const STEPS = 1000;

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Every number on the line through both; whole numbers stay whole. */
const along = (first: unknown, second: unknown, share: number): unknown => {
  if (typeof first === 'number' && typeof second === 'number') {
    if (first === second) return first;
    const value = first + (second - first) * share;
    return Number.isInteger(first) && Number.isInteger(second) ? Math.round(value) : Math.round(value * STEPS) / STEPS;
  }
  if (Array.isArray(first) && Array.isArray(second))
    return first.map((item, index) => along(item, second[index], share));
  if (isRecord(first) && isRecord(second))
    return Object.fromEntries(Object.entries(first).map(([key, value]) => [key, along(value, second[key], share)]));
  return first;
};

/** What the figures have become at `now`. */
export const grown = ({ at, spanMs, first, second }: DomainSamples, now: number): readonly DomainFigures[] =>
  along(first, second, Math.max(0, now - at) / spanMs) as readonly DomainFigures[];
