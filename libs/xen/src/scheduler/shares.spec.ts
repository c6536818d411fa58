import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Credit2Simulation } from './credit2.js';
import { CreditSimulation } from './credit.js';
import { cpuShares } from './shares.js';
import type { DemandingDomain } from './shares.js';
import type { PcpuPlace, ScheduledDomain, SchedulerSimulation } from './simulation.js';

const SECOND_NS = 1_000_000_000;

const places = (count: number): readonly PcpuPlace[] =>
  Array.from({ length: count }, (_, core) => ({ core, socket: 0, node: 0 }));

const busy = (
  weight: number,
  cap: number,
  affinities: readonly (readonly number[] | undefined)[],
): DemandingDomain => ({
  weight,
  cap,
  vcpus: affinities.map((hardAffinity) => ({ demand: 1, ...(hardAffinity === undefined ? {} : { hardAffinity }) })),
});

const free = (count: number): undefined[] => Array.from({ length: count }, () => undefined);

const sharesOf = (pcpus: number, domains: readonly DemandingDomain[]): number[] =>
  cpuShares(pcpus, domains).flatMap((vcpus) => vcpus.map(({ share }) => share));

const expectClose = (actual: readonly number[], expected: readonly number[]): void => {
  expect(actual).toHaveLength(expected.length);
  expected.forEach((value, index) => expect(actual[index]).toBeCloseTo(value, 9));
};

