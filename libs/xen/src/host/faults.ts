import { globOf, randomFrom, type Uuid } from '@xenolith/kernel';
import type { DeviceEffects, DeviceFault } from '../device-fault.js';
import { TOOLSTACK_DOMID, XENBUS } from '../devices/index.js';
import type { DomainSettings } from '../host-model.js';
import { plan } from './agenda.js';
import { nowMs, type SpeakingHost } from './answers.js';
import { accountCpu, type Host, type Machine, type MachineDevice, type Watcher } from './host-state.js';

const matches = (patterns: readonly string[], ...texts: readonly string[]): boolean =>
  patterns.length === 0 || patterns.some((pattern) => texts.some((text) => globOf(pattern).test(text)));

const concerns = (fault: DeviceFault, { settings }: FaultyMachine, device: string): boolean =>
  matches(fault.machines, settings.name, `${settings.namespace ?? 'default'}/${settings.name}`) &&
  matches(fault.devices, device);

/** A host of either kind, and what shall go wrong on it. */
export interface FaultyHost extends SpeakingHost {
  readonly state: SpeakingHost['state'] & { readonly faults: DeviceFault[] };
}

export interface FaultyMachine {
  readonly uid: Uuid;
  readonly incarnation: number;
  readonly domid: number;
  readonly settings: Pick<DomainSettings, 'name' | 'namespace'>;
}

/** Something of a device's that a fault may strike. `what` tells it from others of the device, so that each has dice of its own. */
export interface Target {
  readonly machine: FaultyMachine;
  readonly device: string;
  readonly what: string;
}

/** The dice depend on the rule and on what it may strike, not on what came before. */
const fallsFor = (fault: DeviceFault, { machine, device, what }: Target): boolean => {
  const { uid, incarnation, domid } = machine;
  const label = [fault.seed, fault.rule, uid, incarnation, domid, device, what].join('/');
  return randomFrom(label).chance(fault.probability);
};

/** The first fault in force that strikes; it is counted and told. Null: none does. */
export const struckBy = (
  host: FaultyHost,
  target: Target,
  effect: keyof DeviceEffects,
  applies: (effects: DeviceEffects) => boolean = (effects) => effects[effect] !== undefined,
): DeviceFault | null => {
  const { faults } = host.state;
  const { machine, device } = target;
  const index = faults.findIndex(
    (fault) =>
      fault.left !== 0 && applies(fault.effects) && concerns(fault, machine, device) && fallsFor(fault, target),
  );
  const fault = faults[index];
  if (fault === undefined) return null;
  if (fault.left !== null) faults[index] = { ...fault, left: fault.left - 1 };
  const what = `${effect} ${machine.settings.name}/${device}`;
  host.events.push({ type: 'faultStruck', at: nowMs(host), rule: fault.rule, what });
  return fault;
};

const WORD: Readonly<Record<Watcher, DeviceEffects['dropWatches']>> = {
  back: 'backend',
  front: 'frontend',
  tool: 'toolstack',
};

/** A watch of an end of a device's. */
export interface LostWatch {
  readonly who: Watcher;
  readonly why: string;
}

/** Whether an event of the watch is lost. */
export const losesWatch = (host: Host, machine: Machine, device: string, { who, why }: LostWatch): boolean => {
  if (host.state.faults.length === 0) return false;
  const target: Target = { machine, device, what: `${who}/${why}/${host.state.nowUs}` };
  const applies = ({ dropWatches }: DeviceEffects): boolean => dropWatches === 'all' || dropWatches === WORD[who];
  return struckBy(host, target, 'dropWatches', applies) !== null;
};

/** A device that is served by a driver domain may cost it its life. */
export const mayLoseDriver = (host: Host, machine: Machine, { name, kind, device, back }: MachineDevice): void => {
  const { faults, nowUs, agenda } = host.state;
  if (faults.length === 0 || device.backendDomid === TOOLSTACK_DOMID || back?.state !== XENBUS.connected) return;
  const target: Target = { machine, device: name, what: `driver/${device.backendDomid}` };
  if (struckBy(host, target, 'crashDriverDomain') === null) return;
  const role = kind === 'disk' ? 'storage' : 'network';
  plan(agenda, nowUs, { do: 'driverDomain', role, what: 'crash', dueUs: nowUs });
};

/** Puts a list of faults in force instead of the last; a crash of the host does not end it. */
export const setFaults = (host: Host, faults: readonly DeviceFault[]): void => {
  host.state.faults = [...faults];
  // What keeps back-ends from answering begins and ends now.
  accountCpu(host);
  for (const machine of Object.values(host.state.machines))
    for (const device of machine.devices) mayLoseDriver(host, machine, device);
};
