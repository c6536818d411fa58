export { bitmapText } from './columns.js';
export { bootLogText } from './boot-log.js';
export type { BootFacts } from './boot-log.js';
export { consoleText } from './console.js';
export type { ConsoleFacts } from './console.js';
export { blockListText, networkListText } from './device-list.js';
export { domainDoesNotExist, domidText, domnameText, invalidDomain } from './errors.js';
export { infoFieldText, infoText } from './info.js';
export type { HostFacts } from './info.js';
export { listLongText, listText, stateLetters, vcpuListText, vmListText } from './list.js';
export type { ListOptions } from './list.js';
export { pciAssignableText, pciListText, usbListText } from './passthrough-list.js';
export type { UsbFacts } from './passthrough-list.js';
export { credit2Text, creditText } from './scheduler-list.js';
export type { SchedulingFacts } from './scheduler-list.js';
export { shortUptimeText, uptimeText } from './uptime.js';
export type { UptimeFacts } from './uptime.js';
export { failed, printed, SHUTDOWN_REASONS } from './views.js';
export type { DiskFacts, DomainFacts, NicFacts, ShutdownReason, ToolOutput, VcpuFacts } from './views.js';
export { xenstoreListText } from './xenstore-ls.js';
export type { XenstoreListOptions, XenstoreNode } from './xenstore-ls.js';
export { topText } from './xentop.js';
export type { TopFacts } from './xentop.js';
export {
  xmBlockListText,
  xmInfoText,
  xmListText,
  xmNetworkListText,
  xmPciListText,
  xmSchedCreditText,
  xmUnknownDomain,
  xmUptimeText,
  xmVcpuListText,
} from './xm.js';
