import type { PlacementRequest, PowerManagementPolicy } from '@xenolith/contracts';
import { fitsOn, type Spoken } from '../filters.js';
import { parkingOf } from '../parking.js';
import { spareOf, spareText, sparesPercent } from './spare.js';
import type { WhatIf } from './what-if.js';

/** Hosts of a cluster that start at the same time: each takes its first surge of current, and most needs are met by one. */
const STARTING_AT_ONCE = 4;
/** Parked hosts that are tried for a machine: hosts of a fleet are mostly alike. */
const SLEEPERS_TRIED = 64;

export interface HostToWake {
  readonly host: string;
  readonly reason: string;
}

export interface WakingAsked {
  readonly cluster: string;
  readonly policy: PowerManagementPolicy;
  /** Requests that wait for room, oldest first. */
  readonly waiting: readonly PlacementRequest[];
}

const nameOf = ({ virtualMachine }: PlacementRequest): string => `${virtualMachine.namespace}/${virtualMachine.name}`;

/** Hosts that are up, or will be, with what is spoken for on them by machines that wait. */
class Rooms {
  private readonly spoken = new Map<number, Spoken>();

  constructor(private readonly whatIf: WhatIf) {}

  /** Whether the host would take the machine; then it has the room. */
  take(request: PlacementRequest, slot: number): boolean {
    const { outlook, guard } = this.whatIf;
    const spoken = this.spoken.get(slot) ?? { memoryBytes: 0, vcpus: 0 };
    const wish = { ...this.whatIf.wishOf(request), availability: guard.checkOf(request) };
    if (!fitsOn(outlook, slot, wish, spoken)) return false;
    const { memoryBytes, vcpus } = request;
    this.spoken.set(slot, { memoryBytes: spoken.memoryBytes + memoryBytes, vcpus: spoken.vcpus + vcpus });
    return true;
  }
}

/** Parked hosts that may be woken: those that are still on first. */
const sleepersOf = (whatIf: WhatIf, cluster: string): readonly number[] => {
  const { table } = whatIf.outlook;
  const parked = whatIf
    .slots(cluster)
    .filter((slot) => parkingOf(table, slot) === 'parked')
    .filter((slot) => table.maintenance[slot] !== 1 && table.unschedulable[slot] !== 1);
  return parked.sort((left, right) => (table.ready[right] ?? 0) - (table.ready[left] ?? 0));
};

/** A parked host with which the first machine that fits nowhere would fit; hosts that start are taken for on. */
const forMachines = (
  whatIf: WhatIf,
  sleepers: readonly number[],
  { cluster, waiting }: WakingAsked,
): HostToWake | null => {
  const rooms = new Rooms(whatIf);
  const { table } = whatIf.outlook;
  const on = whatIf.slots().filter((slot) => table.isOpen(slot));
  for (const request of waiting) {
    if (on.some((slot) => rooms.take(request, slot))) continue;
    if (request.cluster !== undefined && request.cluster !== cluster) continue;
    for (const slot of sleepers.slice(0, SLEEPERS_TRIED)) {
      const close = whatIf.guard.opened(table, slot);
      // Where failures are promised to be survived, more hosts may let it in on another.
      const fits = [slot, ...(whatIf.guard.promises(cluster) ? on : [])].some((host) => rooms.take(request, host));
      close();
      if (!fits) continue;
      return { host: whatIf.nameOf(slot), reason: `virtual machine ${nameOf(request)} fits on no host that is on` };
    }
  }
  return null;
};

/** A parked host without which a promise is broken that all of them together could keep. */
const forPromise = (whatIf: WhatIf, sleepers: readonly number[], cluster: string): HostToWake | null => {
  const { table } = whatIf.outlook;
  const before = whatIf.guard.assessment(cluster);
  if (before === null || before.state === 'Protected') return null;
  const [first] = sleepers;
  const closes = sleepers.map((slot) => whatIf.guard.opened(table, slot));
  const after = whatIf.guard.assessment(cluster);
  for (const close of closes.reverse()) close();
  if (first === undefined || after?.state !== 'Protected') return null;
  const { hostFailures, message } = before;
  return { host: whatIf.nameOf(first), reason: `the loss of ${hostFailures} hosts is not covered: ${message}` };
};

/** The parked host to be woken next; null: what is on, or starts, is enough. The copy is changed. */
export const planWaking = (whatIf: WhatIf, asked: WakingAsked): HostToWake | null => {
  const { cluster, policy } = asked;
  const { table } = whatIf.outlook;
  const sleepers = sleepersOf(whatIf, cluster);
  const [first] = sleepers;
  if (first === undefined) return null;
  const starting = whatIf.slots().filter((slot) => parkingOf(table, slot) === 'starting');
  for (const slot of starting) whatIf.guard.opened(table, slot);
  if (starting.filter((slot) => table.clusterOf(slot) === cluster).length >= STARTING_AT_ONCE) return null;
  const machine = forMachines(whatIf, sleepers, asked);
  if (machine !== null) return machine;
  const on = whatIf.slots(cluster).filter((slot) => table.isOpen(slot));
  const host = whatIf.nameOf(first);
  if (on.length < policy.hostsKept) return { host, reason: `${policy.hostsKept} hosts are to be on, ${on.length} are` };
  const spare = spareOf(whatIf, on);
  if (!sparesPercent(spare, policy.sparePercent))
    return { host, reason: `${policy.sparePercent} % are to be free: ${spareText(spare)}` };
  return forPromise(whatIf, sleepers, cluster);
};
