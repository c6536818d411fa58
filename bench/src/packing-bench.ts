import type { PlacementRequest } from '@xenolith/contracts';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BenchFleet, GIB, hostDocument, START_MS } from './fleet.js';
import { Hindsight } from './hindsight.js';
import { floorRow, progress, rateRow, shareRow, type Row } from './report.js';

const GROUP = 'scheduling';
const DAY_MS = 86_400_000;
/** Hundredths of a core and bytes of a server, of those that the trace's authors use; more hosts than any rule needs. */
const SERVER = { vcpus: 9_600, memoryBytes: 2_250 * GIB };
const HOSTS = 1_000;
/** Percent of the gap from first fit to known lifetimes. */
const GAP_TARGET = 75;
/**
 * Days of the trace. Scores were chosen by the first part only, and the second is what is told. The first day is not measured, as all that ran before comes at
 * once; nor is what follows the last, when nothing comes any more.
 */
const CHOSEN_BY = { fromDay: 1, toDay: 7.5 };
const TOLD = { fromDay: 7.5, toDay: 14 };

interface Machine {
  readonly id: string;
  readonly tenant: string;
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly startMs: number;
  readonly endMs: number;
}

interface Turn {
  readonly atMs: number;
  readonly machine: Machine;
  readonly comes: boolean;
}

const read = (file: string): readonly Turn[] => {
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

interface Host {
  vcpus: number;
  memoryBytes: number;
  machines: Map<string, Machine>;
  /** Grows when a machine comes or goes. */
  changes: number;
}

/** Chooses a host by its number; -1: none fits. */
type Rule = (machine: Machine, hosts: readonly Host[], atMs: number) => number;

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

const firstFit: Rule = (machine, hosts) => hosts.findIndex((host) => fits(host, machine));
const bestFit: Rule = (machine, hosts) => lowest(hosts, machine, (host) => leftover(host, machine));

/** Knows, or believes to know, when each machine will go: how far, in doublings of a minute, it outlives the others on a host, then best fit. */
const knowing = (endOf: (machine: Machine, atMs: number) => number): Rule => {
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

/** The scheduler's own decisions, from what it has seen finish. */
const ours = (): { rule: Rule; gone: (machine: Machine, atMs: number) => void } => {
  const shape = { threads: SERVER.vcpus, memoryBytes: SERVER.memoryBytes, nodes: 1, features: [] };
  const documents = Array.from({ length: HOSTS }, (_, number) => hostDocument(`host-${number}`, shape));
  const fleet = new BenchFleet('density', documents, 1);
  return {
    rule: (machine, _hosts, atMs) => {
      const { id, tenant, vcpus, memoryBytes } = machine;
      const request: PlacementRequest = {
        virtualMachine: { uid: id, name: id, namespace: tenant },
        hypervisor: 'any',
        guestType: 'pv',
        vcpus,
        memoryBytes,
      };
      const found = fleet.propose(id, request, atMs);
      if (!found.fits) return -1;
      fleet.placed(id, request, found, { atMs, sinceMs: machine.startMs });
      return Number(found.host.slice('host-'.length));
    },
    gone: (machine, atMs) => fleet.released(machine.id, atMs),
  };
};

interface Measured {
  readonly fromDay: number;
  readonly toDay: number;
}

/** What was used and what was in use, over a part of the trace. */
class Meter {
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

  get percent(): number {
    return (this.used * 100) / this.busy;
  }
}

/** Percentage of the hosts in use that is allocated, in the dimension of which most is, over time. */
const density = (
  turns: readonly Turn[],
  rule: Rule,
  gone: (machine: Machine, atMs: number) => void = () => undefined,
): { readonly chosenBy: number; readonly told: number } => {
  const [chosenBy, told] = [new Meter(CHOSEN_BY), new Meter(TOLD)];
  const hosts = Array.from({ length: HOSTS }, (): Host => ({ ...SERVER, machines: new Map(), changes: 0 }));
  const where = new Map<string, Host>();
  let [vcpus, memoryBytes, lastMs, inUse] = [0, 0, START_MS, 0];
  for (const { atMs, machine, comes } of turns) {
    const used = Math.max(vcpus / SERVER.vcpus, memoryBytes / SERVER.memoryBytes);
    for (const meter of [chosenBy, told]) meter.see(lastMs, atMs, { used, inUse });
    lastMs = atMs;
    const sign = comes ? 1 : -1;
    const host = comes ? hosts[rule(machine, hosts, atMs)] : where.get(machine.id);
    if (!host) continue;
    const before = host.machines.size;
    if (comes) {
      where.set(machine.id, host);
      host.machines.set(machine.id, machine);
    } else {
      host.machines.delete(machine.id);
      where.delete(machine.id);
      gone(machine, atMs);
    }
    inUse += Number(host.machines.size > 0) - Number(before > 0);
    host.changes += 1;
    host.vcpus -= sign * machine.vcpus;
    host.memoryBytes -= sign * machine.memoryBytes;
    vcpus += sign * machine.vcpus;
    memoryBytes += sign * machine.memoryBytes;
  }
  return { chosenBy: chosenBy.percent, told: told.percent };
};

const traces = (): string => {
  const at = process.argv.indexOf('--traces');
  return at < 0 ? resolve(import.meta.dirname, '../../../shared/data/vm-traces') : resolve(process.argv[at + 1] ?? '');
};

/** How densely public traces are packed, against first-fit, best-fit, and one who knows when each machine will go. */
export const benchPacking = (): readonly Row[] => {
  const files = ['azure-packing-1pct-bernoulli-0.csv', 'azure-packing-1pct-batched-0.csv'];
  return files.flatMap((name): Row[] => {
    const file = join(traces(), name);
    if (!existsSync(file)) {
      progress(`no trace ${file}: name its folder with --traces`);
      return [];
    }
    progress(`packing ${name}`);
    const turns = read(file).filter(({ atMs }) => atMs <= START_MS + TOLD.toDay * DAY_MS);
    const { rule, gone } = ours();
    const hindsight = new Hindsight(turns.filter(({ comes }) => comes).map(({ machine }) => machine));
    const [first, best, mine, guessed, known] = [
      density(turns, firstFit),
      density(turns, bestFit),
      density(turns, rule, gone),
      density(
        turns,
        knowing((machine, atMs) => hindsight.endOf(machine, atMs)),
      ),
      density(
        turns,
        knowing(({ endMs }) => endMs),
      ),
    ];
    return (['chosenBy', 'told'] as const).flatMap((part): Row[] => {
      const what = `${name}, ${part === 'told' ? 'told' : 'chosen by'}`;
      const dense = { group: GROUP, what: `density, ${what}`, unit: '%', ours: mine[part] };
      const share = (density: number): number => ((density - first[part]) * 100) / (known[part] - first[part]);
      const gap = { group: GROUP, unit: '%' };
      return [
        rateRow({ ...dense, against: 'first fit', theirs: first[part], atLeast: 1 }),
        rateRow({ ...dense, against: 'best fit', theirs: best[part], atLeast: 1 }),
        rateRow({ ...dense, against: 'known lifetimes', theirs: known[part], atLeast: 0.98 }),
        floorRow({
          ...gap,
          what: `gap from first fit to known lifetimes, ${what}`,
          ours: share(mine[part]),
          floor: GAP_TARGET,
        }),
        shareRow({
          ...gap,
          what: `gap that hindsight over tenants and flavours closes, ${what}`,
          ours: share(guessed[part]),
          whole: 100,
        }),
      ];
    });
  });
};
