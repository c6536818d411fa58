import { Daemons } from '../dom0/index.js';
import { needsOf } from '../guest/index.js';
import { jittered } from '../host-timing.js';
import { deviceModelPath, domainNode } from '../xenstore/index.js';
import { US_PER_MS } from './answers.js';
import { plan } from './agenda.js';
import { struckBy } from './faults.js';
import { kindOf } from './guest-needs.js';
import { releaseOfHost, type Host, type Machine } from './host-state.js';
import { transact, viewOf } from './store-access.js';

/** From the start of qemu-dm until it says that it runs. Assumption. */
const START_MS = 200;
/** libxl's patience with it (tools/libs/light/libxl_internal.h, `LIBXL_DEVICE_MODEL_START_TIMEOUT`). */
const START_TIMEOUT_US = 60_000_000;
/** CPUs that an idle device model needs: timers and its guest's clock. Assumption. */
const IDLE_CPUS = 0.002;

const daemonsOf = (host: Host): Daemons => new Daemons(host.state.daemons, releaseOfHost(host));

const needsOne = (machine: Machine): boolean => needsOf(kindOf(machine.settings)).deviceModel;

const statePath = (domid: number): string => `${deviceModelPath(domid)}/state`;

/** Whether the machine's domain has the device model that it needs. */
export const hasDeviceModel = (host: Host, machine: Machine): boolean =>
  !needsOne(machine) || viewOf(host.xenstore, 0).read(statePath(machine.domid)) === 'running';

/**
 * Starts the domain's device model with the firmware that it loads into the guest, once. It says in the store when it runs; libxl waits for that and no longer
 * than 60 s (tools/libs/light/libxl_dm.c, `libxl__spawn_local_dm`).
 */
export const startDeviceModel = (host: Host, machine: Machine): void => {
  const { domid, uid } = machine;
  const started = daemonsOf(host).startDeviceModel(domid);
  if (!started.ok) return;
  const { pid, firmware } = started.value;
  transact(host, 0, [
    { op: 'write', path: domainNode(domid, 'hvmloader/bios'), value: firmware ?? '' },
    { op: 'write', path: domainNode(domid, 'image/device-model-pid'), value: String(pid) },
  ]);
  const stalls = struckBy(host, { machine, device: 'device-model', what: 'start' }, 'stallDeviceModel') !== null;
  const ms = host.timing.timedDevices ? jittered(START_MS, host.state.seed, `${uid}/${domid}/device-model`) : 0;
  const dueUs = host.state.nowUs + (stalls ? START_TIMEOUT_US : ms * US_PER_MS);
  plan(host.state.agenda, dueUs, { do: 'deviceModel', uid, domid, runs: !stalls });
};

/** It runs, and says so. */
export const deviceModelRuns = (host: Host, machine: Machine): void =>
  transact(host, 0, [{ op: 'write', path: statePath(machine.domid), value: 'running' }]);

/** A fault in force kills it once it runs. Nobody starts another: what it had of the guest is gone with it, and its word in the store stays. */
export const isDeviceModelKilled = (host: Host, machine: Machine): boolean => {
  const daemons = daemonsOf(host);
  const process = daemons.deviceModelOf(machine.domid);
  if (process === null || !hasDeviceModel(host, machine)) return false;
  const target = { machine, device: 'device-model', what: `kill/${process.pid}` };
  if (struckBy(host, target, 'killDeviceModel') === null) return false;
  daemons.kill(process.pid);
  return true;
};

/** It goes with its domain. */
export const stopDeviceModel = (host: Host, machine: Machine): void => {
  if (!needsOne(machine)) return;
  daemonsOf(host).stopDeviceModel(machine.domid);
  transact(host, 0, [{ op: 'cleanup', path: statePath(machine.domid) }]);
};

/** CPUs of Dom0 that device models need beside their guests' I/O. */
export const deviceModelCpus = (host: Host): number =>
  IDLE_CPUS * Object.values(host.state.daemons.processes).filter(({ what }) => what === 'device-model').length;
