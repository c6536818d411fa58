import type { PlacementRequest } from '@xenolith/contracts';
import { uuidFrom, type Uuid } from '@xenolith/kernel';
import { planConsolidation, WhatIf } from '@xenolith/scheduling';
import { BenchFleet, hostDocument } from './fleet.js';
import { HOSTS, SERVER, type Host, type Machine, type Migration, type Packer, type Rule } from './trace.js';

/**
 * Share of its virtual CPUs that a machine keeps busy, where it is asked whether a host could bear it. Most of Azure's machines average less than a fifth
 * (Cortez et al., Resource Central, SOSP '17).
 */
const BUSY = 0.2;

const fits = (host: Host, machine: Machine): boolean =>
  host.vcpus >= machine.vcpus && host.memoryBytes >= machine.memoryBytes;

const leftover = (host: Host, machine: Machine): number =>
  Math.hypot(
    (host.vcpus - machine.vcpus) / SERVER.vcpus,
    (host.memoryBytes - machine.memoryBytes) / SERVER.memoryBytes,
  );

const lowest = (hosts: readonly Host[], machine: Machine, score: (host: Host) => number): number => {
  let [found, best] = [-1, Number.POSITIVE_INFINITY];
  for (const [number, host] of hosts.entries()) {
    if (!fits(host, machine)) continue;
    const own = score(host);
    if (own < best) [found, best] = [number, own];
  }
  return found;
};

export const firstFit: Rule = (machine, hosts) => hosts.findIndex((host) => fits(host, machine));
export const bestFit: Rule = (machine, hosts) => lowest(hosts, machine, (host) => leftover(host, machine));

/** Knows, or believes to know, when each machine will go: how far, in doublings of a minute, it outlives the others on a host, then best fit. */
export const knowing = (endOf: (machine: Machine, atMs: number) => number): Rule => {
  const exits = new Map<Host, { readonly changes: number; readonly exitMs: number }>();
  const exitOf = (host: Host, atMs: number): number => {
    const known = exits.get(host);
    if (known && known.changes === host.changes && known.exitMs > atMs) return known.exitMs;
    let exitMs = atMs;
    for (const machine of host.machines.values()) exitMs = Math.max(exitMs, endOf(machine, atMs));
    exits.set(host, { changes: host.changes, exitMs });
    return exitMs;
  };
  return (machine, hosts, atMs) => {
    const endMs = endOf(machine, atMs);
    return lowest(hosts, machine, (host) => {
      const exitMs = exitOf(host, atMs);
      const extension = endMs === exitMs ? 0 : Math.max(0, endMs - exitMs);
      const steps = extension === 0 ? 0 : 1 + Math.floor(Math.log2(Math.max(1, Math.min(extension, 2 ** 45) / 60_000)));
      return steps * 10 + leftover(host, machine);
    });
  };
};

const hostName = (number: number): string => `host-${number}`;
const numberOf = (name: string): number => Number(name.slice(hostName(0).length - 1));

const requestOf = ({ id, tenant, vcpus, memoryBytes }: Machine): PlacementRequest => ({
  virtualMachine: { uid: id, name: id, namespace: tenant },
  hypervisor: 'any',
  guestType: 'pv',
  vcpus,
  memoryBytes,
});

/** The scheduler's own index, which hears of all that comes, goes and moves. */
class Scheduler {
  /** By placement; a machine that moved has had several. */
  private readonly machines = new Map<Uuid, Machine>();
  private readonly placements = new Map<string, Uuid>();
  private moves = 0;
  private readonly fleet: BenchFleet;

  constructor() {
    const shape = { threads: SERVER.vcpus, memoryBytes: SERVER.memoryBytes, nodes: 1, features: [] };
    const hosts = Array.from({ length: HOSTS }, (_, number) => hostDocument(hostName(number), shape));
    this.fleet = new BenchFleet('density', hosts, 1);
  }

  readonly choose: Rule = (machine, _hosts, atMs) => {
    const found = this.fleet.propose(machine.id, requestOf(machine), atMs);
    return found.fits ? numberOf(found.host) : -1;
  };

  placed(machine: Machine, host: number, atMs: number): void {
    const before = this.placements.get(machine.id);
    const placement = before === undefined ? machine.id : `${machine.id}/${(this.moves += 1)}`;
    this.machines.set(placement, machine);
    this.placements.set(machine.id, placement);
    const hostUid = uuidFrom('host', hostName(host));
    this.fleet.placed(placement, requestOf(machine), { hostUid }, { atMs, sinceMs: machine.startMs });
    if (before !== undefined) this.release(before, atMs);
  }

  gone({ id }: Machine, atMs: number): void {
    this.release(this.placements.get(id) ?? id, atMs);
    this.placements.delete(id);
  }

  /** What the service plans where a cluster's policy is to consolidate. */
  consolidated(atMs: number): readonly Migration[] {
    const load = (_placement: string, { vcpus, memoryBytes }: PlacementRequest) => ({
      cpu: vcpus * BUSY,
      memoryBytes,
      dirtyBytesPerSecond: 0,
      measured: true,
    });
    const { moves } = planConsolidation(WhatIf.of(this.fleet.index, { load, atMs }), { cluster: 'default' });
    return moves.flatMap(({ placement, to }): Migration[] => {
      const machine = this.machines.get(placement);
      if (!machine) return [];
      this.placed(machine, numberOf(to), atMs);
      return [{ machine, to: numberOf(to) }];
    });
  }

  private release(placement: Uuid, atMs: number): void {
    this.machines.delete(placement);
    this.fleet.released(placement, atMs);
  }
}

const packerOf = (scheduler: Scheduler, rule: Rule): Packer => ({
  rule,
  placed: (machine, host, atMs) => scheduler.placed(machine, host, atMs),
  gone: (machine, atMs) => scheduler.gone(machine, atMs),
});

/** The scheduler's own decisions, from what it has seen finish. */
export const scheduled = (): Packer => {
  const scheduler = new Scheduler();
  return packerOf(scheduler, scheduler.choose);
};

/** Whatever places, the scheduler's plans of consolidation are carried out; without a rule, it is the scheduler that places. */
export const consolidated = (rule?: Rule): Packer => {
  const scheduler = new Scheduler();
  return { ...packerOf(scheduler, rule ?? scheduler.choose), tidied: (atMs) => scheduler.consolidated(atMs) };
};
