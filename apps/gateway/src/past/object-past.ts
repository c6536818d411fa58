import { categoryOf, KINDS, type KindDefinition } from '@xenolith/contracts';
import type { JsonObject, Life, LogPast, PastEvent, Uuid } from '@xenolith/kernel';
import type { EventDescription } from '../events/event-view.js';
import type { ResourcePath } from '../http/api-path.js';
import { notFoundObject } from '../http/status.js';
import { readingPast, timeText } from './as-of.js';

/** Events read by one statement. */
const PAGE_EVENTS = 500;
/** An object's older events are left out of what explains it. */
const MAX_EVENTS = 50_000;
/** What a write left before a page of events is looked for among so many events before. */
const LOOK_BACK_VERSIONS = 64;

const kindByCategory = new Map(KINDS.map((kind) => [categoryOf(kind), kind]));

export const kindOf = (category: string): KindDefinition | undefined => kindByCategory.get(category);

/** What people are told of an event; null: its type has to do. */
export type Describe = (event: PastEvent) => EventDescription | null;

/** `VirtualMachineHalted` as people say it. */
const spelled = (type: string): string => type.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, ' ').toLowerCase();

export const messageOf = (event: PastEvent, describe: Describe): string =>
  describe(event)?.message ?? spelled(event.type);

/** The object that a path means, living or not: the one of the uid, else the last that had the name. Throws a StatusError (404). */
export const lifeOf = async (
  past: LogPast,
  { kind, namespace, name }: ResourcePath & { readonly name: string },
  { uid, upTo }: { readonly uid: Uuid | null; readonly upTo: number },
): Promise<Life> => {
  const category = categoryOf(kind);
  const lives = await readingPast(() => past.lives({ category, namespace, name, upTo }));
  const found = lives.find(({ streamId }) => uid === null || streamId === uid);
  if (found === undefined) throw notFoundObject(kind, name);
  return found;
};

/** An event, and what the write that it ends left before and after. */
export interface EventWithChange {
  readonly event: PastEvent;
  /** Undefined where the event is not the last of its write. */
  readonly change?: { readonly before: JsonObject | null; readonly after: JsonObject | null };
}

const withChanges = (
  events: readonly PastEvent[],
  before: JsonObject | null,
): { readonly entries: readonly EventWithChange[]; readonly left: JsonObject | null } => {
  let left = before;
  const entries = events.map((event): EventWithChange => {
    if (event.document === undefined) return { event };
    const change = { before: left, after: event.document };
    left = event.document;
    return { event, change };
  });
  return { entries, left };
};

/** Events of a stream behind a version, with what each changed. */
export const changesBehind = async (
  past: LogPast,
  query: { readonly streamId: Uuid; readonly after: number; readonly upTo: number; readonly limit: number },
): Promise<readonly EventWithChange[]> => {
  const from = Math.max(0, query.after - LOOK_BACK_VERSIONS);
  const earlier =
    query.after === 0
      ? []
      : await readingPast(() => past.eventsOf({ ...query, after: from, limit: query.after - from }));
  const before = earlier.findLast(({ document }) => document !== undefined)?.document ?? null;
  return withChanges(await readingPast(() => past.eventsOf(query)), before).entries;
};

/** All that happened to an object, oldest first, page by page. */
export async function* allChanges(past: LogPast, streamId: Uuid, upTo: number): AsyncGenerator<EventWithChange> {
  let [after, left]: [number, JsonObject | null] = [0, null];
  for (let read = 0; read < MAX_EVENTS; read += PAGE_EVENTS) {
    const events = await readingPast(() => past.eventsOf({ streamId, after, upTo, limit: PAGE_EVENTS }));
    const page = withChanges(events, left);
    yield* page.entries;
    left = page.left;
    const last = events.at(-1);
    if (last === undefined || events.length < PAGE_EVENTS) return;
    after = last.version;
  }
}

const traceIdOf = (traceparent: string | undefined): string | undefined => traceparent?.split('-')[1];

/** Where an event comes from, as the API tells it. */
export const originOf = ({ metadata, position, recordedAt, type, version }: PastEvent): JsonObject => ({
  position,
  time: timeText(recordedAt),
  version,
  type,
  actor: metadata.actor,
  ...(metadata.sourceAddress !== undefined && { sourceAddress: metadata.sourceAddress }),
  command: { id: metadata.commandId, ...(metadata.command !== undefined && { type: metadata.command }) },
  cause:
    metadata.causationId === metadata.commandId
      ? null
      : {
          id: metadata.causationId,
          ...(metadata.causePosition !== undefined && { position: metadata.causePosition }),
        },
  correlationId: metadata.correlationId,
  ...(metadata.traceparent !== undefined && { traceId: traceIdOf(metadata.traceparent) }),
});
