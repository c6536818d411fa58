import type { PlacementRequest } from '@xenolith/contracts';
import { randomFrom } from '@xenolith/kernel';
import { planBalance, WhatIf, type Move } from '@xenolith/scheduling';
import { BenchFleet, flavourOf, GIB, hostDocument, START_MS } from './fleet.js';
import { runHbal, type Instance, type Node } from './htools.js';
import { atMostRow, cpuMs, limitRow, progress, type Row } from './report.js';

const GROUP = 'scheduling';
const OVERCOMMIT = 4;
const SHAPE = { threads: 64, memoryBytes: 256 * GIB, nodes: 1, features: [] };
/** hbal needs more than this for the larger case: what it has come to by then is compared. */
const PEER_LIMIT_MS = 60_000;
/** It goes on for as long as it gains anything, as we do. */
const THOROUGH = ['--min-gain', '0.0001', '--min-gain-limit', '0.0001'];
/** Plans of the same fleet; the fastest counts, as the machine may do other things meanwhile. */
const PLANNED = 3;
const LIMIT_SECONDS = 1;

interface Case {
  readonly hosts: number;
  readonly machines: number;
}

const CASES: readonly Case[] = [
  { hosts: 20, machines: 300 },
  { hosts: 64, machines: 1_000 },
];

/** A fleet of which a third of the hosts has most machines. */
const unevenFleet = ({ hosts, machines }: Case): BenchFleet => {
  const random = randomFrom(`rebalance ${hosts}`);
  const documents = Array.from({ length: hosts }, (_, number) => hostDocument(`host-${number}`, SHAPE));
  const fleet = new BenchFleet('balance', documents, OVERCOMMIT);
  for (let number = 0; number < machines; number += 1) {
    const { vcpus, gib } = flavourOf(random);
    const name = `vm-${number}`;
    const request: PlacementRequest = {
      virtualMachine: { uid: name, name, namespace: 'bench' },
      hypervisor: 'any',
      guestType: 'pv',
      vcpus,
      memoryBytes: gib * GIB,
    };
    const skewed = Math.min(hosts - 1, Math.floor(-Math.log(1 - random.next()) * (hosts / 3)));
    const asked = { ...request, host: `host-${skewed}` };
    const found = fleet.propose(name, asked, START_MS);
    const other = found.fits ? found : fleet.propose(name, request, START_MS);
    if (other.fits) fleet.placed(name, request, other, { atMs: START_MS });
  }
  return fleet;
};

const clusterOf = (whatIf: WhatIf): { readonly nodes: readonly Node[]; readonly instances: readonly Instance[] } => ({
  nodes: whatIf.slots().map((slot) => ({ ...SHAPE, name: whatIf.nameOf(slot) })),
  instances: whatIf.machines().map(({ request, slot }) => ({
    name: request.virtualMachine.name,
    memoryBytes: request.memoryBytes,
    vcpus: request.vcpus,
    node: whatIf.nameOf(slot),
  })),
});

const carryOut = (whatIf: WhatIf, moves: readonly Move[]): void => {
  for (const { placement, to } of moves) {
    const [machine, slot] = [whatIf.machine(placement), whatIf.outlook.table.slotNamed(to)];
    if (machine && slot !== undefined) whatIf.move(machine, slot);
  }
};

/** The last score that hbal prints of its moves. */
const lastScore = (output: string): number =>
  Number(
    [...output.matchAll(/ (\d+\.\d+) a=/g)].at(-1)?.[1] ?? /score[^\d]*(\d+\.\d+)/i.exec(output)?.[1] ?? Number.NaN,
  );

const compared = (shape: Case): readonly Row[] => {
  const what = `balance, ${shape.hosts} hosts, ${shape.machines.toLocaleString('en')} machines`;
  progress(what);
  const fleet = unevenFleet(shape);
  // hbal counts no cost of a migration: for us they are free, too.
  const load = (_placement: string, { vcpus }: PlacementRequest) => ({
    cpu: vcpus / OVERCOMMIT,
    memoryBytes: 0,
    dirtyBytesPerSecond: 0,
    measured: true,
  });
  const whatIf = WhatIf.of(fleet.index, { load });
  const before = clusterOf(whatIf);
  const plan = (): { readonly moves: readonly Move[]; readonly seconds: number } => {
    let moves: readonly Move[] = [];
    const ms = cpuMs(() => {
      ({ moves } = planBalance(WhatIf.of(fleet.index, { load }), { cluster: 'default', minGain: 0.002 }));
    });
    return { moves, seconds: ms / 1_000 };
  };
  const plans = Array.from({ length: PLANNED }, plan);
  const seconds = Math.min(...plans.map((made) => made.seconds));
  const moves = plans[0]?.moves ?? [];
  carryOut(whatIf, moves);
  const limited = limitRow({
    group: GROUP,
    what: `${what}: plan`,
    ours: seconds,
    unit: 's of CPU',
    limit: LIMIT_SECONDS,
  });
  const peer = runHbal(before, { words: THOROUGH, limitMs: PEER_LIMIT_MS });
  const judged = runHbal(clusterOf(whatIf), { words: ['-l', '0'], limitMs: PEER_LIMIT_MS });
  if (!peer || !judged) {
    progress('hbal is not installed, so nothing is compared with it (Debian: apt install ganeti-htools)');
    return [limited];
  }
  const ended = peer.finished ? 'hbal' : `hbal, stopped after ${PEER_LIMIT_MS / 1_000} s`;
  const score = Number(/Initial score: (\d+\.\d+)/.exec(judged.output)?.[1] ?? Number.NaN);
  const peerMoves = peer.output.match(/ a=/g)?.length ?? 0;
  return [
    limited,
    atMostRow({
      group: GROUP,
      what: `${what}: plan`,
      ours: seconds,
      unit: 's of CPU',
      against: ended,
      theirs: peer.seconds,
      atMost: 1,
    }),
    atMostRow({
      group: GROUP,
      what: `${what}: hbal’s score`,
      ours: score,
      unit: '',
      against: ended,
      theirs: lastScore(peer.output),
      atMost: 1,
    }),
    atMostRow({
      group: GROUP,
      what: `${what}: moves`,
      ours: moves.length,
      unit: '',
      against: ended,
      theirs: peerMoves,
      atMost: Number.POSITIVE_INFINITY,
    }),
  ];
};

/** Plans of rebalancing against Ganeti's hbal, judged by hbal's own score. */
export const benchRebalancing = (): readonly Row[] => CASES.flatMap(compared);
