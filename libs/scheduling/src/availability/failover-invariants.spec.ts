import { HOSTNAME_LABEL, type PlacementRequest } from '@xenolith/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HostFacts } from '../host-table.js';
import { GIB } from '../scheduler.spec-fixture.js';
import type { Scenario } from './failover-planner.js';
import { ALWAYS, FailoverFleet, host, type Asked } from './failover.spec-fixture.js';

/** The rules of placement told once more, of plain lists: nothing of what the planner is made of. */
interface Placed {
  readonly name: string;
  readonly request: PlacementRequest;
  readonly host: string;
}

const labelOf = (facts: HostFacts, key: string): string | undefined => facts.labels?.[key];

const farKeys = ({ affinity }: PlacementRequest) =>
  affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];

const keepsAway = (one: PlacementRequest, other: PlacementRequest, at: HostFacts, there: HostFacts): boolean =>
  farKeys(one).some(({ labelSelector, topologyKey }) => {
    const meant = Object.entries(labelSelector.matchLabels ?? {}).every(
      ([key, value]) => other.labels?.[key] === value,
    );
    const place = labelOf(at, topologyKey);
    return meant && place !== undefined && place === labelOf(there, topologyKey);
  });

const agree = (one: Placed, other: Placed, hosts: ReadonlyMap<string, HostFacts>): boolean => {
  const [at, there] = [hosts.get(one.host), hosts.get(other.host)] as [HostFacts, HostFacts];
  const sameWord = one.request.antiAffinity !== undefined && one.request.antiAffinity === other.request.antiAffinity;
  if (sameWord && one.host === other.host) return false;
  return !keepsAway(one.request, other.request, at, there) && !keepsAway(other.request, one.request, there, at);
};

/** Why machines can't be where they are; null: they can. Only what was moved is held against rules: the rest was there before. */
const broken = (facts: readonly HostFacts[], placed: readonly Placed[], moved: ReadonlySet<string>): string | null => {
  const hosts = new Map(facts.map((one) => [one.name, one]));
  for (const [name, at] of hosts) {
    const there = placed.filter((one) => one.host === name);
    const sum = (of: (request: PlacementRequest) => number): number =>
      there.reduce((total, { request }) => total + of(request), 0);
    if (!there.some((one) => moved.has(one.name))) continue;
    if (at.unschedulable || !at.ready) return `${name} takes nobody`;
    if (sum(({ memoryBytes }) => memoryBytes) > at.memoryBytes) return `${name} lacks memory`;
    if (sum(({ vcpus }) => vcpus) > at.vcpus) return `${name} lacks vCPUs`;
    if (sum(({ resources }) => resources?.['gpu'] ?? 0) > (at.resources?.['gpu'] ?? 0)) return `${name} lacks gpus`;
  }
  for (const one of placed.filter(({ name }) => moved.has(name))) {
    const zone = one.request.hostSelector?.['zone'];
    if (zone !== undefined && labelOf(hosts.get(one.host) as HostFacts, 'zone') !== zone)
      return `${one.name} left ${zone}`;
    for (const other of placed)
      if (other.name !== one.name && !agree(one, other, hosts)) return `${one.name} and ${other.name} are too near`;
  }
  return null;
};

const SIZES = [1, 2, 3, 4, 5];
const asked: fc.Arbitrary<Asked> = fc
  .record({
    gib: fc.constantFrom(...SIZES),
    vcpus: fc.constantFrom(1, 1, 2, 4),
    rule: fc.constantFrom('none', 'none', 'none', 'word', 'far', 'rack', 'label', 'gpu', 'zone'),
    app: fc.constantFrom('a', 'b'),
    restart: fc.constantFrom('always', 'always', 'best-effort', 'never'),
  })
  .map(({ gib, vcpus, rule, app, restart }): Asked => {
    const far = (topologyKey: string) => ({
      virtualMachineAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector: { matchLabels: { app } }, topologyKey }],
      },
    });
    const rules: Record<typeof rule, Asked> = {
      none: {},
      word: { antiAffinity: app },
      far: { labels: { app }, affinity: far(HOSTNAME_LABEL) },
      rack: { labels: { app }, affinity: far('rack') },
      label: { labels: { app } },
      gpu: { resources: { gpu: 1 } },
      zone: { hostSelector: { zone: app } },
    };
    const ha = restart === 'never' ? undefined : { ...ALWAYS, restart };
    return { memoryBytes: gib * GIB, vcpus, ...rules[rule], ha };
  });

const facts = (number: number, gib: number): HostFacts =>
  host(`h${number}`, gib, {
    vcpus: 10,
    labels: { rack: `r${number % 3}`, zone: number % 2 === 0 ? 'a' : 'b' },
    resources: { gpu: number % 2 },
  });

