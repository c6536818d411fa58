export * from './servers.js';
export * from './virtual-clock.js';
export * from './memory-event-log.js';
export * from './memory-bus.js';
export * from './given-when-then.js';
export * from './event-log.conformance.js';
export * from './kubectl.js';
export * from './test-service.js';
