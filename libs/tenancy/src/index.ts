export * from './collector.js';
export * from './collector.index.js';
export * from './namespace.js';
export * from './tenancy.service.js';
