import { uuidFrom } from '@xenolith/kernel';
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
  printed,
  topText,
  uptimeText,
  vcpuListText,
  vmListText,
  xmListText,
  xenstoreListText,
  type SchedulingFacts,
  type ToolOutput,
  type XenstoreNode,
} from '../xl/index.js';
import { brctlShow, ovsShow } from '../dom0/index.js';
import type { SchedulerName } from '../hypervisor/index.js';
import { US_PER_MS } from './answers.js';
import { controlDomainCpus } from './control-domain.js';
import { releaseOfHost, setupOf, type Host } from './host-state.js';
import { consoleFacts } from './console-facts.js';
import { refusalOf } from './refused-commands.js';
import {
  diskFacts,
  domainFacts,
  domainsAt,
  hostFacts,
  machineOfDomid,
  nameOfDomain,
  nicFacts,
  topFacts,
  vcpuFacts,
} from './tool-facts.js';

const NS_PER_US = 1_000;
const US_PER_S = 1_000_000;
const NS_PER_MS = 1_000_000;
const KIBIBYTE = 1024;
/** The pool of all CPUs, as Xen makes it at boot. */
const POOL = 'Pool-0';

/** A tool of Dom0 as somebody calls it there; `nowUs` is the moment of the call. */
interface Call {
  readonly host: Host;
  readonly args: readonly string[];
  readonly nowUs: number;
}
type Tool = (call: Call) => ToolOutput;

/** The flags that a call has of those that the tool knows, and what else it has; or the first flag that it does not know. */
const split = (args: readonly string[], known: string): { flags: Set<string>; rest: string[] } | string => {
  const flags = new Set<string>();
  const rest: string[] = [];
  for (const arg of args) {
    if (!/^-[A-Za-z]+$/.test(arg)) {
      rest.push(arg);
      continue;
    }
    for (const flag of arg.slice(1)) {
      if (!known.includes(flag)) return flag;
      flags.add(flag);
    }
  }
  return { flags, rest };
};

const unknownFlag = (flag: string): ToolOutput => failed(`option \`${flag}' not supported.`);

/** A domain by its number or its name, as `find_domain` of tools/xl/xl_utils.c looks for it; null: there is none. */
const domidOf = (host: Host, asked: string): number | null => {
  const domids = Object.keys(host.state.hypervisor.domains).map(Number);
  const found = /^\d+$/.test(asked)
    ? domids.find((domid) => domid === Number(asked))
    : domids.find((domid) => nameOfDomain(host, domid) === asked);
  return found ?? null;
};

/** The domains that a call names; all where it names none; the tool's refusal where one is not there. */
const chosen = ({ host, nowUs }: Call, names: readonly string[], refuse: (asked: string) => ToolOutput) => {
  const all = domainsAt(host, nowUs);
  if (names.length === 0) return all;
  const domids = names.map((name) => [name, domidOf(host, name)] as const);
  const missing = domids.find(([, domid]) => domid === null);
  if (missing) return refuse(missing[0]);
  return all.filter(({ domid }) => domids.some(([, wanted]) => wanted === domid));
};

const isRefusal = (found: object): found is ToolOutput => 'exitCode' in found;

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
  return printed(
    uptimeText(
      found.map(({ domid }) => ({
        domid,
        name: nameOfDomain(host, domid) ?? '',
        uptimeSeconds: Math.floor((nowUs - (machineOfDomid(host, domid)?.createdUs ?? host.state.bootedUs)) / US_PER_S),
      })),
    ),
  );
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

/** Of one domain, which the call must name. */
const ofDomain =
  (command: string, text: (host: Host, domid: number) => string): Tool =>
  ({ host, args }) => {
    const [asked] = args;
    if (asked === undefined) return failed(`'xl ${command}' requires at least 1 argument.`);
    const domid = domidOf(host, asked);
    return domid === null ? invalidDomain(asked) : printed(text(host, domid));
  };

const networkList = ofDomain('network-list', (host, domid) => {
  const machine = machineOfDomid(host, domid);
  return networkListText(machine ? nicFacts(machine) : []);
});

const blockList = ofDomain('block-list', (host, domid) => {
  const machine = machineOfDomid(host, domid);
  return blockListText(machine ? diskFacts(machine) : []);
});

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
  'sched-credit': parametersOf('credit'),
  'sched-credit2': parametersOf('credit2'),
  top,
  uptime,
  'vcpu-list': vcpuList,
  'vm-list': vmList,
};

const PATH = /^\/[A-Za-z0-9/_@-]*$/;

