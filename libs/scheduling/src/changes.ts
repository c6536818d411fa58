import type { PlacementChange } from '@xenolith/contracts';
import { FILTERS, refuses, type Filter, type Wish } from './filters.js';
import type { Fleet } from './machine-affinity.js';
import { cellFor, freeCellMemory, freeCellVcpus, NO_CELL } from './host-cells.js';
import { unreachedNetworks, unreachedStorage } from './request-class.js';
import { untolerated } from './selectors.js';

/** Filters whose changes have an amount or a name. */
type Counted = 'storage' | 'network' | 'taints' | 'resources' | 'memory' | 'cpu' | 'numa';

/** What would have to be otherwise, where it is not counted. */
const TO_BE: Readonly<Record<Exclude<Filter, Counted>, string>> = {
  host: 'the request names another host',
  exceptHost: 'the request excludes the host',
  cluster: 'the host belongs to the cluster that is asked for',
  hypervisor: 'the host runs guests of this type',
  cpuFeatures: 'the host’s processor has the features',
  hostAffinity: 'the host has the labels',
  parked: 'the host is woken',
  ready: 'the host is ready',
  maintenance: 'the host’s maintenance is over',
  unschedulable: 'the host is schedulable',
  antiAffinity: 'no machine of the word is on the host',
  machineAffinity: 'a machine to be near to is in the host’s place',
  machineAntiAffinity: 'no machine to be far from is in the host’s place',
  contended: 'nobody else takes the host at this moment',
  availability: 'the loss of hosts that would not be covered is',
};

const isPlain = (filter: Filter): filter is Exclude<Filter, Counted> => filter in TO_BE;

/** What the host's NUMA nodes lack: of the node that lacks fewest things, and then least memory. */
const nodeShortages = ({ table }: Fleet, slot: number, { request }: Wish): PlacementChange[] => {
  if (request.numa !== 'single-numa-node' || cellFor(table, slot, request) !== NO_CELL) return [];
  const nodes = Array.from({ length: table.cells[slot] ?? 0 }, (_, cell) => {
    const memory = request.memoryBytes - freeCellMemory(table, slot, cell);
    const vcpus = request.vcpus - freeCellVcpus(table, slot, cell);
    return { cell, memory: Math.max(0, memory), vcpus: Math.max(0, vcpus) };
  });
  const lacks = (node: { memory: number; vcpus: number }): number => Number(node.memory > 0) + Number(node.vcpus > 0);
  nodes.sort((left, right) => lacks(left) - lacks(right) || left.memory - right.memory || left.vcpus - right.vcpus);
  const [node] = nodes;
  if (!node) return [{ filter: 'numa', message: 'the host tells its NUMA nodes' }];
  const name = String(node.cell);
  const changes: PlacementChange[] = [];
  if (node.memory > 0)
    changes.push({
      filter: 'numa',
      name,
      message: `more memory on NUMA node ${name}`,
      amount: node.memory,
      unit: 'bytes',
    });
  if (node.vcpus > 0)
    changes.push({
      filter: 'numa',
      name,
      message: `more vCPUs on NUMA node ${name}`,
      amount: node.vcpus,
      unit: 'vcpus',
    });
  return changes;
};

const changesOf = (filter: Filter, fleet: Fleet, slot: number, wish: Wish): PlacementChange[] => {
  const { table } = fleet;
  const { request } = wish;
  if (isPlain(filter)) return [{ filter, message: TO_BE[filter] }];
  const traits = table.traits.get(table.group[slot] ?? 0);
  switch (filter) {
    case 'storage':
      return (traits ? unreachedStorage(request, traits) : []).map((name) => ({
        filter,
        name,
        message: `the host reaches storage domain ${name}`,
      }));
    case 'network':
      return (traits ? unreachedNetworks(request, traits) : []).map((name) => ({
        filter,
        name,
        message: `the host reaches network ${name}`,
      }));
    case 'taints':
      return untolerated(traits?.taints ?? [], request.tolerations ?? [], 'NoSchedule').map(({ key, value }) => {
        const name = value === '' ? key : `${key}=${value}`;
        return { filter, name, message: `the machine tolerates the taint ${name}` };
      });
    case 'resources':
      return wish.class.resources
        .map(([name, count]): [string, number] => [name, count - table.freeOf(slot, name)])
        .filter(([, amount]) => amount > 0)
        .map(([name, amount]) => ({ filter, name, message: `more ${name}`, amount, unit: 'count' }));
    case 'memory': {
      const amount = request.memoryBytes - table.freeMemory(slot);
      return [{ filter, message: 'more memory', amount, unit: 'bytes' }];
    }
    case 'cpu':
      return [{ filter, message: 'more vCPUs', amount: request.vcpus - table.freeVcpus(slot), unit: 'vcpus' }];
    case 'numa':
      return nodeShortages(fleet, slot, wish);
  }
};

/** The least that would have to change for a machine to fit on a host: with all of it it does, with anything less it does not. */
export const changesFor = (fleet: Fleet, slot: number, wish: Wish): PlacementChange[] =>
  FILTERS.filter((filter) => refuses(filter, fleet, slot, wish)).flatMap((filter) =>
    changesOf(filter, fleet, slot, wish),
  );