const fleets = (most: number) =>
  fc.record({
    hosts: fc
      .array(fc.constantFrom(6, 9, 12), { minLength: 3, maxLength: most })
      .map((sizes) => sizes.map((gib, n) => facts(n, gib))),
    machines: fc.array(fc.tuple(asked, fc.nat()), { maxLength: most * 3 }),
  });

/** Puts machines where they break nothing; others are left out. */
const placeAll = (fleet: FailoverFleet, machines: readonly (readonly [Asked, number])[], first = 0): void => {
  for (const [number, [request, at]] of machines.entries()) {
    const { hosts } = fleet;
    for (let step = 0; step < hosts.length; step += 1) {
      const name = hosts[(at + step) % hosts.length]?.name ?? '';
      const trial = placedOn(fleet);
      const one = { name: `m${first + number}`, request: { ...trial.base, ...request }, host: name };
      if (broken(hosts, [...trial.placed, one], new Set([one.name]))) continue;
      fleet.place(one.name, name, request);
      break;
    }
  }
};

const placedOn = (fleet: FailoverFleet): { placed: Placed[]; base: PlacementRequest } => {
  const placed = [...fleet.machines].map(([name, { request, slot }]) => ({
    name,
    request,
    host: fleet.own.table.names[slot] ?? '',
  }));
  return { placed, base: { memoryBytes: GIB, vcpus: 1 } as PlacementRequest };
};

/** Machines where they count: those that move, where they go. */
const counted = (fleet: FailoverFleet): Placed[] =>
  placedOn(fleet).placed.filter(({ name }) => !fleet.machines.has(`${name}>`));

/** Begins a migration where that breaks nothing: both places are taken until it ends. */
const move = (fleet: FailoverFleet, at: number): void => {
  const { placed } = placedOn(fleet);
  const machine = placed[at % Math.max(1, placed.length)];
  const to = fleet.hosts[at % fleet.hosts.length]?.name ?? '';
  if (!machine || machine.host === to || placed.some(({ name }) => name === `${machine.name}>`)) return;
  if (machine.name.endsWith('>')) return;
  const name = `${machine.name}>`;
  const others = placed.filter((one) => one !== machine);
  if (broken(fleet.hosts, [...others, { ...machine, name, host: to }], new Set([name]))) return;
  fleet.place(name, to, { ...machine.request, exceptHost: machine.host });
};

/** Ends migrations: the machine is there, or stays where it was. */
const endMoves = (fleet: FailoverFleet, at: number): void => {
  for (const [number, name] of [...fleet.machines.keys()].filter((one) => one.endsWith('>')).entries())
    if (fleet.machines.has(name.slice(0, -1))) fleet.remove((at + number) % 3 === 0 ? name : name.slice(0, -1));
};

const lostNames = (fleet: FailoverFleet, { lost }: Scenario): string[] =>
  lost.map((slot) => fleet.own.table.names[slot] ?? '');

/** Plays a plan through: hosts go, machines end, and each is restarted where the plan says. */
const replay = (fleet: FailoverFleet, scenario: Scenario): string | null => {
  const { plan } = scenario;
  if (plan.verdict !== 'covered') return null;
  const lost = lostNames(fleet, scenario);
  const left = fleet.hosts.filter(({ name }) => !lost.includes(name));
  const ended = new Set(plan.evicted.map(({ placement }) => placement));
  const placed = counted(fleet);
  const dead = placed.filter((one) => lost.includes(one.host));
  const must = dead.filter(({ request }) => request.ha?.restart === 'always').map(({ name }) => name);
  const seats = plan.seats.map(({ machine, slot }) => ({
    name: machine.placement,
    request: machine.request,
    host: fleet.own.table.names[slot] ?? '',
  }));
  const moved = new Set(seats.map(({ name }) => name));
  if (must.sort().join() !== [...moved].sort().join()) return `restarts ${[...moved].join()} instead of ${must.join()}`;
  if (seats.some((seat) => lost.includes(seat.host))) return 'a machine is restarted on a lost host';
  if ([...ended].some((name) => placed.find((one) => one.name === name)?.request.ha?.restart === 'always'))
    return 'a machine that must run is ended';
  const staying = placed.filter((one) => !lost.includes(one.host) && !ended.has(one.name));
  return broken(left, [...staying, ...seats], moved);
};

/** Whether there is any way at all, found by trying every one. */
const solvable = (fleet: FailoverFleet, scenario: Scenario): boolean => {
  const lost = lostNames(fleet, scenario);
  const left = fleet.hosts.filter(({ name }) => !lost.includes(name));
  const placed = counted(fleet);
  const must = placed.filter((one) => lost.includes(one.host) && one.request.ha?.restart === 'always');
  const staying = placed.filter((one) => !lost.includes(one.host));
  const from = (index: number, there: readonly Placed[]): boolean => {
    const machine = must[index];
    if (!machine) return true;
    return left.some(({ name }) => {
      const next = [...there, { ...machine, host: name }];
      return broken(left, next, new Set([machine.name])) === null && from(index + 1, next);
    });
  };
  return from(0, staying);
};

