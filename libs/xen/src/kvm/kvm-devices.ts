import { reject, type Rejection } from '@xenolith/kernel';
import { detachUsb, unassignFunction } from '../devices/index.js';
import type { DeviceSettings, DomainSettings, HostInput } from '../host-model.js';
import { answer, refuse } from '../host/answers.js';
import { followFlows, isStalled, type WorkingDevice } from '../host/device-work.js';
import { struckBy, type FaultyMachine, type Target } from '../host/faults.js';
import { hasDevice, withDevice, withoutDevice } from '../host/machine-devices.js';
import { isCard, withoutNamed } from '../host/passed-devices.js';
import { planIn, runs, waitingFor, type KvmDevice, type KvmHost, type KvmMachine } from './kvm-state.js';

/** QEMU's default of virtio-blk and virtio-net (hw/block/virtio-blk.c, `queue-size`; hw/net/virtio-net.c, `rx_queue_size`); a request takes one entry, as its buffers are listed elsewhere (indirect descriptors). */
const QUEUE_ENTRIES = 256;
/** libvirt waits so long for DEVICE_DELETED (qemu_hotplug.c, `qemuDomainRemoveDeviceWaitTime`). */
export const UNPLUG_WAIT_MS = 5_000;
/** Assumption: after so long a `device_add` is given up; libvirt itself would wait for QEMU for ever. */
const PLUG_WAIT_MS = 30_000;
/** Assumption: pcie-root-ports that a machine is built with; each takes one device. */
export const ROOT_PORTS = 28;

type Named = Pick<WorkingDevice, 'kind' | 'name'>;

/** The host counts the taps that it makes, and uses no number again while it is up. */
const newTap = ({ state }: KvmHost): number => {
  const tap = state.lastTap + 1;
  state.lastTap = tap;
  return tap;
};

const newDevice = (host: KvmHost, { kind, name }: Named, slot: number): KvmDevice => ({
  kind,
  name,
  slot,
  tap: kind === 'nic' ? newTap(host) : null,
  flows: [],
  stalledBy: null,
});

/** The devices that a process begins with. */
export const devicesOf = (host: KvmHost, { disks, nics }: DomainSettings): KvmDevice[] => [
  ...disks.map(({ name }, slot) => newDevice(host, { kind: 'disk', name }, slot)),
  ...nics.map(({ name }, slot) => newDevice(host, { kind: 'nic', name }, slot)),
];

/** The device goes from the machine, and from what it will boot with. */
export const removeDevice = (machine: KvmMachine, { kind, name }: Named): void => {
  machine.settings = withoutDevice(machine.settings, { kind, name });
  machine.devices = machine.devices.filter((device) => device.kind !== kind || device.name !== name);
};

const faulty = ({ uid, incarnation, pid, settings }: KvmMachine): FaultyMachine => ({
  uid,
  incarnation,
  domid: pid,
  settings,
});

/** Something of a device's that a fault may strike. */
export const deviceTarget = (machine: KvmMachine, device: string, what: string): Target => ({
  machine: faulty(machine),
  device,
  what,
});

/** A guest with drivers for virtio; another drives what QEMU emulates. */
export const hasVirtio = ({ settings }: KvmMachine): boolean => settings.pvDrivers;

/** Queues of a disk are one for each vCPU (`num-queues`); an interface has one pair. */
const entriesOf = ({ settings }: KvmMachine, { kind }: WorkingDevice): number =>
  QUEUE_ENTRIES * (kind === 'disk' ? settings.maxVcpus : 1);

/** Lets the data of all devices flow as it does from now on. */
export const followDevices = (host: KvmHost): void => {
  for (const machine of Object.values(host.state.machines)) {
    const used = runs(machine) && machine.guest.phase === 'up';
    const overRings = hasVirtio(machine);
    for (const device of machine.devices) {
      if (!used && device.flows.length === 0) continue;
      const stalled = overRings && isStalled(host, { machine: faulty(machine), device, connected: used });
      const entries = (): number => entriesOf(machine, device);
      followFlows(host.state, { machine, device, used, overRings, stalled, entries });
    }
  }
};

