import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  assert,
  AssertionError,
  bytesOf,
  canonicalJson,
  formatBytes,
  hashOf,
  isUuid,
  memoryOverheadBytes,
  qemuOverheadBytes,
  parseQuantity,
  present,
  randomFrom,
  sameJson,
  uuidFrom,
} from './index.js';

const MIB = 2 ** 20;

/** Recorded once: a change here would change every recorded simulation. */
const FIRST_OF_42 = [569, 337, 901];

describe('canonical JSON', () => {
  it('does not depend on the order in which members were set', () => {
    expect(canonicalJson({ b: 1, a: [true, null, { d: 'x', c: 2 }] })).toBe('{"a":[true,null,{"c":2,"d":"x"}],"b":1}');
  });

  it('leaves out undefined members, as JSON does', () => {
    expect(sameJson({ a: 1, b: undefined }, { a: 1 })).toBe(true);
  });

  it('reads back as the same value', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => sameJson(JSON.parse(canonicalJson(value)), value)));
  });

  it('gives different values different hashes', () => {
    expect(hashOf({ a: 1 })).not.toBe(hashOf({ a: '1' }));
    expect(hashOf({ a: 1 })).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('ids', () => {
  it('depend on their parts only', () => {
    expect(uuidFrom('command', 3)).toBe(uuidFrom('command', 3));
    expect(uuidFrom('command', 3)).not.toBe(uuidFrom('command', 4));
  });

  it('keep parts apart, whatever the parts contain', () => {
    expect(uuidFrom('a', 'b')).not.toBe(uuidFrom('ab'));
    expect(uuidFrom('a', 'b', '')).not.toBe(uuidFrom('a', '', 'b'));
  });

  it('are UUIDs of version 8 and the RFC 9562 variant', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const id = uuidFrom(text);
        return isUuid(id) && id[14] === '8' && '89ab'.includes(id[19] ?? '');
      }),
    );
  });
});

describe('seeded random', () => {
  it('gives the same numbers for the same seed, on every machine', () => {
    const random = randomFrom(42);
    expect([random.below(1000), random.below(1000), random.below(1000)]).toEqual(FIRST_OF_42);
  });

  it('forks streams that do not disturb each other', () => {
    const [left, right] = [randomFrom('seed'), randomFrom('seed')];
    const fork = left.fork('agents');
    fork.next();
    expect(left.next()).toBe(right.next());
    expect(fork.next()).not.toBe(right.next());
  });

  it('draws evenly', () => {
    const random = randomFrom(7);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let draw = 0; draw < 100_000; draw += 1) {
      const bucket = random.below(10);
      counts[bucket] = (counts[bucket] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(600);
  });
});

describe('quantities', () => {
  it.each([
    ['4Gi', 4 * 2 ** 30],
    ['512Mi', 512 * MIB],
    ['1500M', 1.5e9],
    ['250m', 0.25],
    ['1e3', 1000],
    ['2', 2],
    ['.5Gi', 2 ** 29],
  ])('reads %s', (text, value) => {
    expect(parseQuantity(text)).toEqual({ ok: true, value });
  });

  it.each(['', 'Gi', '4 Gi', '4GiB', '4gi', 'four', '1e3Gi', '--1'])('refuses "%s"', (text) => {
    expect(parseQuantity(text)).toMatchObject({ ok: false, rejection: { code: 'quantity_malformed' } });
  });

  it('writes bytes so that they read back exactly', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (bytes) => bytesOf(formatBytes(bytes)) === bytes));
    expect(formatBytes(4 * 2 ** 30)).toBe('4Gi');
  });
});

describe('memory overhead', () => {
  // Worked by hand from xen-api's memory.ml: shadow pages 256*vcpus + 2*MiB, in MiB rounded up; 38 pages for each vCPU.
  it.each([
    { guestType: 'pvh', vcpus: 1, mib: 512, overheadMiB: 1 + 1 + Math.ceil((256 + 1024) / 256) + 1 },
    { guestType: 'hvm', vcpus: 4, mib: 4096, overheadMiB: 1 + 1 + Math.ceil((1024 + 8192) / 256) + 1 },
    { guestType: 'pv', vcpus: 8, mib: 8192, overheadMiB: 0 + 1 + Math.ceil((2048 + 16384) / 256) + 2 },
  ] as const)('of a $guestType guest with $vcpus vCPUs and $mib MiB', ({ guestType, vcpus, mib, overheadMiB }) => {
    expect(memoryOverheadBytes({ guestType, vcpus, staticMaxBytes: mib * MIB })).toBe(overheadMiB * MIB);
  });

  it.each([
    [1, 1024, 48],
    [4, 16 * 1024, 102],
    [1, 1, 47],
  ])('of a QEMU process with %i vCPUs and %i MiB is %i MiB', (vcpus, mib, overheadMiB) => {
    expect(qemuOverheadBytes({ vcpus, staticMaxBytes: mib * MIB })).toBe(overheadMiB * MIB);
  });
});

describe('assertions', () => {
  it('stop on a defect with a message that names it', () => {
    expect(() => {
      assert(false, 'the log has a gap');
    }).toThrow(AssertionError);
    expect(() => present(null, 'no stream')).toThrow('no stream');
    expect(present(0, 'zero is present')).toBe(0);
  });
});
