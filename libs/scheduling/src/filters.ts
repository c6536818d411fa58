import type { PlacementRequest } from '@xenolith/contracts';
import type { AvailabilityCheck } from './availability/availability-book.js';
import { chooseDevices } from './device-choice.js';
import { cellFor, NO_CELL } from './host-cells.js';
import type { HostTable } from './host-table.js';
import { hasRepellent, lacksCompany, type Fleet, type MachineWish } from './machine-affinity.js';
import {
  isTraitFilter,
  PASSES as TRAITS_PASS,
  REFUSED,
  TRAIT_FILTERS,
  type RequestClass,
  type TraitFilter,
} from './request-class.js';

/** Why a host is passed over, in the order in which hosts are asked. The first that refuses counts. */
export const FILTERS = [
  'host',
  'exceptHost',
  ...TRAIT_FILTERS,
  'parked',
  'ready',
  'maintenance',
  'unschedulable',
  'antiAffinity',
  'machineAffinity',
  'machineAntiAffinity',
  'contended',
  'resources',
  'memory',
  'cpu',
  'numa',
  'availability',
] as const;
export type Filter = (typeof FILTERS)[number];
type OwnFilter = Exclude<Filter, TraitFilter>;

/** Slots that must be avoided. */
export interface Slots {
  has(slot: number): boolean;
}

/** A request with all that is to be known of it before hosts are looked at. */
export interface Wish {
  readonly request: PlacementRequest;
  readonly class: RequestClass;
  /** Hosts where a machine of the same word runs. */
  readonly antiAffine?: Slots | undefined;
  /** Hosts that refused this very command a moment ago. */
  readonly contended?: Slots | undefined;
  readonly machines?: MachineWish | null;
  /** Where clusters promise to survive the loss of hosts. */
  readonly availability?: AvailabilityCheck | undefined;
}

const hasResources = (table: HostTable, slot: number, asked: RequestClass): boolean => {
  for (const [name, count] of asked.resources) if (table.freeOf(slot, name) < count) return false;
  const { devices } = asked.request;
  return devices === undefined || chooseDevices(devices, table.freeDevices(slot)) !== null;
};

/** Whether one filter refuses a host. Each is a pure function of the host's row and the wish. */
export const refuses = (filter: Filter, fleet: Fleet, slot: number, wish: Wish): boolean =>
  isTraitFilter(filter)
    ? wish.class.refusesTraits(fleet.table, slot, filter)
    : refusesItself(filter, fleet, slot, wish);

/** Filters that look at the host's own row. */
const refusesItself = (filter: OwnFilter, fleet: Fleet, slot: number, wish: Wish): boolean => {
  const { table } = fleet;
  const { request } = wish;
  switch (filter) {
    case 'host':
      return request.host !== undefined && table.names[slot] !== request.host;
    case 'exceptHost':
      return request.exceptHost !== undefined && table.names[slot] === request.exceptHost;
    case 'parked':
      return table.parking[slot] !== 0;
    case 'ready':
      return table.ready[slot] !== 1;
    case 'maintenance':
      return table.maintenance[slot] === 1;
    case 'unschedulable':
      return table.unschedulable[slot] === 1;
    case 'antiAffinity':
      return wish.antiAffine?.has(slot) === true;
    case 'machineAffinity':
      return !!wish.machines && lacksCompany(fleet.affinity, wish.machines, slot) !== undefined;
    case 'machineAntiAffinity':
      return !!wish.machines && hasRepellent(fleet.affinity, wish.machines, slot) !== undefined;
    case 'contended':
      return wish.contended?.has(slot) === true;
    case 'resources':
      return !hasResources(table, slot, wish.class);
    case 'memory':
      return table.freeMemory(slot) < request.memoryBytes;
    case 'cpu':
      return table.freeVcpus(slot) < request.vcpus;
    case 'numa':
      return request.numa === 'single-numa-node' && cellFor(table, slot, request) === NO_CELL;
    case 'availability':
      return breaksPromise(slot, wish);
  }
};

const breaksPromise = (slot: number, { availability }: Wish): boolean =>
  availability !== undefined && availability.refusal(slot) !== null;

export const FITS = -1;
const FIRST_TRAIT = FILTERS.indexOf(TRAIT_FILTERS[0]);
const HOST = FILTERS.indexOf('host');
const EXCEPT_HOST = FILTERS.indexOf('exceptHost');
const PARKED = FILTERS.indexOf('parked');
const READY = FILTERS.indexOf('ready');
const MAINTENANCE = FILTERS.indexOf('maintenance');
const UNSCHEDULABLE = FILTERS.indexOf('unschedulable');
const ANTI_AFFINITY = FILTERS.indexOf('antiAffinity');
const MACHINE_AFFINITY = FILTERS.indexOf('machineAffinity');
const MACHINE_ANTI_AFFINITY = FILTERS.indexOf('machineAntiAffinity');
const CONTENDED = FILTERS.indexOf('contended');
const RESOURCES = FILTERS.indexOf('resources');
export const MEMORY = FILTERS.indexOf('memory');
export const CPU = FILTERS.indexOf('cpu');
const NUMA = FILTERS.indexOf('numa');
const AVAILABILITY = FILTERS.indexOf('availability');