export const deviceFailed = (
  host: KvmHost,
  machine: KvmMachine,
  name: string,
  why: string,
): { readonly rejection: Rejection } =>
  reject('host_device_failed', `${name} of ${machine.settings.name} on ${host.state.name}: ${why}`, {
    details: { device: name },
  });

/** Why QEMU can't make a device ready, by a fault in force; null: it can. */
export const deviceFault = (host: KvmHost, machine: KvmMachine, name: string): string | null => {
  const target = deviceTarget(machine, name, `add/${host.state.nowUs}`);
  return struckBy(host, target, 'failHotplug')?.effects.failHotplug ?? null;
};

const plug = (host: KvmHost, machine: KvmMachine, device: DeviceSettings): void => {
  const { kind } = device;
  const taken = machine.devices.filter((other) => other.kind === kind).map(({ slot }) => slot);
  let slot = 0;
  while (taken.includes(slot)) slot += 1;
  machine.settings = withDevice(machine.settings, device);
  machine.devices.push(newDevice(host, { kind, name: device.settings.name }, slot));
};

/** `device_add`: the device is there at once, whether the guest looks or not. */
export const attach = (host: KvmHost, machine: KvmMachine, { device, ticket }: HostInput & { do: 'attach' }): void => {
  const { kind } = device;
  const { name } = device.settings;
  const { uid } = machine;
  const { disks, nics } = machine.settings;
  if (hasDevice(machine.settings, { kind, name })) {
    answer(host, ticket, {});
    return;
  }
  if (disks.length + nics.length >= ROOT_PORTS) {
    refuse(host, ticket, deviceFailed(host, machine, name, 'no more available PCI slots'));
    return;
  }
  const failure = deviceFault(host, machine, name);
  if (failure !== null) {
    refuse(host, ticket, deviceFailed(host, machine, name, failure));
    return;
  }
  const target = deviceTarget(machine, name, `add/${host.state.nowUs}`);
  if (struckBy(host, target, 'stallHotplug') === null) {
    plug(host, machine, device);
    answer(host, ticket, {});
    return;
  }
  machine.waiting.push({ ticket, for: 'plug', kind, name });
  planIn(host, PLUG_WAIT_MS, { do: 'giveUp', uid, ticket, timeoutMs: PLUG_WAIT_MS });
};

const namedOf = ({ settings }: KvmMachine, name: string) =>
  (settings.devices ?? []).filter((device) => device.name === name);

/** Devices of the host of a name, and whether its guest must let go of one of them: USB is pulled. */
export const hasNamed = (machine: KvmMachine, name: string): { readonly any: boolean; readonly cards: boolean } => {
  const devices = namedOf(machine, name);
  return { any: devices.length > 0, cards: devices.some(isCard) };
};

/** Devices of the host of a name are its own again. */
export const takeNamed = ({ state: { passthrough } }: KvmHost, machine: KvmMachine, name: string): void => {
  for (const device of namedOf(machine, name))
    if (passthrough && isCard(device)) unassignFunction(passthrough, device.address, machine.pid);
    else if (passthrough) detachUsb(passthrough, device.address, machine.pid);
  machine.settings = withoutNamed(machine.settings, name);
};

/** The guest lets go of the devices that it was asked for. */
export const letDevicesGo = (host: KvmHost, machine: KvmMachine): void => {
  for (const waiting of waitingFor(machine, ({ for: what }) => what === 'unplug' || what === 'take')) {
    if (waiting.for === 'unplug') removeDevice(machine, waiting);
    else if (waiting.for === 'take') takeNamed(host, machine, waiting.name);
    answer(host, waiting.ticket, {});
  }
};

/** `device_del` asks the guest by ACPI, which lets go when it runs. True: it is waited for. */
export const detach = (
  host: KvmHost,
  machine: KvmMachine,
  { ticket, kind, name }: HostInput & { do: 'detach' },
): boolean => {
  const waits = hasDevice(machine.settings, { kind, name }) && machine.phase !== 'starting';
  if (waits) {
    machine.waiting.push({ ticket, for: 'unplug', kind, name });
    planIn(host, UNPLUG_WAIT_MS, { do: 'giveUp', uid: machine.uid, ticket, timeoutMs: UNPLUG_WAIT_MS });
  } else {
    removeDevice(machine, { kind, name });
    answer(host, ticket, {});
  }
  return waits;
};
