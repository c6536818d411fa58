import { standsBetween, type DomainOrder, type DomainVerb } from '../domain-order.js';
import { failed, printed, type ToolOutput } from '../xl/index.js';
import type { KvmHost, KvmMachine } from './kvm-state.js';

interface Word {
  readonly do: DomainVerb;
  /** libvirt's tools/virsh-domain.c, behind the domain's name. */
  readonly done: string;
  readonly waits: boolean;
}

const WORDS: ReadonlyMap<string, Word> = new Map(
  Object.entries({
    suspend: { do: 'pause', done: 'suspended', waits: true },
    resume: { do: 'unpause', done: 'resumed', waits: true },
    shutdown: { do: 'shutdown', done: 'is being shutdown', waits: false },
    reboot: { do: 'reboot', done: 'is being rebooted', waits: false },
    destroy: { do: 'destroy', done: 'destroyed', waits: true },
  } as const),
);

/** What would make a machine run that another host may run already. */
const BEGINS: ReadonlySet<string> = new Set(['create', 'define', 'restore', 'start']);
const STEADY: ReadonlySet<KvmMachine['phase']> = new Set(['starting', 'up', 'shutdown']);

/** What a call of virsh wants done to a domain, or why not; null: it only looks, or is unknown. `find` looks a domain up as virsh does. */
export const virshOrder = (
  host: KvmHost,
  args: readonly string[],
  find: (text: string) => KvmMachine | null,
): DomainOrder | ToolOutput | null => {
  const [command = '', ...rest] = args;
  if (BEGINS.has(command))
    return failed(
      `error: virsh ${command}: only the control plane knows that no other host runs the machine; it is started when that is back: kubectl xen start NAME`,
    );
  const word = WORDS.get(command);
  if (word === undefined) return null;
  const strange = rest.find((arg) => arg.startsWith('-'));
  if (strange !== undefined)
    return failed(`error: command '${command}' doesn't support option ${strange.replace(/^-+/, '--')}`);
  const [asked] = rest;
  if (asked === undefined) return failed(`error: command '${command}' requires <domain> option`);
  const machine = find(asked);
  if (machine === null) return failed(`error: failed to get domain '${asked}'`);
  const refused = (reason: string): ToolOutput =>
    failed(`error: Failed to ${command} domain '${asked}'\nerror: ${reason}`);
  const { uid, incarnation, phase, settings } = machine;
  if (phase === 'ending') return refused('Requested operation is not valid: domain is being destroyed');
  if (!STEADY.has(phase)) return refused(standsBetween(settings.name, host.state.name));
  const { do: verb, done, waits } = word;
  return { do: verb, uid, incarnation, waits, printed: printed(`Domain '${asked}' ${done}\n\n`), refused };
};

/** The words that change a domain, and what does the same through the platform. */
const INSTEAD: ReadonlyMap<string, string> = new Map([
  ['suspend', 'pause'],
  ['resume', 'unpause'],
  ['shutdown', 'shutdown'],
  ['reboot', 'reboot'],
  ['destroy', 'hard-shutdown'],
]);

/** The refusal of a word that would change something behind the platform's back; null: it is none. */
export const virshRefusal = (host: KvmHost, command: string): ToolOutput | null => {
  const instead = INSTEAD.get(command);
  if (instead === undefined) return null;
  return failed(
    `error: virsh ${command}: tools only look from here; instead: kubectl xen ${instead} NAME, or, while the control plane is down: ./xenolith virsh --direct ${host.state.name} ${command} NAME`,
  );
};
