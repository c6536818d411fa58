import { printed, type ToolOutput } from '../xl/index.js';
import { ksmCounters, unusedBytes } from './ksm.js';
import { kvmAllocatableBytes } from './kvm-profile.js';
import { profileOf, type KvmHost, type KvmMachine } from './kvm-state.js';

// What virsh tells of a host's memory.

const KIBIBYTE = 1024;

/** tools/virsh-host.c, `cmdNodeMemStats`. Assumption: what the host keeps for itself is buffers and cache to a half. */
export const nodememstats = (host: KvmHost): ToolOutput => {
  const { memoryBytes } = profileOf(host);
  const kept = Math.floor((memoryBytes - kvmAllocatableBytes(profileOf(host))) / 2);
  const fields = { total: memoryBytes, free: Math.max(0, unusedBytes(host)), buffers: 0, cached: kept };
  const line = ([field, bytes]: readonly [string, number]): string =>
    `${field.padEnd(7)}: ${String(Math.floor(bytes / KIBIBYTE)).padStart(20)} KiB\n`;
  return printed(`${Object.entries(fields).map(line).join('')}\n`);
};

/** `cmdNodeMemoryTune` that changes nothing. */
export const nodeMemoryTune = (host: KvmHost, nowUs: number): ToolOutput => {
  const lines = Object.entries(ksmCounters(host, nowUs)).map(
    ([name, value]) => `\t${`shm_${name}`.padEnd(15)} ${value}\n`,
  );
  return printed(`Shared memory:\n${lines.join('')}\n`);
};

/** tools/virsh-domain.c, `cmdNumatune` that changes nothing. */
export const numatune = (_host: KvmHost, { settings: { memoryNode } }: KvmMachine): ToolOutput =>
  printed(
    [
      `${'numa_mode'.padEnd(15)}: ${memoryNode === undefined ? 'strict' : 'preferred'}\n`,
      `${'numa_nodeset'.padEnd(15)}: ${memoryNode ?? ''}\n`,
      '\n',
    ].join(''),
  );
