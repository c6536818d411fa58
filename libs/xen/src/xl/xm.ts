import { decimal, left, lines, right } from './columns.js';
import type { HostFacts } from './info.js';
import { stateLetters } from './list.js';
import type { SchedulingFacts } from './scheduler-list.js';
import { spanText, type UptimeFacts } from './uptime.js';
import { failed, type DiskFacts, type DomainFacts, type NicFacts, type ToolOutput, type VcpuFacts } from './views.js';

// Formats are those of tools/python/xen/xm/main.py in releases up to 4.4, unless another file is named.

const NS_PER_S = 1e9;

/** ERROR_INVALID_DOMAIN of xend. */
export const xmUnknownDomain = (asked: string): ToolOutput => failed(`Error: Domain '${asked}' does not exist.`);

/** `xm list` (`xm_brief_list`). Assumption: xend shows no reason letter but `c`, for a crash. */
export const xmListText = (domains: readonly DomainFacts[]): string =>
  lines([
    `${left('Name', 40)} ${right('ID', 5)} ${right('Mem', 5)} ${right('VCPUs', 5)} ${right('State', 10)} ${right('Time(s)', 9)}`,
    ...domains.map((domain) => {
      const letters = stateLetters(domain);
      const state = `${letters.slice(0, 4)}${domain.shutdown === 'crash' ? 'c' : '-'}${letters.slice(5)}`;
      const memoryMib = Math.floor(domain.memoryKib / 1024);
      return `${left(domain.name ?? '??', 40)} ${right(domain.domid, 5)} ${right(memoryMib, 5)} ${right(domain.vcpusOnline, 5)} ${right(state, 10)} ${decimal(domain.cpuTimeNs / NS_PER_S, 8)}`;
    }),
  ]);

/** `format_cpumap`. */
const affinityText = (cpus: readonly number[], count: number): string => {
  if (cpus.length === count) return 'any cpu';
  const ranges: string[] = [];
  for (let first = 0; first < cpus.length; first += 1) {
    let last = first;
    while (cpus[last + 1] === (cpus[last] ?? 0) + 1) last += 1;
    ranges.push(last === first ? `${cpus[first]}` : `${cpus[first]}-${cpus[last]}`);
    first = last;
  }
  return ranges.length === 0 ? 'no cpus' : ranges.join(',');
};

const vcpuLetters = ({ online, running, blocked }: VcpuFacts): string =>
  online ? `${running ? 'r' : '-'}${blocked ? 'b' : '-'}-` : '--p';

/** `xm vcpu-list`. */
export const xmVcpuListText = (
  domains: readonly { readonly domid: number; readonly name: string | null; readonly vcpus: readonly VcpuFacts[] }[],
  pcpuCount: number,
): string =>
  lines([
    `${left('Name', 32)} ${right('ID', 5)} ${right('VCPU', 5)} ${right('CPU', 5)} ${right('State', 5)} ${right('Time(s)', 9)} CPU Affinity`,
    ...domains.flatMap(({ domid, name, vcpus }) =>
      vcpus.map((vcpu) => {
        const place = `${right(vcpu.online ? vcpu.pcpu : '-', 5)} ${right(vcpuLetters(vcpu), 5)}`;
        const time = decimal(vcpu.cpuTimeNs / NS_PER_S, 8);
        return `${left(name ?? '', 32)} ${right(domid, 5)} ${right(vcpu.vcpu, 5)} ${place}  ${time} ${affinityText(vcpu.hardAffinity, pcpuCount)}`;
      }),
    ),
  ]);

/** `xm network-list`: no header where there is no interface. */
export const xmNetworkListText = (nics: readonly NicFacts[]): string =>
  nics.length === 0
    ? ''
    : lines([
        'Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path',
        ...nics.map((nic) => {
          const ends = `${left(nic.devid, 3)}   ${left(nic.state, 3)}    ${left(nic.eventChannel, 3)}`;
          const rings = `${left(nic.txRingRef, 5)}/${left(nic.rxRingRef, 5)}`;
          return `${left(nic.devid, 3)} ${left(nic.backendDomid, 3)}${left(nic.mac, 17)}    ${ends}   ${rings}   ${left(nic.backendPath, 30)}  `;
        }),
      ]);

