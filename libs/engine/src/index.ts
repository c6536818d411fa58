export * from './command-handler.js';
export * from './index-feed.js';
export * from './key-lock.js';
export * from './loaded-streams.js';
export * from './process-runner.js';
export * from './reaction-runner.js';
export * from './service.js';
export * from './service-engine.js';
