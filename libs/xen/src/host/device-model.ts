import { Daemons, type ReleaseProfile } from '../dom0/index.js';
import { needsOf } from '../guest/index.js';
import { jittered } from '../host-timing.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import { deviceModelPath, domainNode } from '../xenstore/index.js';
import { US_PER_MS } from './answers.js';
import { plan } from './agenda.js';
import { struckBy } from './faults.js';
import { kindOf } from './guest-needs.js';
import { releaseOfHost, type Host, type Machine } from './host-state.js';
import type { Carried } from './migration-session.js';
import { transact, viewOf } from './store-access.js';

/** From the start of qemu-dm until it says that it runs. Assumption. */
const START_MS = 200;
/** libxl's patience with it (tools/libs/light/libxl_internal.h, `LIBXL_DEVICE_MODEL_START_TIMEOUT`). */
const START_TIMEOUT_US = 60_000_000;
/** CPUs that an idle device model needs: timers and its guest's clock. Assumption. */
const IDLE_CPUS = 0.002;

const MEBIBYTE = 2 ** 20;
/**
 * Memory of Dom0 that a device model has of its own, by program, and what everything else there needs. Assumptions: such that a Dom0 of 752 MiB serves XenServer 6's limit of 75 guests
 * and one of 8 GiB almost the 1,000 of later releases. Firmware and video memory are the guest's.
 */
const MODEL_BYTES: Readonly<Record<ReleaseProfile['deviceModel'], number>> = {
  'qemu-dm': 4 * MEBIBYTE,
  'qemu-system-i386': 8 * MEBIBYTE,
};
const DOM0_OWN_BYTES = 400 * MEBIBYTE;

const daemonsOf = (host: Host): Daemons => new Daemons(host.state.daemons, releaseOfHost(host));

const needsOne = (machine: Machine): boolean => needsOf(kindOf(machine.settings)).deviceModel;

const statePath = (domid: number): string => `${deviceModelPath(domid)}/state`;

/** Whether the machine's domain has the device model that it needs. */
export const hasDeviceModel = (host: Host, machine: Machine): boolean =>
  !needsOne(machine) || viewOf(host.xenstore, 0).read(statePath(machine.domid)) === 'running';

/** What has come of the device model of a guest that arrives. */
export const deviceModelCarried = (host: Host, machine: Machine): Carried => {
  if (hasDeviceModel(host, machine)) return 'done';
  return daemonsOf(host).deviceModelOf(machine.domid) === null ? 'failed' : 'underWay';
};

/**
 * Starts the domain's device model with the firmware that it loads into the guest, once. It says in the store when it runs; libxl waits for that and no longer
 * than 60 s (tools/libs/light/libxl_dm.c, `libxl__spawn_local_dm`).
 */
export const startDeviceModel = (host: Host, machine: Machine): void => {
  const { domid, uid } = machine;
  const started = daemonsOf(host).startDeviceModel(domid);
  if (!started.ok) return;
  const { pid, firmware } = started.value;
  // Linux ends the largest process, of equal ones the youngest (mm/oom_kill.c, `oom_evaluate_task`): the one that wanted more than there was. Assumption: Dom0 has no swap.
  const ended = controlDomainUsedBytes(host) > controlDomainBytes(host);
  if (ended) daemonsOf(host).kill(pid);
  transact(host, 0, [
    { op: 'write', path: domainNode(domid, 'hvmloader/bios'), value: firmware ?? '' },
    { op: 'write', path: domainNode(domid, 'image/device-model-pid'), value: String(pid) },
  ]);
  const stalls =
    !ended && struckBy(host, { machine, device: 'device-model', what: 'start' }, 'stallDeviceModel') !== null;
  const ms = host.timing.timedDevices ? jittered(START_MS, host.state.seed, `${uid}/${domid}/device-model`) : 0;
  const dueUs = host.state.nowUs + (stalls ? START_TIMEOUT_US : ms * US_PER_MS);
  plan(host.state.agenda, dueUs, { do: 'deviceModel', uid, domid, runs: !stalls && !ended });
};

/** In libxl's words, why the domain's device model does not run (tools/libs/light/libxl_dm.c, `device_model_spawn_outcome`). */
export const deviceModelFailure = (host: Host, { domid }: Machine): string => {
  if (daemonsOf(host).deviceModelOf(domid) !== null) return `domain ${domid} device model: startup timed out`;
  const used = controlDomainUsedBytes(host) / MEBIBYTE;
  const room = `Dom0 uses ${used} MiB of its ${controlDomainBytes(host) / MEBIBYTE}`;
  return `domain ${domid} device model: spawn failed (rc=-3): out of memory, ${room}`;
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

const modelsOf = (host: Host): number =>
  Object.values(host.state.daemons.processes).filter(({ what }) => what === 'device-model').length;

const controlDomainBytes = (host: Host): number => host.hypervisor.memory.guestPages(0, host.state.nowUs) * PAGE_BYTES;

/** Of Dom0's memory, what its processes use. */
export const controlDomainUsedBytes = (host: Host): number =>
  Math.min(DOM0_OWN_BYTES, controlDomainBytes(host)) + modelsOf(host) * MODEL_BYTES[releaseOfHost(host).deviceModel];

/** CPUs of Dom0 that device models need beside their guests' I/O. */
export const deviceModelCpus = (host: Host): number => IDLE_CPUS * modelsOf(host);
