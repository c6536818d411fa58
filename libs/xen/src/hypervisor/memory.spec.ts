import { memoryOverheadBytes } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allocatableBytesOf, controlDomainOf, HARDWARE_PROFILES } from '../hardware-profile.js';
import { createHypervisor, Hypervisor } from './hypervisor.js';
import {
  accountedPages,
  bootedHost,
  fillHost,
  freeHeapPages,
  heapPages,
  refusal,
  runningDomain,
  TWO_NODES,
  valueOf,
} from './hypervisor.spec-fixture.js';
import { levelDown, planAllocation } from './node-memory.js';
import { sum } from './state.js';

const S = 1_000_000;
const GIBIBYTE_PAGES = 262_144;

/** A domain without memory that may have up to `maxPages`. */
const emptyDomain = (host: Hypervisor, maxPages: number): number => {
  const domid = runningDomain(host, 0);
  valueOf(host.memory.setMaxMemory(domid, maxPages * 4096));
  return domid;
};

describe('the memory of a host', () => {
  it.each(Object.entries(HARDWARE_PROFILES))('leaves to guests of %s what the profile says', (_name, profile) => {
    const host = bootedHost(profile, { dom0: controlDomainOf(profile) });
    expect(host.physicalInfo(0).freePages * 4096).toBe(allocatableBytesOf(profile));
    expect(valueOf(host.domains.info(0, 0)).totalPages * 4096).toBe(controlDomainOf(profile).memoryBytes);
    expect(accountedPages(host)).toEqual(heapPages(host));
  });

  it('gives Dom0 what there is where it was promised more', () => {
    const host = bootedHost(TWO_NODES, { dom0: { vcpus: 1, memoryBytes: 2 ** 45 } });
    expect(freeHeapPages(host)).toBe(0);
  });
});

describe('populating a domain', () => {
  it('stops at its maximum and at the end of the host', () => {
    const host = bootedHost();
    const domid = emptyDomain(host, 100);
    expect(host.memory.populate(domid, { pages: 101 }, 0)).toEqual(refusal('E2BIG'));
    valueOf(host.memory.populate(domid, { pages: 100 }, 0));
    const large = emptyDomain(host, 100 * GIBIBYTE_PAGES);
    const free = freeHeapPages(host);
    expect(host.memory.populate(large, { pages: free + 1 }, 0)).toEqual(refusal('ENOMEM'));
    expect(freeHeapPages(host)).toBe(free);
    expect(valueOf(host.memory.populateUpTo(large, { pages: free + 1 }, 0))).toBe(free);
    expect(host.memory.populate(domid, { pages: 1 }, 0)).toEqual(refusal('E2BIG'));
    expect(valueOf(host.memory.populateUpTo(domid, { pages: 1 }, 0))).toBe(0);
  });

  it('may leave it above a maximum that was lowered, and gives it no more', () => {
    const host = bootedHost();
    const domid = emptyDomain(host, 100);
    valueOf(host.memory.populate(domid, { pages: 100 }, 0));
    valueOf(host.memory.setMaxMemory(domid, 50 * 4096 + 4095));
    expect(valueOf(host.domains.info(domid, 0))).toMatchObject({ totalPages: 100, maxPages: 50 });
    expect(host.memory.populate(domid, { pages: 1 }, 0)).toEqual(refusal('E2BIG'));
    expect(valueOf(host.memory.decreaseReservation(domid, 60, 0))).toBe(60);
    valueOf(host.memory.populate(domid, { pages: 10 }, 0));
  });

  it('sets the exact overhead aside, once, whatever its claim', () => {
    const host = bootedHost();
    const domid = emptyDomain(host, GIBIBYTE_PAGES);
    const free = freeHeapPages(host);
    const size = { staticMaxBytes: 2 ** 30 };
    valueOf(host.memory.claim(domid, 1000, 0));
    valueOf(host.memory.setOverhead(domid, size, 0));
    valueOf(host.memory.setOverhead(domid, size, 0));
    const overhead = memoryOverheadBytes({ guestType: 'pvh', vcpus: 2, ...size }) / 4096;
    expect(freeHeapPages(host)).toBe(free - overhead);
    expect(valueOf(host.domains.info(domid, 0))).toMatchObject({ overheadPages: overhead, outstandingPages: 1000 });
    valueOf(host.memory.setOverhead(domid, { staticMaxBytes: 2 ** 20 }, 0));
    expect(freeHeapPages(host)).toBeGreaterThan(free - overhead);
    expect(accountedPages(host)).toEqual(heapPages(host));
    fillHost(host, 1000);
    expect(host.memory.setOverhead(domid, { staticMaxBytes: 2 ** 40 }, 0)).toEqual(refusal('ENOMEM'));
  });
});

