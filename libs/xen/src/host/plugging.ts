import { reject, type Rejection } from '@xenolith/kernel';
import type { DeviceSettings, HostInput, Ticket } from '../host-model.js';
import { DEVICE_INIT_TIMEOUT_US, HOTPLUG_TIMEOUT_US, XENBUS } from '../devices/index.js';
import { domainNode } from '../xenstore/index.js';
import { answer, refuse } from './answers.js';
import { living } from './addressing.js';
import { plan } from './agenda.js';
import { beginAdd, beginRemove, failureOf, wakeBack, wakeFront } from './device-control.js';
import { guestConnects } from './guest-life.js';
import { accountCpu, deviceNamed, type Host, type Machine, type MachineDevice } from './host-state.js';
import { hasDevice, pluggedDevice, withDevice, withoutDevice } from './machine-devices.js';

/** libxl's patience with a back-end and its script, and as long for the guest as for the back-end. */
const PLUG_TIMEOUT_US = DEVICE_INIT_TIMEOUT_US + HOTPLUG_TIMEOUT_US + DEVICE_INIT_TIMEOUT_US;

interface Plugged {
  readonly kind: MachineDevice['kind'];
  readonly name: string;
}

const failed = (host: Host, machine: Machine, device: Plugged, why: string): { readonly rejection: Rejection } =>
  reject(
    'host_device_failed',
    `${device.kind} ${device.name} of ${machine.settings.name} on ${host.state.name}: ${why}`,
    {
      details: { device: device.name },
    },
  );

const tellWaiting = (
  machine: Machine,
  { name }: Plugged,
  what: 'plug' | 'unplug',
  tell: (ticket: Ticket) => void,
): void => {
  const told = machine.waiting.filter((waiting) => waiting.for === what && waiting.device === name);
  machine.waiting = machine.waiting.filter((waiting) => !told.includes(waiting));
  for (const { ticket } of told) tell(ticket);
};

/** Whether the domain has a home in which devices can be made, so that they need not wait for its building. */
const takesDevices = (host: Host, machine: Machine): boolean =>
  machine.phase === 'up' ||
  (machine.phase === 'building' && host.xenstore.read(0, domainNode(machine.domid, 'domid')).ok);

const isLeaving = ({ back, task }: MachineDevice): boolean =>
  task?.action === 'remove' || back?.state === XENBUS.closing || back?.state === XENBUS.closed;

/** The toolstack's part is done, and the guest's where there is one that takes it up. */
const isPlugged = (machine: Machine, { task, front }: MachineDevice): boolean =>
  (task === null || (task.phase === 'done' && task.rc === 0)) &&
  (front?.state === XENBUS.connected || !guestConnects(machine));

/** The last of a device: its nodes are gone, both ends notice and nobody knows it any more. */
const forgetDevice = (host: Host, machine: Machine, device: MachineDevice): void => {
  wakeBack(host, machine, device, { why: 'watch', token: 'self' });
  wakeFront(host, machine, device, { why: 'watch', token: 'self' });
  machine.devices = machine.devices.filter((other) => other !== device);
  machine.settings = withoutDevice(machine.settings, device);
  // Those that are left carry its part of the guest's work.
  accountCpu(host);
};

const continueAdd = (host: Host, machine: Machine, device: MachineDevice): void => {
  if (device.task?.phase === 'done' && device.task.rc !== 0) {
    giveUpPlug(host, machine, device, failureOf(host, device));
    return;
  }
  if (!isPlugged(machine, device)) return;
  device.task = null;
  tellWaiting(machine, device, 'plug', (ticket) => answer(host, ticket, {}));
};

/** What was begun is taken back by force; the guest may never have heard of it. */
const giveUpPlug = (host: Host, machine: Machine, device: MachineDevice, why: string): void => {
  tellWaiting(machine, device, 'plug', (ticket) => refuse(host, ticket, failed(host, machine, device, why)));
  beginRemove(host, machine, device);
};

const continueRemove = (host: Host, machine: Machine, device: MachineDevice): void => {
  const { task } = device;
  if (task?.phase !== 'done') return;
  if (task.rc !== 0 && task.force === 'off') {
    const why = machine.paused ? 'its guest is paused and does not let go' : 'its guest does not let go';
    device.task = null;
    tellWaiting(machine, device, 'unplug', (ticket) => refuse(host, ticket, failed(host, machine, device, why)));
    return;
  }
  forgetDevice(host, machine, device);
  tellWaiting(machine, device, 'unplug', (ticket) => answer(host, ticket, {}));
};

