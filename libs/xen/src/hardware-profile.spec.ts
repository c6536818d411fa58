import { describe, expect, it } from 'vitest';
import { allocatableBytesOf, controlDomainOf, HARDWARE_PROFILES, numaNodesOf, threadsOf } from './index.js';

const GIBIBYTE = 2 ** 30;
const MEBIBYTE = 2 ** 20;

describe('hardware profiles', () => {
  // Figures of XenServer's `default_memory_v3` and `default_vcpus`.
  it.each([
    [16, 4, 1856, 4],
    [64, 32, 4304, 16],
    [96, 32, 5952, 16],
    [128, 32, 7584, 16],
    [256, 40, 8192, 16],
    [1024, 128, 8192, 16],
  ])('sizes Dom0 of a host with %i GiB and %i threads as XenServer does', (gibibytes, threads, memoryMiB, vcpus) => {
    const profile = {
      ...HARDWARE_PROFILES['2x8-128'],
      memoryBytes: gibibytes * GIBIBYTE,
      sockets: 1,
      coresPerSocket: threads,
      threadsPerCore: 1,
    };
    expect(controlDomainOf(profile)).toEqual({ vcpus, memoryBytes: memoryMiB * MEBIBYTE });
  });

  it.each(Object.entries(HARDWARE_PROFILES))('%s spreads memory and threads over its NUMA nodes', (_name, profile) => {
    const nodes = numaNodesOf(profile);
    expect(nodes.flatMap((node) => node.threads)).toEqual(
      Array.from({ length: threadsOf(profile) }, (_, index) => index),
    );
    expect(nodes.reduce((sum, node) => sum + node.memoryBytes, 0)).toBe(profile.memoryBytes);
  });

  it.each(Object.entries(HARDWARE_PROFILES))('%s leaves guests less than what Dom0 leaves', (_name, profile) => {
    const left = profile.memoryBytes - controlDomainOf(profile).memoryBytes;
    expect(allocatableBytesOf(profile)).toBeLessThan(left);
    expect(allocatableBytesOf(profile)).toBeGreaterThan(0.95 * left);
  });
});
