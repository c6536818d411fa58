import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GRANT_STATUS } from './grant-entries.js';
import type { GrantOutcome } from './grant-tables.js';
import {
  accountedPages,
  bootedHost,
  freeHeapPages,
  heapPages,
  runningDomain,
  SMALL,
  valueOf,
} from './hypervisor.spec-fixture.js';

const granted = <Value>(outcome: GrantOutcome<Value>): Value => {
  if (outcome.status !== 0) throw new Error(`refused with ${outcome.status}`);
  return outcome.value;
};
const refusal = (errno: string): object => ({ ok: false, errno });

describe('mapping a grant', () => {
  it('sets the reading and writing flags while it lasts', () => {
    const host = bootedHost();
    const owner = runningDomain(host, 10);
    const ref = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 3 }));
    // permit_access 1, reading 8, writing 16: public/grant_table.h.
    expect(host.grants.flags(owner, ref)).toBe(1);
    const reader = granted(host.grants.map(0, { granter: owner, ref, readonly: true }));
    expect(host.grants.flags(owner, ref)).toBe(1 + 8);
    const writer = granted(host.grants.map(0, { granter: owner, ref, readonly: false }));
    expect(host.grants.flags(owner, ref)).toBe(1 + 8 + 16);
    granted(host.grants.unmap(0, reader));
    expect(host.grants.flags(owner, ref)).toBe(1 + 8 + 16);
    granted(host.grants.unmap(0, writer));
    expect(host.grants.flags(owner, ref)).toBe(1);
  });

  it('keeps the owner from taking the entry back', () => {
    const host = bootedHost();
    const owner = runningDomain(host, 10);
    const ref = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 3 }));
    const handle = granted(host.grants.map(0, { granter: owner, ref, readonly: true }));
    expect(host.grants.endAccess(owner, ref)).toEqual(refusal('EBUSY'));
    granted(host.grants.unmap(0, handle));
    expect(host.grants.endAccess(owner, ref).ok).toBe(true);
    expect(host.grants.endAccess(owner, ref)).toEqual(refusal('EINVAL'));
    expect(host.grants.flags(owner, ref)).toBe(0);
    expect(host.grants.map(0, { granter: owner, ref, readonly: true }).status).toBe(GRANT_STATUS.general_error);
  });

  it('is refused with the status that Xen gives', () => {
    const host = bootedHost();
    const owner = runningDomain(host, 10);
    const other = runningDomain(host, 10);
    const ref = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 3, readonly: true }));
    const offer = valueOf(host.grants.acceptTransfer(owner, 0));
    const statusOf = (caller: number, granter: number, reference: number, readonly: boolean): number =>
      host.grants.map(caller, { granter, ref: reference, readonly }).status;
    expect(host.grants.flags(owner, ref)).toBe(1 + 4);
    expect(statusOf(0, 99, ref, true)).toBe(-2);
    expect(statusOf(0, owner, 512, true)).toBe(-3);
    expect(statusOf(other, owner, ref, true)).toBe(-1);
    expect(statusOf(0, owner, ref, false)).toBe(-1);
    expect(statusOf(0, owner, offer, true)).toBe(-1);
    expect(host.grants.unmap(0, 5).status).toBe(-4);
    expect(statusOf(0, owner, ref, true)).toBe(0);
    // A handle is the caller's own.
    expect(host.grants.unmap(other, 0).status).toBe(-4);
  });

  it('runs out of handles', () => {
    const host = bootedHost();
    const user = valueOf(host.domains.create({ type: 'pvh', handle: '', maxVcpus: 1, maxMaptrackFrames: 1 }, 0));
    const owner = runningDomain(host, 10);
    const ref = valueOf(host.grants.permitAccess(owner, { to: user, frame: 3 }));
    const use = { granter: owner, ref, readonly: true };
    for (let handle = 0; handle < 256; handle += 1) expect(granted(host.grants.map(user, use))).toBe(handle);
    expect(host.grants.map(user, use).status).toBe(-13);
    granted(host.grants.unmap(user, 17));
    expect(granted(host.grants.map(user, use))).toBe(17);
  });
});

