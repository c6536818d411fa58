import { describe, expect, it } from 'vitest';
import { imageBytes, imageRecords, pageDataBytes, saveSteps, STREAM_RECORDS, suspendOutcome } from './save.js';

const GIBIBYTE = 2 ** 30;
const HVM = { isPv: false, pages: 262_144, vcpus: 2 };

describe('a saved image', () => {
  it('numbers its records as the stream format does', () => {
    expect(Object.values(STREAM_RECORDS)).toEqual(Array.from({ length: 0x13 }, (_, type) => type));
    expect([STREAM_RECORDS.PAGE_DATA, STREAM_RECORDS.CHECKPOINT, STREAM_RECORDS.X86_MSR_POLICY]).toEqual([
      1, 0xe, 0x12,
    ]);
  });

  it('holds pages in batches of 1024 with a frame number each', () => {
    // One record: 8 bytes of header, 8 of count, 8 of frame number, one page.
    expect(pageDataBytes(1)).toBe(8 + 8 + 8 + 4096);
    expect(pageDataBytes(1024)).toBe(16 + 1024 * 4104);
    expect(pageDataBytes(1025)).toBe(32 + 1025 * 4104);
    expect(pageDataBytes(0)).toBe(0);
  });

  it('begins with static data and ends with END', () => {
    const hvm = imageRecords(HVM).map(({ record }) => record);
    expect(hvm.slice(0, 4)).toEqual(['X86_CPUID_POLICY', 'X86_MSR_POLICY', 'STATIC_DATA_END', 'PAGE_DATA']);
    expect(hvm.at(-1)).toBe('END');
    const pv = imageRecords({ ...HVM, isPv: true });
    expect(pv[0]?.record).toBe('X86_PV_INFO');
    expect(pv.find(({ record }) => record === 'X86_PV_VCPU_BASIC')?.count).toBe(2);
    expect(pv.some(({ record }) => record === 'HVM_CONTEXT')).toBe(false);
  });

  it('is a little larger than the memory, in whole multiples of eight', () => {
    const bytes = imageBytes(HVM);
    expect(bytes).toBeGreaterThan(GIBIBYTE);
    expect(bytes).toBeLessThan(GIBIBYTE * 1.003);
    for (const record of imageRecords({ isPv: true, pages: 1_001, vcpus: 3 })) expect(record.bytes % 8).toBe(0);
  });

  it('takes as long as its storage needs', () => {
    const [, write] = saveSteps('save', HVM, imageBytes(HVM));
    expect(write).toEqual({ do: 'writeImage', bytes: imageBytes(HVM), durationUs: 1_000_000 });
    const names = (kind: 'save' | 'checkpoint' | 'restore') => saveSteps(kind, HVM, 1).map((step) => step.do);
    expect(names('save').at(-1)).toBe('destroyDomain');
    expect(names('checkpoint').at(-1)).toBe('resumeDomain');
    expect(names('restore')).toEqual(['buildShell', 'readImage', 'restoreDevices', 'unpauseDomain']);
  });
});

describe('a suspend request', () => {
  it('is given 30 s to be acknowledged and 1200 s to be obeyed', () => {
    const seconds = (value: number): number => value * 1_000_000;
    const at = (ack: number | null, suspended: number | null) =>
      suspendOutcome({
        requestedUs: seconds(10),
        acknowledgedUs: ack === null ? null : seconds(ack),
        suspendedUs: suspended === null ? null : seconds(suspended),
      });
    expect(at(11, 12)).toEqual({ outcome: 'suspended', atUs: seconds(12) });
    expect(at(null, null)).toEqual({ outcome: 'ackTimeout', atUs: seconds(40) });
    expect(at(41, 42)).toEqual({ outcome: 'ackTimeout', atUs: seconds(40) });
    expect(at(40, null)).toEqual({ outcome: 'timeout', atUs: seconds(1240) });
    expect(at(40, 1240)).toEqual({ outcome: 'suspended', atUs: seconds(1240) });
  });
});
