import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB = 2 ** 20;
const GROUP_UUID = 'b8f0c1de-0000-4000-8000-000000000001';
/** Mebibytes of a node that are its own. */
const NODE_MIB = 1_024;
const DISK_MIB = 1_000_000;

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
  readonly seconds: number;
  /** False: it was stopped when its time was over. */
  readonly finished: boolean;
}

interface Cluster {
  readonly nodes: readonly Node[];
  readonly instances: readonly Instance[];
}

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
    const begun = performance.now();
    const { error, stdout, status } = spawnSync(tool, options.words(file, loads), {
      encoding: 'utf8',
      timeout: options.limitMs,
      maxBuffer: 64 * MIB,
    });
    if (error && 'code' in error && error.code === 'ENOENT') return null;
    return { output: stdout, seconds: (performance.now() - begun) / 1_000, finished: status !== null };
  } finally {
    rmSync(folder, { recursive: true });
  }
};

export const runHbal = (
  cluster: Cluster,
  { words, limitMs }: { readonly words: readonly string[]; readonly limitMs: number },
): Run | null => run('hbal', cluster, { words: (file, loads) => ['-t', file, '-U', loads, ...words], limitMs });

/** Says whether every node may fail; without the rebalancing that it would try beside. */
export const runHcheck = (cluster: Cluster, { limitMs }: { readonly limitMs: number }): Run | null =>
  run('hcheck', cluster, { words: (file) => ['-t', file, '--no-simulation'], limitMs });