describe('the table itself', () => {
  it('begins behind the reserved entries and grows to 64 frames of 512', () => {
    const host = bootedHost();
    const owner = runningDomain(host, 10);
    expect(valueOf(host.grants.permitAccess(owner, { to: 0, frame: 1, ref: 0 }))).toBe(0);
    expect(host.grants.permitAccess(owner, { to: 0, frame: 1, ref: 0 })).toEqual(refusal('EBUSY'));
    expect(host.grants.permitAccess(owner, { to: 0, frame: 1, ref: 64 * 512 })).toEqual(refusal('EINVAL'));
    expect(valueOf(host.grants.querySize(owner))).toEqual({ frames: 1, maxFrames: 64 });
    for (let ref = 8; ref < 64 * 512; ref += 1)
      expect(valueOf(host.grants.permitAccess(owner, { to: 0, frame: 1 }))).toBe(ref);
    expect(valueOf(host.grants.querySize(owner)).frames).toBe(64);
    expect(host.grants.permitAccess(owner, { to: 0, frame: 1 })).toEqual(refusal('ENOSPC'));
    valueOf(host.grants.endAccess(owner, 1234));
    expect(valueOf(host.grants.permitAccess(owner, { to: 0, frame: 1 }))).toBe(1234);
  });

  it('has 32 frames with Xen 4.0', () => {
    const host = bootedHost(SMALL, { limits: 'xen-4.0' });
    expect(valueOf(host.grants.querySize(runningDomain(host, 0, 'hvm'))).maxFrames).toBe(32);
  });

  it('keeps the reserved entries when its version changes, and refuses that while others are in use', () => {
    const host = bootedHost();
    const owner = runningDomain(host, 10);
    const console = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 1, ref: 0 }));
    const ref = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 2 }));
    granted(host.grants.map(0, { granter: owner, ref: console, readonly: false }));
    const handle = granted(host.grants.map(0, { granter: owner, ref, readonly: false }));
    expect(host.grants.setVersion(owner, 2)).toEqual(refusal('EBUSY'));
    granted(host.grants.unmap(0, handle));
    expect(host.grants.setVersion(owner, 3)).toEqual(refusal('EINVAL'));
    valueOf(host.grants.setVersion(owner, 2));
    expect([host.grants.flags(owner, console), host.grants.flags(owner, ref)]).toEqual([1 + 8 + 16, 0]);
  });
});

describe('copying by grants', () => {
  const copied = (
    host: ReturnType<typeof bootedHost>,
    caller: number,
    granter: number,
    ref: number,
  ): [number, number] => [
    host.grants.copy(caller, { source: { grant: { granter, ref }, offset: 0 }, dest: { offset: 0 }, bytes: 4096 })
      .status,
    host.grants.copy(caller, { source: { offset: 0 }, dest: { grant: { granter, ref }, offset: 96 }, bytes: 4000 })
      .status,
  ];

  it('reads and writes what it is allowed to, and holds nothing afterwards', () => {
    const host = bootedHost();
    const owner = runningDomain(host, 10);
    const both = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 3 }));
    const reading = valueOf(host.grants.permitAccess(owner, { to: 0, frame: 4, readonly: true }));
    expect(copied(host, 0, owner, both)).toEqual([0, 0]);
    expect(copied(host, 0, owner, reading)).toEqual([0, -1]);
    expect(copied(host, 0, owner, 400)).toEqual([-1, -1]);
    expect(copied(host, 0, owner, 600)).toEqual([-3, -3]);
    expect(copied(host, 0, 99, both)).toEqual([-2, -2]);
    for (const ref of [both, reading]) expect(host.grants.endAccess(owner, ref).ok).toBe(true);
  });

  it('stays within a page', () => {
    const ends = { source: { offset: 4000 }, dest: { offset: 0 } };
    expect(bootedHost().grants.copy(0, { ...ends, bytes: 97 }).status).toBe(-10);
    expect(bootedHost().grants.copy(0, { ...ends, bytes: 96 }).status).toBe(0);
  });

  it('follows one transitive grant, which cannot be mapped', () => {
    const host = bootedHost();
    const [owner, middle] = [runningDomain(host, 10), runningDomain(host, 10)];
    const ref = valueOf(host.grants.permitAccess(owner, { to: middle, frame: 3, readonly: true }));
    const pass = { to: 0, viaDomid: owner, viaRef: ref };
    expect(host.grants.permitTransitive(middle, pass)).toEqual(refusal('ENOSYS'));
    valueOf(host.grants.setVersion(middle, 2));
    const passed = valueOf(host.grants.permitTransitive(middle, pass));
    expect(copied(host, 0, middle, passed)).toEqual([0, -1]);
    expect(host.grants.map(0, { granter: middle, ref: passed, readonly: true }).status).toBe(-1);
    expect(host.grants.endAccess(owner, ref).ok).toBe(true);
    expect(copied(host, 0, middle, passed)).toEqual([-1, -1]);
  });
});

