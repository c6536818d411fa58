import { categoryOf, KINDS, type KindDefinition } from '@xenolith/contracts';
import type { TimelineEntry } from '@xenolith/event-store';
import type { JsonObject } from '@xenolith/kernel';

const kindByCategory = new Map(KINDS.map((kind) => [categoryOf(kind), kind]));

export const kindOf = ({ event }: TimelineEntry): KindDefinition | undefined => kindByCategory.get(event.category);

/** `virtualmachine/default/web-1`, `host/host-0001`; streams that show nothing by their id. */
export const objectName = ({ event, object }: TimelineEntry): string => {
  if (object === null) return `${event.category}/${event.streamId}`;
  return [event.category, object.namespace, object.name].filter((part) => part !== '').join('/');
};

const timeOf = ({ event }: TimelineEntry): string => new Date(event.recordedAt).toISOString();

/** One line for people. */
export const textLine = (entry: TimelineEntry): string => {
  const { position, metadata, type } = entry.event;
  const place = String(position).padStart(8);
  return `${place}  ${timeOf(entry)}  ${metadata.actor.padEnd(28)}  ${type.padEnd(32)}  ${objectName(entry)}`;
};

/** One JSON object on a line. */
export const jsonLine = (entry: TimelineEntry): string => {
  const { event, object } = entry;
  const { metadata, position, type, version, streamId, data } = event;
  return JSON.stringify({
    position,
    time: timeOf(entry),
    type,
    version,
    kind: kindOf(entry)?.kind ?? event.category,
    ...(object !== null && { ...(object.namespace !== '' && { namespace: object.namespace }), name: object.name }),
    uid: streamId,
    actor: metadata.actor,
    ...(metadata.sourceAddress !== undefined && { sourceAddress: metadata.sourceAddress }),
    command: { id: metadata.commandId, ...(metadata.command !== undefined && { type: metadata.command }) },
    causationId: metadata.causationId,
    correlationId: metadata.correlationId,
    ...(metadata.traceparent !== undefined && { traceparent: metadata.traceparent }),
    data,
  });
};

/** The event as CloudEvents 1.0 has it, in its JSON format. Extensions are named in small letters; positions are strings, as integers have 32 bits there. */
export const cloudEvent = (entry: TimelineEntry, logId: string): JsonObject => {
  const { event } = entry;
  const { metadata, eventId, type, position, schemaVersion, data } = event;
  return {
    specversion: '1.0',
    id: eventId,
    source: `/xenolith/logs/${logId}`,
    type: `dev.xenolith.${event.category}.${type}.v${schemaVersion}`,
    subject: objectName(entry),
    time: timeOf(entry),
    datacontenttype: 'application/json',
    sequence: String(position),
    actor: metadata.actor,
    commandid: metadata.commandId,
    causationid: metadata.causationId,
    correlationid: metadata.correlationId,
    ...(metadata.traceparent !== undefined && { traceparent: metadata.traceparent }),
    data,
  };
};
