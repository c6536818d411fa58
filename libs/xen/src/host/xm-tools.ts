import { assignableFunctions } from '../devices/index.js';
import {
  failed,
  pciAssignableText,
  printed,
  xmBlockListText,
  xmInfoText,
  xmListText,
  xmNetworkListText,
  xmPciListText,
  xmSchedCreditText,
  xmUnknownDomain,
  xmUptimeText,
  xmVcpuListText,
} from '../xl/index.js';
import type { Host } from './host-state.js';
import { passthroughOf } from './passed-devices.js';
import { chosen, domidOf, isRefusal, type Call, type Tool } from './tool-calls.js';
import {
  diskFacts,
  domainFacts,
  functionFacts,
  hostFacts,
  machineOfDomid,
  nameOfDomain,
  nicFacts,
  uptimesOf,
  vcpuFacts,
} from './tool-facts.js';

type Domains = Exclude<ReturnType<typeof chosen>, { readonly exitCode: number }>;

/** Of the domains that are named, or of all. */
const ofDomains =
  (text: (call: Call, found: Domains) => string): Tool =>
  (call) => {
    const found = chosen(call, call.args, xmUnknownDomain);
    return isRefusal(found) ? found : printed(text(call, found));
  };

/** Of one domain, which must be named. */
const ofOne =
  (text: (host: Host, domid: number) => string): Tool =>
  ({ host, args: [asked] }) => {
    if (asked === undefined) return failed('No domain parameter given');
    const domid = domidOf(host, asked);
    return domid === null ? xmUnknownDomain(asked) : printed(text(host, domid));
  };

/** Of the machine behind a domain; of Dom0 there is nothing to say. */
const ofMachine = (text: (machine: NonNullable<ReturnType<typeof machineOfDomid>>) => string): Tool =>
  ofOne((host, domid) => {
    const machine = machineOfDomid(host, domid);
    return machine === null ? '' : text(machine);
  });

const schedCredit: Tool = (call) => {
  const { host, args } = call;
  const { scheduler } = host.state.hypervisor;
  if (scheduler !== 'credit') return failed(`Error: Xen is running with the ${scheduler} scheduler`);
  const found = chosen(
    call,
    args.filter((arg) => arg !== '-d'),
    xmUnknownDomain,
  );
  if (isRefusal(found)) return found;
  return printed(
    xmSchedCreditText(
      found.map(({ domid, weight, cap }) => ({ domid, weight, cap, name: nameOfDomain(host, domid) ?? '' })),
    ),
  );
};

/** Commands of xend's tool that print otherwise than those of xl. */
export const XM_OWN: Readonly<Record<string, Tool>> = {
  'block-list': ofMachine((machine) => xmBlockListText(diskFacts(machine))),
  domid: ofOne((_host, domid) => `${domid}\n`),
  domname: ofOne((host, domid) => `${nameOfDomain(host, domid) ?? ''}\n`),
  info: ({ host, nowUs }) => printed(xmInfoText(hostFacts(host, nowUs))),
  list: ofDomains(({ host }, found) => xmListText(found.map((domain) => domainFacts(host, domain)))),
  'network-list': ofMachine((machine) => xmNetworkListText(nicFacts(machine))),
  'pci-list': ofMachine((machine) => xmPciListText(functionFacts(machine))),
  'pci-list-assignable-devices': ({ host }) =>
    printed(pciAssignableText(assignableFunctions(passthroughOf(host.state)))),
  'sched-credit': schedCredit,
  uptime: ofDomains(({ host, nowUs }, found) => xmUptimeText(uptimesOf(host, found, nowUs))),
  'vcpu-list': ofDomains(({ host, nowUs }, found) =>
    xmVcpuListText(
      found.map((info) => ({
        domid: info.domid,
        name: nameOfDomain(host, info.domid),
        vcpus: vcpuFacts(host, info, nowUs),
      })),
      host.hypervisor.cpuTopology().length,
    ),
  ),
};
