export * from './address-pool.js';
export * from './ipv4.js';
export * from './network.descriptions.js';
export * from './network.index.js';
export * from './network.js';
export * from './network.service.js';
export * from './port.decide.js';
export * from './port.js';
