import { hostKind, hostMetrics, virtualMachineKind, virtualMachineMetrics } from '@xenolith/contracts';
import type { KindDefinition } from '@xenolith/contracts';
import { approximateBytes, bytesOf, parseQuantity, type JsonObject } from '@xenolith/kernel';
import type { z } from 'zod';
import type { ServedColumn, ServedKind } from './served-kind.js';

/** Figures of the objects of a kind, as its objects' `metrics` subresource gives them and as a list that can be read, not watched. */
export interface MetricsKind extends ServedKind {
  /** The kind that the figures are of. */
  readonly of: KindDefinition;
  readonly schema: z.ZodType;
}

const text = (object: JsonObject, ...path: readonly string[]): string => {
  const found = path.reduce<unknown>((inner, name) => (inner as JsonObject | undefined)?.[name], object);
  return typeof found === 'string' ? found : '';
};

const amount = (quantity: string): number => {
  const parsed = parseQuantity(quantity);
  return parsed.ok ? parsed.value : 0;
};

/** `usage` of `capacity`, in whole percent. */
const percent = (object: JsonObject, what: 'cpu' | 'memory'): string => {
  const whole = amount(text(object, 'capacity', what));
  return whole === 0 ? '<unknown>' : `${Math.round((100 * amount(text(object, 'usage', what))) / whole)}%`;
};

const memory = (object: JsonObject): string => approximateBytes(bytesOf(text(object, 'usage', 'memory')));

/** Bytes a second over all disks or interfaces; nothing where the host did not say. */
const traffic = (object: JsonObject, devices: 'disks' | 'nics', members: readonly [string, string]): string | null => {
  const list = object[devices];
  if (!Array.isArray(list)) return null;
  const sum = (member: string): number =>
    (list as readonly JsonObject[]).reduce((total, device) => total + Number(device[`${member}PerSecond`] ?? 0), 0);
  return members.map((member) => approximateBytes(sum(member))).join('/');
};

const NAME: ServedColumn = {
  name: 'Name',
  type: 'string',
  format: 'name',
  path: '.metadata.name',
  description: 'Name of the object that the figures are of.',
};
const CPU: ServedColumn = {
  name: 'CPU(cores)',
  type: 'string',
  path: '.usage.cpu',
  description: 'Hardware threads that are busy.',
};
const MEMORY: ServedColumn = {
  name: 'Memory',
  type: 'string',
  path: '',
  description: 'Memory in use.',
  cell: memory,
};

const viewOf = (
  kind: KindDefinition,
): Pick<
  MetricsKind,
  'group' | 'version' | 'namespaced' | 'verbs' | 'subresources' | 'definition' | 'of' | 'categories' | 'fieldSelectors'
> => ({
  group: kind.group,
  version: kind.version,
  namespaced: kind.namespaced,
  verbs: ['get', 'list'],
  subresources: [],
  definition: null,
  of: kind,
  categories: [],
  fieldSelectors: ['metadata.name', 'metadata.namespace', 'metadata.uid'],
});

export const HOST_METRICS: MetricsKind = {
  ...viewOf(hostKind),
  kind: 'HostMetrics',
  plural: 'hostmetrics',
  singular: 'hostmetrics',
  shortNames: [],
  description: 'What a host uses, as it said in its last heartbeat. Not in the log: figures come and go.',
  schema: hostMetrics,
  columns: [
    NAME,
    CPU,
    { name: 'CPU(%)', type: 'string', path: '', description: 'Of all threads.', cell: (host) => percent(host, 'cpu') },
    MEMORY,
    {
      name: 'Memory(%)',
      type: 'string',
      path: '',
      description: 'Of what is installed.',
      cell: (host) => percent(host, 'memory'),
    },
    { name: 'Domains', type: 'integer', path: '.domains', description: 'Domains on it, Dom0 left out.' },
    {
      name: 'Dom0 CPU',
      type: 'string',
      path: '.controlDomain.cpu',
      description: 'Hardware threads that Dom0 keeps busy.',
      priority: 1,
    },
  ],
};

export const MACHINE_METRICS: MetricsKind = {
  ...viewOf(virtualMachineKind),
  kind: 'VirtualMachineMetrics',
  plural: 'virtualmachinemetrics',
  singular: 'virtualmachinemetrics',
  shortNames: ['vmmetrics'],
  description: 'What a virtual machine uses, as its host said lately. Not in the log: figures come and go.',
  schema: virtualMachineMetrics,
  columns: [
    NAME,
    { name: 'Host', type: 'string', path: '.host', description: 'The host that it runs on.' },
    CPU,
    { name: 'Steal', type: 'string', path: '.steal', description: 'Threads that it could have used and did not get.' },
    MEMORY,
    {
      name: 'Disk r/w (B/s)',
      type: 'string',
      path: '',
      description: 'Bytes read and written a second.',
      cell: (machine) => traffic(machine, 'disks', ['readBytes', 'writtenBytes']),
    },
    {
      name: 'Net in/out (B/s)',
      type: 'string',
      path: '',
      description: 'Bytes received and sent a second.',
      cell: (machine) => traffic(machine, 'nics', ['receivedBytes', 'sentBytes']),
    },
  ],
};

export const METRICS_KINDS: readonly MetricsKind[] = [HOST_METRICS, MACHINE_METRICS];

const SUBRESOURCE = 'metrics';

/** The figures that a served path is about: of a kind of figures itself, or of an object's `metrics` subresource. */
export const metricsKindOf = (kind: ServedKind, subresource: string | undefined): MetricsKind | undefined =>
  METRICS_KINDS.find((metrics) => (subresource === SUBRESOURCE ? metrics.of === kind.definition : metrics === kind));
