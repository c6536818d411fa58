import type { MachineAffinityTerm, PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { Term } from '../machine-affinity.js';
import type { ClassBook, RequestClass } from '../request-class.js';
import { wordOf } from '../word-book.js';

export type Restart = 'always' | 'best-effort' | 'never';

/** What a machine on a host is to the planner of failovers. */
export interface Resident {
  readonly placement: Uuid;
  readonly request: PlacementRequest;
  readonly class: RequestClass;
  readonly slot: number;
  /** The NUMA node that it is on as a whole. */
  readonly cell: number | undefined;
  readonly restart: Restart;
  /** Higher ones are restarted first. */
  readonly priority: number;
  /** Asks for nothing but memory, vCPUs and what hosts share with others, and no other machine minds it. */
  readonly plain: boolean;
  /** Has labels or rules about other machines. */
  readonly social: boolean;
  /** Machines of the same word never share a host. */
  readonly word: string | null;
  /** What its rules mean just now, and in which plan that was looked up. */
  readonly bond: { at: number; named: boolean; terms: Bond };
}

/** Rules between a machine and those that are there. */
export interface Bond {
  readonly near: readonly Term[];
  readonly far: readonly Term[];
  /** Rules of any machine that this one is meant by. */
  readonly meant: readonly Term[];
  /** Slots of the same machine's other placements. */
  readonly own: readonly number[];
}

export const NO_BOND: Bond = { near: [], far: [], meant: [], own: [] };

const NO_TERMS: readonly MachineAffinityTerm[] = [];

export const nearTerms = ({ affinity }: PlacementRequest): readonly MachineAffinityTerm[] =>
  affinity?.virtualMachineAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? NO_TERMS;

export const farTerms = ({ affinity }: PlacementRequest): readonly MachineAffinityTerm[] =>
  affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? NO_TERMS;

export const residentOf = (
  classes: ClassBook,
  { placement, request, slot, cell }: Pick<Resident, 'placement' | 'request' | 'slot' | 'cell'>,
): Resident => {
  const { antiAffinity, labels, resources, numa, host, ha } = request;
  const social = labels !== undefined || nearTerms(request).length > 0 || farTerms(request).length > 0;
  return {
    placement,
    request,
    class: classes.of(request),
    slot,
    cell,
    restart: ha?.restart ?? 'never',
    priority: ha?.priority ?? 0,
    plain: !social && antiAffinity === undefined && !resources && numa !== 'single-numa-node' && host === undefined,
    social,
    word: wordOf(request),
    bond: { at: -1, named: false, terms: NO_BOND },
  };
};

export const nameOf = ({ request: { virtualMachine } }: Resident): string =>
  `${virtualMachine.namespace}/${virtualMachine.name}`;
