import { uuidFrom } from '@xenolith/kernel';
import { destroyDeviceOperations } from '../devices/index.js';
import { jittered } from '../host-timing.js';
import { MAXMEM_SLACK_BYTES, PAGE_BYTES, SHUTDOWN } from '../hypervisor/index.js';
import { DRIVER_DOMAIN_BYTES, DRIVER_DOMAIN_VCPUS, type DriverRole } from '../xen-setup.js';
import { backendsPath, domainNode, domainPath } from '../xenstore/index.js';
import { plan } from './agenda.js';
import { US_PER_MS } from './answers.js';
import { freshNetwork } from './control-network.js';
import { beginAdd, probeFront, wakeFront } from './device-control.js';
import { accountCpu, setupOf, type DriverDomain, type Host, type HostTask, type Machine } from './host-state.js';
import { hasFrontends, renewedDevice } from './machine-devices.js';
import { BACKENDS_TOKEN, tell, transact } from './store-access.js';

const DOM0 = 0;
const KIBIBYTE = 1024;

const nameOf = (role: DriverRole): string => `driver-${role}`;

/** The name of a driver domain; null: no driver domain has this id. */
export const driverNamed = ({ state }: Host, domid: number): string | null => {
  const found = Object.values(state.drivers ?? {}).find((driver) => driver.up && driver.domid === domid);
  return found ? nameOf(found.role) : null;
};

/** Its home in the store, and the directory in which it finds the devices that it is to serve (tools/libs/light/libxl_create.c, `driver_domain`). */
const makeHome = (host: Host, role: DriverRole, domid: number): void => {
  const reads = ['n0', `r${domid}`];
  transact(host, DOM0, [
    { op: 'mkdir', path: domainPath(domid), permissions: reads },
    { op: 'write', path: domainNode(domid, 'name'), value: nameOf(role), permissions: reads },
    { op: 'write', path: domainNode(domid, 'domid'), value: String(domid), permissions: reads },
    { op: 'write', path: domainNode(domid, 'memory/target'), value: String(DRIVER_DOMAIN_BYTES / KIBIBYTE) },
    { op: 'mkdir', path: backendsPath(domid), permissions: reads },
  ]);
  const port = host.hypervisor.events.allocUnbound(DOM0, domid, DOM0);
  tell(host, host.xenstore.domains.introduce(DOM0, domid, port.ok ? port.value : 1));
  host.xenstore.watch(domid, backendsPath(domid), BACKENDS_TOKEN);
};

/** A domain that runs, with `xl devd` in it; null: the host has no memory for it. */
const createDomain = (host: Host, role: DriverRole): number | null => {
  const { hypervisor, state } = host;
  const { nowUs } = state;
  const handle = uuidFrom('driver-domain', state.seed, state.name, role);
  const created = hypervisor.domains.create({ type: 'pv', handle, maxVcpus: DRIVER_DOMAIN_VCPUS }, nowUs);
  if (!created.ok) return null;
  const domid = created.value;
  hypervisor.memory.setMaxMemory(domid, DRIVER_DOMAIN_BYTES + MAXMEM_SLACK_BYTES);
  hypervisor.memory.setOverhead(domid, { staticMaxBytes: DRIVER_DOMAIN_BYTES }, nowUs);
  const filled = hypervisor.memory.populate(domid, { pages: DRIVER_DOMAIN_BYTES / PAGE_BYTES }, nowUs);
  if (!filled.ok) {
    hypervisor.domains.destroy(domid, nowUs);
    return null;
  }
  hypervisor.domains.unpause(domid, nowUs);
  makeHome(host, role, domid);
  accountCpu(host);
  return domid;
};

/** The host has booted: its driver domains are there before any guest. Each has a card of its own, as a network of a domain. */
export const startDriverDomains = (host: Host): void => {
  const { state } = host;
  const setup = setupOf(state);
  if (!setup.driverDomains) return;
  state.drivers = {};
  for (const role of setup.driverDomains) {
    const domid = createDomain(host, role);
    const network = role === 'network' ? freshNetwork(`${state.name}/${nameOf(role)}`, setup) : null;
    state.drivers[role] = {
      role,
      domid: domid ?? 0,
      up: domid !== null,
      sinceUs: state.nowUs,
      boots: 1,
      bootUs: null,
      network,
    };
  }
};

