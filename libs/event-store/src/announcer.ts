import type { NatsConnection } from '@nats-io/transport-node';

/** Core NATS subject on which appenders say that they have committed; its messages are empty. */
export const APPENDED_SUBJECT = 'log.appended';

/**
 * Tells the sequencer that there is work, at most once in a turn of the event loop. A message that gets lost costs nothing but time: the sequencer
 * also looks by itself.
 */
export const announcer = (nats: NatsConnection | undefined): (() => void) => {
  if (!nats) return () => undefined;
  let due = false;
  return () => {
    if (due) return;
    due = true;
    setImmediate(() => {
      due = false;
      if (!nats.isClosed() && !nats.isDraining()) nats.publish(APPENDED_SUBJECT);
    });
  };
};
