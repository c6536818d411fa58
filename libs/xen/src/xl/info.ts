import { lines, right } from './columns.js';

/** Figures of `xl info`. */
export interface HostFacts {
  readonly host: string;
  readonly release: string;
  readonly version: string;
  readonly machine: string;
  readonly cpus: readonly { readonly core: number; readonly socket: number; readonly node: number }[];
  readonly nodes: readonly {
    readonly memoryMib: number;
    readonly freeMib: number;
    readonly distances: readonly number[];
  }[];
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
  readonly cpuKhz: number;
  /** Eight words of CPUID. */
  readonly hwCaps: readonly number[];
  /** Such as pv, hvm, hvm_directio, hap, in the tool's order. */
  readonly virtCaps: readonly string[];
  readonly totalMib: number;
  readonly freeMib: number;
  readonly sharingFreedMib: number;
  readonly sharingUsedMib: number;
  readonly outstandingClaimsMib: number;
  readonly freeCpus: number;
  readonly xen: {
    readonly major: number;
    readonly minor: number;
    /** Begins with a dot: `.1`. */
    readonly extra: string;
    readonly caps: string;
    readonly scheduler: string;
    readonly pageSize: number;
    readonly virtStart: string;
    readonly changeset: string;
    readonly commandline: string;
    readonly compiler: string;
    readonly compileBy: string;
    readonly compileDomain: string;
    readonly compileDate: string;
    readonly buildId: string;
  };
}

type Field = readonly [name: string, value: string];

const physicalFields = (host: HostFacts): readonly Field[] => [
  ['host', host.host],
  ['release', host.release],
  ['version', host.version],
  ['machine', host.machine],
  ['nr_cpus', String(host.cpus.length)],
  ['max_cpu_id', String(host.cpus.length - 1)],
  ['nr_nodes', String(host.nodes.length)],
  ['cores_per_socket', String(host.coresPerSocket)],
  ['threads_per_core', String(host.threadsPerCore)],
  ['cpu_mhz', `${Math.floor(host.cpuKhz / 1000)}.${String(host.cpuKhz % 1000).padStart(3, '0')}`],
  ['hw_caps', host.hwCaps.map((word) => word.toString(16).padStart(8, '0')).join(':')],
  ['virt_caps', host.virtCaps.join(' ')],
  ['total_memory', String(host.totalMib)],
  ['free_memory', String(host.freeMib)],
  ['sharing_freed_memory', String(host.sharingFreedMib)],
  ['sharing_used_memory', String(host.sharingUsedMib)],
  ['outstanding_claims', String(host.outstandingClaimsMib)],
  ['free_cpus', String(host.freeCpus)],
];

const xenFields = ({ xen }: HostFacts): readonly Field[] => [
  ['xen_major', String(xen.major)],
  ['xen_minor', String(xen.minor)],
  ['xen_extra', xen.extra],
  ['xen_version', `${xen.major}.${xen.minor}${xen.extra}`],
  ['xen_caps', xen.caps],
  ['xen_scheduler', xen.scheduler],
  ['xen_pagesize', String(xen.pageSize)],
  ['platform_params', `virt_start=0x${xen.virtStart}`],
  ['xen_changeset', xen.changeset],
  ['xen_commandline', xen.commandline],
  ['cc_compiler', xen.compiler],
  ['cc_compile_by', xen.compileBy],
  ['cc_compile_domain', xen.compileDomain],
  ['cc_compile_date', xen.compileDate],
  ['build_id', xen.buildId],
  ['xend_config_format', '4'],
];

// Only the list of capabilities may be empty, and then there is no blank before it.
const fieldLine = ([name, value]: Field): string => `${name.padEnd(23)}:${value === '' ? '' : ' '}${value}`;

const numaLines = (host: HostFacts): readonly string[] => [
  'cpu_topology           :',
  'cpu:    core    socket     node',
  ...host.cpus.map(
    ({ core, socket, node }, cpu) =>
      `${right(cpu, 3)}:    ${right(core, 4)}     ${right(socket, 4)}     ${right(node, 4)}`,
  ),
  'device topology        :',
  'device           node',
  'No device topology data available',
  'numa_info              :',
  'node:    memsize    memfree    distances',
  ...host.nodes.map(
    ({ memoryMib, freeMib, distances }, node) =>
      `${right(node, 4)}:    ${right(memoryMib, 6)}     ${right(freeMib, 6)}      ${distances.join(',')}`,
  ),
];

/** `xl info`, with `numa` as by -n (tools/xl/xl_info.c). */
export const infoText = (host: HostFacts, options: { readonly numa?: boolean } = {}): string =>
  lines([
    ...physicalFields(host).map(fieldLine),
    ...(options.numa === true ? numaLines(host) : []),
    ...xenFields(host).map(fieldLine),
  ]);

/** `xl info FIELD`: the values of all fields whose names begin so; nothing where there is none. */
export const infoFieldText = (host: HostFacts, name: string): string =>
  lines(
    [...physicalFields(host), ...xenFields(host)].flatMap(([field, value]) => (field.startsWith(name) ? [value] : [])),
  );
