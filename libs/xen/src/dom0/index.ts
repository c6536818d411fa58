export * from './daemons.js';
export * from './network-state.js';
export * from './networking.js';
export * from './release-profile.js';
export * from './sizing.js';
export * from './ip-show.js';
