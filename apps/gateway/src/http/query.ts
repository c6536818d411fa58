import { badRequest } from './status.js';

/** Readers of query parameters; all throw a StatusError (400) that names the parameter. */
export const flag = (query: URLSearchParams, name: string): boolean | undefined => {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  if (value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw badRequest(`query parameter ${name}="${value}" is not a boolean; write true or false`);
};

export const wholeNumber = (query: URLSearchParams, name: string): number | undefined => {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  if (!/^\d{1,15}$/.test(value)) throw badRequest(`query parameter ${name}="${value}" is not a whole number`);
  return Number(value);
};

/** A resourceVersion of ours: a log position. */
export const parseResourceVersion = (value: string, where = 'resourceVersion'): number => {
  if (!/^\d{1,15}$/.test(value))
    throw badRequest(`${where} "${value}" is not one of this server's; use what it gave you, or leave it out`);
  return Number(value);
};

const DURATION_PART = /(\d+(?:\.\d+)?)(ms|s|m|h)/g;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A Go duration such as `30s` or `1m30s`, in milliseconds. */
export const duration = (query: URLSearchParams, name: string): number | undefined => {
  const value = query.get(name);
  if (value === null || value === '' || value === '0' || value === '0s') return undefined;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(value))
    throw badRequest(`query parameter ${name}="${value}" is not a duration; write one such as 30s or 1m30s`);
  let total = 0;
  for (const [, amount, unit] of value.matchAll(DURATION_PART)) total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
  return total;
};

/** Time a write may take when the client states none: what kubectl waits for at most, less a little. */
const DEFAULT_TIMEOUT_MS = 30_000;
/** Nobody waits longer for one answer. */
const MAX_TIMEOUT_MS = 120_000;

export const requestTimeoutMs = (query: URLSearchParams): number =>
  Math.min(duration(query, 'timeout') ?? DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS);

/** `dryRun=All` is the only form. */
export const dryRun = (query: URLSearchParams): boolean => {
  const values = query.getAll('dryRun').filter((value) => value !== '');
  if (values.some((value) => value !== 'All'))
    throw badRequest(`query parameter dryRun="${values.join(',')}" is not known; write dryRun=All`);
  return values.length > 0;
};
