import { randomFrom, type Uuid } from '@xenolith/kernel';
import {
  changeFlow,
  createFlow,
  ENTRY_BYTES,
  flowFigures,
  flowService,
  ringEntries,
  XENBUS,
  type FlowRates,
} from '../devices/index.js';
import {
  EMULATION_FACTOR,
  memoryWriting,
  profileAtLevel,
  RING_DISK_REQUEST_NS,
  RING_PACKET_NS,
  WORKLOADS,
  type WorkloadProfile,
} from '../guest/index.js';
import type { DomainSettings } from '../host-model.js';
import { struckBy } from './faults.js';
import type { Host, Machine, MachineDevice } from './host-state.js';
import { hasFrontends } from './machine-devices.js';

/** What a back-end answers in a second at most, and how long one request takes it, in microseconds. Assumptions: a flash array behind blkback, 10 GbE behind netback. */
const DISK = { capacity: 50_000, latencyUs: 200 } as const;
const NIC = { capacity: 800_000, latencyUs: 40 } as const;
/** An emulated IDE disk has one command under way; an emulated e1000 card has so many descriptors. */
const EMULATED_ENTRIES = { disk: 1, nic: 256 } as const;

/** Share of each vCPU that a guest without a named workload wants, drawn for each machine; assumption, skewed to idle as the Azure traces are. */
const levelOf = (seed: string, uid: Uuid): number => 0.005 + 0.995 * randomFrom(`${seed}/${uid}/level`).next() ** 3;

/** A machine of a host of either kind. */
interface WorkingMachine {
  readonly uid: Uuid;
  readonly settings: DomainSettings;
}

/** Found once for a machine, as it is asked for whenever the host changes; it follows from the machine's settings alone. */
const known = new WeakMap<WorkingMachine, WorkloadProfile>();

/** How the machine's guest uses its host while it is up. */
export const workloadOf = ({ seed }: { readonly seed: string }, machine: WorkingMachine): WorkloadProfile => {
  const found = known.get(machine);
  if (found) return found;
  const { workload } = machine.settings;
  const profile = workload === undefined ? profileAtLevel(levelOf(seed, machine.uid)) : WORKLOADS[workload];
  known.set(machine, profile);
  return profile;
};

export const works = (machine: Machine): boolean =>
  machine.guest.phase === 'up' && machine.phase === 'up' && !machine.paused;

const DIRECTIONS = 2;

const offeredTo = (machine: Machine, { kind, name }: MachineDevice, { disk, network }: WorkloadProfile) => {
  const { disks, nics } = machine.settings;
  if (kind === 'nic')
    return {
      offered: network.packetsPerSecond / DIRECTIONS / Math.max(1, nics.length),
      requestBytes: network.packetBytes,
    };
  const writes = disks.find((each) => each.name === name)?.readOnly === true ? 0 : disk.writesPerSecond;
  return { offered: (disk.readsPerSecond + writes) / Math.max(1, disks.length), requestBytes: disk.requestBytes };
};

/** Of a disk's requests, those that read. */
const readShareOf = (machine: Machine, { name }: MachineDevice, { disk }: WorkloadProfile): number => {
  if (machine.settings.disks.find((each) => each.name === name)?.readOnly === true) return 1;
  const requests = disk.readsPerSecond + disk.writesPerSecond;
  return requests === 0 ? 1 : disk.readsPerSecond / requests;
};

const isConnected = ({ back, front }: MachineDevice): boolean =>
  back?.state === XENBUS.connected && front?.state === XENBUS.connected;

/** Whether a fault keeps the back-end from answering. One that struck holds until its rule is gone. */
const isStalled = (host: Host, machine: Machine, device: MachineDevice): boolean => {
  const { faults } = host.state;
  const { stalledBy } = device;
  if (stalledBy !== null) {
    if (faults.some(({ rule, effects }) => rule === stalledBy && effects.fillRings === true)) return true;
    device.stalledBy = null;
  }
  if (faults.length === 0 || !isConnected(device)) return false;
  device.stalledBy = struckBy(host, { machine, device: device.name, what: 'rings' }, 'fillRings')?.rule ?? null;
  return device.stalledBy !== null;
};

