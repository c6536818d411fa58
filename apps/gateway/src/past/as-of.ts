import type { LogPast } from '@xenolith/kernel';
import type { ApiRequest } from '../http/api-request.js';
import { badRequest, StatusError, unavailable } from '../http/status.js';

/** The first segment of paths that look at the past. */
const PREFIX = '/asof/';
const PARAMETER = 'asOf';

/** A request that looks at the past: what is asked there, and when that is. */
export interface AsOf {
  /** As the user wrote it. */
  readonly text: string;
  /** How fast a watch replays: so many seconds of the past in one; infinite: as fast as it can be read. */
  readonly speed: number;
  /** The path without the moment. */
  readonly path: string;
}

/** A moment of the past as all that is shown of it needs it. */
export interface PastMoment {
  readonly position: number;
  /** Ages are told as they were at this time; milliseconds since the epoch. */
  readonly time: number;
  /** The newest position there is. */
  readonly head: number;
}

/** RFC 3339, with a zone: what is meant by a time without one differs between who asks and who answers. */
const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;
const POSITION = /^\d{1,15}$/;

const HOW = 'write a position of the log, such as /asof/1234/api, or a time, such as /asof/2026-01-31T12:00:00Z/api';

/** Years of the past within seconds; more is a slip of the finger. */
const FASTEST = 1_000_000;
const REAL_SPEED = 1;

const speedOf = (text: string): number => {
  if (text === 'max') return Number.POSITIVE_INFINITY;
  const speed = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || speed <= 0 || speed > FASTEST)
    throw badRequest(
      `speed "${text}" is none of a replay; write 1 for real time, 60 for a minute in a second (up to ${FASTEST}), or max`,
    );
  return speed;
};

/** Milliseconds since the epoch; NaN where a text is no time. */
const timeOf = (text: string): number => (RFC3339.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN);

/** Refused wherever it is written, also before what is the same at all times. */
const checkMoment = (text: string): void => {
  if (!POSITION.test(text) && Number.isNaN(timeOf(text)))
    throw badRequest(`"${text}" is no moment of the past; ${HOW}`);
};

/** Splits `2026-01-31T12:00:00Z;speed=60`: a context of kubectl can say no more than a path. */
const splitMoment = (segment: string): { readonly text: string; readonly speed?: number } => {
  const [text = '', ...options] = segment.split(';');
  let speed: number | undefined;
  for (const option of options) {
    const [name, value = ''] = option.split('=');
    if (name !== 'speed') throw badRequest(`"${option}" says nothing about a moment of the past; only speed=… does`);
    speed = speedOf(value);
  }
  return speed === undefined ? { text } : { text, speed };
};

const decoded = (segment: string): string => {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badRequest(`"${segment}" is no moment of the past; ${HOW}`);
  }
};

/** Path of the API without the moment that it may begin with. */
export const withoutMoment = (path: string): string => {
  if (!path.startsWith(PREFIX)) return path;
  const end = path.indexOf('/', PREFIX.length);
  return end < 0 ? '/' : path.slice(end);
};

/** Whether a request looks at the past, and when. Throws a StatusError (400). */
export const readAsOf = ({ path, query }: Pick<ApiRequest, 'path' | 'query'>): AsOf | null => {
  const stated = query.get(PARAMETER);
  const speed = query.get('speed');
  const inQuery = speed === null ? {} : { speed: speedOf(speed) };
  if (!path.startsWith(PREFIX)) {
    if (stated === null) return null;
    const moment = splitMoment(stated);
    checkMoment(moment.text);
    return { speed: REAL_SPEED, ...moment, ...inQuery, path };
  }
  const rest = withoutMoment(path);
  const segment = decoded(path.slice(PREFIX.length).split('/')[0] ?? '');
  if (stated !== null && stated !== segment)
    throw badRequest(`the path looks at ${segment} and asOf=${stated} at another moment; state one of them`);
  const moment = splitMoment(segment);
  checkMoment(moment.text);
  return { speed: REAL_SPEED, ...moment, ...inQuery, path: rest };
};

/** The fault of the event store that does not go away by itself. */
const ARCHIVE_DAMAGED = 'ArchiveDamaged';

/** Reads of the past that fail are faults of the log: the present may well be served. */
export const readingPast = async <Value>(read: () => Promise<Value>): Promise<Value> => {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof StatusError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    const lost = cause instanceof Error && cause.name === ARCHIVE_DAMAGED;
    const next = lost ? 'an operator has to bring the file back' : 'ask again in a moment';
    throw unavailable(`the past can not be read now: ${why}; ${next}`, cause);
  }
};

export const timeText = (time: number): string => new Date(time).toISOString();

/** A moment as `readAsOf` took it. Throws a StatusError (400) for the future. */
export const resolveMoment = async (past: LogPast, text: string, now: number): Promise<PastMoment> => {
  if (POSITION.test(text)) {
    const position = Number(text);
    const newest = await readingPast(() => past.newest());
    if (position > newest.position)
      throw badRequest(
        `position ${position} is in the future: the log ends at ${newest.position}, of ${timeText(newest.recordedAt)}`,
      );
    const { recordedAt } = await readingPast(() => past.momentOf(position));
    return { position, time: recordedAt, head: newest.position };
  }
  const time = timeOf(text);
  if (time > now)
    throw badRequest(`${text} is in the future: it is ${timeText(now)} now, and nobody knows what will be`);
  // Asked before the time is looked up, so that the newest is never older than the moment.
  const { position } = await readingPast(() => past.momentAt(time));
  const newest = await readingPast(() => past.newest());
  return { position, time, head: newest.position };
};
