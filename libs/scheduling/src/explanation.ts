import type { PlacementChange, PlacementExplanation, PlacementRequest } from '@xenolith/contracts';
import { approximateBytes } from '@xenolith/kernel';
import type { Refused } from './availability/failover-planner.js';
import { changesFor } from './changes.js';
import type { Choice } from './choice.js';
import type { Refusal } from './class-verdicts.js';
import { FILTERS, type Filter, type Wish } from './filters.js';
import type { HostTable } from './host-table.js';
import type { GuestLimits } from './host-traits.js';
import { hasRepellent, lacksCompany, type Fleet } from './machine-affinity.js';
import { parkingOf } from './parking.js';
import { unreachedNetworks, unreachedStorage } from './request-class.js';
import type { SchedulingPolicy } from './scores.js';
import { requirementText, selectorText, untolerated } from './selectors.js';

const counted = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;

/** A clause about so many hosts: `2 lack memory (…)`. */
const clause = (hosts: number, one: string, many: string, rest = ''): string =>
  `${counted(hosts, one, many)}${rest === '' ? '' : ` ${rest}`}`;

const labelsAsked = ({ hostSelector = {}, affinity }: PlacementRequest): string => {
  const own = Object.entries(hostSelector).map(([key, value]) => `${key}=${value}`);
  const terms = affinity?.hostAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.hostSelectorTerms ?? [];
  const choices = terms.map(({ matchExpressions }) => matchExpressions.map(requirementText).join(','));
  return [...own, ...(choices.length > 0 ? [choices.join(' or ')] : [])].join(', ');
};

const cellClause = (request: PlacementRequest): string =>
  `(need ${approximateBytes(request.memoryBytes)} and ${request.vcpus} vCPUs on one node)`;

const taintClause = ({ table }: Fleet, { request }: Wish, slot: number): string => {
  const taints = table.traits.get(table.group[slot] ?? 0)?.taints ?? [];
  const [taint] = untolerated(taints, request.tolerations ?? [], 'NoSchedule');
  return `that it does not tolerate (${taint?.key ?? ''} on ${table.names[slot] ?? ''})`;
};

/** What could not be kept of what a cluster promises, with a machine on a host. */
export const breachText = (table: HostTable, slot: number, { lost, verdict, shortage }: Refused): string => {
  const hosts = lost.map((host) => table.names[host] ?? '').join(' and ');
  const what = verdict === 'impossible' ? 'could not be covered' : 'might not be covered';
  const loss = hosts === '' ? '' : `the loss of ${hosts} ${what}: `;
  return `with it on ${table.names[slot] ?? ''} ${loss}${shortage.message}`;
};

const guardClause = ({ table }: Fleet, { availability }: Wish, slot: number): string => {
  const refused = availability?.refusal(slot);
  return refused ? `(${breachText(table, slot, refused)})` : '';
};

const parkedClause = (table: HostTable, slot: number): string => {
  const says = { none: '', parked: '', starting: ' starts', failing: ' does not start' }[parkingOf(table, slot)];
  return `(${table.names[slot] ?? ''}${says})`;
};

interface Group {
  readonly filter: Filter;
  readonly hosts: number;
  /** One of them: for memory and CPU the one that has most. */
  readonly slot: number;
}

/** `limits`: of the host that came nearest. */
const hypervisorClause = (hosts: number, request: PlacementRequest, limits: GuestLimits | undefined): string => {
  const { guestType, hypervisor, vcpus } = request;
  if (vcpus > (limits?.[guestType] ?? Infinity))
    return clause(hosts, 'runs no', 'run no', `${guestType} guests of ${vcpus} virtual CPUs`);
  const xen = guestType !== 'hvm' && hypervisor === 'any';
  return clause(hosts, 'lacks hypervisor', 'lack hypervisor', xen ? `xen for ${guestType} guests` : hypervisor);
};

/** The first counted thing of which the host has too few; where each is there, devices that it can't all have at once. */
const shortage = (table: HostTable, slot: number, wish: Wish): string => {
  const name = table.names[slot] ?? '';
  const [short] = wish.class.resources.filter(([thing, count]) => table.freeOf(slot, thing) < count);
  if (!short) return `(its devices, all of them, on ${name})`;
  return `(need ${short[1]} ${short[0]}, ${table.freeOf(slot, short[0])} free on ${name})`;
};

const unreachedClause = (hosts: number, what: string, names: readonly string[]): string =>
  clause(hosts, 'does not reach', 'do not reach', `${what} ${names.join(', ')}`);

