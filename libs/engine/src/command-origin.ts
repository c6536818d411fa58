import { hashOf, type CommandMessage, type EventMetadata } from '@xenolith/kernel';

/** Tells one request from another under the same command id: what is asked for, not who asks or when. */
export const requestHash = (message: CommandMessage): string =>
  hashOf([message.type, message.streamId, message.data, message.expectedVersion ?? null]);

/** What the events of a command say of their origin. */
export const metadataOf = (message: CommandMessage): EventMetadata => ({
  commandId: message.commandId,
  command: message.type,
  correlationId: message.correlationId,
  causationId: message.causationId,
  ...(message.causePosition === undefined ? {} : { causePosition: message.causePosition }),
  actor: message.actor,
  at: message.at,
  ...(message.sourceAddress === undefined ? {} : { sourceAddress: message.sourceAddress }),
  ...(message.traceparent === undefined ? {} : { traceparent: message.traceparent }),
});
