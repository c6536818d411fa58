export * from './policies.js';
export * from './protocol.js';
export * from './rounds.js';
export * from './save.js';
export * from './source-end.js';
export * from './target-end.js';