describe('transferring a page', () => {
  it('moves it to the domain that offered to take it, once', () => {
    const host = bootedHost();
    const [giver, taker] = [runningDomain(host, 10), runningDomain(host, 10)];
    const ref = valueOf(host.grants.acceptTransfer(taker, giver));
    expect(host.grants.transfer(giver, taker, ref, 0).status).toBe(-1);
    valueOf(host.memory.setMaxMemory(taker, 20 * 4096));
    const free = freeHeapPages(host);
    expect(host.grants.transfer(giver, taker, ref, 0).status).toBe(0);
    // accept_transfer 2, committed 4, completed 8.
    expect(host.grants.flags(taker, ref)).toBe(2 + 4 + 8);
    // The page of the refused attempt is lost to the giver, as in Xen.
    expect([valueOf(host.memory.totalPages(giver, 0)), valueOf(host.memory.totalPages(taker, 0))]).toEqual([8, 11]);
    expect(freeHeapPages(host)).toBe(free);
    expect(host.grants.transfer(giver, taker, ref, 0).status).toBe(-1);
    expect(host.grants.transfer(giver, 99, ref, 0).status).toBe(-2);
    expect(accountedPages(host)).toEqual(heapPages(host));
  });
});

type Move =
  | { do: 'map'; user: number; owner: number; ref: number; readonly: boolean }
  | { do: 'unmap'; pick: number }
  | { do: 'end'; owner: number; ref: number }
  | { do: 'destroy'; owner: number };

const moves: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('map'),
      user: fc.nat(3),
      owner: fc.nat(3),
      ref: fc.nat(5),
      readonly: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('unmap'), pick: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('end'), owner: fc.nat(3), ref: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('destroy'), owner: fc.integer({ min: 1, max: 3 }) }) },
);

describe('grants over random histories', () => {
  it('are never taken back while mapped, and zombies stay exactly as long as somebody maps their pages', () => {
    fc.assert(
      fc.property(fc.array(moves, { maxLength: 60 }), (history) => {
        const host = bootedHost();
        for (let guest = 1; guest <= 3; guest += 1) runningDomain(host, 20);
        // Each domain lets its neighbour have six of its pages, every second for reading only.
        const entries = new Set<string>();
        for (let owner = 0; owner <= 3; owner += 1)
          for (let ref = 0; ref < 6; ref += 1) {
            valueOf(host.grants.permitAccess(owner, { to: (owner + 1) % 4, frame: ref, readonly: ref % 2 === 1, ref }));
            entries.add(`${owner}/${ref}`);
          }
        let mappings: { user: number; owner: number; ref: number; handle: number }[] = [];
        const dead = new Set<number>();
        for (const move of history) {
          if (move.do === 'map' && !dead.has(move.user)) {
            const outcome = host.grants.map(move.user, { granter: move.owner, ref: move.ref, readonly: move.readonly });
            const allowed =
              !dead.has(move.owner) &&
              entries.has(`${move.owner}/${move.ref}`) &&
              move.user === (move.owner + 1) % 4 &&
              (move.readonly || move.ref % 2 === 0);
            expect(outcome.status === 0).toBe(allowed);
            if (outcome.status === 0) mappings.push({ ...move, handle: outcome.value });
          } else if (move.do === 'unmap' && mappings.length > 0) {
            const [mapping] = mappings.splice(move.pick % mappings.length, 1);
            if (mapping) expect(host.grants.unmap(mapping.user, mapping.handle).status).toBe(0);
          } else if (move.do === 'end' && !dead.has(move.owner)) {
            const name = `${move.owner}/${move.ref}`;
            const mapped = mappings.some(({ owner, ref }) => owner === move.owner && ref === move.ref);
            expect(host.grants.endAccess(move.owner, move.ref).ok).toBe(entries.has(name) && !mapped);
            if (!mapped) entries.delete(name);
          } else if (move.do === 'destroy' && !dead.has(move.owner)) {
            dead.add(move.owner);
            mappings = mappings.filter(({ user }) => user !== move.owner);
            valueOf(host.domains.destroy(move.owner, 0));
          }
          for (const domid of dead) {
            const frames = new Set(mappings.filter(({ owner }) => owner === domid).map(({ ref }) => ref)).size;
            const zombie = host.domains.info(domid, 0);
            expect(zombie.ok ? zombie.value.totalPages : 0).toBe(frames);
            expect(zombie.ok).toBe(frames > 0);
          }
          expect(accountedPages(host)).toEqual(heapPages(host));
        }
      }),
      { numRuns: 300 },
    );
  });
});
