export * from './hardware-profile.js';
export * from './host-model.js';
export { timingFor, type HostTiming } from './host-timing.js';
export type { HostState } from './host/host-state.js';
export { xenHostModel } from './host/xen-host.js';
