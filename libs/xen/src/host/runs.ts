import { reject, type Rejection, type Uuid } from '@xenolith/kernel';
import type { Ticket } from '../host-model.js';
import { refuse, type SpeakingHost } from './answers.js';
import { isArriving, type Migrations } from './migration-session.js';

/** Which run of which machine a command is for. */
export interface OnRun {
  readonly ticket: Ticket;
  readonly uid: Uuid;
  readonly incarnation: number;
}

interface Run {
  readonly uid: Uuid;
  readonly incarnation: number;
  readonly phase: string;
}

/** A host of either kind, as far as it knows runs of machines. */
export interface RunningHost<Machine extends Run> extends SpeakingHost {
  readonly state: SpeakingHost['state'] &
    Migrations & {
      readonly name: string;
      readonly ended: Readonly<Record<Uuid, number>>;
      readonly machines: Readonly<Record<Uuid, Machine>>;
    };
}

/** The youngest run of the machine that the host has heard of. */
const knownRun = <Machine extends Run>({ state }: RunningHost<Machine>, { uid }: OnRun): number =>
  Math.max(state.ended[uid] ?? 0, state.machines[uid]?.incarnation ?? 0);

export const refuseStale = <Machine extends Run>(host: RunningHost<Machine>, input: OnRun): void => {
  const message = `the command is for run ${input.incarnation} of machine ${input.uid}; ${host.state.name} knows run ${knownRun(host, input)} already`;
  refuse(host, input.ticket, reject('host_stale_incarnation', message));
};

/** The machine that a command is for; otherwise the command is answered here: a younger run refuses it, an absent one is `gone`. */
export const addressed = <Machine extends Run>(
  host: RunningHost<Machine>,
  input: OnRun,
  gone: () => void,
): Machine | null => {
  const machine = host.state.machines[input.uid];
  if (knownRun(host, input) > input.incarnation) refuseStale(host, input);
  else if (machine?.incarnation !== input.incarnation || isArriving(host.state, machine)) gone();
  else return machine;
  return null;
};

/** A new run needs that no other one is here or was; the command is refused where one is. `calledHere`: what the host runs machines as. */
export const otherRunRefuses = <Machine extends Run>(
  host: RunningHost<Machine>,
  input: OnRun & { readonly settings: { readonly name: string } },
  calledHere: (machine: Machine) => string,
): boolean => {
  const { settings, uid, incarnation, ticket } = input;
  if (knownRun(host, input) > incarnation || host.state.ended[uid] === incarnation) {
    refuseStale(host, input);
    return true;
  }
  const machine = host.state.machines[uid];
  if (!machine) return false;
  const message = `run ${machine.incarnation} of ${settings.name} is still on ${host.state.name} as ${calledHere(machine)}; destroy it first`;
  refuse(host, ticket, reject('host_domain_exists', message));
  return true;
};

export const outOfMemory = (
  host: string,
  name: string,
  { neededBytes, freeBytes }: { readonly neededBytes: number; readonly freeBytes: number },
): { readonly rejection: Rejection } => {
  const message = `${name} needs ${neededBytes} bytes on ${host} (overhead included), ${freeBytes} are free`;
  return reject('host_out_of_memory', message, { details: { neededBytes, freeBytes } });
};
