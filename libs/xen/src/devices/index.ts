export * from './device.js';
export * from './ring.js';
export * from './xenbus.js';