/** After anything moved on a device: goes on with those that are plugged in or out. */
export const continuePlugs = (host: Host, machine: Machine): void => {
  if (machine.phase !== 'up' && machine.phase !== 'building') return;
  for (const device of machine.devices)
    if (device.task?.action === 'remove') continueRemove(host, machine, device);
    else if (machine.phase === 'up' && machine.waiting.some((waiting) => waiting.for === 'plug'))
      continueAdd(host, machine, device);
};

/** Somebody has waited long enough for a guest to take a device up. */
export const plugTimerEnds = (host: Host, machine: Machine, ticket: Ticket): void => {
  const waiting = machine.waiting.find((candidate) => candidate.ticket === ticket);
  const device = waiting?.for === 'plug' ? deviceNamed(machine, waiting.device) : null;
  if (device === null) return;
  giveUpPlug(host, machine, device, 'its guest did not take it up in time');
  continuePlugs(host, machine);
};

const isSuspended = (host: Host, machine: Machine, device: Plugged, ticket: Ticket): boolean => {
  if (machine.phase !== 'suspended') return false;
  refuse(host, ticket, failed(host, machine, device, 'its guest is suspended'));
  return true;
};

const attach = (host: Host, input: HostInput & { do: 'attach' }): void => {
  const machine = living(host, input);
  const { device, ticket, uid } = input;
  const named: Plugged = { kind: device.kind, name: device.settings.name };
  if (!machine || isSuspended(host, machine, named, ticket)) return;
  // Devices go by their names in all that the toolstack keeps of them.
  const other = named.kind === 'disk' ? 'nic' : 'disk';
  if (hasDevice(machine.settings, { kind: other, name: named.name })) {
    refuse(host, ticket, failed(host, machine, named, `a ${other} of the machine has the same name`));
    return;
  }
  const known = deviceNamed(machine, named.name);
  if (known && isLeaving(known)) {
    refuse(host, ticket, failed(host, machine, named, 'it is being taken away; detach it first'));
    return;
  }
  if (known && isPlugged(machine, known)) {
    answer(host, ticket, {});
    return;
  }
  machine.waiting.push({ ticket, for: 'plug', device: named.name });
  plan(host.state.agenda, host.state.nowUs + PLUG_TIMEOUT_US, { do: 'plugTimer', uid, ticket });
  if (!hasDevice(machine.settings, named)) beginPlug(host, machine, device);
  continuePlugs(host, machine);
};

const beginPlug = (host: Host, machine: Machine, added: DeviceSettings): void => {
  machine.settings = withDevice(machine.settings, added);
  // It comes up with the rest of a domain that is not built yet.
  if (!takesDevices(host, machine)) return;
  const device = pluggedDevice(host, machine, added);
  machine.devices.push(device);
  beginAdd(host, machine, device);
};

const detach = (host: Host, input: HostInput & { do: 'detach' }): void => {
  const machine = living(host, input);
  const { kind, name, ticket } = input;
  if (!machine || isSuspended(host, machine, input, ticket)) return;
  const device = deviceNamed(machine, name);
  if (device?.kind !== kind || machine.phase === 'restarting') {
    machine.settings = withoutDevice(machine.settings, { kind, name });
    tellWaiting(machine, input, 'plug', (waiting) =>
      refuse(host, waiting, failed(host, machine, input, 'it was detached before it was there')),
    );
    answer(host, ticket, {});
    return;
  }
  machine.waiting.push({ ticket, for: 'unplug', device: name });
  if (device.task?.action !== 'remove') {
    tellWaiting(machine, input, 'plug', (waiting) =>
      refuse(host, waiting, failed(host, machine, input, 'it was detached before it was there')),
    );
    // Nobody in the guest has a device that its drivers have not found.
    beginRemove(host, machine, device, device.front === null ? 'on' : 'off');
  }
  continuePlugs(host, machine);
};

/** Hot-plug and unplug of disks and network interfaces. */
export const plug = (host: Host, input: HostInput & { do: 'attach' | 'detach' }): void => {
  if (input.do === 'attach') attach(host, input);
  else detach(host, input);
};
