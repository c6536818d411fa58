export * from './image.js';
export * from './storage-domain.js';
export * from './storage.descriptions.js';
export * from './storage.index.js';
export * from './storage.service.js';
export * from './volume.aggregate.js';
export * from './volume.decide.js';
export * from './volume.js';