describe('the shares that the schedulers settle at', () => {
  it('divides one pCPU by weight, as the man page says', () => {
    expectClose(sharesOf(1, [busy(512, 0, free(1)), busy(256, 0, free(1))]), [2 / 3, 1 / 3]);
    expectClose(
      sharesOf(
        1,
        [1, 2, 4].map((times) => busy(256 * times, 0, free(1))),
      ),
      [1 / 7, 2 / 7, 4 / 7],
    );
  });

  it('gives no vCPU more than one pCPU, and the rest to the others', () => {
    expectClose(
      sharesOf(
        2,
        [1, 2, 4].map((times) => busy(256 * times, 0, free(1))),
      ),
      [1 / 3, 2 / 3, 1],
    );
  });

  it('keeps a cap for the whole domain', () => {
    expectClose(sharesOf(1, [busy(256, 50, free(1)), busy(256, 0, free(1))]), [0.5, 0.5]);
    expectClose(sharesOf(4, [busy(256, 25, free(4)), busy(256, 0, free(4))]), [
      ...Array<number>(4).fill(0.0625),
      ...Array<number>(4).fill(0.9375),
    ]);
  });

  it('says why a vCPU does not run: its cap, or others', () => {
    const [capped, other] = cpuShares(1, [busy(256, 25, free(1)), busy(256, 0, free(1))]);
    expect(capped).toEqual([{ share: 0.25, steal: 0, parked: 0.75 }]);
    expect(other).toEqual([{ share: 0.75, steal: 0.25, parked: 0 }]);
  });

  it('lets a vCPU that asks for little have it', () => {
    const domains = [{ weight: 256, cap: 0, vcpus: [{ demand: 0.1 }] }, busy(256, 0, free(1))];
    expectClose(sharesOf(1, domains), [0.1, 0.9]);
  });

  it('fills pCPUs that only some vCPUs may use', () => {
    // Two are held to pCPU 0; the third has pCPU 1 for itself.
    expectClose(sharesOf(2, [busy(256, 0, [[0]]), busy(512, 0, [[0]]), busy(256, 0, free(1))]), [1 / 3, 2 / 3, 1]);
    // A chain: who may use pCPU 2 leaves pCPU 1 to who may not.
    expectClose(sharesOf(3, [busy(256, 0, [[0], [0, 1], [1, 2]])]), [1, 1, 1]);
    expectClose(sharesOf(3, [busy(256, 0, [[0], [0], [0, 1], [0, 1], [1, 2]])]), [0.5, 0.5, 0.5, 0.5, 1]);
  });

  const PCPUS = 4;
  const someDomain = fc.record({
    weight: fc.constantFrom(128, 256, 512, 1024),
    cap: fc.constantFrom(0, 0, 25, 60, 150),
    vcpus: fc.array(
      fc.record({
        demand: fc.constantFrom(0.1, 0.5, 1, 1),
        hardAffinity: fc.option(fc.subarray([0, 1, 2, 3], { minLength: 1 }), { nil: undefined }),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  });
  const someDomains = fc.array(someDomain, { minLength: 1, maxLength: 5 }).map((domains) =>
    domains.map((domain): DemandingDomain => ({
      ...domain,
      vcpus: domain.vcpus.map(({ demand, hardAffinity }) => ({
        demand,
        ...(hardAffinity === undefined ? {} : { hardAffinity }),
      })),
    })),
  );

  interface Want {
    readonly domain: number;
    readonly demand: number;
    readonly weight: number;
    readonly cap: number;
    readonly pcpus: readonly number[];
  }

  const wantsOf = (domains: readonly DemandingDomain[]): Want[] =>
    domains.flatMap(({ vcpus, weight, cap }, domain) =>
      vcpus.map(({ demand, hardAffinity }) => ({ domain, demand, weight, cap, pcpus: hardAffinity ?? [0, 1, 2, 3] })),
    );

  /** Room that is left for one vCPU, by every set of pCPUs (Hall's condition), its cap and its demand. */
  const roomFor = (wants: readonly Want[], shares: readonly number[], index: number): number => {
    const me = wants[index];
    if (me === undefined) return 0;
    let room = me.demand - (shares[index] ?? 0);
    if (me.cap > 0)
      room = Math.min(
        room,
        me.cap / 100 - wants.reduce((sum, it, i) => (it.domain === me.domain ? sum + (shares[i] ?? 0) : sum), 0),
      );
    for (let set = 0; set < 1 << PCPUS; set += 1) {
      if (!me.pcpus.every((pcpu) => (set >> pcpu) & 1)) continue;
      const size = [0, 1, 2, 3].filter((pcpu) => (set >> pcpu) & 1).length;
      const used = wants.reduce(
        (sum, it, i) => (it.pcpus.every((pcpu) => (set >> pcpu) & 1) ? sum + (shares[i] ?? 0) : sum),
        0,
      );
      room = Math.min(room, size - used);
    }
    return room;
  };

  /** An independent model: time in small grains; each goes to who has the least for its weight and still has room by brute force. */
  const grainwise = (wants: readonly Want[]): number[] => {
    const GRAIN = 1 / 400;
    const shares = wants.map(() => 0);
    for (;;) {
      let best = -1;
      wants.forEach((want, index) => {
        if (roomFor(wants, shares, index) < GRAIN - 1e-9) return;
        if (best === -1 || (shares[index] ?? 0) / want.weight < (shares[best] ?? 0) / (wants[best]?.weight ?? 1))
          best = index;
      });
      if (best === -1) return shares;
      shares[best] = (shares[best] ?? 0) + GRAIN;
    }
  };

  it('is feasible, leaves nothing that anybody could use, and is what filling grain by grain gives', () => {
    fc.assert(
      fc.property(someDomains, (domains) => {
        const wants = wantsOf(domains);
        const shares = sharesOf(PCPUS, domains);
        wants.forEach((_, index) => {
          const room = roomFor(wants, shares, index);
          expect(room).toBeGreaterThan(-1e-6);
          expect(room).toBeLessThan(1e-6 + (shares[index] === wants[index]?.demand ? 1 : 0));
        });
        const expected = grainwise(wants);
        shares.forEach((share, index) => expect(Math.abs(share - (expected[index] ?? 0))).toBeLessThan(0.03));
      }),
      { numRuns: 60 },
    );
  });

  it('does not depend on the order of domains', () => {
    fc.assert(
      fc.property(someDomains, (domains) => {
        const forwards = cpuShares(PCPUS, domains)
          .flat()
          .map(({ share }) => share);
        const backwards = cpuShares(PCPUS, domains.toReversed())
          .toReversed()
          .flat()
          .map(({ share }) => share);
        expectClose(backwards, forwards);
      }),
    );
  });

  const simulated = (simulation: SchedulerSimulation, seconds: number): number[] => {
    simulation.runFor(seconds * SECOND_NS);
    return simulation.vcpuTimes().map(({ runNs }) => runNs / seconds / SECOND_NS);
  };
  const asScheduled = (domains: readonly DemandingDomain[]): ScheduledDomain[] =>
    domains.map((domain, domid) => ({
      ...domain,
      domid,
      vcpus: domain.vcpus.map((vcpu) => ({ ...vcpu, workload: { kind: 'busy' } as const })),
    }));
  const perDomain = (domains: readonly DemandingDomain[], shares: readonly number[]): number[] => {
    let at = 0;
    return domains.map(({ vcpus }) => {
      const sum = shares.slice(at, at + vcpus.length).reduce((total, share) => total + share, 0);
      at += vcpus.length;
      return sum;
    });
  };

  const SCENES: readonly (readonly [string, number, readonly DemandingDomain[]])[] = [
    ['equal weights', 4, [busy(256, 0, free(4)), busy(256, 0, free(4)), busy(256, 0, free(4))]],
    ['two to one', 1, [busy(512, 0, free(1)), busy(256, 0, free(1))]],
    ['a heavy vCPU alone', 2, [busy(256, 0, free(1)), busy(512, 0, free(1)), busy(1024, 0, free(1))]],
    ['a small cap', 4, [busy(256, 25, free(1)), busy(256, 0, free(4))]],
    ['a large cap', 8, [busy(256, 400, free(8)), busy(256, 0, free(8))]],
    ['room for all', 8, [busy(256, 0, free(3)), busy(256, 0, free(4))]],
    ['pinned', 4, [0, 1, 2, 3].flatMap((pcpu) => [busy(256, 0, [[pcpu]]), busy(512, 0, [[pcpu]])])],
  ];
  it.each(SCENES)('equals both simulations within 1 % of the pool: $0', (_name, pcpus, domains) => {
    const expected = perDomain(domains, sharesOf(pcpus, domains));
    for (const Simulation of [CreditSimulation, Credit2Simulation]) {
      const simulation = Simulation.start({ places: places(pcpus), domains: asScheduled(domains) });
      const actual = perDomain(domains, simulated(simulation, 10));
      actual.forEach((share, index) => {
        expect(Math.abs(share - (expected[index] ?? 0)) / pcpus, Simulation.name).toBeLessThanOrEqual(0.01);
      });
    }
  });
});
