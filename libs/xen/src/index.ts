export type { DeviceEffects, DeviceFault } from './device-fault.js';
export * from './hardware-profile.js';
export * from './host-model.js';
export { timingFor, type HostTiming } from './host-timing.js';
export type { HostState } from './host/host-state.js';
export { xenHostModel } from './host/xen-host.js';
export type { ToolName } from './host/tools.js';
export type { ToolOutput } from './xl/index.js';
