import {
  addDevice,
  backendOf,
  backendStep,
  backendWatches,
  createBackend,
  createFrontend,
  deviceTaskStep,
  deviceTaskWatches,
  frontendOf,
  frontendStep,
  frontendWatches,
  hotplugDurationUs,
  hotplugRunOf,
  removeDevice,
  TOOLSTACK_DOMID,
  XENBUS,
  XENBUS_RETRY_US,
  type BackendView,
  type BackendWake,
  type DeviceTaskStep,
  type DeviceTaskWake,
  type Force,
  type HotplugRun,
  type FrontendWake,
  type WatchToken,
  type XenbusAction,
  type XenbusState,
} from '../devices/index.js';
import { plan } from './agenda.js';
import { allocate, freeRings, mapRings, unmapRings } from './device-rings.js';
import { inFlightOf } from './device-work.js';
import { works } from './guest-work.js';
import { interfaceAppears, interfaceGoes, makeBridge } from './control-network.js';
import { losesWatch, mayLoseDriver } from './faults.js';
import { runScriptOf } from './hotplug-scripts.js';
import {
  accountCpu,
  deviceNamed,
  setupOf,
  type DriverEnd,
  type Host,
  type Machine,
  type MachineDevice,
  type Watcher,
} from './host-state.js';
import { deviceNodes, diskOf } from './machine-devices.js';
import { transact, unwatch, viewOf, watch } from './store-access.js';

const tokenOf = (who: Watcher, machine: Machine, device: MachineDevice, why: string): string =>
  `${who} ${machine.domid} ${device.name} ${why}`;

// The toolstack's work on a device.

const setToolWatches = (host: Host, machine: Machine, device: MachineDevice, set: typeof watch): void => {
  for (const path of device.task ? deviceTaskWatches(device.task) : [])
    set(host, 0, path, tokenOf('tool', machine, device, 'state'));
};

const performTask = (host: Host, machine: Machine, device: MachineDevice, step: DeviceTaskStep): void => {
  setToolWatches(host, machine, device, unwatch);
  device.task = step.task;
  setToolWatches(host, machine, device, watch);
  const { domid, uid } = machine;
  const { dueUs } = step.task;
  if (dueUs !== null) plan(host.state.agenda, dueUs, { do: 'deviceTimer', uid, domid, device: device.name, dueUs });
  for (const action of step.actions)
    switch (action.do) {
      case 'transaction':
        transact(host, 0, action.operations);
        break;
      case 'runHotplug':
        startScript(host, machine, device, action.run);
        break;
      case 'killHotplug':
        device.complaint ??= killed(device);
        device.script = null;
        break;
    }
  if (step.task.phase === 'done' && step.task.rc !== 0)
    device.complaint ??= `unable to ${step.task.action} device with path ${backendOf(device.device)}`;
};

const startScript = (host: Host, machine: Machine, device: MachineDevice, run: HotplugRun): void => {
  const { uid, domid } = machine;
  device.scripts += 1;
  device.script = { run, number: device.scripts };
  const due = host.state.nowUs + (host.timing.timedDevices ? hotplugDurationUs(run) : 0);
  plan(host.state.agenda, due, { do: 'script', uid, domid, device: device.name, number: device.scripts });
};

/**
 * `xl devd` in a driver domain: runs the script of a device that its back-end has found, and forgets one that is closed for good; in Dom0 the toolstack does both
 * (tools/libs/light/libxl_device.c, `backend_watch_callback`).
 */
const serveDevice = (host: Host, machine: Machine, device: MachineDevice): void => {
  if (device.device.backendDomid === TOOLSTACK_DOMID || device.back === null) return;
  const view = toolView(host);
  const back = backendOf(device.device);
  const { shown } = device.back;
  const comes = shown === XENBUS.initWait && device.scripts === 0;
  const goes = shown === XENBUS.closed && device.script === null && view.read(`${back}/online`) === '0';
  if (!comes && !goes) return;
  const run = hotplugRunOf(device.device, comes ? 'add' : 'remove', 0, view);
  if (run !== null && run !== 'noScript') startScript(host, machine, device, run);
};

/** The driver domain's part of a removal is done: the toolstack waits until its directory is gone. */
const forgetBackend = (host: Host, { device, back }: MachineDevice): void => {
  if (device.backendDomid === TOOLSTACK_DOMID || back?.shown !== XENBUS.closed) return;
  transact(host, TOOLSTACK_DOMID, [{ op: 'cleanup', path: backendOf(device) }]);
};

/** libxl's words for a script that it ends (tools/libs/light/libxl_aoutils.c, `async_exec_timeout`). */
const killed = ({ script }: MachineDevice): string =>
  `killing execution of ${script?.run.script ?? 'a script'} ${script?.run.args[0] ?? ''} because of timeout`;

const toolView = (host: Host) => viewOf(host.xenstore, 0);

