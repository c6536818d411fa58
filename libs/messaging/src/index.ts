export { addressOf, connectionSecurity, type BusCredentials } from './credentials.js';
export { consumeDurably, type Delivery, type DurableConsumerOptions } from './durable-consumer.js';
export { DEAD_LETTERS, deadSubject, ensureStream, type DurableStream } from './durable-streams.js';
export { NatsClient } from './nats-client.js';
export { NatsMessageBus, openMessageBus, type BusOptions } from './nats-message-bus.js';
export {
  DeliveryContext,
  FaultFilter,
  NatsTransport,
  RequestContext,
  type EventExtras,
  type NatsTransportOptions,
  type RequestExtras,
} from './nats-transport.js';
export { publicUserKey } from './user-key.js';
export { DEFAULT_SETTINGS, type BusLog, type BusObserver, type BusSettings, type HandledOutcome } from './settings.js';