describe('claims', () => {
  it('keep memory for one domain until it has it', () => {
    const host = bootedHost();
    fillHost(host, 1000);
    const claimer = emptyDomain(host, 900);
    const other = emptyDomain(host, 900);
    valueOf(host.memory.claim(claimer, 800, 0));
    expect(host.physicalInfo(0)).toMatchObject({ freePages: 1000, outstandingPages: 800 });
    expect(host.memory.populate(other, { pages: 201 }, 0)).toEqual(refusal('ENOMEM'));
    expect(host.memory.claim(other, 201, 0)).toEqual(refusal('ENOMEM'));
    valueOf(host.memory.populate(other, { pages: 200 }, 0));
    expect(host.memory.populate(claimer, { pages: 801 }, 0)).toEqual(refusal('ENOMEM'));
    valueOf(host.memory.populate(claimer, { pages: 500 }, 0));
    expect(valueOf(host.domains.info(claimer, 0)).outstandingPages).toBe(300);
    valueOf(host.domains.destroy(claimer, 0));
    expect(host.physicalInfo(0)).toMatchObject({ freePages: 800, outstandingPages: 0 });
  });

  it('are one at a time, above what the domain has and within its maximum', () => {
    const host = bootedHost();
    const domid = emptyDomain(host, 100);
    valueOf(host.memory.populate(domid, { pages: 10 }, 0));
    for (const pages of [10, 101]) expect(host.memory.claim(domid, pages, 0)).toEqual(refusal('EINVAL'));
    valueOf(host.memory.claim(domid, 11, 0));
    expect(host.memory.claim(domid, 12, 0)).toEqual(refusal('EINVAL'));
    valueOf(host.memory.claim(domid, 0, 0));
    valueOf(host.memory.claim(domid, 100, 0));
    expect(host.physicalInfo(0).outstandingPages).toBe(90);
  });
});

describe('memory of several nodes', () => {
  const nodesOf = (host: Hypervisor, domid: number): readonly number[] => host.state.domains[domid]?.pages ?? [];

  it('comes from all of them in turn, two mebibytes each time', () => {
    const host = bootedHost(TWO_NODES);
    const domid = emptyDomain(host, 10_000);
    valueOf(host.memory.populate(domid, { pages: 3 * 512 + 7 }, 0));
    expect(nodesOf(host, domid)).toEqual([1024, 519]);
  });

  it('comes from the nodes of the vCPUs first, and then from others', () => {
    const host = bootedHost(TWO_NODES);
    const domid = emptyDomain(host, 10 ** 8);
    for (const vcpu of [0, 1]) valueOf(host.vcpus.setAffinity(domid, vcpu, { soft: [[16, 31]] }));
    expect(valueOf(host.vcpus.nodeAffinity(domid))).toEqual([1]);
    const onSecond = host.state.nodes[1]?.freePages ?? 0;
    valueOf(host.memory.populate(domid, { pages: onSecond + 5 }, 0));
    expect(nodesOf(host, domid)).toEqual([5, onSecond]);
  });

  it('comes from the node of the request, exactly if that is asked for', () => {
    const host = bootedHost(TWO_NODES);
    const domid = emptyDomain(host, 10 ** 8);
    const onFirst = host.state.nodes[0]?.freePages ?? 0;
    valueOf(host.memory.populate(domid, { pages: onFirst - 10, node: 0 }, 0));
    expect(host.memory.populate(domid, { pages: 20, node: 0, exactNode: true }, 0)).toEqual(refusal('ENOMEM'));
    valueOf(host.memory.populate(domid, { pages: 20, node: 0 }, 0));
    expect(nodesOf(host, domid)).toEqual([onFirst, 10]);
    expect(host.memory.populate(domid, { pages: 1, node: 2 }, 0)).toEqual(refusal('EINVAL'));
  });

  it('is taken page by page, each from the fullest node', () => {
    const counts = fc.array(fc.nat(40), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(counts, fc.nat(220), fc.nat(220), (start, first, second) => {
        const slowly = [...start];
        for (let page = 0; page < first && sum(slowly) > 0; page += 1) {
          const fullest = slowly.indexOf(Math.max(...slowly));
          slowly[fullest] = (slowly[fullest] ?? 0) - 1;
        }
        expect(levelDown(start, first)).toEqual(slowly);
        expect(levelDown(levelDown(start, first), second)).toEqual(levelDown(start, first + second));
      }),
    );
  });

  it('is given as if extent by extent', () => {
    const free = fc.array(fc.nat(5000), { minLength: 2, maxLength: 4 });
    fc.assert(
      fc.property(free, fc.nat(12_000), fc.nat(3), fc.boolean(), (nodes, pages, preferredCount, exact) => {
        const heaps = nodes.map((freePages) => ({ heapPages: freePages, freePages }));
        const preferred = nodes.map((_, node) => node).slice(0, 1 + (preferredCount % nodes.length));
        const plan = planAllocation(heaps, pages, { preferred, lastNode: -1, exact });
        const possible = exact ? sum(preferred.map((node) => nodes[node] ?? 0)) : sum(nodes);
        expect(plan.pages).toBe(Math.min(pages, possible));
        expect(sum(plan.taken)).toBe(plan.pages);
        plan.taken.forEach((taken, node) => {
          expect(taken).toBeLessThanOrEqual(nodes[node] ?? 0);
          const others = preferred.filter((other) => (plan.taken[other] ?? 0) < (nodes[other] ?? 0));
          // While a preferred node has memory, no other gives any, and the preferred ones give alike.
          if (!preferred.includes(node) && taken > 0) expect(others).toEqual([]);
          if (others.includes(node))
            for (const other of preferred) expect((plan.taken[other] ?? 0) - taken).toBeLessThanOrEqual(512);
        });
      }),
    );
  });
});

