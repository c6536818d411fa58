import { bitmapText, decimal, left, lines, right } from './columns.js';
import { SHUTDOWN_REASONS } from './views.js';
import type { DomainFacts, VcpuFacts } from './views.js';

const NS_PER_S = 1e9;
/** By shutdown code (tools/xl/xl_info.c). */
const REASON_LETTERS = '-rscwS';

const codeOf = (domain: DomainFacts): number =>
  domain.shutdown === null ? 0 : SHUTDOWN_REASONS.indexOf(domain.shutdown);

/** The six letters of `State`: running, blocked, paused, shut down, why, dying. */
export const stateLetters = (domain: DomainFacts): string =>
  [
    domain.running ? 'r' : '-',
    domain.blocked ? 'b' : '-',
    domain.paused ? 'p' : '-',
    domain.shutdown === null ? '-' : 's',
    REASON_LETTERS.charAt(codeOf(domain)),
    domain.dying ? 'd' : '-',
  ].join('');

/** glibc's printf writes a missing name so. */
const nameOf = (name: string | null): string => name ?? '(null)';

export interface ListOptions {
  /** -v */
  readonly verbose?: boolean;
  /** -Z */
  readonly context?: boolean;
  /** -c */
  readonly cpupool?: boolean;
  /** -n, with the number of the host's NUMA nodes. */
  readonly numaNodes?: number;
}

/** `xl list` (tools/xl/xl_info.c `list_domains`). */
export const listText = (domains: readonly DomainFacts[], options: ListOptions = {}): string => {
  const { verbose = false, context = false, cpupool = false, numaNodes } = options;
  let header = 'Name                                        ID   Mem VCPUs\tState\tTime(s)';
  if (verbose) header += '   UUID                            Reason-Code\tSecurity Label';
  else if (context) header += '   Security Label';
  if (cpupool) header += '         Cpupool';
  if (numaNodes !== undefined) header += ' NODE Affinity';
  const rows = domains.map((domain) => {
    const memoryMib = Math.floor((domain.memoryKib + domain.outstandingKib) / 1024);
    let row = `${left(nameOf(domain.name), 40)} ${right(domain.domid, 5)} ${right(memoryMib, 5)} ${right(domain.vcpusOnline, 5)}`;
    row += `     ${stateLetters(domain)}  ${decimal(domain.cpuTimeNs / NS_PER_S, 8)}`;
    if (verbose) {
      row += ` ${domain.uuid} ${right(domain.shutdown === null ? '-' : codeOf(domain).toString(16), 8)}`;
    }
    if (verbose || context) row += ` ${right(domain.label ?? '-', 16)}`;
    if (cpupool) row += right(domain.cpupool, 16);
    if (numaNodes !== undefined) row += ` ${bitmapText(domain.nodeAffinity, numaNodes)}`;
    return row;
  });
  return lines([header, ...rows]);
};

/** `xl list -l`: the configurations as JSON, four blanks to a level. */
export const listLongText = (domains: readonly { readonly domid: number; readonly config: object }[]): string =>
  `${JSON.stringify(domains, null, 4)}\n`;

/** `xl vm-list`. */
export const vmListText = (domains: readonly DomainFacts[]): string =>
  lines([
    'UUID                                  ID    name',
    ...domains.map(({ uuid, domid, name }) => `${uuid}  ${domid}    ${left(nameOf(name), 30)}`),
  ]);

/** `xl vcpu-list` (tools/xl/xl_vcpu.c). */
export const vcpuListText = (
  domains: readonly { readonly domid: number; readonly name: string | null; readonly vcpus: readonly VcpuFacts[] }[],
  pcpuCount: number,
): string => {
  const header = `${left('Name', 32)} ${right('ID', 5)} ${right('VCPU', 5)} ${right('CPU', 5)} ${right('State', 5)} ${right('Time(s)', 9)} Affinity (Hard / Soft)`;
  const rows = domains.flatMap(({ domid, name, vcpus }) =>
    vcpus.map((vcpu) => {
      const place = vcpu.online
        ? `${right(vcpu.pcpu, 5)} ${right(vcpu.running ? 'r' : '-', 3)}${vcpu.blocked ? 'b' : '-'}- `
        : `${right('-', 5)} ${right('-', 3)}-p `;
      const affinity = `${bitmapText(vcpu.hardAffinity, pcpuCount)} / ${bitmapText(vcpu.softAffinity, pcpuCount)}`;
      return `${left(nameOf(name), 32)} ${right(domid, 5)} ${right(vcpu.vcpu, 5)}${place}${decimal(vcpu.cpuTimeNs / NS_PER_S, 9)}  ${affinity}`;
    }),
  );
  return lines([header, ...rows]);
};
