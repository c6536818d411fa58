import type { StoreOperation } from '../devices/index.js';
import {
  consolePath,
  controlFeaturePath,
  controlShutdownPath,
  cpuAvailabilityPath,
  domainNode,
  domainPath,
  libxlPath,
  memoryStaticMaxPath,
  memoryTargetPath,
  vmPath,
} from '../xenstore/index.js';
import type { Host, Machine, StopRequest } from './host-state.js';
import { tell, transact } from './store-access.js';

const KIBIBYTE = 1024;

const FEATURES = ['poweroff', 'reboot', 'suspend', 's3', 's4'] as const;

/** What libxl writes for a new domain (tools/libs/light/libxl_create.c `libxl__domain_make`, libxl_dom.c `libxl__build_post`), in its order. */
const homeOperations = (machine: Machine, ports: { readonly store: number; readonly console: number }) => {
  const { domid, settings, uid } = machine;
  const reads = [`n0`, `r${domid}`];
  const owns = [`n${domid}`];
  const memory = String(settings.dynamicMaxBytes / KIBIBYTE);
  const write = (path: string, value: string, permissions?: readonly string[]): StoreOperation =>
    permissions ? { op: 'write', path, value, permissions } : { op: 'write', path, value };
  return [
    { op: 'mkdir', path: domainPath(domid), permissions: reads },
    { op: 'mkdir', path: vmPath(uid), permissions: reads },
    { op: 'mkdir', path: libxlPath(domid), permissions: ['n0'] },
    write(domainNode(domid, 'vm'), vmPath(uid), reads),
    write(domainNode(domid, 'name'), settings.name, reads),
    ...['cpu', 'memory', 'device', 'control'].map((node): StoreOperation => ({
      op: 'mkdir',
      path: domainNode(domid, node),
      permissions: reads,
    })),
    write(controlShutdownPath(domid), '', owns),
    ...FEATURES.map((feature) => write(controlFeaturePath(domid, feature), '', owns)),
    ...['data', 'drivers', 'feature', 'attr', 'error'].map((node): StoreOperation => ({
      op: 'mkdir',
      path: domainNode(domid, node),
      permissions: owns,
    })),
    write(`${vmPath(uid)}/uuid`, uid),
    write(`${vmPath(uid)}/name`, settings.name),
    write(`${libxlPath(domid)}/type`, settings.guestType),
    write(domainNode(domid, 'domid'), String(domid), reads),
    write(memoryStaticMaxPath(domid), String(settings.staticMaxBytes / KIBIBYTE), reads),
    write(memoryTargetPath(domid), memory, reads),
    write(domainNode(domid, 'store/port'), String(ports.store), reads),
    write(domainNode(domid, 'store/ring-ref'), '1', reads),
    ...Array.from({ length: settings.maxVcpus }, (_, vcpu) =>
      write(cpuAvailabilityPath(domid, vcpu), vcpu < settings.vcpus ? 'online' : 'offline', reads),
    ),
    write(`${consolePath(domid)}/port`, String(ports.console), reads),
    write(`${consolePath(domid)}/ring-ref`, '0', reads),
    write(`${consolePath(domid)}/type`, 'xenconsoled', reads),
    write(`${consolePath(domid)}/limit`, '1048576', reads),
  ] satisfies StoreOperation[];
};

/** Makes the domain's home and connects it to the store. */
export const makeHome = (host: Host, machine: Machine): void => {
  const { domid } = machine;
  const { events } = host.hypervisor;
  const store = events.allocUnbound(0, domid, 0);
  const console = events.allocUnbound(0, domid, 0);
  const ports = { store: store.ok ? store.value : 1, console: console.ok ? console.value : 2 };
  transact(host, 0, homeOperations(machine, ports));
  tell(host, host.xenstore.domains.introduce(0, domid, ports.store));
};

/** Forgets the domain: what libxl removes after it is destroyed, and what the store does when the domain is gone. */
export const removeHome = (host: Host, machine: Machine): void => {
  const { domid, uid } = machine;
  transact(host, 0, [
    { op: 'rm', path: domainPath(domid) },
    { op: 'rm', path: vmPath(uid) },
    { op: 'rm', path: libxlPath(domid) },
  ]);
  tell(host, host.xenstore.domains.release(0, domid));
};

/** The toolstack asks the guest to stop (tools/libs/light/libxl_domain.c, `libxl__domain_pvcontrol`). */
export const askToStop = (host: Host, machine: Machine, what: StopRequest): void =>
  transact(host, 0, [{ op: 'write', path: controlShutdownPath(machine.domid), value: what }]);

/** What came when the guest could not read it. */
export const askWhatWasAsked = (host: Host, machine: Machine): void => {
  if (machine.asked !== null) askToStop(host, machine, machine.asked);
  machine.asked = null;
};

/** What the guest reads of such a request; null: nothing was asked. */
export const askedToStop = (host: Host, machine: Machine): StopRequest | null => {
  const found = host.xenstore.read(machine.domid, controlShutdownPath(machine.domid));
  if (!found.ok || (found.value !== 'poweroff' && found.value !== 'reboot' && found.value !== 'suspend')) return null;
  return found.value;
};

/** The toolstack takes back what the guest has not acknowledged. */
export const withdrawRequest = (host: Host, machine: Machine): void =>
  transact(host, 0, [{ op: 'write', path: controlShutdownPath(machine.domid), value: '' }]);

/** The guest's own words: it watches for requests, acknowledges one by taking it away. */
export const CONTROL_TOKEN = 'control/shutdown';

export const listenForRequests = (host: Host, machine: Machine): void => {
  const { domid } = machine;
  host.xenstore.watch(domid, controlShutdownPath(domid), CONTROL_TOKEN);
  transact(host, domid, [
    { op: 'write', path: controlFeaturePath(domid, 'poweroff'), value: '1' },
    { op: 'write', path: controlFeaturePath(domid, 'reboot'), value: '1' },
    { op: 'write', path: controlFeaturePath(domid, 'suspend'), value: '1' },
  ]);
};

export const acknowledge = (host: Host, machine: Machine): void =>
  transact(host, machine.domid, [{ op: 'write', path: controlShutdownPath(machine.domid), value: '' }]);