export const beginAdd = (host: Host, machine: Machine, device: MachineDevice): void => {
  const nodes = deviceNodes(machine, device, setupOf(host.state).network);
  makeBridge(host, machine, device);
  performTask(host, machine, device, addDevice(device.device, nodes, toolView(host), host.state.nowUs));
};

/** By force where nothing else is said: the domain is being destroyed, and its guest is not asked. */
export const beginRemove = (host: Host, machine: Machine, device: MachineDevice, force: Force = 'on'): void => {
  device.script = null;
  performTask(host, machine, device, removeDevice(device.device, force, toolView(host), host.state.nowUs));
};

export const wakeTask = (host: Host, machine: Machine, device: MachineDevice, wake: DeviceTaskWake): void => {
  if (device.task === null || device.task.phase === 'done') return;
  performTask(host, machine, device, deviceTaskStep(device.task, wake, toolView(host), host.state.nowUs));
};

/** The script came to its end. */
export const endScript = (host: Host, machine: Machine, device: MachineDevice, number: number): void => {
  if (device.script?.number !== number) return;
  const result = runScriptOf(host, machine, device, device.script.run);
  // One that hangs stays, until the toolstack kills it.
  if (result === null) return;
  device.script = null;
  transact(host, 0, result.operations);
  forgetBackend(host, device);
  wakeTask(host, machine, device, { why: 'scriptEnded', exit: result.exit });
};

// The two ends.

const backendView = (host: Host, machine: Machine, device: MachineDevice): BackendView => ({
  ...viewOf(host.xenstore, device.device.backendDomid),
  openDisk: () => diskOf(machine, device),
  // A back-end that answers has answered before anybody looks.
  inFlight: device.stalledBy === null ? 0 : inFlightOf(device, host.state.nowUs),
});

/** An end connected or let go: data flows, or does not any more. */
const connectionChanged = (host: Host, machine: Machine, before: XenbusState, after: XenbusState): void => {
  if ((before === XENBUS.connected) !== (after === XENBUS.connected) && works(machine)) accountCpu(host);
};

export const wakeBack = (host: Host, machine: Machine, device: MachineDevice, wake: BackendWake): void => {
  if (device.back === null) return;
  const step = backendStep(device.back, wake, backendView(host, machine, device));
  const before = device.back.state;
  connectionChanged(host, machine, before, step.end.state);
  device.back = step.end;
  for (const action of step.actions) performBack(host, machine, device, action);
  serveDevice(host, machine, device);
  if (before !== XENBUS.connected && step.end.state === XENBUS.connected) mayLoseDriver(host, machine, device);
};

const performBack = (host: Host, machine: Machine, device: MachineDevice, action: XenbusAction): void => {
  switch (action.do) {
    case 'transaction':
      transact(host, device.device.backendDomid, action.operations);
      return;
    case 'mapRings':
      wakeBack(
        host,
        machine,
        device,
        mapRings(host, device, action.queues) ? { why: 'ringsMapped' } : { why: 'mappingFailed', errno: 'EINVAL' },
      );
      return;
    case 'unmapRings':
      unmapRings(host, device);
      return;
    case 'unregister':
      setBackWatches(host, machine, device, unwatch);
      interfaceGoes(host, device);
      return;
    case 'allocateRings':
    case 'freeRings':
      // Only front-ends share rings.
      return;
  }
};

const setBackWatches = (host: Host, machine: Machine, device: MachineDevice, set: typeof watch): void => {
  if (device.back === null) return;
  for (const { path, token } of backendWatches(device.back))
    set(host, device.device.backendDomid, path, tokenOf('back', machine, device, token));
};

const isNew = (host: Host, device: MachineDevice): boolean =>
  device.back === null && toolView(host).read(`${backendOf(device.device)}/state`) === String(XENBUS.initialising);

/** The serving domain's bus finds a new directory: the driver takes the device up. */
export const probeBack = (host: Host, machine: Machine, device: MachineDevice): void => {
  if (!isNew(host, device)) return;
  if (losesWatch(host, machine, device.name, { who: 'back', why: 'bus' }))
    lookAgainLater(host, machine, device, 'back');
  else takeUp(host, machine, device);
};

const takeUp = (host: Host, machine: Machine, device: MachineDevice): void => {
  const driver = device.kind === 'disk' ? 'blkback' : 'netback';
  const { vcpus = [] } = host.state.hypervisor.domains[device.device.backendDomid] ?? {};
  device.back = createBackend(driver, device.device, vcpus.length);
  interfaceAppears(host, device);
  setBackWatches(host, machine, device, watch);
  wakeBack(host, machine, device, { why: 'probe' });
};

const setFrontWatches = (host: Host, machine: Machine, device: MachineDevice, set: typeof watch): void => {
  if (device.front === null) return;
  for (const { path, token } of frontendWatches(device.front))
    set(host, machine.domid, path, tokenOf('front', machine, device, token));
};

