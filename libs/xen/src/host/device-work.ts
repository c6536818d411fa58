import { randomFrom, type Uuid } from '@xenolith/kernel';
import { changeFlow, createFlow, flowFigures, type Flow, type FlowRates } from '../devices/index.js';
import { EMULATION_FACTOR, profileAtLevel, WORKLOADS, type WorkloadProfile } from '../guest/index.js';
import type { DeviceStateFigures, DiskFigures, DomainSettings, NicFigures, RingFigures } from '../host-model.js';
import type { DeviceFault } from '../device-fault.js';
import { struckBy, type FaultyHost, type FaultyMachine } from './faults.js';

// What guests do to their devices, on hosts of either kind.

/** What a back-end answers in a second at most, and how long one request takes it, in microseconds. Assumptions: a flash array behind blkback or virtio-blk, 10 GbE behind netback or vhost. */
const DISK = { capacity: 50_000, latencyUs: 200 } as const;
const NIC = { capacity: 800_000, latencyUs: 40 } as const;
/** An emulated IDE disk has one command under way; an emulated e1000 card has so many descriptors. */
const EMULATED_ENTRIES = { disk: 1, nic: 256 } as const;

/** A machine of a host of either kind. */
export interface WorkingMachine {
  readonly uid: Uuid;
  readonly settings: DomainSettings;
}

/** A disk or an interface, and what goes through it: a disk's requests; what an interface of the guest's sends, then what it receives. None before the first. */
export interface WorkingDevice {
  readonly name: string;
  readonly kind: 'disk' | 'nic';
  flows: Flow[];
  /** The rule of the fault that keeps its back-end from answering. */
  stalledBy: Uuid | null;
}

/** Share of each vCPU that a guest without a named workload wants, drawn for each machine; assumption, skewed to idle as the Azure traces are. */
const levelOf = (seed: string, uid: Uuid): number => 0.005 + 0.995 * randomFrom(`${seed}/${uid}/level`).next() ** 3;

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

const DIRECTIONS = 2;

const offeredTo = (
  { settings: { disks, nics } }: WorkingMachine,
  { kind, name }: WorkingDevice,
  { disk, network }: WorkloadProfile,
) => {
  if (kind === 'nic')
    return {
      offered: network.packetsPerSecond / DIRECTIONS / Math.max(1, nics.length),
      requestBytes: network.packetBytes,
    };
  const writes = disks.find((each) => each.name === name)?.readOnly === true ? 0 : disk.writesPerSecond;
  return { offered: (disk.readsPerSecond + writes) / Math.max(1, disks.length), requestBytes: disk.requestBytes };
};

/** Of a disk's requests, those that read. */
const readShareOf = ({ settings }: WorkingMachine, { name }: WorkingDevice, { disk }: WorkloadProfile): number => {
  if (settings.disks.find((each) => each.name === name)?.readOnly === true) return 1;
  const requests = disk.readsPerSecond + disk.writesPerSecond;
  return requests === 0 ? 1 : disk.readsPerSecond / requests;
};

/** Whether a fault keeps the device's back-end from answering. One that struck holds until its rule is gone. */
export const isStalled = (
  host: FaultyHost,
  { machine, device, connected }: { machine: FaultyMachine; device: WorkingDevice; connected: boolean },
): boolean => {
  const { faults } = host.state;
  const { stalledBy } = device;
  const holds = ({ rule, effects }: DeviceFault): boolean => rule === stalledBy && effects.fillRings === true;
  if (stalledBy !== null) {
    if (faults.some(holds)) return true;
    device.stalledBy = null;
  }
  if (faults.length === 0 || !connected) return false;
  device.stalledBy = struckBy(host, { machine, device: device.name, what: 'rings' }, 'fillRings')?.rule ?? null;
  return device.stalledBy !== null;
};

/** How a guest uses a device. */
export interface DeviceUse {
  readonly machine: WorkingMachine;
  readonly device: WorkingDevice;
  /** The guest works and the device is there for it. */
  readonly used: boolean;
  /** Requests go over rings or virtqueues that guest and back-end share; otherwise qemu emulates it. */
  readonly overRings: boolean;
  readonly stalled: boolean;
  /** Requests that may be under way at once in its rings. */
  readonly entries: () => number;
}

