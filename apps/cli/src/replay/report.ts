import path from 'node:path';
import { table } from '../terminal.js';
import type { DensitySample, Summary } from './statistics.js';

const SHOWN_SAMPLES = 12;
const SHOWN_MESSAGE = 160;

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** Evenly chosen, the first and the last among them. */
const thinned = (samples: readonly DensitySample[]): readonly DensitySample[] => {
  if (samples.length <= SHOWN_SAMPLES) return samples;
  const step = (samples.length - 1) / (SHOWN_SAMPLES - 1);
  return Array.from({ length: SHOWN_SAMPLES }, (_, index) => samples[Math.round(index * step)]).filter(
    (sample) => sample !== undefined,
  );
};

const densityTable = (samples: readonly DensitySample[]): string =>
  table([
    ['trace day', 'after', 'VMs', 'hosts used', 'CPU', 'memory'],
    ...thinned(samples).map((sample) => [
      sample.day.toFixed(2),
      `${sample.seconds.toFixed(1)} s`,
      String(sample.machines),
      String(sample.hostsUsed),
      percent(sample.cpuShare),
      percent(sample.memoryShare),
    ]),
  ]);

const indented = (text: string, by: string): string => text.replaceAll(/^/gm, by);

/** The summary as people read it. */
export const reportOf = (summary: Summary): string => {
  const scale =
    summary.scale === 1
      ? 'each host stands for one server of the trace'
      : `each host stands for ${summary.scale.toFixed(2)} servers of the trace`;
  const lines = [
    `${summary.interrupted ? 'Interrupted: replayed a part of' : 'Replayed'} ${path.basename(summary.trace)}: ${summary.machines} VMs on ${summary.hosts} hosts in ${summary.seconds.toFixed(1)} s (${scale})`,
    `  accepted    ${summary.accepted}`,
    `  Running     ${summary.running}`,
    `  refused     ${summary.refused}`,
    ...summary.refusals.map(
      ({ count, reason, example }) => `    ${String(count).padStart(7)}  ${reason}: ${example.slice(0, SHOWN_MESSAGE)}`,
    ),
    `  deleted     ${summary.deleted} in the trace's course`,
    `  throughput  ${summary.runningPerSecond.toFixed(1)} VMs/s to Running`,
  ];
  const { latencyMs } = summary;
  if (latencyMs)
    lines.push(
      `  latency     create to Running: p50 ${latencyMs.p50} ms, p90 ${latencyMs.p90} ms, p99 ${latencyMs.p99} ms, max ${latencyMs.max} ms`,
    );
  if (summary.density.length > 0)
    lines.push(
      '  density     of the hosts that held a VM: vCPUs of those that may be placed, memory of what guests can have',
      indented(densityTable(summary.density), '    '),
    );
  return lines.join('\n');
};
