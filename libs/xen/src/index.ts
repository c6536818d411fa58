export * from './hardware-profile.js';
export * from './host-model.js';
export type { HostState } from './host-state.js';
export { timingFor, type HostTiming } from './host-timing.js';
export { simpleHostModel } from './simple-host.js';
