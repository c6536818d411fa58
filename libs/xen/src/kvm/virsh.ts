import type { SourceSession } from '../host/migration-session.js';
import { leavingSession } from '../host/migration-session.js';
import { US_PER_MS } from '../host/answers.js';
import { diskLetters, volumePath } from '../host/machine-devices.js';
import { numaNodesOf } from '../hardware-profile.js';
import { cpusOf, PAGE_BYTES } from '../hypervisor/index.js';
import type { DomainOrder } from '../domain-order.js';
import { sentBy } from '../migration/rounds.js';
import { failed, printed, type ToolOutput } from '../xl/index.js';
import { affinityOf, cpuFigures } from './kvm-cpu.js';
import { hasVirtio } from './kvm-devices.js';
import { dirtyingOf } from './kvm-migrations.js';
import { nodememstats, nodeMemoryTune, numatune } from './virsh-memory.js';
import { virshOrder, virshRefusal } from './virsh-orders.js';
import { domstats } from './virsh-stats.js';
import { profileOf, threadsOfHost, type KvmHost, type KvmMachine } from './kvm-state.js';

const KIBIBYTE = 1024;

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

/** `%-15s %s`, and the like of other commands. */
const fieldsOf = (width: number, fields: readonly (readonly [name: string, value: string | number])[]): string =>
  fields.map(([name, value]) => `${`${name}:`.padEnd(width)} ${value}\n`).join('');

/** Domains are transient here, as oVirt's are: one that does not run is not known, so that `--all` shows no others. libvirt's numbers are its own; the platform goes by process ids. */
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

/** tools/virsh-host.c, `cmdNodeinfo`: sockets are counted for each NUMA cell. */
const nodeinfo = (host: KvmHost): ToolOutput => {
  const { mhz, sockets, coresPerSocket, threadsPerCore, memoryBytes } = profileOf(host);
  const cells = numaNodesOf(profileOf(host)).length;
  return printed(
    fieldsOf(20, [
      ['CPU model', 'x86_64'],
      ['CPU(s)', threadsOfHost(host)],
      ['CPU frequency', `${mhz} MHz`],
      ['CPU socket(s)', Math.max(1, Math.floor(sockets / cells))],
      ['Core(s) per socket', coresPerSocket],
      ['Thread(s) per core', threadsPerCore],
      ['NUMA cell(s)', cells],
      ['Memory size', `${Math.floor(memoryBytes / KIBIBYTE)} KiB`],
    ]),
  );
};

/** tools/virsh-domain-monitor.c, `cmdDominfo`. */
const dominfo = (host: KvmHost, machine: KvmMachine, nowUs: number): ToolOutput => {
  const { settings, uid, number } = machine;
  const { cpuSeconds } = cpuFigures(host, machine, nowUs);
  return printed(
    `${fieldsOf(15, [
      ['Id', number],
      ['Name', settings.name],
      ['UUID', uid],
      ['OS Type', 'hvm'],
      ['State', stateOf(machine)],
      ['CPU(s)', settings.vcpus],
      ...(cpuSeconds > 0 ? [['CPU time', `${cpuSeconds.toFixed(1)}s`] as const] : []),
      ['Max memory', `${Math.floor(settings.staticMaxBytes / KIBIBYTE)} KiB`],
      ['Used memory', `${Math.floor(settings.dynamicMaxBytes / KIBIBYTE)} KiB`],
      ['Persistent', 'no'],
      ['Autostart', 'disable'],
      ['Managed save', 'no'],
    ])}\n`,
  );
};