export const wakeFront = (host: Host, machine: Machine, device: MachineDevice, wake: FrontendWake): void => {
  if (device.front === null) return;
  const step = frontendStep(device.front, wake, viewOf(host.xenstore, machine.domid));
  connectionChanged(host, machine, device.front.state, step.end.state);
  device.front = step.end;
  for (const action of step.actions) performFront(host, machine, device, action);
};

const performFront = (host: Host, machine: Machine, device: MachineDevice, action: XenbusAction): void => {
  switch (action.do) {
    case 'transaction':
      transact(host, machine.domid, action.operations);
      return;
    case 'allocateRings': {
      const queues = allocate(host, device.device, action.request);
      if (queues === 'ENOSPC') wakeFront(host, machine, device, { why: 'allocationFailed', errno: queues });
      else wakeFront(host, machine, device, { why: 'ringsAllocated', queues });
      return;
    }
    case 'freeRings':
      freeRings(host, machine.domid, action.queues);
      return;
    case 'unregister':
      setFrontWatches(host, machine, device, unwatch);
      return;
    case 'mapRings':
    case 'unmapRings':
      // Only back-ends map rings.
      return;
  }
};

/** The toolstack has made the device, and no driver of the guest's has found it. */
export const frontendAppeared = (host: Host, device: MachineDevice): boolean =>
  toolView(host).read(`${frontendOf(device.device)}/state`) === String(XENBUS.initialising);

/** The guest's driver finds the device. */
export const probeFront = (host: Host, machine: Machine, device: MachineDevice): void => {
  device.front = createFrontend(
    device.kind === 'disk' ? 'blkfront' : 'netfront',
    device.device,
    machine.settings.vcpus,
  );
  setFrontWatches(host, machine, device, watch);
  wakeFront(host, machine, device, { why: 'probe' });
};

export interface DeviceWatch {
  readonly domid: number;
  readonly name: string;
  readonly who: Watcher;
  readonly why: string;
}

/** What a device's watch token says; null: it is no device's. */
export const deviceWatchOf = (token: string): DeviceWatch | null => {
  const [who, domid, name, why] = token.split(' ');
  if (who !== 'back' && who !== 'front' && who !== 'tool') return null;
  return { who, domid: Number(domid), name: name ?? '', why: why ?? '' };
};

/** Linux looks only when a watch fires; here the end that lost one looks again after `XENBUS_RETRY_US`, so that it is late and not lost. */
const lookAgainLater = (host: Host, machine: Machine, device: MachineDevice, end: DriverEnd): void => {
  if (device.retries[end] !== undefined) return;
  const dueUs = host.state.nowUs + XENBUS_RETRY_US;
  device.retries[end] = dueUs;
  const { uid, domid } = machine;
  plan(host.state.agenda, dueUs, { do: 'retry', uid, domid, device: device.name, end, dueUs });
};

/** An end that lost a watch looks at all that it waits for. */
export const retryEnd = (
  host: Host,
  machine: Machine,
  { device: name, end, dueUs }: { readonly device: string; readonly end: DriverEnd; readonly dueUs: number },
): void => {
  const device = deviceNamed(machine, name);
  if (device?.retries[end] !== dueUs) return;
  Reflect.deleteProperty(device.retries, end);
  if (end === 'back' && isNew(host, device)) takeUp(host, machine, device);
  else if (end === 'back') wakeBack(host, machine, device, { why: 'retry' });
  // A guest that does not run looks again when it does.
  else if (!machine.paused && machine.phase === 'up') wakeFront(host, machine, device, { why: 'retry' });
};

/** The domain ends: back-ends that missed that their devices went let go of what they hold of it. */
export const letDevicesGo = (host: Host, machine: Machine): void => {
  for (const device of machine.devices)
    if (device.back?.registered === true) wakeBack(host, machine, device, { why: 'retry' });
};

/** A watch of a device's fired. A guest that does not run hears nothing; it looks again when it does. */
export const deviceWatchFired = (host: Host, machine: Machine, heard: DeviceWatch): void => {
  const device = deviceNamed(machine, heard.name);
  if (!device) return;
  const token = heard.why as WatchToken;
  if (losesWatch(host, machine, device.name, heard)) {
    if (heard.who !== 'tool') lookAgainLater(host, machine, device, heard.who);
    return;
  }
  switch (heard.who) {
    case 'tool':
      wakeTask(host, machine, device, { why: 'watch' });
      return;
    case 'back':
      wakeBack(host, machine, device, { why: 'watch', token });
      return;
    case 'front':
      if (!machine.paused && machine.phase === 'up') wakeFront(host, machine, device, { why: 'watch', token });
      return;
  }
};

/** Why adding failed, in the script's words where it left some. */
export const failureOf = (host: Host, device: MachineDevice): string => {
  const words = toolView(host).read(`${backendOf(device.device)}/hotplug-error`);
  return words ?? device.complaint ?? `libxl error ${device.task?.rc ?? 0}`;
};