describe('a balloon', () => {
  const rate = 1000;
  const ballooned = (pages: number, maxPages = pages): { host: Hypervisor; domid: number } => {
    const host = bootedHost();
    const domid = emptyDomain(host, maxPages);
    valueOf(host.memory.populate(domid, { pages }, 0));
    return { host, domid };
  };
  const target = (targetPages: number, floorPages = 0) => ({ targetPages, floorPages, ratePagesPerSecond: rate });
  const pagesAt = (host: Hypervisor, domid: number, nowUs: number): number =>
    valueOf(host.memory.totalPages(domid, nowUs));

  it('gives memory back at its rate, to others too', () => {
    const { host, domid } = ballooned(10_000);
    const free = host.physicalInfo(0).freePages;
    valueOf(host.memory.setBalloonTarget(domid, target(4000), 0));
    expect([0, 1, 2.5, 6, 99].map((second) => pagesAt(host, domid, second * S))).toEqual([
      10_000, 9000, 7500, 4000, 4000,
    ]);
    expect(host.physicalInfo(2 * S)).toMatchObject({ freePages: free + 2000, outstandingPages: 0 });
    expect(host.nextDueUs()).toBe(6 * S);
    expect(host.advance(5 * S)).toEqual([]);
    expect(host.advance(7 * S)).toEqual([{ what: 'ballooned', domid, pages: 4000, atUs: 6 * S }]);
    expect(host.nextDueUs()).toBeNull();
    expect(freeHeapPages(host)).toBe(free + 6000);
  });

  it('stops at what the guest uses, and at its maximum', () => {
    const { host, domid } = ballooned(10_000, 12_000);
    valueOf(host.memory.setBalloonTarget(domid, target(0, 9000), 0));
    expect(pagesAt(host, domid, 99 * S)).toBe(9000);
    valueOf(host.memory.setBalloonTarget(domid, target(50_000), 99 * S));
    expect(pagesAt(host, domid, 100 * S)).toBe(10_000);
    expect(host.advance(200 * S)).toEqual([{ what: 'ballooned', domid, pages: 12_000, atUs: 102 * S }]);
  });

  it('reserves what it will need, and shows it as outstanding', () => {
    const { host, domid } = ballooned(1000, 5000);
    const { freePages } = host.physicalInfo(0);
    valueOf(host.memory.setBalloonTarget(domid, target(5000), 0));
    expect(host.physicalInfo(S)).toMatchObject({ freePages: freePages - 1000, outstandingPages: 3000 });
    expect(sum(host.numaInfo(S).map((node) => node.freeBytes))).toBe((freePages - 1000) * 4096);
    expect(valueOf(host.domains.info(domid, S))).toMatchObject({ totalPages: 2000, outstandingPages: 0 });
    valueOf(host.memory.setBalloonTarget(domid, target(3000), S));
    expect(host.physicalInfo(9 * S)).toMatchObject({ freePages: freePages - 2000, outstandingPages: 0 });
  });

  it('fails to grow on a full host, asks again after 2, 4, 8, 16, 32 and 32 seconds, and goes on', () => {
    const { host, domid } = ballooned(1000, 5000);
    const filler = fillHost(host, 500);
    valueOf(host.memory.setBalloonTarget(domid, target(5000), 0));
    const asked: number[] = [];
    for (let due = host.nextDueUs(); due !== null && asked.length < 6; due = host.nextDueUs()) {
      asked.push(due / S);
      host.advance(due);
    }
    // It gets 500 pages in half a second and fails then.
    expect(asked).toEqual([2.5, 6.5, 14.5, 30.5, 62.5, 94.5]);
    expect(pagesAt(host, domid, 95 * S)).toBe(1500);
    valueOf(host.memory.decreaseReservation(filler, 3500, 100 * S));
    host.advance(126.5 * S);
    expect(pagesAt(host, domid, 127.5 * S)).toBe(2500);
    expect(host.advance(200 * S)).toEqual([{ what: 'ballooned', domid, pages: 5000, atUs: 130 * S }]);
  });

  it('grows by what another one gives back meanwhile', () => {
    const { host, domid } = ballooned(1000, 5000);
    const filler = fillHost(host, 0);
    const fillerPages = pagesAt(host, filler, 0);
    valueOf(host.memory.setBalloonTarget(filler, target(fillerPages - 4000), 0));
    valueOf(host.memory.setBalloonTarget(domid, target(5000), 0));
    host.advance(2 * S);
    expect(pagesAt(host, domid, 3 * S)).toBe(2000);
    expect(pagesAt(host, filler, 3 * S)).toBe(fillerPages - 3000);
    host.advance(20 * S);
    expect(pagesAt(host, domid, 20 * S)).toBe(5000);
    expect(accountedPages(host)).toEqual(heapPages(host));
  });

  it('rests while its domain is paused or shut down', () => {
    const { host, domid } = ballooned(10_000);
    valueOf(host.memory.setBalloonTarget(domid, target(0), 0));
    valueOf(host.domains.pause(domid, S));
    expect(pagesAt(host, domid, 9 * S)).toBe(9000);
    expect(host.nextDueUs()).toBeNull();
    valueOf(host.domains.unpause(domid, 9 * S));
    expect(pagesAt(host, domid, 10 * S)).toBe(8000);
    valueOf(host.domains.shutdown(domid, 2, 10 * S));
    expect(pagesAt(host, domid, 20 * S)).toBe(8000);
    valueOf(host.domains.resume(domid, 20 * S));
    expect(pagesAt(host, domid, 21 * S)).toBe(7000);
    valueOf(host.domains.destroy(domid, 21 * S));
    expect(host.nextDueUs()).toBeNull();
    expect(accountedPages(host)).toEqual(heapPages(host));
  });
});