/** `xm block-list`: a front-end of a disk has no node of that name, so that its handle is 0. */
export const xmBlockListText = (disks: readonly DiskFacts[]): string =>
  disks.length === 0
    ? ''
    : lines([
        'Vdev  BE handle state evt-ch ring-ref BE-path',
        ...disks.map((disk) => {
          const ends = `${left(0, 3)}   ${left(disk.state, 3)}    ${left(disk.eventChannel, 3)}    ${left(disk.ringRef, 5)}`;
          return `${left(disk.devid, 5)}  ${left(disk.backendDomid, 3)}  ${ends} ${left(disk.backendPath, 30)}  `;
        }),
      ]);

/** `xm pci-list`: where QEMU gave it no place, as a PV guest's, there is no column for it. */
export const xmPciListText = (functions: readonly { readonly slot: number; readonly bdf: string }[]): string => {
  if (functions.length === 0) return '';
  const placed = functions.some(({ slot }) => slot > 0);
  const place = (slot: number): string => (placed ? `${slot.toString(16).padStart(2, '0')}.0 ` : '');
  return lines([placed ? 'Vdev Device' : 'Device', ...functions.map(({ slot, bdf }) => `${place(slot)}${bdf}`)]);
};

/** `xm uptime`. */
export const xmUptimeText = (domains: readonly UptimeFacts[]): string =>
  lines([
    `${left('Name', 33)} ${right('ID', 4)} Uptime `,
    ...domains.map(
      ({ name, domid, uptimeSeconds }) => `${left(name, 32)} ${right(domid, 5)} ${spanText(uptimeSeconds, true)}`,
    ),
  ]);

/** `xm sched-credit`. */
export const xmSchedCreditText = (domains: readonly SchedulingFacts[]): string =>
  lines([
    `${left('Name', 33)} ${right('ID', 4)} ${right('Weight', 6)} ${right('Cap', 4)}`,
    ...domains.map(
      ({ name, domid, weight, cap }) => `${left(name, 32)} ${right(domid, 5)} ${right(weight, 6)} ${right(cap, 4)}`,
    ),
  ]);

/** Of the CPUs or the memory of each node, as `node0:0-7`; further nodes stand below the first (XendNode.py, `format_node_to_cpu`). */
const byNode = (nodes: readonly string[]): string =>
  nodes.map((text, node) => `node${node}:${text}`).join(`\n${' '.repeat(25)}`);

const cpusByNode = ({ cpus, nodes }: HostFacts): string =>
  byNode(
    nodes.map((_node, number) =>
      affinityText(
        cpus.flatMap(({ node }, cpu) => (node === number ? [cpu] : [])),
        Infinity,
      ),
    ),
  );

/** `xm info`, in xend's order (tools/python/xen/xend/XendNode.py, `info`). */
export const xmInfoText = (host: HostFacts): string => {
  const { xen } = host;
  const fields: readonly (readonly [string, string | number])[] = [
    ['host', host.host],
    ['release', host.release],
    ['version', host.version],
    ['machine', host.machine],
    ['nr_cpus', host.cpus.length],
    ['nr_nodes', host.nodes.length],
    ['cores_per_socket', host.coresPerSocket],
    ['threads_per_core', host.threadsPerCore],
    ['cpu_mhz', Math.floor(host.cpuKhz / 1000)],
    ['hw_caps', host.hwCaps.map((word) => word.toString(16).padStart(8, '0')).join(':')],
    ['virt_caps', host.virtCaps.filter((cap) => cap === 'hvm' || cap === 'hvm_directio').join(' ')],
    ['total_memory', host.totalMib],
    ['free_memory', host.freeMib],
    ['node_to_cpu', cpusByNode(host)],
    ['node_to_memory', byNode(host.nodes.map(({ freeMib }) => String(freeMib)))],
    ['max_node_id', host.nodes.length - 1],
    ['xen_major', xen.major],
    ['xen_minor', xen.minor],
    ['xen_extra', xen.extra],
    ['xen_caps', `${xen.caps} `],
    ['xen_scheduler', xen.scheduler],
    ['xen_pagesize', xen.pageSize],
    ['platform_params', `virt_start=0x${xen.virtStart}`],
    ['xen_changeset', xen.changeset === '' ? 'unavailable' : xen.changeset],
    ['xen_commandline', xen.commandline],
    ['cc_compiler', xen.compiler],
    ['cc_compile_by', xen.compileBy],
    ['cc_compile_domain', xen.compileDomain],
    ['cc_compile_date', xen.compileDate],
    ['xend_config_format', 4],
  ];
  return lines(fields.map(([name, value]) => `${left(name, 23)}: ${value}`));
};
