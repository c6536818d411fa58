import { describe, expect, it } from 'vitest';
import type { PhysicalDisk } from './block.js';
import type { BlkifRequest } from './block-request.js';
import {
  answerBlkifRequest,
  BLKIF_OP,
  BLKIF_RSP,
  indirectPages,
  segmentsPerRequest,
  splitTransfer,
} from './block-request.js';
import { vbdName, vbdNumber } from './vbd.js';

describe('the number of a disk', () => {
  // The examples and the table of docs/man/xen-vbd-interface.7.pandoc, computed by hand.
  it.each([
    ['xvda', 51_712],
    ['d0', 51_712],
    ['d0p0', 51_712],
    ['xvdb2', (202 << 8) | (1 << 4) | 2],
    ['d1p2', (202 << 8) | (1 << 4) | 2],
    ['xvdp', (202 << 8) | (15 << 4)],
    ['xvdq', 2 ** 28 + 16 * 256],
    ['xvda16', 2 ** 28 + 16],
    ['xvdtq37', 2 ** 28 + 536 * 256 + 37],
    ['d536p37', 2 ** 28 + 536 * 256 + 37],
    ['sdb3', (8 << 8) | (1 << 4) | 3],
    ['hda', 3 << 8],
    ['hdb1', (3 << 8) | (1 << 6) | 1],
    ['hdc2', (22 << 8) | 2],
    ['51712', 51_712],
    ['0xca00', 51_712],
    ['0145000', 51_712],
  ])('%s is %i', (vdev, number) => {
    expect(vbdNumber(vdev)).toEqual({ ok: true, value: number });
  });

  it.each(['', 'xvd', 'xvda0', 'xvda256', 'hde', 'hda64', 'sdq', 'sda16', 'vda', 'xvd1', '2147483648', '-1'])(
    'is refused for %s',
    (vdev) => {
      expect(vbdNumber(vdev)).toEqual({ ok: false, errno: 'EINVAL' });
    },
  );

  it.each([
    [51_712, 'xvda'],
    [51_713, 'xvda1'],
    [51_760, 'xvdd'],
    [2 ** 28 + 536 * 256 + 37, 'xvdtq37'],
    // libxl takes the low byte of any number for a Xen disk.
    [768, 'xvda'],
  ])('%i is shown as %s', (number, name) => {
    expect(vbdName(number)).toBe(name);
  });
});

describe('a transfer', () => {
  it('becomes requests of 44 KiB without indirect segments', () => {
    expect(splitTransfer(128 * 1024)).toEqual([45_056, 45_056, 40_960]);
    expect(splitTransfer(512)).toEqual([512]);
    expect(splitTransfer(45_056)).toEqual([45_056]);
  });

  it('becomes one with indirect segments, as many as both ends allow', () => {
    expect([0, 11, 12, 256].map(segmentsPerRequest)).toEqual([11, 11, 12, 32]);
    expect(splitTransfer(128 * 1024, segmentsPerRequest(256))).toEqual([131_072]);
    expect([1, 32, 512, 513, 4096].map(indirectPages)).toEqual([1, 1, 1, 2, 8]);
  });
});

describe('a request to a disk', () => {
  const disk: PhysicalDisk = {
    sectors: 1000,
    sectorSize: 512,
    physicalSectorSize: 512,
    cdrom: false,
    removable: false,
    flush: true,
    discard: { granularityBytes: 4096, alignmentBytes: 0, secure: false },
  };
  const page = { grant: 9, firstSector: 0, lastSector: 7 };
  const request = (more: Partial<BlkifRequest>): BlkifRequest => ({
    id: 1,
    operation: BLKIF_OP.read,
    sector: 0,
    segments: [page],
    ...more,
  });
  const of = (count: number): BlkifRequest['segments'] => Array.from({ length: count }, () => page);
  const { okay, error, notSupported } = BLKIF_RSP;

  it.each([
    ['a read', {}, disk, true, okay],
    ['a write', { operation: BLKIF_OP.write }, disk, true, okay],
    ['a write to a read-only disk', { operation: BLKIF_OP.write }, disk, false, error],
    ['a read of a read-only disk', {}, disk, false, okay],
    ['the last sectors', { sector: 992 }, disk, true, okay],
    ['beyond the end', { sector: 993 }, disk, true, error],
    ['11 segments', { segments: of(11) }, disk, true, okay],
    ['12 segments', { segments: of(12) }, disk, true, error],
    [
      '12 indirect segments',
      { operation: BLKIF_OP.indirect, indirectOperation: BLKIF_OP.read, segments: of(12) },
      disk,
      true,
      okay,
    ],
    ['an indirect request for nothing', { operation: BLKIF_OP.indirect, segments: of(12) }, disk, true, error],
    ['no segments', { segments: [] }, disk, true, error],
    ['a segment beyond its page', { segments: [{ ...page, lastSector: 8 }] }, disk, true, error],
    [
      'a segment that ends before it begins',
      { segments: [{ ...page, firstSector: 3, lastSector: 2 }] },
      disk,
      true,
      error,
    ],
    ['a flush', { operation: BLKIF_OP.flushDiskcache, segments: [] }, disk, true, okay],
    [
      'a flush of a disk without a cache',
      { operation: BLKIF_OP.flushDiskcache, segments: [] },
      { ...disk, flush: false },
      true,
      notSupported,
    ],
    ['a barrier without support', { operation: BLKIF_OP.writeBarrier }, { ...disk, flush: false }, true, notSupported],
    ['a discard', { operation: BLKIF_OP.discard, discardSectors: 8, segments: [] }, disk, true, okay],
    [
      'a discard without support',
      { operation: BLKIF_OP.discard, discardSectors: 8, segments: [] },
      { ...disk, discard: null },
      true,
      notSupported,
    ],
    ['half a logical sector', { segments: [{ ...page, lastSector: 3 }] }, { ...disk, sectorSize: 4096 }, true, error],
    ['a whole logical sector, in units of 512 bytes', { sector: 8 }, { ...disk, sectorSize: 4096 }, true, okay],
    ['a logical sector from its middle', { sector: 4 }, { ...disk, sectorSize: 4096 }, true, error],
  ] as const)('%s', (...[, more, on, writable, status]) => {
    expect(answerBlkifRequest(request(more), on, writable)).toBe(status);
  });
});