const verdicts = (scenarios: Iterable<Scenario>): Record<string, string> =>
  Object.fromEntries([...scenarios].map(({ lost, plan }) => [lost.join(), plan.verdict]));

describe('plans for failovers', () => {
  it('exist just where trying all ways finds one, for any one host and any two', () => {
    fc.assert(
      fc.property(fleets(5), fc.constantFrom(1, 2), ({ hosts, machines }, hostFailures) => {
        const fleet = new FailoverFleet(hosts, { hostFailures });
        placeAll(fleet, machines);
        for (const scenario of fleet.planner.all())
          expect([scenario.lost, scenario.plan.verdict]).toEqual([
            scenario.lost,
            solvable(fleet, scenario) ? 'covered' : 'impossible',
          ]);
      }),
      { numRuns: 150 },
    );
  });

  it('break no rule and no capacity when they are played through, after whatever came and went', () => {
    fc.assert(
      fc.property(
        fleets(8),
        fc.array(fc.tuple(fc.constantFrom('place', 'remove', 'move', 'end', 'close', 'open', 'ask'), asked, fc.nat()), {
          maxLength: 40,
        }),
        fc.constantFrom('Never', 'LowerTiers'),
        ({ hosts, machines }, steps, eviction) => {
          const fleet = new FailoverFleet(hosts, { eviction });
          placeAll(fleet, machines);
          for (const [number, [what, request, at]] of steps.entries()) {
            const facts = fleet.hosts[at % fleet.hosts.length] as HostFacts;
            const names = [...fleet.machines.keys()];
            if (what === 'place') placeAll(fleet, [[request, at]], 1_000 + number);
            if (what === 'move') move(fleet, at);
            if (what === 'end') endMoves(fleet, at);
            if (what === 'remove') fleet.remove(names[at % Math.max(1, names.length)] ?? '');
            if (what === 'close' || what === 'open') fleet.change({ ...facts, unschedulable: what === 'close' });
            if (what === 'ask') for (const scenario of fleet.planner.all()) expect(replay(fleet, scenario)).toBeNull();
          }
          const anew = verdicts(fleet.anew().all());
          for (const scenario of fleet.planner.all()) {
            expect(replay(fleet, scenario)).toBeNull();
            const { verdict } = scenario.plan;
            expect([scenario.lost, verdict]).toEqual([scenario.lost, anew[scenario.lost.join()]]);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('let a machine in just where every loss that was covered stays so', () => {
    fc.assert(
      fc.property(fleets(5), asked, fc.nat(), ({ hosts, machines }, request, at) => {
        const fleet = new FailoverFleet(hosts);
        placeAll(fleet, machines);
        const before = verdicts(fleet.planner.all());
        const name = hosts[at % hosts.length]?.name ?? '';
        const { placed, base } = placedOn(fleet);
        const one = { name: 'new', request: { ...base, ...request }, host: name };
        fc.pre(broken(hosts, [...placed, one], new Set(['new'])) === null);
        const refused = fleet.refusal(name, request) !== null;
        fleet.place('new', name, request);
        const after = verdicts(fleet.planner.all());
        const lost = Object.keys(before).some((key) => before[key] === 'covered' && after[key] !== 'covered');
        const own = request.ha?.restart === 'always' && after[String(fleet.own.slot(name))] !== 'covered';
        expect(refused).toBe(lost || own);
      }),
      { numRuns: 200 },
    );
  });

  it('let a machine go just where every loss that was covered is so once it is there', () => {
    fc.assert(
      fc.property(fleets(5), fc.nat(), fc.nat(), ({ hosts, machines }, pick, at) => {
        const fleet = new FailoverFleet(hosts);
        placeAll(fleet, machines);
        const { placed } = placedOn(fleet);
        const machine = placed[pick % Math.max(1, placed.length)];
        const to = hosts[at % hosts.length]?.name ?? '';
        fc.pre(machine !== undefined && machine.host !== to);
        const name = `${machine.name}>`;
        const others = placed.filter((one) => one !== machine);
        fc.pre(broken(hosts, [...others, { ...machine, name, host: to }], new Set([name])) === null);
        const before = verdicts(fleet.planner.all());
        const asked = { ...machine.request, exceptHost: machine.host };
        const refused = fleet.refusal(to, asked) !== null;
        fleet.place(name, to, asked);
        const after = verdicts(fleet.planner.all());
        expect(after).toEqual(verdicts(fleet.anew().all()));
        const lost = Object.keys(before).some((key) => before[key] === 'covered' && after[key] !== 'covered');
        const [from, there] = [fleet.own.slot(machine.host), fleet.own.slot(to)].map(String) as [string, string];
        const unsure = before[from] === 'covered' && after[there] !== 'covered';
        expect(refused).toBe(lost || (machine.request.ha?.restart === 'always' && unsure));
      }),
      { numRuns: 300 },
    );
  });
});
