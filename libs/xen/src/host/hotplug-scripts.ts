import {
  runHotplug,
  type HotplugFault,
  type HotplugHost,
  type HotplugResult,
  type HotplugRun,
} from '../devices/index.js';
import { applyLink, networkView } from './control-network.js';
import { struckBy, type Target } from './faults.js';
import type { Host, Machine, MachineDevice } from './host-state.js';
import { volumeNumbers, volumePath } from './machine-devices.js';
import { viewOf } from './store-access.js';

const hotplugHost = (host: Host, machine: Machine, device: MachineDevice): HotplugHost => ({
  ...viewOf(host.xenstore, 0),
  ...networkView(host, device),
  findDisk: (path) =>
    machine.settings.disks.some(({ volume }) => volumePath(volume) === path)
      ? { kind: 'phy', numbers: volumeNumbers(path), node: path }
      : null,
  sharedWith: () => null,
});

/** What goes wrong with the script that attaches the device; null: nothing. A rule strikes a run once, when it would end. */
const scriptFault = (host: Host, machine: Machine, device: MachineDevice): HotplugFault | null => {
  if (host.state.faults.length === 0 || device.task?.action !== 'add') return null;
  const target: Target = { machine, device: device.name, what: `script/${device.scripts}` };
  if (struckBy(host, target, 'stallHotplug')) return { fault: 'stall' };
  const fails = struckBy(host, target, 'failHotplug');
  return fails === null ? null : { fault: 'fail', message: fails.effects.failHotplug ?? '' };
};

/** What a script of the device's does when it ends; null: it never does. Dom0's network is changed by then, the store is not. */
export const runScriptOf = (
  host: Host,
  machine: Machine,
  device: MachineDevice,
  run: HotplugRun,
): HotplugResult | null => {
  const result = runHotplug(run, hotplugHost(host, machine, device), scriptFault(host, machine, device));
  if (result?.link) applyLink(host, machine, device, result.link);
  return result;
};