const nodeAt = (host: Host, path: string, name: string): XenstoreNode => {
  const value = host.xenstore.read(0, path);
  const permissions = host.xenstore.getPermissions(0, path);
  const children = host.xenstore.directory(0, path);
  return {
    name,
    value: value.ok ? value.value : '',
    permissions: permissions.ok ? permissions.value.map(({ access, domid }) => `${access}${domid}`) : [],
    children: (children.ok ? children.value : []).map((child) =>
      nodeAt(host, path === '/' ? `/${child}` : `${path}/${child}`, child),
    ),
  };
};

const exists = (host: Host, path: string): boolean => host.xenstore.read(0, path).ok;

const storeList: Tool = ({ host, args }) => {
  const asked = split(args, 'fp');
  if (typeof asked === 'string') return unknownFlag(asked);
  const [path = '/'] = asked.rest;
  if (!PATH.test(path) || !exists(host, path)) return failed('xenstore-ls: xs_directory: No such file or directory');
  const { children } = nodeAt(host, path, '');
  return printed(
    xenstoreListText({ path, children }, { fullPaths: asked.flags.has('f'), permissions: asked.flags.has('p') }),
  );
};

const storeRead: Tool = ({ host, args }) => {
  if (args.length === 0) return failed("'xenstore-read' requires at least 1 argument.");
  const values: string[] = [];
  for (const path of args) {
    const found = host.xenstore.read(0, path);
    if (!found.ok) return failed(`xenstore-read: couldn't read path ${path}`);
    values.push(`${found.value}\n`);
  }
  return printed(values.join(''));
};

const storeChildren: Tool = ({ host, args: [path = '/'] }) => {
  const found = host.xenstore.directory(0, path);
  return found.ok ? printed(found.value.map((name) => `${name}\n`).join('')) : failed('could not list path ' + path);
};

const STORE: Readonly<Record<string, Tool>> = { list: storeChildren, ls: storeList, read: storeRead };

const bridges: Tool = ({ host }) => printed(brctlShow(host.state.network));

const BRCTL: Readonly<Record<string, Tool>> = { show: bridges };

/** Of Debian 13. */
const OPEN_VSWITCH_VERSION = '3.5.0';

const switches: Tool = ({ host: { state } }) =>
  printed(ovsShow(state.network, { uuid: uuidFrom('openvswitch', state.name), version: OPEN_VSWITCH_VERSION }));

const OVS: Readonly<Record<string, Tool>> = { show: switches };

const xmList: Tool = (call) => {
  const found = chosen(call, call.args, (name) => failed(`Error: Domain '${name}' does not exist.`));
  return isRefusal(found) ? found : printed(xmListText(found.map((domain) => domainFacts(call.host, domain))));
};

/** What xend's tool shares with xl, and its own list. */
const XM: Readonly<Record<string, Tool>> = {
  'block-list': blockList,
  console: consoleTool,
  dmesg,
  domid: domidTool,
  domname,
  info,
  list: xmList,
  'network-list': networkList,
  'sched-credit': parametersOf('credit'),
  top,
  uptime,
  'vcpu-list': vcpuList,
};

const TOOLS = { brctl: BRCTL, 'ovs-vsctl': OVS, xl: XL, xenstore: STORE, xm: XM } as const;
export type ToolName = keyof typeof TOOLS;

/** Why a host does not have the tool; null: it has. */
const missing = (host: Host, tool: ToolName): string | null => {
  const { name } = host.state;
  const release = releaseOfHost(host);
  if ((tool === 'xl' || tool === 'xm') && tool !== release.tool)
    return `${name} runs Xen ${release.version}, whose tool is ${release.tool}: it has no ${tool}`;
  if (tool === 'ovs-vsctl' && setupOf(host.state).network !== 'openvswitch')
    return `${name} has no Open vSwitch: ask brctl there`;
  return null;
};

/** What a tool in Dom0 prints; it only looks. `at`: milliseconds since the epoch. A host that boots answers nothing. */
export const runTool = (host: Host, tool: ToolName, args: readonly string[], at: number): ToolOutput => {
  const { state } = host;
  if (state.upAtUs !== null) return failed(`${state.name} boots; ask again when it is up`);
  const lack = missing(host, tool);
  if (lack !== null) return failed(lack);
  const [command = 'help', ...rest] = args;
  const refusal = tool === 'xl' || tool === 'xm' ? refusalOf(tool, command, rest) : null;
  if (refusal !== null) return refusal;
  const found = Object.hasOwn(TOOLS[tool], command) ? TOOLS[tool][command] : undefined;
  const nowUs = Math.max(state.nowUs, at * US_PER_MS);
  if (found) return found({ host, args: rest, nowUs });
  const usage = `${tool} here knows: ${Object.keys(TOOLS[tool]).join(', ')}`;
  if (command === 'help') return printed(`${usage}\n`);
  return failed(`${command}: there is no such command; ${usage}`);
};
