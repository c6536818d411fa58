import { ENTRY_BYTES, flowService, ringEntries, XENBUS } from '../devices/index.js';
import { EMULATION_FACTOR, memoryWriting, RING_DISK_REQUEST_NS, RING_PACKET_NS } from '../guest/index.js';
import { followFlows, isStalled, workloadOf } from './device-work.js';
import type { Host, Machine, MachineDevice } from './host-state.js';
import { hasFrontends, isStuck } from './machine-devices.js';

export const works = (machine: Machine): boolean =>
  machine.guest.phase === 'up' && machine.phase === 'up' && !machine.paused && !isStuck(machine);

const isConnected = ({ back, front }: MachineDevice): boolean =>
  back?.state === XENBUS.connected && front?.state === XENBUS.connected;

/** Requests that may be under way at once in the rings of a device. */
const entriesOf = ({ kind, front }: MachineDevice): number => {
  const queues = front?.queues ?? [];
  const pages = queues[0]?.rings[0]?.length ?? 1;
  return ringEntries(kind === 'disk' ? ENTRY_BYTES.blkif : ENTRY_BYTES.netifTx, pages) * Math.max(1, queues.length);
};

/** Lets a device's data flow as it does from now on; the answer is the nanoseconds of Dom0's CPU that it takes in a second. */
const followDevice = (host: Host, machine: Machine, device: MachineDevice): number => {
  const overRings = hasFrontends(machine);
  const connected = isConnected(device);
  followFlows(host.state, {
    machine,
    device,
    used: works(machine) && (!overRings || connected),
    overRings,
    stalled: overRings && isStalled(host, { machine, device, connected }),
    entries: () => entriesOf(device),
  });
  const each = device.kind === 'disk' ? RING_DISK_REQUEST_NS : RING_PACKET_NS;
  const costNs = overRings ? each : each * EMULATION_FACTOR;
  return device.flows.reduce((sum, flow) => sum + Math.min(flow.rates.offered, flowService(flow)) * costNs, 0);
};

/** Lets the data of all devices flow as it does from now on; the answer is the CPUs that Dom0 is busy with it. */
export const followWork = (host: Host): number => {
  let dom0Ns = 0;
  for (const machine of Object.values(host.state.machines)) {
    const working = works(machine);
    for (const device of machine.devices)
      if (working || device.flows.length > 0) dom0Ns += followDevice(host, machine, device);
  }
  return dom0Ns / NS_PER_SECOND;
};

const NS_PER_SECOND = 1_000_000_000;

/** Pages that the guest writes to in a second, and the set that it writes to again and again, at the memory that it has. */
export const dirtyingOf = (
  host: Host,
  machine: Machine,
  memoryBytes: number,
): { readonly pagesPerSecond: number; readonly workingSetPages: number } =>
  works(machine)
    ? memoryWriting(workloadOf(host.state, machine), memoryBytes)
    : { pagesPerSecond: 0, workingSetPages: 0 };
