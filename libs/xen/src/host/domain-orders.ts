import { standsBetween, type DomainOrder, type DomainVerb } from '../domain-order.js';
import { failed, invalidDomain, xmUnknownDomain, type ToolOutput } from '../xl/index.js';
import type { Host, Machine } from './host-state.js';
import { domidOf, split, unknownFlag } from './tool-calls.js';
import { machineOfDomid } from './tool-facts.js';

type Tool = 'xl' | 'xm';

/** Flags of each (tools/xl/xl_vmcontrol.c): `w` waits, `F` falls back to the ACPI power button, `f` is for Dom0 alone. */
const FLAGS: Readonly<Record<DomainVerb, string>> = {
  pause: '',
  unpause: '',
  shutdown: 'wF',
  reboot: 'wF',
  destroy: 'f',
};
const isVerb = (command: string): command is DomainVerb => Object.hasOwn(FLAGS, command);

/** libxl's ERROR_FAIL and ERROR_NOPARAVIRT (tools/include/libxl.h). */
const ERROR_FAIL = -3;
const ERROR_NOPARAVIRT = -10;
/** Xen's codes of a guest's end (xen/include/public/sched.h). */
const END_CODE = { shutdown: 0, reboot: 1 } as const;

const ENDS = { shutdown: 'Shutting down', reboot: 'Rebooting' } as const;

/** Machines that the platform would have to be asked about may run elsewhere, or be started twice. */
const BEGINS: ReadonlySet<string> = new Set(['create', 'restore', 'new', 'start', 'resume']);
const STEADY: ReadonlySet<Machine['phase']> = new Set(['building', 'up', 'restarting', 'shutdown']);

const ofEnd = (machine: Machine, asked: { verb: 'shutdown' | 'reboot'; flags: ReadonlySet<string> }): string[] => {
  const { verb, flags } = asked;
  const { domid, settings } = machine;
  const acpi = settings.guestType === 'hvm' && !settings.pvDrivers;
  return [
    `${ENDS[verb]} domain ${domid}`,
    ...(acpi ? ['PV control interface not available: sending ACPI power button event.'] : []),
    ...(flags.has('w')
      ? ['Waiting for 1 domains', `Domain ${domid} has been shut down, reason code ${END_CODE[verb]}`]
      : []),
  ];
};

const withoutControl = (machine: Machine, verb: 'shutdown' | 'reboot'): ToolOutput =>
  failed(
    [
      `${ENDS[verb]} domain ${machine.domid}`,
      'PV control interface not available: external graceful shutdown not possible.',
      'Use "-F" to fallback to ACPI power event.',
      `${verb} failed (rc=${ERROR_NOPARAVIRT})`,
    ].join('\n'),
  );

/** Assumption: xend's tool says nothing of what succeeds, and puts "Error:" before a reason. */
const refusedBy =
  (tool: Tool, verb: DomainVerb, machine: Machine) =>
  (reason: string): ToolOutput => {
    if (tool === 'xm') return failed(`Error: ${reason}`);
    const end = verb === 'pause' || verb === 'unpause' ? '' : `\n${verb} failed (rc=${ERROR_FAIL})`;
    return failed(`libxl: error: Domain ${machine.domid}:${reason}${end}`);
  };

/** What a call of xl or xm wants done to a domain, or why not; null: it only looks, or the host does it in no case. */
export const orderOf = (host: Host, tool: Tool, args: readonly string[]): DomainOrder | ToolOutput | null => {
  const [verb = '', ...rest] = args;
  if (BEGINS.has(verb))
    return failed(
      `${tool} ${verb}: only the control plane knows that no other host runs the machine; it is started when that is back: kubectl xen start NAME`,
    );
  if (!isVerb(verb)) return null;
  const call = split(rest, FLAGS[verb]);
  if (typeof call === 'string') return unknownFlag(call);
  const [asked] = call.rest;
  if (asked === undefined) return failed(`'${tool} ${verb}' requires at least 1 argument.`);
  const domid = domidOf(host, asked);
  if (domid === null) return tool === 'xm' ? xmUnknownDomain(asked) : invalidDomain(asked);
  const machine = machineOfDomid(host, domid);
  if (machine === null)
    return failed(
      `${asked} is no virtual machine: ${host.state.name} itself depends on it, so ${tool} ${verb} leaves it alone`,
    );
  const refused = refusedBy(tool, verb, machine);
  const { uid, incarnation, phase, settings } = machine;
  if (phase === 'ending') return refused(`${settings.name} is being destroyed already`);
  if (!STEADY.has(phase)) return refused(standsBetween(settings.name, host.state.name));
  const order = { do: verb, uid, incarnation, refused };
  const silent = { stdout: '', stderr: '', exitCode: 0 };
  if (verb !== 'shutdown' && verb !== 'reboot') return { ...order, waits: true, printed: silent };
  const waits = call.flags.has('w');
  if (tool === 'xm') return { ...order, waits, printed: silent };
  if (settings.guestType === 'hvm' && !settings.pvDrivers && !call.flags.has('F')) return withoutControl(machine, verb);
  const stderr = `${ofEnd(machine, { verb, flags: call.flags }).join('\n')}\n`;
  return { ...order, waits, printed: { ...silent, stderr } };
};
