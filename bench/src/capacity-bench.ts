import { randomFrom } from '@xenolith/kernel';
import { COVERED, FailoverFleet, hostName, slotsOf } from './failover-fleet.js';
import { GIB, type Flavour } from './fleet.js';
import { runHcheck, runHspace, type Instance, type Node } from './htools.js';
import { cpuMs, floorRow, progress, rateRow, type Row } from './report.js';

const GROUP = 'scheduling';
const HOST_GIB = 64;
const HOST_THREADS = 128;
/** The tools are stopped after so long. */
const LIMIT_MS = 600_000;

interface Case {
  readonly hosts: number;
  readonly machines: number;
  /** A machine has up to so many GiB. */
  readonly gibMost: number;
}

interface Filled {
  readonly fleet: FailoverFleet;
  readonly nodes: readonly Node[];
  readonly instances: readonly Instance[];
}

const filled = ({ hosts, machines, gibMost }: Case): Filled => {
  const random = randomFrom(`capacity ${hosts}`);
  const fleet = new FailoverFleet(hosts, { hostFailures: 1, eviction: 'Never' }, HOST_GIB);
  const instances = Array.from({ length: machines }, (_, number): Instance[] => {
    const flavour = { vcpus: 1 + random.below(2), gib: 1 + random.below(gibMost) };
    const slot = slotsOf(fleet)
      .map((at) => (at + number) % hosts)
      .find((at) => fleet.freeGib(at) >= flavour.gib);
    if (slot === undefined) return [];
    const request = fleet.request(flavour);
    fleet.place(request, slot);
    const { memoryBytes, vcpus } = request;
    return [{ name: `vm-${number}`, memoryBytes, vcpus, node: hostName(slot) }];
  }).flat();
  const nodes = slotsOf(fleet).map((slot) => ({
    name: hostName(slot),
    memoryBytes: HOST_GIB * GIB,
    threads: HOST_THREADS,
  }));
  return { fleet, nodes, instances };
};

const missing = (tool: string): readonly Row[] => {
  progress(`!! ${tool} is not installed (Debian: apt-get install ganeti-htools): its rows are left out`);
  return [];
};

/** A fleet of which every host may be lost, and a fuller one. */
const CHECKED: readonly Case[] = [
  { hosts: 64, machines: 1_000, gibMost: 4 },
  { hosts: 16, machines: 265, gibMost: 6 },
];

const againstHcheck = (shape: Case): readonly Row[] => {
  const { hosts, machines } = shape;
  const what = `N+1 of ${hosts} hosts with ${machines.toLocaleString('en')} machines`;
  progress(`${what} against hcheck`);
  const { fleet, nodes, instances } = filled(shape);
  const run = runHcheck({ nodes, instances }, { limitMs: LIMIT_MS });
  if (!run) return missing('hcheck');
  const planner = fleet.anew();
  let covered = 0;
  const ours = cpuMs(() => (covered = [...planner.all()].filter(COVERED).length)) / 1_000;
  const ended = run.finished ? '' : ' (hcheck stopped)';
  return [
    rateRow({
      group: GROUP,
      what: `${what}, checks in a second of CPU${ended}`,
      ours: 1 / ours,
      against: 'hcheck',
      theirs: 1 / run.seconds,
      atLeast: 1,
    }),
    // It looks for no plan that seats more than its own greedy one does.
    floorRow({
      group: GROUP,
      what: `${what}, losses covered`,
      ours: covered,
      unit: 'of',
      floor: hosts - run.uncovered,
    }),
  ];
};

/** Machines are asked for on the emptiest host first until none takes one more. */
const moreOf = (fleet: FailoverFleet, flavour: Flavour, survives: boolean): number => {
  for (let count = 0; ; count += 1) {
    const request = fleet.request(flavour);
    const check = survives ? fleet.book.checkOf(request) : undefined;
    const slot = slotsOf(fleet)
      .filter((at) => fleet.freeGib(at) >= flavour.gib)
      .sort((left, right) => fleet.freeGib(right) - fleet.freeGib(left) || left - right)
      .find((at) => check === undefined || check.refusal(at) === null);
    if (slot === undefined) return count;
    fleet.place(request, slot);
  }
};

const SPACED: Case = { hosts: 20, machines: 150, gibMost: 8 };
const FLAVOURS: readonly Flavour[] = [
  { vcpus: 2, gib: 4 },
  { vcpus: 4, gib: 12 },
];

const againstHspace = (flavour: Flavour): readonly Row[] => {
  const { hosts, machines } = SPACED;
  const rows: Row[] = [];
  for (const survives of [true, false]) {
    const what = `${flavour.gib} GiB machines more on ${hosts} hosts with ${machines}${survives ? ', any may be lost' : ''}`;
    progress(`${what} against hspace`);
    const { fleet, nodes, instances } = filled(SPACED);
    const run = runHspace({ nodes, instances }, { ...flavour, survives, limitMs: LIMIT_MS });
    if (!run) return missing('hspace');
    const ours = moreOf(fleet, flavour, survives);
    rows.push(rateRow({ group: GROUP, what, ours, unit: '', against: 'hspace', theirs: run.more, atLeast: 1 }));
  }
  return rows;
};

/** How much more fits, and what may be lost, beside Ganeti's tools. */
export const benchCapacity = (): readonly Row[] => [
  ...CHECKED.flatMap(againstHcheck),
  ...FLAVOURS.flatMap(againstHspace),
];
