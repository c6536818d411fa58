import { vbdName, XENBUS } from '../devices/index.js';
import { versionParts } from '../dom0/index.js';
import { SHUTDOWN_REASONS, type ConsoleFacts } from '../xl/index.js';
import { diskOf, hasFrontends } from './machine-devices.js';
import { releaseOfHost, type Host, type Machine } from './host-state.js';

const KIBIBYTE = 1024;

const endOf = (host: Host, machine: Machine): ConsoleFacts['ended'] => {
  if (machine.guest.phase !== 'ended') return null;
  const code = host.state.hypervisor.domains[machine.domid]?.shutdownCode ?? null;
  return code === null ? null : (SHUTDOWN_REASONS[code] ?? 'crash');
};

/** What a guest did, as its console has shown it. */
export const consoleFacts = (host: Host, machine: Machine): ConsoleFacts => ({
  name: machine.settings.name,
  guestType: machine.settings.guestType,
  frontends: hasFrontends(machine),
  vcpus: machine.settings.vcpus,
  memoryKib: Math.floor(machine.settings.dynamicMaxBytes / KIBIBYTE),
  phase: machine.guest.phase,
  // A guest that suspends has nothing to say: its console stands still too.
  stopping: machine.guest.stopping === 'suspend' ? null : machine.guest.stopping,
  ended: endOf(host, machine),
  disks: machine.devices
    .filter(({ kind }) => kind === 'disk')
    .map((device) => ({
      name: hasFrontends(machine) ? vbdName(device.device.devid) : device.name,
      connected: device.front?.state === XENBUS.connected,
      sectors: diskOf(machine, device)?.sectors ?? 0,
    })),
  xen: versionParts(releaseOfHost(host)),
});