const ratesOf = (host: Host, machine: Machine, device: MachineDevice): FlowRates => {
  const overRings = hasFrontends(machine);
  const { offered, requestBytes } = offeredTo(machine, device, workloadOf(host.state, machine));
  const { capacity, latencyUs } = device.kind === 'disk' ? DISK : NIC;
  return {
    offered: works(machine) && (!overRings || isConnected(device)) ? offered : 0,
    // What was asked for before the guest stopped is answered all the same.
    capacity: overRings && isStalled(host, machine, device) ? 0 : capacity,
    requestBytes,
    latencyUs: overRings ? latencyUs : latencyUs * EMULATION_FACTOR,
  };
};

const entriesOf = (machine: Machine, { kind, front }: MachineDevice): number => {
  if (!hasFrontends(machine)) return EMULATED_ENTRIES[kind];
  const queues = front?.queues ?? [];
  const pages = queues[0]?.rings[0]?.length ?? 1;
  return ringEntries(kind === 'disk' ? ENTRY_BYTES.blkif : ENTRY_BYTES.netifTx, pages) * Math.max(1, queues.length);
};

const sameRates = (one: FlowRates, other: FlowRates): boolean =>
  one.offered === other.offered &&
  one.capacity === other.capacity &&
  one.requestBytes === other.requestBytes &&
  one.latencyUs === other.latencyUs;

/** Lets a device's data flow as it does from now on; the answer is the nanoseconds of Dom0's CPU that it takes in a second. */
const followDevice = (host: Host, machine: Machine, device: MachineDevice): number => {
  const { nowUs } = host.state;
  const rates = ratesOf(host, machine, device);
  if (device.flows.length === 0) {
    if (rates.offered === 0) return 0;
    const entries = entriesOf(machine, device);
    const count = device.kind === 'disk' ? 1 : DIRECTIONS;
    device.flows = Array.from({ length: count }, () => createFlow(entries, nowUs));
  }
  let dom0Ns = 0;
  const each = device.kind === 'disk' ? RING_DISK_REQUEST_NS : RING_PACKET_NS;
  const costNs = hasFrontends(machine) ? each : each * EMULATION_FACTOR;
  for (const [index, flow] of device.flows.entries()) {
    const followed = sameRates(flow.rates, rates) ? flow : changeFlow(flow, rates, nowUs);
    device.flows[index] = followed;
    dom0Ns += Math.min(rates.offered, flowService(followed)) * costNs;
  }
  return dom0Ns;
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

/** Requests that wait for their answers in all rings of a device. */
export const inFlightOf = ({ flows }: MachineDevice, nowUs: number): number =>
  flows.reduce((sum, flow) => sum + flowFigures(flow, nowUs).inFlight, 0);

/** Of a device's flow, what was done in one direction. */
export interface Transfers {
  readonly requests: number;
  readonly bytes: number;
}

/** Reads and writes of a disk, or what an interface of the guest's sent and received. */
export const transfersOf = (
  host: Host,
  machine: Machine,
  device: MachineDevice,
  nowUs: number,
): readonly [Transfers, Transfers] => {
  const none: Transfers = { requests: 0, bytes: 0 };
  const [first, second] = device.flows.map((flow): Transfers => flowFigures(flow, nowUs));
  if (device.kind === 'nic') return [first ?? none, second ?? none];
  const share = readShareOf(machine, device, workloadOf(host.state, machine));
  const { requests, bytes } = first ?? none;
  const [reads, readBytes] = [Math.floor(requests * share), Math.floor(bytes * share)];
  return [
    { requests: reads, bytes: readBytes },
    { requests: requests - reads, bytes: bytes - readBytes },
  ];
};
