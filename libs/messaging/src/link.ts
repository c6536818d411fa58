import type { NatsConnection } from '@nats-io/transport-node';
import type { BusLog } from './settings.js';

/** Whether the connection to NATS stands. The client reconnects by itself, for ever; what it had buffered is lost with each disconnect. */
export interface Link {
  readonly connected: boolean;
  /** Calls `listener` at each change, until the connection closes. */
  onChange(listener: (connected: boolean) => void): void;
}

/** Follows the client's status until the connection closes. */
export const watchLink = (connection: NatsConnection, log: BusLog): Link => {
  const listeners: ((connected: boolean) => void)[] = [];
  let connected = true;
  const become = (next: boolean): void => {
    if (connected === next) return;
    connected = next;
    for (const listener of listeners) listener(next);
  };
  const follow = async (): Promise<void> => {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') {
        log.warn({ server: status.server }, 'lost the connection to NATS; connecting again');
        become(false);
      } else if (status.type === 'reconnect') {
        log.info({ server: status.server }, 'connected to NATS again');
        become(true);
      } else if (status.type === 'error') {
        log.error({ err: status.error }, 'NATS refused something');
      }
    }
    become(false);
  };
  void follow();
  return {
    get connected() {
      return connected;
    },
    onChange: (listener) => {
      listeners.push(listener);
    },
  };
};