/**
 * The first filter that refuses a host to every request of a class, as its index in `FILTERS`, or `FITS`. It holds until the host's row changes: those
 * that ask what else a request says, or what other machines do, are left out.
 */
export const classVerdict = (table: HostTable, slot: number, asked: RequestClass): number => {
  const { request } = asked;
  const verdict = asked.verdict(table, slot);
  if (verdict !== TRAITS_PASS) return FIRST_TRAIT + verdict - REFUSED;
  if (table.parking[slot] !== 0) return PARKED;
  if (table.ready[slot] !== 1) return READY;
  if (table.maintenance[slot] === 1) return MAINTENANCE;
  if (table.unschedulable[slot] === 1) return UNSCHEDULABLE;
  if (asked.resources.length > 0 && !hasResources(table, slot, asked)) return RESOURCES;
  if (table.freeMemory(slot) < request.memoryBytes) return MEMORY;
  if (table.freeVcpus(slot) < request.vcpus) return CPU;
  return request.numa === 'single-numa-node' && cellFor(table, slot, request) === NO_CELL ? NUMA : FITS;
};

/** Whether a request asks nothing but what its class does. */
export const asksAsItsClass = (wish: Wish): boolean =>
  wish.request.host === undefined &&
  wish.request.exceptHost === undefined &&
  !wish.antiAffine &&
  !wish.machines &&
  !wish.contended &&
  !wish.availability;

/** The first filter that refuses a host, as its index in `FILTERS`, or `FITS`; `ofClass`: what `classVerdict` says of it. */
export const refusedBy = (
  fleet: Fleet,
  slot: number,
  wish: Wish,
  ofClass = classVerdict(fleet.table, slot, wish.class),
): number => {
  const { request, machines } = wish;
  if (request.host !== undefined && fleet.table.names[slot] !== request.host) return HOST;
  if (request.exceptHost !== undefined && fleet.table.names[slot] === request.exceptHost) return EXCEPT_HOST;
  if (ofClass !== FITS && ofClass < ANTI_AFFINITY) return ofClass;
  if (wish.antiAffine?.has(slot) === true) return ANTI_AFFINITY;
  if (machines && lacksCompany(fleet.affinity, machines, slot) !== undefined) return MACHINE_AFFINITY;
  if (machines && hasRepellent(fleet.affinity, machines, slot) !== undefined) return MACHINE_ANTI_AFFINITY;
  if (wish.contended?.has(slot) === true) return CONTENDED;
  if (ofClass !== FITS) return ofClass;
  return breaksPromise(slot, wish) ? AVAILABILITY : FITS;
};

/**
 * The same as a yes or no, cheapest and most telling filters first, for a host that may take machines: what is not ready, unschedulable, parked or
 * under maintenance is sorted out by the index beforehand.
 */
export const admits = (fleet: Fleet, slot: number, wish: Wish): boolean => {
  const { table } = fleet;
  const { request } = wish;
  if (table.freeMemory(slot) < request.memoryBytes || table.freeVcpus(slot) < request.vcpus) return false;
  if (wish.class.verdict(table, slot) !== TRAITS_PASS) return false;
  if (request.numa === 'single-numa-node' && cellFor(table, slot, request) === NO_CELL) return false;
  if (wish.class.resources.length > 0 && !hasResources(table, slot, wish.class)) return false;
  if (request.host !== undefined && table.names[slot] !== request.host) return false;
  if (request.exceptHost !== undefined && table.names[slot] === request.exceptHost) return false;
  if (wish.contended?.has(slot) === true || wish.antiAffine?.has(slot) === true) return false;
  const { machines } = wish;
  if (machines && lacksCompany(fleet.affinity, machines, slot) !== undefined) return false;
  if (machines && hasRepellent(fleet.affinity, machines, slot) !== undefined) return false;
  return !breaksPromise(slot, wish);
};

/** What one look at a host has promised already, to be counted as taken. */
export interface Spoken {
  memoryBytes: number;
  vcpus: number;
}

/** Whether one host would do now, with `spoken` more of it spoken for. */
export const fitsOn = (
  fleet: Fleet,
  slot: number,
  wish: Wish,
  spoken: Readonly<Spoken> = { memoryBytes: 0, vcpus: 0 },
): boolean =>
  fleet.table.isOpen(slot) &&
  admits(fleet, slot, wish) &&
  fleet.table.freeMemory(slot) - spoken.memoryBytes >= wish.request.memoryBytes &&
  fleet.table.freeVcpus(slot) - spoken.vcpus >= wish.request.vcpus;
