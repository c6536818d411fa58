import { readFileSync } from 'node:fs';
import { GIB, START_MS } from './fleet.js';

export const DAY_MS = 86_400_000;
/** Hundredths of a core and bytes of a server, of those that the trace's authors use; more hosts than any rule needs. */
export const SERVER = { vcpus: 9_600, memoryBytes: 2_250 * GIB };
export const HOSTS = 1_000;

/** A machine of a trace; `endMs` is endless where it outlives the trace. */
export interface Machine {
  readonly id: string;
  readonly tenant: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly startMs: number;
  readonly endMs: number;
}

/** A machine comes or goes. */
export interface Turn {
  readonly atMs: number;
  readonly machine: Machine;
  readonly comes: boolean;
}

/** The turns of a trace of the Azure packing format, in their order. */
export const readTrace = (file: string): readonly Turn[] => {
  const machines = readFileSync(file, 'utf8')
    .split(/\r?\n/)
    .slice(1)
    .filter((line) => line !== '')
    .map((line): Machine => {
      const [id = '', tenant = '', cores = '0', ram = '0', , start = '0', end = 'inf'] = line.split(',');
      return {
        id,
        tenant,
        vcpus: Number(cores),
        memoryBytes: Math.round(Number(ram) * GIB),
        startMs: START_MS + Number(start) * DAY_MS,
        endMs: end === 'inf' || end === '' ? Number.POSITIVE_INFINITY : START_MS + Number(end) * DAY_MS,
      };
    })
    .filter((machine) => machine.endMs > START_MS && machine.endMs > machine.startMs);
  const turns = machines.flatMap((machine): Turn[] => [
    { atMs: Math.max(START_MS, machine.startMs), machine, comes: true },
    ...(Number.isFinite(machine.endMs) ? [{ atMs: machine.endMs, machine, comes: false }] : []),
  ]);
  // What goes makes room for what comes at the same moment; what ran before comes in the order of its age.
  return turns.sort(
    (left, right) =>
      left.atMs - right.atMs ||
      Number(left.comes) - Number(right.comes) ||
      left.machine.startMs - right.machine.startMs,
  );
};

/** What is free of a host, and who is on it. */
export interface Host {
  vcpus: number;
  memoryBytes: number;
  machines: Map<string, Machine>;
  /** Grows when a machine comes or goes. */
  changes: number;
}

/** Chooses a host by its number; -1: none fits. */
export type Rule = (machine: Machine, hosts: readonly Host[], atMs: number) => number;

/** A machine changes its host. */
export interface Migration {
  readonly machine: Machine;
  readonly to: number;
}

/** What packs a trace's machines. */
export interface Packer {
  readonly rule: Rule;
  placed?(machine: Machine, host: number, atMs: number): void;
  gone?(machine: Machine, atMs: number): void;
  /** What it moves now; asked four times a day. */
  tidied?(atMs: number): readonly Migration[];
}

/** How often running machines may be moved. */
const TIDIED_EVERY_MS = DAY_MS / 4;

interface Measured {
  readonly fromDay: number;
  readonly toDay: number;
}

/** What was used and what was in use, over a part of the trace, and what that took. */
class Meter {
  migrations = 0;
  arrivals = 0;
  private used = 0;
  private busy = 0;
  private readonly fromMs: number;
  private readonly toMs: number;

  constructor({ fromDay, toDay }: Measured) {
    this.fromMs = START_MS + fromDay * DAY_MS;
    this.toMs = START_MS + toDay * DAY_MS;
  }

  see(fromMs: number, toMs: number, { used, inUse }: { readonly used: number; readonly inUse: number }): void {
    const spanMs = Math.min(toMs, this.toMs) - Math.max(fromMs, this.fromMs);
    if (spanMs <= 0) return;
    this.used += spanMs * used;
    this.busy += spanMs * inUse;
  }

  covers(atMs: number): boolean {
    return this.fromMs <= atMs && atMs < this.toMs;
  }

