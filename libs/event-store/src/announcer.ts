import type { NatsConnection } from '@nats-io/transport-node';
import { APPENDED_SUBJECT } from '@xenolith/contracts';

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