const servedBy = (host: Host, { domid }: DriverDomain) =>
  Object.values(host.state.machines).flatMap((machine) =>
    machine.devices.filter(({ device }) => device.backendDomid === domid).map((device) => ({ machine, device })),
  );

/**
 * The domain and all back-ends in it are gone. Guests' front-ends stay as they are and nobody answers them: xenbus tells a driver of another state, and a node that is
 * not there is none (drivers/xen/xenbus/xenbus_client.c, `xenbus_read_driver_state`).
 */
export const crashDriverDomain = (host: Host, role: DriverRole): void => {
  const driver = host.state.drivers?.[role];
  if (!driver?.up) return;
  const { nowUs, seed, agenda } = host.state;
  const { domid } = driver;
  for (const { device } of servedBy(host, driver)) {
    device.back = null;
    device.script = null;
    device.mappings = [];
    Reflect.deleteProperty(device.retries, 'back');
  }
  host.hypervisor.domains.shutdown(domid, SHUTDOWN.crash, nowUs);
  host.hypervisor.domains.destroy(domid, nowUs);
  transact(host, DOM0, [{ op: 'rm', path: domainPath(domid) }]);
  tell(host, host.xenstore.domains.release(DOM0, domid));
  Reflect.deleteProperty(host.state.cpu.domains, domid);
  const ms = jittered(host.timing.guestBootMs, seed, `${role}/${driver.boots}`);
  const bootUs = nowUs + ms * US_PER_MS;
  Object.assign(driver, { up: false, boots: driver.boots + 1, bootUs });
  plan(agenda, bootUs, { do: 'driverDomain', role, what: 'boot', dueUs: bootUs });
  accountCpu(host);
};

/** The device is taken away by force and given again, by the new domain: what Qubes' toolstack does, as libxl does nothing by itself. */
const replug = (host: Host, machine: Machine, index: number, backendDomid: number): void => {
  const old = machine.devices[index];
  if (!old) return;
  transact(host, DOM0, destroyDeviceOperations(old.device));
  wakeFront(host, machine, old, { why: 'watch', token: 'self' });
  const device = renewedDevice({ ...old, device: { ...old.device, backendDomid } });
  machine.devices[index] = device;
  beginAdd(host, machine, device);
  // A guest that boots has looked for its devices already; one that is up hears of new ones.
  if (machine.guest.phase === 'probing' && hasFrontends(machine)) probeFront(host, machine, device);
};

const bootDriverDomain = (host: Host, driver: DriverDomain): void => {
  const served = servedBy(host, driver);
  const domid = createDomain(host, driver.role);
  if (domid === null) return;
  Object.assign(driver, { domid, up: true, sinceUs: host.state.nowUs, bootUs: null });
  if (driver.network) driver.network = freshNetwork(`${host.state.name}/${nameOf(driver.role)}`, setupOf(host.state));
  // A machine that is being built is given up by libxl, and one that ends needs no device.
  for (const { machine, device } of served)
    if (machine.phase === 'up') replug(host, machine, machine.devices.indexOf(device), domid);
};

/** What was planned for a driver domain happens now. */
export const driverDomainMoves = (host: Host, { role, what }: HostTask & { do: 'driverDomain' }): void => {
  const driver = host.state.drivers?.[role];
  if (!driver) return;
  if (what === 'crash') crashDriverDomain(host, role);
  else bootDriverDomain(host, driver);
};

export const driverDomainStillMoves = (
  host: Host,
  { role, what, dueUs }: HostTask & { do: 'driverDomain' },
): boolean => {
  const driver = host.state.drivers?.[role];
  return what === 'crash' ? driver?.up === true : driver?.bootUs === dueUs;
};
