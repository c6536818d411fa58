import { uuidFrom } from '@xenolith/kernel';
import type { DomainOrder } from '../domain-order.js';
import { CREDIT_DEFAULTS, CREDIT2_DEFAULTS } from '../scheduler/index.js';
import {
  blockListText,
  bootLogText,
  consoleText,
  credit2Text,
  creditText,
  domainDoesNotExist,
  domidText,
  domnameText,
  failed,
  infoFieldText,
  infoText,
  invalidDomain,
  listText,
  networkListText,
  pciAssignableText,
  pciListText,
  printed,
  topText,
  uptimeText,
  usbListText,
  vcpuListText,
  vmListText,
  type SchedulingFacts,
  type ToolOutput,
} from '../xl/index.js';
import { brctlShow, ipLinks, ipRoutes, ovsShow } from '../dom0/index.js';
import type { XenToolName } from '../host-model.js';
import type { SchedulerName } from '../hypervisor/index.js';
import { US_PER_MS } from './answers.js';
import { lostDaemons, unansweredTool } from './daemon-deaths.js';
import { controlDomainCpus } from './control-domain.js';
import { releaseOfHost, setupOf, type Host } from './host-state.js';
import { assignableFunctions } from '../devices/index.js';
import { passthroughOf } from './passed-devices.js';
import { consoleFacts } from './console-facts.js';
import { orderOf } from './domain-orders.js';
import { refusalOf } from './refused-commands.js';
import { STORE } from './store-tools.js';
import { XM_OWN } from './xm-tools.js';
import { chosen, domidOf, isRefusal, ofDomain, split, unknownFlag, type Tool } from './tool-calls.js';
import {
  diskFacts,
  domainFacts,
  domainsAt,
  functionFacts,
  hostFacts,
  machineOfDomid,
  nameOfDomain,
  nicFacts,
  topFacts,
  uptimesOf,
  usbFacts,
  vcpuFacts,
} from './tool-facts.js';

const NS_PER_US = 1_000;
const NS_PER_MS = 1_000_000;
const KIBIBYTE = 1024;
/** The pool of all CPUs, as Xen makes it at boot. */
const POOL = 'Pool-0';

const list: Tool = (call) => {
  const asked = split(call.args, 'vZcn');
  if (typeof asked === 'string') return unknownFlag(asked);
  const { flags, rest } = asked;
  const found = chosen(call, rest, (name) => (/^\d+$/.test(name) ? domainDoesNotExist(name) : invalidDomain(name)));
  if (isRefusal(found)) return found;
  const numa = flags.has('n') ? { numaNodes: call.host.state.hypervisor.nodes.length } : {};
  return printed(
    listText(
      found.map((info) => domainFacts(call.host, info)),
      { verbose: flags.has('v'), context: flags.has('Z'), cpupool: flags.has('c'), ...numa },
    ),
  );
};

const vcpuList: Tool = (call) => {
  const found = chosen(call, call.args, invalidDomain);
  if (isRefusal(found)) return found;
  const { host, nowUs } = call;
  const rows = found.map((info) => ({
    domid: info.domid,
    name: nameOfDomain(host, info.domid),
    vcpus: vcpuFacts(host, info, nowUs),
  }));
  return printed(vcpuListText(rows, host.hypervisor.cpuTopology().length));
};

const info: Tool = ({ host, args, nowUs }) => {
  const asked = split(args, 'n');
  if (typeof asked === 'string') return unknownFlag(asked);
  const facts = hostFacts(host, nowUs);
  const [field] = asked.rest;
  return printed(field === undefined ? infoText(facts, { numa: asked.flags.has('n') }) : infoFieldText(facts, field));
};

const schedulerText = (scheduler: SchedulerName, domains: readonly SchedulingFacts[]): string =>
  scheduler === 'credit2'
    ? credit2Text({ name: POOL, rateLimitUs: CREDIT2_DEFAULTS.rateLimitNs / NS_PER_US }, domains)
    : creditText(
        {
          name: POOL,
          sliceMs: CREDIT_DEFAULTS.sliceNs / NS_PER_MS,
          rateLimitUs: CREDIT_DEFAULTS.rateLimitNs / NS_PER_US,
          migrationDelayUs: CREDIT_DEFAULTS.migrationDelayNs / NS_PER_US,
        },
        domains,
      );

