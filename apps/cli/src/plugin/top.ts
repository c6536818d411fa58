import { hostMetrics, virtualMachineMetrics, type HostMetrics, type VirtualMachineMetrics } from '@xenolith/contracts';
import { approximateBytes, bytesOf, parseQuantity } from '@xenolith/kernel';
import { z } from 'zod';
import { say, table } from '../terminal.js';
import { namespaceOf, readRaw, type ClusterOptions } from './cluster.js';

const API = '/apis/compute.xenolith.dev/v1alpha1';

export const SORT_KEYS = ['name', 'cpu', 'memory'] as const;
export interface TopOptions extends ClusterOptions {
  readonly allNamespaces?: boolean | undefined;
  readonly selector?: string | undefined;
  readonly sortBy?: (typeof SORT_KEYS)[number] | undefined;
}

type Figures = HostMetrics | VirtualMachineMetrics;

const amount = (quantity: string): number => {
  const parsed = parseQuantity(quantity);
  return parsed.ok ? parsed.value : 0;
};

/** The busiest come first, as with kubectl top; without a key, by name. */
export const sorted = <Of extends Figures>(figures: readonly Of[], by: TopOptions['sortBy']): readonly Of[] => {
  if (by === undefined || by === 'name') return figures;
  return figures.toSorted((left, right) => amount(right.usage[by]) - amount(left.usage[by]));
};

const percent = (part: string, whole: string): string =>
  amount(whole) === 0 ? '<unknown>' : `${Math.round((100 * amount(part)) / amount(whole))}%`;

const memory = (quantity: string): string => approximateBytes(bytesOf(quantity));

export const hostRows = (hosts: readonly HostMetrics[]): readonly (readonly string[])[] => [
  ['NAME', 'CPU(cores)', 'CPU(%)', 'MEMORY', 'MEMORY(%)', 'SAVED', 'DOMAINS', 'DOM0-CPU', 'MIGRATIONS(in/out)'],
  ...hosts.map(({ metadata, usage, capacity, domains, controlDomain, migrations, sharing }) => [
    metadata.name,
    usage.cpu,
    percent(usage.cpu, capacity.cpu),
    memory(usage.memory),
    percent(usage.memory, capacity.memory),
    sharing ? memory(sharing.saved) : '-',
    String(domains),
    controlDomain?.cpu ?? '-',
    migrations ? `${migrations.incoming}/${migrations.outgoing}` : '-',
  ]),
];

const rate = (values: readonly (number | undefined)[] | undefined): string => {
  const known = values?.filter((value) => value !== undefined) ?? [];
  return known.length === 0 ? '-' : approximateBytes(known.reduce((sum, value) => sum + value, 0));
};

export const machineRows = (
  machines: readonly VirtualMachineMetrics[],
  allNamespaces: boolean,
): readonly (readonly string[])[] => {
  const head = [
    'NAME',
    'HOST',
    'CPU(cores)',
    'STEAL',
    'MEMORY',
    'SHARED',
    'READ/s',
    'WRITTEN/s',
    'RECEIVED/s',
    'SENT/s',
  ];
  const rows = machines.map((machine) => [
    ...(allNamespaces ? [machine.metadata.namespace ?? ''] : []),
    machine.metadata.name,
    machine.host,
    machine.usage.cpu,
    machine.steal ?? '-',
    memory(machine.usage.memory),
    machine.sharedMemory === undefined ? '-' : memory(machine.sharedMemory),
    rate(machine.disks?.map((disk) => disk.readBytesPerSecond)),
    rate(machine.disks?.map((disk) => disk.writtenBytesPerSecond)),
    rate(machine.nics?.map((nic) => nic.receivedBytesPerSecond)),
    rate(machine.nics?.map((nic) => nic.sentBytesPerSecond)),
  ]);
  return [allNamespaces ? ['NAMESPACE', ...head] : head, ...rows];
};

/** One object's figures by its name, or the list of all. */
const read = async <Of>(
  options: TopOptions,
  target: { readonly one: string | null; readonly all: string },
  schema: z.ZodType<Of>,
): Promise<readonly Of[]> => {
  if (target.one !== null) return [schema.parse(JSON.parse(await readRaw(options, target.one)))];
  const query = options.selector === undefined ? '' : `?labelSelector=${encodeURIComponent(options.selector)}`;
  return z.object({ items: z.array(schema) }).parse(JSON.parse(await readRaw(options, `${target.all}${query}`))).items;
};

const show = (rows: readonly (readonly string[])[]): number => {
  if (rows.length > 1) process.stdout.write(`${table(rows)}\n`);
  else say('No figures: nothing runs there, or no host has told any yet.');
  return 0;
};

export const topHosts = async (name: string | undefined, options: TopOptions): Promise<number> => {
  const one = name === undefined ? null : `${API}/hosts/${encodeURIComponent(name)}/metrics`;
  const hosts = await read(options, { one, all: `${API}/hostmetrics` }, hostMetrics);
  return show(hostRows(sorted(hosts, options.sortBy)));
};

export const topMachines = async (name: string | undefined, options: TopOptions): Promise<number> => {
  const everywhere = options.allNamespaces === true && name === undefined;
  const home = everywhere ? API : `${API}/namespaces/${encodeURIComponent(await namespaceOf(options))}`;
  const one = name === undefined ? null : `${home}/virtualmachines/${encodeURIComponent(name)}/metrics`;
  const machines = await read(options, { one, all: `${home}/virtualmachinemetrics` }, virtualMachineMetrics);
  return show(machineRows(sorted(machines, options.sortBy), everywhere));
};
