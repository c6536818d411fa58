import { EventStoreAway } from './append-batcher.js';
import { ArchiveUnavailable } from './archive/archive-store.js';
import { sqlState } from './connection.js';

/**
 * SQLSTATEs of a server that is away, full, or too busy, and of what it ended for that; a class has two characters. 08 connection, 40 rolled back (deadlock,
 * serialization), 53 lack of disk, memory or connections, 58 faults of the machine.
 */
const OUTAGES = new Set([
  '08',
  '40',
  '53',
  '58',
  // A transaction that was open, idle or not, for too long.
  '25P03',
  '25P04',
  // A lock was not to be had.
  '55P03',
  // A statement was cancelled: it took too long.
  '57014',
  // The server or our session was shut down, crashed, or cannot take connections yet.
  '57P01',
  '57P02',
  '57P03',
  '57P05',
]);

/** Node's codes of a server that can't be reached, or is not any more. */
const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** What `pg` and its pool say of a connection that broke or could not be had: these errors have no code. */
const BROKEN = [
  /^Connection terminated/,
  /^timeout expired$/,
  /^timeout exceeded when trying to connect$/,
  /^Query read timeout$/,
  /^Client has encountered a connection error and is not queryable$/,
  /^Client was closed and is not queryable$/,
  /^Cannot use a pool after calling end on the pool$/,
];

/**
 * Whether a fault of the event store is one of its database or its archive: away, overloaded, or about to stop. It passes by itself, and is no defect. A
 * statement that the database refuses is one.
 */
export const isOutage = (fault: unknown): boolean => {
  if (!(fault instanceof Error)) return false;
  if (fault instanceof EventStoreAway || fault instanceof ArchiveUnavailable) return true;
  const state = sqlState(fault);
  if (state !== undefined) return OUTAGES.has(state) || OUTAGES.has(state.slice(0, 2));
  if ('code' in fault && typeof fault.code === 'string' && UNREACHABLE.has(fault.code)) return true;
  return BROKEN.some((words) => words.test(fault.message)) || isOutage(fault.cause);
};
