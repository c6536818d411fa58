import { left, lines, right } from './columns.js';

export interface SchedulingFacts {
  readonly name: string;
  readonly domid: number;
  readonly weight: number;
  readonly cap: number;
}

const tableOf = (pool: string, domains: readonly SchedulingFacts[]): string =>
  lines([
    pool,
    `${left('Name', 33)} ${right('ID', 4)} ${right('Weight', 6)} ${right('Cap', 4)}`,
    ...domains.map(
      ({ name, domid, weight, cap }) => `${left(name, 33)} ${right(domid, 4)} ${right(weight, 6)} ${right(cap, 4)}`,
    ),
  ]);

/** `xl sched-credit2` of one CPU pool (tools/xl/xl_sched.c). */
export const credit2Text = (
  pool: { readonly name: string; readonly rateLimitUs: number },
  domains: readonly SchedulingFacts[],
): string => tableOf(`Cpupool ${pool.name}: ratelimit=${pool.rateLimitUs}us`, domains);

/** `xl sched-credit` of one CPU pool. */
export const creditText = (
  pool: {
    readonly name: string;
    readonly sliceMs: number;
    readonly rateLimitUs: number;
    readonly migrationDelayUs: number;
  },
  domains: readonly SchedulingFacts[],
): string =>
  tableOf(
    `Cpupool ${pool.name}: tslice=${pool.sliceMs}ms ratelimit=${pool.rateLimitUs}us migration-delay=${pool.migrationDelayUs}us`,
    domains,
  );
