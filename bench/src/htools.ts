import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB = 2 ** 20;
const GROUP_UUID = 'b8f0c1de-0000-4000-8000-000000000001';
/** Mebibytes of a node that are its own. */
const NODE_MIB = 1_024;
const DISK_MIB = 1_000_000;
/** What an instance must have of a disk; storage is no concern here. */
const LEAST_DISK_MIB = 1_024;

export interface Node {
  readonly name: string;
  readonly memoryBytes: number;
  readonly threads: number;
}

export interface Instance {
  readonly name: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly node: string;
}

const POLICY = '128,1,1024,1,1;1,1,1,1,1;1048576,1024,104857600,16,8|ext|16.0|1000.0';

/** A cluster on shared storage in the text format of ganeti-htools (htools(1)): an instance may go to any node. */
const textOf = (nodes: readonly Node[], instances: readonly Instance[]): string => {
  const used = new Map<string, number>();
  for (const { node, memoryBytes } of instances) used.set(node, (used.get(node) ?? 0) + memoryBytes / MIB);
  const nodeLine = ({ name, memoryBytes, threads }: Node): string => {
    const total = memoryBytes / MIB + NODE_MIB;
    const free = memoryBytes / MIB - (used.get(name) ?? 0);
    return `${name}|${total}|${NODE_MIB}|${free}|${DISK_MIB}|${DISK_MIB}|${threads}|N|${GROUP_UUID}|1||N|0|1|1.0`;
  };
  const instanceLine = ({ name, memoryBytes, vcpus, node }: Instance): string =>
    `${name}|${memoryBytes / MIB}|1|${vcpus}|running|Y|${node}||ext||1|-`;
  const sections = [
    [`group1|${GROUP_UUID}|preferred||`],
    nodes.map(nodeLine),
    instances.map(instanceLine),
    [],
    [`|${POLICY}`, `group1|${POLICY}`],
  ];
  return `${sections.map((lines) => lines.join('\n')).join('\n\n')}\n`;
};

/** What instances load their nodes with: CPU and memory by their share of a node, nothing else. */
const loadsOf = (nodes: readonly Node[], instances: readonly Instance[]): string => {
  const of = new Map(nodes.map((node) => [node.name, node]));
  return instances
    .map(({ name, node, vcpus, memoryBytes }) => {
      const { threads = 1, memoryBytes: total = 1 } = of.get(node) ?? {};
      return `${name} ${vcpus / threads} ${memoryBytes / total} 0 0\n`;
    })
    .join('');
};

export interface Run {
  readonly output: string;
  /** Of CPU, whatever else the machine does. */
  readonly seconds: number;
  /** False: it was stopped when its time was over. */
  readonly finished: boolean;
}

interface Cluster {
  readonly nodes: readonly Node[];
  readonly instances: readonly Instance[];
}

/** What timeout(1) answers of what it stopped, and a shell of what it can't find. */
const [STOPPED, NOT_FOUND] = [124, 127];
/** Ends with what the tool took: the second line of `times` is of the shell's children. */
const TIMED = 'timeout "$0" "$@"; code=$?; times >&2; exit $code';

/** CPU seconds in what `times` wrote: `0m8.37s 0m0.10s`, user and system. */
const childSeconds = (stderr: string): number =>
  [...(stderr.trimEnd().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (seconds, [, minutes, rest]) => seconds + Number(minutes) * 60 + Number(rest),
    0,
  );

/** Runs a tool with files of the cluster and of its loads; null: it is not installed (Debian: ganeti-htools). */
const run = (
  tool: string,
  cluster: Cluster,
  options: { readonly words: (file: string, loads: string) => readonly string[]; readonly limitMs: number },
): Run | null => {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-htools-'));
  try {
    const file = join(folder, 'cluster.data');
    writeFileSync(file, textOf(cluster.nodes, cluster.instances));
    const loads = join(folder, 'loads');
    writeFileSync(loads, loadsOf(cluster.nodes, cluster.instances));
    const words = [String(options.limitMs / 1_000), tool, ...options.words(file, loads)];
    const { stdout, stderr, status } = spawnSync('sh', ['-c', TIMED, ...words], {
      encoding: 'utf8',
      maxBuffer: 64 * MIB,
    });
    if (status === NOT_FOUND) return null;
    return { output: stdout, seconds: childSeconds(stderr), finished: status !== STOPPED };
  } finally {
    rmSync(folder, { recursive: true });
  }
};

export const runHbal = (
  cluster: Cluster,
  { words, limitMs }: { readonly words: readonly string[]; readonly limitMs: number },
): Run | null => run('hbal', cluster, { words: (file, loads) => ['-t', file, '-U', loads, ...words], limitMs });

/** A figure of the tools' machine-readable output. */
const figureOf = (output: string, name: string): number =>
  Number(new RegExp(`^${name}=(\\d+)$`, 'm').exec(output)?.[1] ?? Number.NaN);

/** How many nodes may not fail; without the rebalancing that it would try beside. */
export const runHcheck = (
  cluster: Cluster,
  { limitMs }: { readonly limitMs: number },
): (Run & { readonly uncovered: number }) | null => {
  const words = (file: string): readonly string[] => ['-t', file, '--no-simulation', '--machine-readable'];
  const made = run('hcheck', cluster, { words, limitMs });
  return made && { ...made, uncovered: figureOf(made.output, 'HCHECK_INIT_CLUSTER_GN1_FAIL') };
};

/** How many instances more of a size fit, while any node may fail or whatever may happen then. */
export const runHspace = (
  cluster: Cluster,
  asked: { readonly vcpus: number; readonly gib: number; readonly survives: boolean; readonly limitMs: number },
): (Run & { readonly more: number }) | null => {
  const size = `${LEAST_DISK_MIB}m,${asked.gib * 1_024}m,${asked.vcpus}`;
  const words = (file: string): readonly string[] => [
    ...['-t', file, '--machine-readable', '--disk-template', 'ext', '--standard-alloc', size],
    ...(asked.survives ? [] : ['--no-capacity-checks']),
  ];
  const made = run('hspace', cluster, { words, limitMs: asked.limitMs });
  return made && { ...made, more: figureOf(made.output, 'HTS_ALLOC_INSTANCES') };
};
