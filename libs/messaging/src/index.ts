export { NatsMessageBus, openMessageBus, type BusOptions } from './nats-message-bus.js';
export { DEFAULT_SETTINGS, type BusLog, type BusObserver, type BusSettings, type HandledOutcome } from './settings.js';