/** tools/virsh-domain.c, `cmdVcpuinfo`. Which thread a vCPU is on is an assumption: one of those that it may use, in turn; CPU time is spread evenly. */
const vcpuinfo = (host: KvmHost, machine: KvmMachine, nowUs: number): ToolOutput => {
  const { vcpus, pin } = machine.settings;
  const may = cpusOf(affinityOf(host, pin) ?? []);
  const affinity = Array.from({ length: threadsOfHost(host) }, (_, cpu) => (may.includes(cpu) ? 'y' : '-')).join('');
  const { cpuSeconds } = cpuFigures(host, machine, nowUs);
  const blocks = Array.from({ length: vcpus }, (_, vcpu) =>
    fieldsOf(15, [
      ['VCPU', vcpu],
      ['CPU', may[vcpu % Math.max(1, may.length)] ?? 0],
      ['State', 'running'],
      ...(cpuSeconds > 0 ? [['CPU time', `${(cpuSeconds / vcpus).toFixed(1)}s`] as const] : []),
      ['CPU Affinity', affinity],
    ]),
  );
  return printed(`${blocks.join('\n')}\n`);
};

/** `cmdDomblklist`. */
const domblklist = (_host: KvmHost, machine: KvmMachine): ToolOutput => {
  const prefix = hasVirtio(machine) ? 'vd' : 'hd';
  const rows = machine.settings.disks.map(({ name, volume }) => {
    const slot = machine.devices.find((device) => device.kind === 'disk' && device.name === name)?.slot ?? 0;
    return [`${prefix}${diskLetters(slot)}`, volumePath(volume)];
  });
  return printed(tableOf([['Target', 'Source'], ...rows]));
};

/** `cmdDomiflist`. */
const domiflist = (_host: KvmHost, machine: KvmMachine): ToolOutput => {
  const rows = machine.settings.nics.map(({ name, mac, bridge }) => {
    const tap = machine.devices.find((device) => device.kind === 'nic' && device.name === name)?.tap ?? 0;
    return [`vnet${tap}`, 'bridge', bridge === '' ? '-' : bridge, hasVirtio(machine) ? 'virtio' : 'e1000', mac];
  });
  return printed(tableOf([['Interface', 'Type', 'Source', 'Model', 'MAC'], ...rows]));
};

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** tools/vsh.c, `vshPrettyCapacity`, in three decimals. */
const capacityText = (bytes: number): string => {
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return `${(bytes / KIBIBYTE ** power).toFixed(3)} ${UNITS[power]}`;
};

const jobFields = (host: KvmHost, machine: KvmMachine, session: SourceSession, nowUs: number) => {
  const { transfer, pagesSent, rounds, beganUs, end } = session;
  const inRound = transfer === null ? 0 : sentBy(transfer, nowUs);
  const remaining = (transfer?.pages ?? 0) - inRound;
  const data = (pages: number): string => capacityText(pages * PAGE_BYTES);
  const memory = [
    ['processed', data(pagesSent + inRound)],
    ['remaining', data(remaining)],
    ['total', data(end?.memoryPages ?? 0)],
  ] as const;
  return [
    ['Job type', 'Unbounded'.padEnd(12)],
    ['Operation', 'Outgoing migration'.padEnd(12)],
    ['Time elapsed', `${String(Math.round((nowUs - beganUs) / US_PER_MS)).padEnd(12)} ms`],
    ...memory.map(([what, text]) => [`Data ${what}`, text] as const),
    ...memory.map(([what, text]) => [`Memory ${what}`, text] as const),
    ['Memory bandwidth', `${data(transfer?.pagesPerSecond ?? 0)}/s`],
    ['Dirty rate', `${String(dirtyingOf(host, machine, 0).pagesPerSecond).padEnd(12)} pages/s`],
    ['Page size', `${String(PAGE_BYTES).padEnd(12)} bytes`],
    ['Iteration', String(rounds + 1).padEnd(12)],
  ] as const;
};

/** tools/virsh-domain.c, `cmdDomjobinfo`: a migration that leaves; one that waits for others has not begun. */
const domjobinfo = (host: KvmHost, machine: KvmMachine, nowUs: number): ToolOutput => {
  const session = leavingSession(host.state, machine.uid);
  if (session === null || session.end === null) return printed(`${fieldsOf(17, [['Job type', 'None'.padEnd(12)]])}\n`);
  return printed(`${fieldsOf(17, jobFields(host, machine, session, nowUs))}\n`);
};

