import type { Heartbeat } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { MachineLoad } from './planning/planned-machine.js';

/** Share of a new figure in the average: some six figures, a minute, until a change of load is believed by nine tenths. */
const WEIGHT = 0.3;
/** Figures come every ten seconds; of a machine whose host has not told for so long nobody knows. */
const KNOWN_FOR_MS = 60_000;
const PAGE_BYTES = 4_096;

interface Known {
  readonly load: MachineLoad;
  readonly host: Uuid;
  readonly atMs: number;
}

/** What machines do to their hosts, averaged from heartbeats, which are in no log: each scheduler hears them all. */
export class LoadBook {
  private readonly machines = new Map<Uuid, Known>();
  /** Machines of the last heartbeat with figures, by host. */
  private readonly hosts = new Map<Uuid, readonly Uuid[]>();

  /** `atMs`: when it arrived, in milliseconds since the epoch. */
  observe({ host, virtualMachines }: Heartbeat, atMs: number): void {
    if (!virtualMachines) return;
    const there = new Set(virtualMachines.map((figures) => figures.uid));
    for (const uid of this.hosts.get(host) ?? [])
      if (!there.has(uid) && this.machines.get(uid)?.host === host) this.machines.delete(uid);
    this.hosts.set(host, [...there]);
    for (const { uid, cpu, memoryBytes, dirtyPagesPerSecond = 0 } of virtualMachines) {
      const before = this.machines.get(uid)?.load;
      const dirty = dirtyPagesPerSecond * PAGE_BYTES;
      const load: MachineLoad = {
        cpu: averaged(before?.cpu, cpu),
        memoryBytes,
        dirtyBytesPerSecond: averaged(before?.dirtyBytesPerSecond, dirty),
        measured: true,
      };
      this.machines.set(uid, { load, host, atMs });
    }
  }

  load(machine: Uuid, nowMs: number): MachineLoad | undefined {
    const known = this.machines.get(machine);
    return known && nowMs - known.atMs <= KNOWN_FOR_MS ? known.load : undefined;
  }
}

const averaged = (before: number | undefined, now: number): number =>
  before === undefined ? now : before + WEIGHT * (now - before);
