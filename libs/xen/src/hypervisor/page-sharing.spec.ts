import { describe, expect, it } from 'vitest';
import {
  accountedPages,
  bootedHost,
  fillHost,
  freeHeapPages,
  heapPages,
  refusal,
  runningDomain,
  valueOf,
} from './hypervisor.spec-fixture.js';

describe('page sharing', () => {
  it('frees all but one frame of equal pages, until somebody writes', () => {
    const host = bootedHost();
    const domids = [1000, 1000, 1000].map((pages) => runningDomain(host, pages)) as [number, number, number];
    const free = freeHeapPages(host);
    valueOf(host.sharing.share(domids, 100, 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 200, usedFrames: 100 });
    expect(freeHeapPages(host)).toBe(free + 200);
    expect(valueOf(host.domains.info(domids[1], 0))).toMatchObject({ totalPages: 900, sharedPages: 100 });
    valueOf(host.sharing.breakSharing(domids[0], 30, 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 170, usedFrames: 100 });
    expect(freeHeapPages(host)).toBe(free + 170);
    // The last one on a frame keeps it.
    valueOf(host.sharing.breakSharing(domids[1], 100, 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 70, usedFrames: 100 });
    valueOf(host.domains.destroy(domids[0], 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 0, usedFrames: 100 });
    valueOf(host.sharing.breakSharing(domids[2], 100, 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 0, usedFrames: 0 });
    expect(valueOf(host.domains.info(domids[2], 0))).toMatchObject({ totalPages: 1000, sharedPages: 0 });
    expect(accountedPages(host)).toEqual(heapPages(host));
  });

  it('takes those in that turn out to have the same, frames of the most domains first', () => {
    const host = bootedHost();
    const [a, b, c, d] = [1000, 1000, 1000, 150].map((pages) => runningDomain(host, pages)) as [
      number,
      number,
      number,
      number,
    ];
    valueOf(host.sharing.share([a, b, c], 100, 0));
    valueOf(host.sharing.share([a, b], 50, 0));
    const free = freeHeapPages(host);
    expect(valueOf(host.sharing.join(d, a, 120, 0))).toBe(120);
    expect(host.sharing.counts()).toEqual({ freedPages: 370, usedFrames: 150 });
    expect(freeHeapPages(host)).toBe(free + 120);
    expect(valueOf(host.sharing.join(d, a, 30, 0))).toBe(30);
    expect(valueOf(host.sharing.join(c, a, 1000 - 100, 0))).toBe(50);
    expect(host.sharing.join(d, a, 1, 0)).toEqual(refusal('EINVAL'));
    // Those that only few have are written to first.
    valueOf(host.sharing.breakSharing(c, 10, 0));
    valueOf(host.sharing.breakSharing(d, 150, 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 290, usedFrames: 150 });
    expect(host.sharing.join(runningDomain(host, 9, 'pv'), a, 1, 0)).toEqual(refusal('ENODEV'));
    expect(accountedPages(host)).toEqual(heapPages(host));
  });

  it('leaves the balloon of a guest where it counts what it shares too', () => {
    const host = bootedHost();
    const [a, b] = [runningDomain(host, 1000), runningDomain(host, 1000)];
    valueOf(host.sharing.share([a, b], 300, 0));
    const target = { targetPages: 900, floorPages: 500, ratePagesPerSecond: 100 };
    valueOf(host.memory.setBalloonTarget(a, target, 0));
    expect(host.memory.guestPages(a, 9_000_000)).toBe(900);
    host.advance(9_000_000);
    valueOf(host.memory.setBalloonTarget(a, { ...target, targetPages: 0 }, 9_000_000));
    expect(host.memory.guestPages(a, 99_000_000)).toBe(500);
  });

  it('needs hardware-assisted paging, no pass-through, and two domains that have the pages', () => {
    const host = bootedHost();
    const hvm = runningDomain(host, 100, 'hvm');
    expect(host.sharing.share([hvm, runningDomain(host, 100, 'pv')], 1, 0)).toEqual(refusal('ENODEV'));
    const settings = { type: 'hvm', handle: '', maxVcpus: 1, iommu: true } as const;
    expect(host.sharing.share([hvm, valueOf(host.domains.create(settings, 0))], 1, 0)).toEqual(refusal('EXDEV'));
    expect(host.sharing.share([hvm, hvm], 1, 0)).toEqual(refusal('EINVAL'));
    expect(host.sharing.share([hvm, runningDomain(host, 10)], 11, 0)).toEqual(refusal('EINVAL'));
    expect(host.sharing.breakSharing(hvm, 1, 0)).toEqual(refusal('EINVAL'));
  });

  it('cannot be broken on a full host', () => {
    const host = bootedHost();
    const [a, b] = [runningDomain(host, 100), runningDomain(host, 100)];
    valueOf(host.sharing.share([a, b], 50, 0));
    fillHost(host, 10);
    expect(host.sharing.breakSharing(a, 11, 0)).toEqual(refusal('ENOMEM'));
    valueOf(host.sharing.breakSharing(a, 10, 0));
    expect(host.sharing.counts()).toEqual({ freedPages: 40, usedFrames: 50 });
  });
});