type Step = { readonly afterUs: number; readonly domid: number; readonly pages: number } & {
  readonly do:
    | 'create'
    | 'populate'
    | 'populateUpTo'
    | 'decrease'
    | 'claim'
    | 'max'
    | 'overhead'
    | 'balloon'
    | 'pause'
    | 'unpause'
    | 'share'
    | 'join'
    | 'break'
    | 'transfer'
    | 'shutdown'
    | 'resume'
    | 'destroy';
};

const steps: fc.Arbitrary<Step> = fc.record({
  afterUs: fc.nat(4 * S),
  domid: fc.integer({ min: 1, max: 5 }),
  pages: fc.nat(2_000_000),
  do: fc.constantFrom(
    'create',
    'populate',
    'populateUpTo',
    'decrease',
    'claim',
    'max',
    'overhead',
    'balloon',
    'balloon',
    'balloon',
    'pause',
    'unpause',
    'share',
    'join',
    'break',
    'transfer',
    'shutdown',
    'resume',
    'destroy',
  ),
});

const perform = (host: Hypervisor, { do: what, domid, pages }: Step, nowUs: number): unknown => {
  const { domains, memory, sharing, grants, state } = host;
  const other = (domid % 5) + 1;
  switch (what) {
    case 'create': {
      const made = domains.create({ type: 'pvh', handle: '', maxVcpus: 1, domid }, nowUs);
      return made.ok ? [memory.setMaxMemory(domid, pages * 4096), domains.unpause(domid, nowUs)] : made;
    }
    case 'populate':
      return memory.populate(domid, { pages }, nowUs);
    case 'populateUpTo':
      return memory.populateUpTo(domid, { pages, node: pages % 2 }, nowUs);
    case 'decrease':
      return memory.decreaseReservation(domid, pages, nowUs);
    case 'claim':
      return memory.claim(domid, pages, nowUs);
    case 'max':
      return memory.setMaxMemory(domid, pages * 4096);
    case 'overhead':
      return memory.setOverhead(domid, { staticMaxBytes: pages * 4096 }, nowUs);
    case 'balloon':
      return memory.setBalloonTarget(domid, { targetPages: pages, floorPages: 99, ratePagesPerSecond: 77_777 }, nowUs);
    case 'pause':
      return domains.pause(domid, nowUs);
    case 'unpause':
      return domains.unpause(domid, nowUs);
    case 'share':
      return sharing.share([domid, other], pages % 1000, nowUs);
    case 'join':
      return sharing.join(domid, other, pages % 1000, nowUs);
    case 'break':
      return sharing.breakSharing(domid, pages % 1000, nowUs);
    case 'transfer': {
      if (!state.domains[domid] || !state.domains[other]) return null;
      const ref = grants.acceptTransfer(other, domid);
      return ref.ok ? grants.transfer(domid, other, ref.value, nowUs) : ref;
    }
    case 'shutdown':
      return domains.shutdown(domid, 2, nowUs);
    case 'resume':
      return domains.resume(domid, nowUs);
    case 'destroy':
      return domains.destroy(domid, nowUs, pages);
  }
};