const ratesOf = ({ machine, device, used, overRings, stalled }: DeviceUse, profile: WorkloadProfile): FlowRates => {
  const { offered, requestBytes } = offeredTo(machine, device, profile);
  const { capacity, latencyUs } = device.kind === 'disk' ? DISK : NIC;
  return {
    offered: used ? offered : 0,
    // What was asked for before the guest stopped is answered all the same.
    capacity: stalled ? 0 : capacity,
    requestBytes,
    latencyUs: overRings ? latencyUs : latencyUs * EMULATION_FACTOR,
  };
};

const sameRates = (one: FlowRates, other: FlowRates): boolean =>
  one.offered === other.offered &&
  one.capacity === other.capacity &&
  one.requestBytes === other.requestBytes &&
  one.latencyUs === other.latencyUs;

/** Lets a device's data flow as it does from now on. */
export const followFlows = (state: { readonly seed: string; readonly nowUs: number }, use: DeviceUse): void => {
  const { nowUs } = state;
  const { device } = use;
  const rates = ratesOf(use, workloadOf(state, use.machine));
  if (device.flows.length === 0) {
    if (rates.offered === 0) return;
    const entries = use.overRings ? use.entries() : EMULATED_ENTRIES[device.kind];
    const count = device.kind === 'disk' ? 1 : DIRECTIONS;
    device.flows = Array.from({ length: count }, () => createFlow(entries, nowUs));
  }
  for (const [index, flow] of device.flows.entries())
    if (!sameRates(flow.rates, rates)) device.flows[index] = changeFlow(flow, rates, nowUs);
};

/** Requests that wait for their answers in all rings of a device. */
export const inFlightOf = ({ flows }: WorkingDevice, nowUs: number): number =>
  flows.reduce((sum, flow) => sum + flowFigures(flow, nowUs).inFlight, 0);

/** Of a device's flow, what was done in one direction. */
export interface Transfers {
  readonly requests: number;
  readonly bytes: number;
}

/** Reads and writes of a disk, or what an interface of the guest's sent and received. */
export const transfersOf = (
  state: { readonly seed: string },
  machine: WorkingMachine,
  device: WorkingDevice,
  nowUs: number,
): readonly [Transfers, Transfers] => {
  const none: Transfers = { requests: 0, bytes: 0 };
  const [first, second] = device.flows.map((flow): Transfers => flowFigures(flow, nowUs));
  if (device.kind === 'nic') return [first ?? none, second ?? none];
  const share = readShareOf(machine, device, workloadOf(state, machine));
  const { requests, bytes } = first ?? none;
  const [reads, readBytes] = [Math.floor(requests * share), Math.floor(bytes * share)];
  return [
    { requests: reads, bytes: readBytes },
    { requests: requests - reads, bytes: bytes - readBytes },
  ];
};

const MS_PER_SECOND = 1_000;
const US_PER_MS = 1_000;

const ringsOf = (device: WorkingDevice, overRings: boolean, nowUs: number): { readonly rings?: RingFigures } => {
  if (!overRings || device.flows.length === 0) return {};
  const fullUs = Math.max(...device.flows.map((flow) => flowFigures(flow, nowUs).ringFullUs));
  return {
    rings: { inFlight: inFlightOf(device, nowUs), fullSeconds: Math.round(fullUs / US_PER_MS) / MS_PER_SECOND },
  };
};

/** What went through a machine's disks and interfaces since it began. */
export const workFigures = <Device extends WorkingDevice>(
  state: { readonly seed: string },
  machine: WorkingMachine & { readonly devices: readonly Device[] },
  {
    overRings,
    nowUs,
    more,
  }: { overRings: boolean; nowUs: number; more: (device: Device) => { readonly states?: DeviceStateFigures } },
): { readonly disks: readonly DiskFigures[]; readonly nics: readonly NicFigures[] } => {
  const disks: DiskFigures[] = [];
  const nics: NicFigures[] = [];
  for (const device of machine.devices) {
    const [first, second] = transfersOf(state, machine, device, nowUs);
    const same = { name: device.name, ...more(device), ...ringsOf(device, overRings, nowUs) };
    if (device.kind === 'disk')
      disks.push({
        ...same,
        reads: first.requests,
        writes: second.requests,
        readBytes: first.bytes,
        writtenBytes: second.bytes,
      });
    else
      nics.push({
        ...same,
        receivedPackets: second.requests,
        sentPackets: first.requests,
        receivedBytes: second.bytes,
        sentBytes: first.bytes,
      });
  }
  return { disks, nics };
};
