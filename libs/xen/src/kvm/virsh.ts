import { failed, printed, type ToolOutput } from '../xl/index.js';
import type { KvmHost, KvmMachine } from './kvm-state.js';

/** libvirt's words for a domain's state (tools/virsh-domain-monitor.c, `virDomainState`). */
const stateOf = ({ phase, paused, guest }: KvmMachine): string => {
  if (phase === 'ending') return 'in shutdown';
  if (phase === 'saving' || phase === 'arriving' || phase === 'finishing') return 'paused';
  if (phase === 'shutdown') return guest.phase === 'ended' ? 'crashed' : 'shut off';
  return paused ? 'paused' : 'running';
};

/** As libvirt's tools/vsh-table.c prints tables: a blank before each cell and two behind it, dashes below the header. */
const tableOf = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map(
    (row) =>
      ` ${row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('   ')}`,
  );
  const [header = '', ...body] = lines;
  const dashes = '-'.repeat(widths.reduce((sum, width) => sum + width + 3, 0));
  return `${[header, dashes, ...body].join('\n')}\n\n`;
};

/** libvirt's numbers are its own; the platform goes by process ids. */
const list = ({ state }: KvmHost): ToolOutput =>
  printed(
    tableOf([
      ['Id', 'Name', 'State'],
      ...Object.values(state.machines).map((machine) => [
        String(machine.number),
        machine.settings.name,
        stateOf(machine),
      ]),
    ]),
  );

/** What a tool on a KVM host prints; Xen's are not there. */
export const kvmTool = (
  host: KvmHost,
  { tool, args }: { readonly tool: string; readonly args: readonly string[] },
): ToolOutput => {
  const { name, upAtUs } = host.state;
  if (upAtUs !== null) return failed(`${name} boots; ask again when it is up`);
  if (tool !== 'virsh') return failed(`${name} runs KVM, not Xen: it has no ${tool}; ask virsh there`);
  const [command = 'help'] = args;
  if (command === 'list') return list(host);
  if (command === 'help') return printed('virsh here knows: list\n');
  return failed(`error: unknown command: '${command}'; virsh here knows: list`);
};