/** Pools of another scheduler are passed over, and a domain in one is refused (tools/xl/xl_sched.c, `sched_domain_get`). */
const parametersOf =
  (scheduler: SchedulerName): Tool =>
  (call) => {
    const { host, args } = call;
    const names = args.filter((arg) => arg !== '-d');
    const found = chosen(call, names, invalidDomain);
    if (isRefusal(found)) return found;
    const runs = host.state.hypervisor.scheduler;
    if (runs !== scheduler && names.length > 0)
      return failed(`libxl_domain_sched_params_get returned ${runs} not ${scheduler}.`);
    if (runs !== scheduler) return printed('');
    const domains = found.map(({ domid, weight, cap }) => ({
      domid,
      weight,
      cap,
      name: nameOfDomain(host, domid) ?? '',
    }));
    return printed(schedulerText(scheduler, domains));
  };

const uptime: Tool = (call) => {
  const { host, args, nowUs } = call;
  const found = chosen(call, args, invalidDomain);
  if (isRefusal(found)) return found;
  return printed(uptimeText(uptimesOf(host, found, nowUs)));
};

const top: Tool = ({ host, nowUs }) => {
  const { totalMib } = hostFacts(host, nowUs);
  return printed(
    topText(
      domainsAt(host, nowUs).map((domain) => topFacts(host, domain, nowUs)),
      totalMib * KIBIBYTE,
    ),
  );
};

const networkList = ofDomain('network-list', (host, domid) => {
  const machine = machineOfDomid(host, domid);
  return networkListText(machine ? nicFacts(machine) : []);
});

const blockList = ofDomain('block-list', (host, domid) => {
  const machine = machineOfDomid(host, domid);
  return blockListText(machine ? diskFacts(machine) : []);
});

const pciList = ofDomain('pci-list', (host, domid) => {
  const machine = machineOfDomid(host, domid);
  const functions = machine ? functionFacts(machine) : [];
  return functions.length === 0 ? '' : pciListText(functions);
});

const usbList = ofDomain('usb-list', (host, domid) => {
  const machine = machineOfDomid(host, domid);
  return usbListText(machine ? usbFacts(host, machine) : []);
});

const pciAssignable: Tool = ({ host }) => printed(pciAssignableText(assignableFunctions(passthroughOf(host.state))));

const dmesg: Tool = ({ host, nowUs }) =>
  printed(
    bootLogText(hostFacts(host, nowUs), {
      bootloader: 'GRUB 2.12',
      dom0MaxVcpus: controlDomainCpus(host),
      iommu: host.hypervisor.physicalInfo(nowUs).capabilities.directio,
    }),
  );

/** Of a guest; Dom0's console is the machine's own (tools/console/client/main.c says this where there is no terminal). */
const consoleTool: Tool = ({ host, args: [asked] }) => {
  if (asked === undefined) return failed("'xl console' requires at least 1 argument.");
  const domid = domidOf(host, asked);
  if (domid === null) return invalidDomain(asked);
  const machine = machineOfDomid(host, domid);
  if (machine === null) return failed('xenconsole: Could not read tty from store: No such file or directory');
  // The daemon's end of the guest's terminal went with it (tools/console/client/main.c).
  if (lostDaemons(host.state).includes('xenconsoled'))
    return failed(`xenconsole: Could not open tty \`/dev/pts/${domid}': No such file or directory`);
  return printed(consoleText(consoleFacts(host, machine)));
};

const domidTool: Tool = ({ host, args: [asked = ''] }) => domidText(asked, domidOf(host, asked));

const domname: Tool = ({ host, args: [asked = ''] }) =>
  domnameText(asked, /^\d+$/.test(asked) ? nameOfDomain(host, Number(asked)) : null);

const vmList: Tool = ({ host, nowUs }) =>
  printed(vmListText(domainsAt(host, nowUs).map((domain) => domainFacts(host, domain))));

/** The commands of xl that only look. */
const XL: Readonly<Record<string, Tool>> = {
  'block-list': blockList,
  console: consoleTool,
  dmesg,
  domid: domidTool,
  domname,
  info,
  list,
  'network-list': networkList,
  'pci-assignable-list': pciAssignable,
  'pci-list': pciList,
  'sched-credit': parametersOf('credit'),
  'sched-credit2': parametersOf('credit2'),
  top,
  uptime,
  'usb-list': usbList,
  'vcpu-list': vcpuList,
  'vm-list': vmList,
};