  get percent(): number {
    return (this.used * 100) / this.busy;
  }
}

/** The hosts while a trace is replayed. */
class Replay {
  readonly hosts = Array.from({ length: HOSTS }, (): Host => ({
    ...SERVER,
    machines: new Map<string, Machine>(),
    changes: 0,
  }));
  private readonly where = new Map<string, Host>();
  private vcpus = 0;
  private memoryBytes = 0;
  inUse = 0;

  /** Servers' worth that is allocated, in the dimension of which most is. */
  get used(): number {
    return Math.max(this.vcpus / SERVER.vcpus, this.memoryBytes / SERVER.memoryBytes);
  }

  isThere(machine: Machine): boolean {
    return this.where.has(machine.id);
  }

  put(machine: Machine, host: Host): void {
    this.where.set(machine.id, host);
    host.machines.set(machine.id, machine);
    if (host.machines.size === 1) this.inUse += 1;
    this.change(host, machine, 1);
  }

  take(machine: Machine): void {
    const host = this.where.get(machine.id);
    if (!host) return;
    this.where.delete(machine.id);
    host.machines.delete(machine.id);
    if (host.machines.size === 0) this.inUse -= 1;
    this.change(host, machine, -1);
  }

  private change(host: Host, machine: Machine, sign: 1 | -1): void {
    host.changes += 1;
    host.vcpus -= sign * machine.vcpus;
    host.memoryBytes -= sign * machine.memoryBytes;
    if (host.vcpus < 0 || host.memoryBytes < 0) throw new Error(`machine ${machine.id} was put where it does not fit`);
    this.vcpus += sign * machine.vcpus;
    this.memoryBytes += sign * machine.memoryBytes;
  }
}

/** What a part of a trace came to: percent of the hosts in use that is allocated, in the dimension of which most is, over time. */
export interface Packed {
  readonly percent: number;
  /** Machines that came, and migrations. */
  readonly arrivals: number;
  readonly migrations: number;
}

/** Replays a trace; answers what each of its parts came to. */
export const replay = <Part extends string>(
  turns: readonly Turn[],
  packer: Packer,
  parts: Readonly<Record<Part, Measured>>,
): Readonly<Record<Part, Packed>> => {
  const meters = Object.entries<Measured>(parts).map(([name, part]) => [name, new Meter(part)] as const);
  const fleet = new Replay();
  let [lastMs, tidyMs] = [START_MS, START_MS + TIDIED_EVERY_MS];
  const until = (atMs: number): void => {
    for (const [, meter] of meters) meter.see(lastMs, atMs, fleet);
    lastMs = atMs;
  };
  const tidy = (): void => {
    for (const { machine, to } of packer.tidied?.(tidyMs) ?? []) {
      const host = fleet.hosts[to];
      if (!host) throw new Error(`machine ${machine.id} is to go to a host that is not there`);
      fleet.take(machine);
      fleet.put(machine, host);
      for (const [, meter] of meters) if (meter.covers(tidyMs)) meter.migrations += 1;
    }
  };
  for (const { atMs, machine, comes } of turns) {
    for (; tidyMs <= atMs; tidyMs += TIDIED_EVERY_MS) {
      until(tidyMs);
      tidy();
    }
    until(atMs);
    if (comes) {
      const number = packer.rule(machine, fleet.hosts, atMs);
      const host = fleet.hosts[number];
      if (!host) continue;
      fleet.put(machine, host);
      packer.placed?.(machine, number, atMs);
      for (const [, meter] of meters) if (meter.covers(atMs)) meter.arrivals += 1;
    } else if (fleet.isThere(machine)) {
      fleet.take(machine);
      packer.gone?.(machine, atMs);
    }
  }
  return Object.fromEntries(
    meters.map(([name, { percent, arrivals, migrations }]) => [name, { percent, arrivals, migrations }]),
  ) as Record<Part, Packed>;
};
