import { memoryOverheadBytes, reject, type Uuid } from '@xenolith/kernel';
import type { DomainSettings, Ticket } from '../host-model.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import { refuse } from './answers.js';
import { isArriving } from './migration-session.js';
import type { Host, Machine } from './host-state.js';

/** Which run of which machine a command is for. */
export interface OnRun {
  readonly ticket: Ticket;
  readonly uid: Uuid;
  readonly incarnation: number;
}

/** The youngest run of the machine that the host has heard of. */
export const knownRun = (host: Host, input: OnRun): number =>
  Math.max(host.state.ended[input.uid] ?? 0, host.state.machines[input.uid]?.incarnation ?? 0);

export const refuseStale = (host: Host, input: OnRun): void =>
  refuse(
    host,
    input.ticket,
    reject(
      'host_stale_incarnation',
      `the command is for run ${input.incarnation} of machine ${input.uid}; ${host.state.name} knows run ${knownRun(host, input)} already`,
    ),
  );

export const isOver = (machine: Machine): boolean => machine.phase === 'ending' || machine.phase === 'shutdown';

/** The machine that a command is for; otherwise the command is answered here: a younger run refuses it, an absent one is `gone`. */
export const addressed = (host: Host, input: OnRun, gone: () => void): Machine | null => {
  const machine = host.state.machines[input.uid];
  if (knownRun(host, input) > input.incarnation) refuseStale(host, input);
  else if (machine?.incarnation !== input.incarnation || isArriving(host.state, machine)) gone();
  else return machine;
  return null;
};

export const unknownDomain = (host: Host, input: OnRun): void =>
  refuse(
    host,
    input.ticket,
    reject('host_unknown_domain', `${host.state.name} runs no domain of machine ${input.uid}`),
  );

/** The machine that a command is for, if its guest has not ended; otherwise the command is refused. */
export const living = (host: Host, input: OnRun): Machine | null => {
  const machine = addressed(host, input, () => unknownDomain(host, input));
  if (machine === null || !isOver(machine)) return machine;
  unknownDomain(host, input);
  return null;
};

/** A new run needs that no other one is here or was, and room; the command is refused where it has not. */
export const admissionRefused = (host: Host, input: OnRun & { readonly settings: DomainSettings }): boolean => {
  const { settings, uid, incarnation, ticket } = input;
  if (knownRun(host, input) > incarnation || host.state.ended[uid] === incarnation) {
    refuseStale(host, input);
    return true;
  }
  const machine = host.state.machines[uid];
  if (machine) {
    const message = `run ${machine.incarnation} of ${settings.name} is still on ${host.state.name} as domain ${machine.domid}; destroy it first`;
    refuse(host, ticket, reject('host_domain_exists', message));
    return true;
  }
  const { guestType, maxVcpus, staticMaxBytes, dynamicMaxBytes } = settings;
  const neededBytes = dynamicMaxBytes + memoryOverheadBytes({ guestType, vcpus: maxVcpus, staticMaxBytes });
  const free = freeBytes(host);
  if (neededBytes <= free) return false;
  const message = `${settings.name} needs ${neededBytes} bytes on ${host.state.name} (overhead included), ${free} are free`;
  refuse(host, ticket, reject('host_out_of_memory', message, { details: { neededBytes, freeBytes: free } }));
  return true;
};

/** Memory that is free and promised to nobody. */
export const freeBytes = (host: Host): number => {
  const info = host.hypervisor.physicalInfo(host.state.nowUs);
  return (info.freePages - info.outstandingPages) * PAGE_BYTES;
};