const bridges: Tool = ({ host }) => printed(brctlShow(host.state.network));

const BRCTL: Readonly<Record<string, Tool>> = { show: bridges };

/** Of Debian 13. */
const OPEN_VSWITCH_VERSION = '3.5.0';

const switches: Tool = ({ host: { state } }) =>
  printed(ovsShow(state.network, { uuid: uuidFrom('openvswitch', state.name), version: OPEN_VSWITCH_VERSION }));

const OVS: Readonly<Record<string, Tool>> = { show: switches };

const links =
  (withAddresses: boolean): Tool =>
  ({ host }) =>
    printed(ipLinks(host.state.network, withAddresses));

/** Of iproute2, in Dom0. */
const IP: Readonly<Record<string, Tool>> = {
  addr: links(true),
  address: links(true),
  link: links(false),
  route: ({ host }) => printed(ipRoutes(host.state.network)),
};

/** What xend's tool has of xl's, and its own. */
const XM: Readonly<Record<string, Tool>> = { console: consoleTool, dmesg, top, ...XM_OWN };

const TOOLS: Readonly<Record<XenToolName, Readonly<Record<string, Tool>>>> = {
  brctl: BRCTL,
  ip: IP,
  'ovs-vsctl': OVS,
  xl: XL,
  xenstore: STORE,
  xm: XM,
};

/** What xl says where xend runs, of commands that change something (tools/libxl/xl.c at RELEASE-4.4.0); here of every command. */
const XEND_RUNS = [
  'xend is running, which may cause unpredictable results when using',
  'this xl command.  Please shut down xend before continuing.',
  '',
  '(This check can be overridden with the -f option.)',
].join('\n');

/** Why a host does not have the tool; null: it has. */
const missing = (host: Host, tool: XenToolName): string | null => {
  const { name } = host.state;
  const release = releaseOfHost(host);
  if (tool === 'xl' && release.xend) return XEND_RUNS;
  if (tool === 'xm' && !release.xend) return `${name} runs Xen ${release.version}, which has no xm: ask xl there`;
  if (tool === 'ovs-vsctl' && setupOf(host.state).network !== 'openvswitch')
    return `${name} has no Open vSwitch: ask brctl there`;
  return null;
};

/** Why nothing in Dom0 answers to the tool; null: it does. A host that boots answers nothing. */
const unavailable = (host: Host, tool: XenToolName): ToolOutput | null => {
  const { state } = host;
  if (state.off === true) return failed(`${state.name} is powered off`);
  if (state.upAtUs !== null) return failed(`${state.name} boots; ask again when it is up`);
  const lack = missing(host, tool);
  if (lack !== null) return failed(lack);
  return unansweredTool(state, tool);
};

/** What a call of the toolstack's own tool wants done to a domain, or why not; null: it only looks. */
export const toolOrder = (host: Host, tool: 'xl' | 'xm', args: readonly string[]): DomainOrder | ToolOutput | null =>
  unavailable(host, tool) ?? orderOf(host, tool, args);

/** What a tool in Dom0 prints; it only looks. `at`: milliseconds since the epoch. */
export const runTool = (host: Host, tool: XenToolName, args: readonly string[], at: number): ToolOutput => {
  const { state } = host;
  const unanswered = unavailable(host, tool);
  if (unanswered !== null) return unanswered;
  const [command = 'help', ...rest] = args;
  const refusal = tool === 'xl' || tool === 'xm' ? refusalOf({ tool, host: state.name }, command, rest) : null;
  if (refusal !== null) return refusal;
  const found = Object.hasOwn(TOOLS[tool], command) ? TOOLS[tool][command] : undefined;
  const nowUs = Math.max(state.nowUs, at * US_PER_MS);
  if (found) return found({ host, args: rest, nowUs });
  const usage = `${tool} here knows: ${Object.keys(TOOLS[tool]).join(', ')}`;
  if (command === 'help') return printed(`${usage}\n`);
  return failed(`${command}: there is no such command; ${usage}`);
};
