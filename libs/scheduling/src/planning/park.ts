import type { PlacementRequest, PowerManagementPolicy } from '@xenolith/contracts';
import { fitsOn } from '../filters.js';
import { PASSES } from '../request-class.js';
import { planConsolidation } from './consolidate.js';
import type { MovePlan } from './movement.js';
import { spareOf, spareText, sparesPercent, type Spare } from './spare.js';
import type { WhatIf } from './what-if.js';

/** Hosts of one plan: each costs a plan for all losses where failures are promised to be survived, and the next plan follows soon. */
const PARKED_AT_ONCE = 8;
/** So many percent more than is wanted must stay free when a host is parked, so that a little more load does not wake it again. */
const MARGIN_PERCENT = 5;
/** Plans that are made anew without hosts which it is no use to empty. */
const ROUNDS = 4;

export interface HostToPark {
  readonly host: string;
  readonly reason: string;
}

export interface ParkingAsked {
  readonly cluster: string;
  readonly policy: PowerManagementPolicy;
  /** Requests that wait for room. */
  readonly waiting: readonly PlacementRequest[];
  readonly maxMoves: number;
  /** Whether an empty host has been so for long enough. */
  readonly isIdle: (host: string) => boolean;
}

type Moves = MovePlan['moves'];

/** Whether the host is of a kind, and reaches what, the request asks for. */
const suits = (whatIf: WhatIf, request: PlacementRequest, slot: number): boolean =>
  whatIf.wishOf(request).class.verdict(whatIf.outlook.table, slot) === PASSES;

/** A machine that no host which stays on could take, whatever room there is. */
const stranded = (whatIf: WhatIf, open: readonly number[]): string | null => {
  const mine = whatIf.machines().filter(({ slot }) => slot >= 0 && !open.includes(slot));
  for (const { request } of mine) {
    const { host: _named, exceptHost: _left, ...anywhere } = request;
    if (open.some((slot) => suits(whatIf, anywhere, slot))) continue;
    const { namespace, name } = request.virtualMachine;
    return `${namespace}/${name} has to leave its host, and no other that stays on suits it`;
  }
  return null;
};

const needed = (why: string): { readonly needed: string } => ({ needed: why });

/** Why hosts are needed on, once machines have moved; or what is free on the others without them. `whatIf` is a copy of its own. */
const neededFor = (
  whatIf: WhatIf,
  { cluster, policy, waiting }: ParkingAsked,
  { moves, hosts }: { readonly moves: Moves; readonly hosts: readonly string[] },
): { readonly needed: string } | { readonly needed: null; readonly spare: Spare } => {
  const { table } = whatIf.outlook;
  for (const { placement, to } of moves) {
    const [machine, slot] = [whatIf.machine(placement), table.slotNamed(to)];
    if (machine && slot !== undefined) whatIf.move(machine, slot);
  }
  const closing = hosts.map((host) => table.slotNamed(host)).filter((slot) => slot !== undefined);
  for (const slot of closing) {
    if (whatIf.on(slot).length > 0 || (table.usedMemory[slot] ?? 0) > 0) return needed('machines are on it');
    if (waiting.some((request) => fitsOn(whatIf.outlook, slot, whatIf.wishOf(request))))
      return needed('a machine waits for it');
  }
  for (const slot of closing) whatIf.close(slot);
  const open = whatIf.slots(cluster).filter((slot) => table.isOpen(slot));
  if (open.length < policy.hostsKept) return needed(`${policy.hostsKept} hosts are to stay on`);
  const spare = spareOf(whatIf, open);
  if (!sparesPercent(spare, policy.sparePercent + MARGIN_PERCENT)) return needed(`only ${spareText(spare)} without it`);
  const promise = whatIf.guard.assessment(cluster);
  if (promise !== null && promise.state !== 'Protected') return needed(`without it ${promise.message}`);
  const left = stranded(whatIf, open);
  return left === null ? { needed: null, spare } : needed(left);
};

/** Those of the hosts, in their order, that nobody needs once the moves have been made. */
export const parkable = (
  copy: () => WhatIf,
  asked: ParkingAsked,
  { moves, hosts }: { readonly moves: Moves; readonly hosts: readonly string[] },
): readonly HostToPark[] => {
  const parks: HostToPark[] = [];
  const emptied = new Set(moves.map(({ from }) => from));
  for (const host of hosts) {
    if (parks.length === PARKED_AT_ONCE) break;
    const together = [...parks.map((park) => park.host), host];
    const found = neededFor(copy(), asked, { moves, hosts: together });
    if (found.needed !== null) continue;
    const why = emptied.has(host) ? 'its machines go to other hosts' : 'it is empty';
    parks.push({ host, reason: `${why}; ${spareText(found.spare)} without it` });
  }
  return parks;
};

/** Hosts whose emptying takes longer than they must have been idle to be parked: it costs more than it gains. */
const costly = ({ moves }: MovePlan, policy: PowerManagementPolicy): readonly string[] => {
  const seconds = new Map<string, number>();
  for (const { from, cost } of moves) seconds.set(from, (seconds.get(from) ?? 0) + cost.seconds);
  return [...seconds].filter(([, sum]) => sum > policy.idleSeconds).map(([host]) => host);
};

/** Hosts that are to be powered off, with the moves that empty them; no move serves anything else. */
export const planParking = (
  copy: () => WhatIf,
  asked: ParkingAsked,
): MovePlan & { readonly parked: readonly string[]; readonly parks: readonly HostToPark[] } => {
  const { cluster, maxMoves, policy } = asked;
  let spared: ReadonlySet<string> = new Set();
  for (let round = 1; ; round += 1) {
    if (round === ROUNDS) spared = new Set(everyHost(copy(), cluster));
    const plan = planConsolidation(copy(), { cluster, maxMoves, spared });
    const emptied = new Set(plan.moves.map(({ from }) => from));
    // The last of them stay on: people look at the first.
    const idle = plan.parked.filter((host) => !emptied.has(host) && asked.isIdle(host)).reverse();
    const hosts = [...idle, ...plan.parked.filter((host) => emptied.has(host))];
    const parks = parkable(copy, asked, { moves: plan.moves, hosts });
    const used = new Set(parks.map(({ host }) => host));
    const vain = [...costly(plan, policy), ...[...emptied].filter((host) => !used.has(host))];
    if (vain.length === 0) return { ...plan, parks };
    spared = new Set([...spared, ...vain]);
  }
};

const everyHost = (whatIf: WhatIf, cluster: string): readonly string[] =>
  whatIf.slots(cluster).map((slot) => whatIf.nameOf(slot));
