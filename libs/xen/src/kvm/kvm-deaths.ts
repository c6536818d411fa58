import type { MortalDaemon } from '../device-fault.js';
import { nowMs } from '../host/answers.js';
import { isKilled, staysDead } from '../host/daemon-deaths.js';
import { struckBy } from '../host/faults.js';
import { deviceTarget } from './kvm-devices.js';
import { exited } from './kvm-guest.js';
import { runs, type KvmHost, type KvmHostState, type KvmMachine } from './kvm-state.js';

/** Daemons that should run and do not. */
export const lostDaemons = ({ libvirtd }: KvmHostState): readonly MortalDaemon[] =>
  libvirtd === 'lost' ? ['libvirtd'] : [];

/** libvirtd dies where a fault in force says so, and is started again when none does; the processes that it started go on without it. */
export const followLibvirtd = (host: KvmHost): void => {
  const { state } = host;
  const before = state.libvirtd;
  if (before === undefined && isKilled(host, 'libvirtd', state.boots)) state.libvirtd = 'lost';
  else if (before === 'lost' && !staysDead(state.faults, 'libvirtd')) Reflect.deleteProperty(state, 'libvirtd');
  if (state.libvirtd !== before) host.events.push({ type: 'daemonsChanged', at: nowMs(host) });
};

/** A machine is its process: where a fault kills that, it is gone as by a crash, and nothing of it can be preserved. */
export const mayLoseProcess = (host: KvmHost, machine: KvmMachine): void => {
  if (!runs(machine) || host.state.faults.length === 0) return;
  const target = deviceTarget(machine, 'device-model', `kill/${machine.pid}`);
  if (struckBy(host, target, 'killDeviceModel') === null) return;
  const { uid, incarnation, pid } = machine;
  host.events.push({ type: 'guestEnded', at: nowMs(host), uid, incarnation, reason: 'crash', endedDomid: pid });
  exited(host, machine);
};
