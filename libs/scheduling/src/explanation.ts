import type { PlacementExplanation } from '@xenolith/contracts';
import { approximateBytes } from '@xenolith/kernel';
import { FILTERS, type Choice, type Filter, type SchedulingPolicy, type Wish } from './choice.js';
import type { HostTable } from './host-table.js';

const counted = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;

/** What a filter says of the hosts that it refused, in a clause that starts with their number. */
const clause = (table: HostTable, wish: Wish, refusal: { filter: Filter; hosts: number; slot: number }): string => {
  const { request } = wish;
  const { hosts, slot } = refusal;
  const name = table.names[slot] ?? '';
  switch (refusal.filter) {
    case 'host':
      return counted(hosts, `is not host ${request.host ?? ''}`, `are not host ${request.host ?? ''}`);
    case 'exceptHost':
      return `is host ${request.exceptHost ?? ''}, which it is to leave`;
    case 'cluster':
      return counted(
        hosts,
        `is not in cluster ${request.cluster ?? ''}`,
        `are not in cluster ${request.cluster ?? ''}`,
      );
    case 'hypervisor': {
      const needs = request.hypervisor === 'any' ? `xen for ${request.guestType} guests` : request.hypervisor;
      return counted(hosts, `lacks hypervisor ${needs}`, `lack hypervisor ${needs}`);
    }
    case 'ready':
      return counted(hosts, 'is not ready', 'are not ready');
    case 'unschedulable':
      return counted(hosts, 'is unschedulable', 'are unschedulable');
    case 'antiAffinity': {
      const word = request.antiAffinity ?? '';
      return counted(hosts, `runs a machine of anti-affinity ${word}`, `run machines of anti-affinity ${word}`);
    }
    case 'contended':
      return counted(hosts, 'was taken by others at the same moment', 'were taken by others at the same moment');
    case 'memory': {
      const free = approximateBytes(table.freeMemory(slot));
      const why = `(need ${approximateBytes(request.memoryBytes)}, most free ${free} on ${name})`;
      return counted(hosts, `lacks memory ${why}`, `lack memory ${why}`);
    }
    case 'cpu': {
      const why = `(need ${request.vcpus} vCPUs, most free ${table.freeVcpus(slot)} on ${name})`;
      return counted(hosts, `lacks CPU ${why}`, `lack CPU ${why}`);
    }
  }
};

/** Why the hosts that were passed over were, filter by filter, and how the chosen one was found. */
export const explain = (
  table: HostTable,
  wish: Wish,
  choice: Choice,
  policy: SchedulingPolicy,
): PlacementExplanation => {
  const refused = FILTERS.flatMap((filter, index) => {
    const hosts = choice.refused[index] ?? 0;
    const slot = choice.example[index] ?? -1;
    if (hosts === 0) return [];
    return [{ filter, hosts, example: table.names[slot] ?? '', message: clause(table, wish, { filter, hosts, slot }) }];
  });
  // The clauses that fewer filters lie before say least about what to do, so the filters' own order is kept for people too.
  if (choice.slot < 0) return { considered: choice.considered, refused };
  const how = policy === 'balance' ? 'least loaded' : 'fullest';
  return {
    considered: choice.considered,
    refused,
    chosenBy: `${policy}: the ${how} of ${counted(choice.fitting, 'host that fits', 'hosts that fit')}`,
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