/** A host of two nodes whose Dom0 leaves so little that the steps above come to its end. */
const tightHost = (): Hypervisor => {
  const heapBytes = allocatableBytesOf(TWO_NODES) + controlDomainOf(TWO_NODES).memoryBytes;
  return bootedHost(TWO_NODES, { dom0: { vcpus: 1, memoryBytes: heapBytes - 2_500_000 * 4096 } });
};

/** Applies a history; between its steps time goes on in one piece, or in pieces of `cutUs` with questions and a saved state between them. */
const lived = (history: readonly Step[], cutUs: number | null): { host: Hypervisor; answers: unknown[] } => {
  let host = tightHost();
  const answers: unknown[] = [];
  let nowUs = 0;
  for (const step of history) {
    const until = nowUs + step.afterUs;
    if (cutUs !== null)
      for (; nowUs + cutUs < until; nowUs += cutUs) {
        answers.push(...host.advance(nowUs));
        host.physicalInfo(nowUs);
        host.domains.list(nowUs);
        host = new Hypervisor(JSON.parse(JSON.stringify(host.state)) as Hypervisor['state']);
      }
    nowUs = until;
    answers.push(...host.advance(nowUs));
    answers.push(perform(host, step, nowUs));
    answers.push(host.physicalInfo(nowUs), host.numaInfo(nowUs), host.domains.list(nowUs));
  }
  return { host, answers };
};

describe('memory over random histories', () => {
  it('is never lost, never made and never below zero', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60 }), (history) => {
        const host = tightHost();
        let nowUs = 0;
        for (const step of history) {
          nowUs += step.afterUs;
          host.advance(nowUs);
          perform(host, step, nowUs);
          expect(accountedPages(host)).toEqual(heapPages(host));
          const { domains, nodes, claimedPages } = host.state;
          for (const node of nodes) expect(node.freePages).toBeGreaterThanOrEqual(0);
          for (const { pages } of Object.values(domains))
            for (const count of pages) expect(count).toBeGreaterThanOrEqual(0);
          expect(claimedPages).toBe(sum(Object.values(domains).map((domain) => domain.claimedPages)));
          expect(claimedPages).toBeLessThanOrEqual(freeHeapPages(host));
          const listed = sum(
            host.domains.list(nowUs).map(({ totalPages, overheadPages }) => totalPages + overheadPages),
          );
          const { freePages } = host.physicalInfo(nowUs);
          expect(freePages + listed + host.sharing.counts().usedFrames).toBe(sum(heapPages(host)));
          expect(sum(host.numaInfo(nowUs).map(({ freeBytes }) => freeBytes))).toBe(freePages * 4096);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('comes to the same however time is cut, asked about and saved', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 30 }), fc.integer({ min: 30_000, max: 3 * S }), (history, cutUs) => {
        const whole = lived(history, null);
        const pieces = lived(history, cutUs);
        expect(pieces.answers).toEqual(whole.answers);
        expect(pieces.host.state).toEqual(JSON.parse(JSON.stringify(whole.host.state)));
      }),
      { numRuns: 60 },
    );
  });

  it('is the same for the same host', () => {
    const options = {
      profile: TWO_NODES,
      limits: 'xen-4.20',
      scheduler: 'credit2',
      dom0: { vcpus: 4, memoryBytes: 2 ** 32 },
    } as const;
    expect(JSON.stringify(createHypervisor(options))).toBe(JSON.stringify(createHypervisor(options)));
  });
});