/** tools/virsh-domain-monitor.c, `cmdDomstate`. */
const domstate = (_host: KvmHost, machine: KvmMachine): ToolOutput => printed(`${stateOf(machine)}\n\n`);

const ON_HOST = new Map<string, (host: KvmHost, nowUs: number) => ToolOutput>(
  Object.entries({ list, nodeinfo, nodememstats, 'node-memory-tune': nodeMemoryTune }),
);
const ON_DOMAIN = new Map<string, (host: KvmHost, machine: KvmMachine, nowUs: number) => ToolOutput>(
  Object.entries({ dominfo, domstate, numatune, vcpuinfo, domblklist, domiflist, domjobinfo }),
);
/** Options that change nothing of what is shown. */
const PASSED_OVER = new Map([['list', '--all']]);
const KNOWN = [...ON_HOST.keys(), ...ON_DOMAIN.keys(), 'domstats'].join(', ');

/** A domain by its number, name or UUID. */
const find = ({ state }: KvmHost, text: string): KvmMachine | null =>
  Object.values(state.machines).find(
    ({ number, settings, uid }) => String(number) === text || settings.name === text || uid === text,
  ) ?? null;

const unknownDomain = (text: string): ToolOutput => failed(`error: failed to get domain '${text}'`);

const statsOf = (host: KvmHost, names: readonly string[], nowUs: number): ToolOutput => {
  const found = names.map((name) => [name, find(host, name)] as const);
  const missing = found.find(([, machine]) => machine === null);
  if (missing) return unknownDomain(missing[0]);
  const named = found.flatMap(([, machine]) => machine ?? []);
  return domstats(host, names.length === 0 ? Object.values(host.state.machines) : named, nowUs);
};

/** Why virsh reaches no libvirt on the host; null: it does. */
const unreachable = ({ state: { name, off, upAtUs, libvirtd } }: KvmHost): ToolOutput | null => {
  if (off === true) return failed(`${name} is powered off`);
  if (upAtUs !== null) return failed(`${name} boots; ask again when it is up`);
  // tools/virsh.c, `virshConnect`, with the words of src/rpc/virnetsocket.c.
  if (libvirtd === 'lost')
    return failed(
      "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/var/run/libvirt/libvirt-sock': Connection refused",
    );
  return null;
};

/** What a call of virsh wants done to a domain, or why not; null: it only looks. */
export const orderOf = (host: KvmHost, args: readonly string[]): DomainOrder | ToolOutput | null =>
  unreachable(host) ?? virshOrder(host, args, (text) => find(host, text));

/** What virsh prints at `nowUs`. It only looks. */
export const virsh = (host: KvmHost, args: readonly string[], nowUs: number): ToolOutput => {
  const unreached = unreachable(host);
  if (unreached !== null) return unreached;
  const [command = 'help', ...rest] = args;
  if (command === 'help') return printed(`virsh here knows: ${KNOWN}\n`);
  const refusal = virshRefusal(host, command);
  if (refusal !== null) return refusal;
  const strange = rest.find((arg) => arg.startsWith('-') && PASSED_OVER.get(command) !== arg);
  const onHost = ON_HOST.get(command);
  const onDomain = ON_DOMAIN.get(command);
  if (!onHost && !onDomain && command !== 'domstats')
    return failed(`error: unknown command: '${command}'; virsh here knows: ${KNOWN}`);
  if (strange !== undefined)
    return failed(`error: command '${command}' doesn't support option ${strange.replace(/^-+/, '--')}`);
  if (onHost) return onHost(host, nowUs);
  // Of those that are named, or of all.
  if (command === 'domstats') return statsOf(host, rest, nowUs);
  const [domain] = rest;
  if (domain === undefined) return failed(`error: command '${command}' requires <domain> option`);
  const machine = find(host, domain);
  return machine && onDomain ? onDomain(host, machine, nowUs) : unknownDomain(domain);
};