/** What a filter says of the hosts that it refused, in a clause that starts with their number. */
const clauseOf = (fleet: Fleet, wish: Wish, { filter, hosts, slot }: Group): string => {
  const { table, affinity } = fleet;
  const { request } = wish;
  const name = table.names[slot] ?? '';
  const traits = table.traits.get(table.group[slot] ?? 0);
  switch (filter) {
    case 'host':
      return clause(hosts, 'is not host', 'are not host', request.host);
    case 'exceptHost':
      return clause(hosts, 'is host', 'are host', `${request.exceptHost ?? ''}, which it is to leave`);
    case 'cluster':
      return clause(hosts, 'is not in cluster', 'are not in cluster', request.cluster);
    case 'hypervisor':
      return hypervisorClause(hosts, request, traits?.maxVcpus);
    case 'cpuFeatures':
      return clause(
        hosts,
        'lacks CPU features',
        'lack CPU features',
        `(need ${(request.cpuFeatures ?? []).join(', ')})`,
      );
    case 'storage':
      return unreachedClause(hosts, 'storage', traits ? unreachedStorage(request, traits) : []);
    case 'network':
      return unreachedClause(hosts, 'network', traits ? unreachedNetworks(request, traits) : []);
    case 'hostAffinity':
      return clause(hosts, 'lacks labels', 'lack labels', `(need ${labelsAsked(request)})`);
    case 'taints':
      return clause(hosts, 'has a taint', 'have a taint', taintClause(fleet, wish, slot));
    case 'parked':
      return clause(hosts, 'is parked', 'are parked', parkedClause(table, slot));
    case 'ready':
      return clause(hosts, 'is not ready', 'are not ready');
    case 'maintenance':
      return clause(hosts, 'is under maintenance', 'are under maintenance');
    case 'unschedulable':
      return clause(hosts, 'is unschedulable', 'are unschedulable');
    case 'antiAffinity':
      return clause(hosts, 'runs a machine of', 'run machines of', `anti-affinity ${request.antiAffinity ?? ''}`);
    case 'machineAffinity': {
      const term = wish.machines ? lacksCompany(affinity, wish.machines, slot) : undefined;
      const what = term ? `${selectorText(term.selector)} in its ${term.topologyKey}` : '';
      return clause(hosts, 'has no machine', 'have no machine', what);
    }
    case 'machineAntiAffinity': {
      const term = wish.machines ? hasRepellent(affinity, wish.machines, slot) : undefined;
      const what = term ? `far from ${selectorText(term.selector)} in their ${term.topologyKey}` : '';
      return clause(hosts, 'runs machines to be', 'run machines to be', what);
    }
    case 'contended':
      return clause(hosts, 'was taken by others', 'were taken by others', 'at the same moment');
    case 'resources':
      return clause(hosts, 'lacks resources', 'lack resources', shortage(table, slot, wish));
    case 'memory': {
      const free = approximateBytes(table.freeMemory(slot));
      const why = `(need ${approximateBytes(request.memoryBytes)}, most free ${free} on ${name})`;
      return clause(hosts, 'lacks memory', 'lack memory', why);
    }
    case 'cpu': {
      const why = `(need ${request.vcpus} vCPUs, most free ${table.freeVcpus(slot)} on ${name})`;
      return clause(hosts, 'lacks CPU', 'lack CPU', why);
    }
    case 'numa':
      return clause(hosts, 'has no NUMA node with room', 'have no NUMA node with room', cellClause(request));
    case 'availability':
      return clause(hosts, 'is kept free for failovers', 'are kept free for failovers', guardClause(fleet, wish, slot));
  }
};

/** Why each host was passed over, filter by filter, and the least that would let the machine on one of each group. */
export const explainRefusal = (fleet: Fleet, wish: Wish, refusal: Refusal): PlacementExplanation => {
  const refused = FILTERS.flatMap((filter, index) => {
    const hosts = refusal.refused[index] ?? 0;
    const slot = refusal.example[index] ?? -1;
    if (hosts === 0) return [];
    const changes: PlacementChange[] = changesFor(fleet, slot, wish);
    const message = clauseOf(fleet, wish, { filter, hosts, slot });
    return [{ filter, hosts, example: fleet.table.names[slot] ?? '', message, changes }];
  });
  return { considered: refusal.considered, refused };
};

/** How the chosen host was found. */
export const explainChoice = (choice: Choice, policy: SchedulingPolicy): PlacementExplanation => {
  const { level, fitting, looked } = choice;
  const says = level?.says ?? (fitting === 1 ? 'the only one' : 'one');
  const name = level?.name ?? policy;
  const of = fitting === 1 && !level ? 'that fits' : `of ${counted(fitting, 'host that fits', 'hosts that fit')}`;
  return {
    considered: looked,
    refused: [],
    chosenBy: `${name}: ${says} ${of}${fitting > 1 && !level ? ', all alike' : ''}`,
    decidedBy: level?.name ?? (fitting === 1 ? 'filters' : 'seed'),
    fitting,
  };
};

/** `0/4 hosts: 3 lack memory (need 9.1Gi, most free 2Gi on host-0002), 1 is unschedulable`. */
export const deferralMessage = (explanation: PlacementExplanation, wish: Wish): string => {
  const { considered, refused } = explanation;
  if (considered === 0) return '0/0 hosts: no host has registered yet';
  // That hosts are not the named one goes without saying when the named one has a reason of its own.
  const telling = refused.filter((group) => group.filter !== 'host');
  const shown = wish.request.host !== undefined && telling.length > 0 ? telling : refused;
  if (wish.request.host !== undefined && telling.length === 0)
    return `0/${considered} hosts: there is no host ${wish.request.host}`;
  return `0/${considered} hosts: ${shown.map((group) => group.message).join(', ')}`;
};
