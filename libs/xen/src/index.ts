export * from './emulated-host.js';
export type { DomainOrder, DomainVerb } from './domain-order.js';
export type { DeviceEffects, DeviceFault, MortalDaemon } from './device-fault.js';
export * from './hardware-profile.js';
export * from './host-model.js';
export { timingFor, type HostTiming } from './host-timing.js';
export type { HostState } from './host/host-state.js';
export { xenHostModel } from './host/xen-host.js';
export type { ToolOutput } from './xl/index.js';
export { kvmHostModel } from './kvm/kvm-host.js';
export type { KvmHostState } from './kvm/kvm-state.js';
export { deviceViews, type DeviceView } from './host/passed-devices.js';
export {
  DEFAULT_XEN_SETUP,
  hardwareWith,
  type HostDevices,
  type InstalledDevice,
  type XenFacts,
  type XenSetup,
} from './xen-setup.js';
export type { MemorySharing } from './memory-sharing.js';
export { isPeerMessage } from './host/peer-message.js';
