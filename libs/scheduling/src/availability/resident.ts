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
  /** Among those of one priority lower ones come first. */
  readonly order: number;
  /** Name of the host that it came from, or is to leave for this place. */
  readonly leaves: string | undefined;
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

/** What a machine's own document says now of what was written into its placement when that was made. */
export interface RestartRule {
  readonly ha: PlacementRequest['ha'];
  /** The only host that it may run on. */
  readonly host: string | undefined;
}

/** A migration names the host that it goes to: that binds the machine no longer than until it is there. */
const ruleOf = ({ ha, host, exceptHost }: PlacementRequest): RestartRule => ({
  ha,
  host: exceptHost === undefined ? host : undefined,
});

const ruled = (
  { host: _named, ha: _first, ...rest }: PlacementRequest,
  { ha, host }: RestartRule,
): PlacementRequest => ({
  ...rest,
  ...(ha && { ha }),
  ...(host !== undefined && { host }),
});

export const residentOf = (
  classes: ClassBook,
  { placement, request: asked, slot, cell }: Pick<Resident, 'placement' | 'request' | 'slot' | 'cell'>,
  known?: RestartRule,
): Resident => {
  const leaves = asked.exceptHost;
  const { ha, host } = known ?? ruleOf(asked);
  const request = ha === asked.ha && host === asked.host ? asked : ruled(asked, { ha, host });
  const { antiAffinity, labels, resources, numa } = request;
  const social = labels !== undefined || nearTerms(request).length > 0 || farTerms(request).length > 0;
  return {
    placement,
    request,
    class: classes.of(request),
    slot,
    cell,
    restart: ha?.restart ?? 'never',
    priority: ha?.priority ?? 0,
    order: ha?.order ?? 0,
    leaves,
    plain: !social && antiAffinity === undefined && !resources && numa !== 'single-numa-node' && host === undefined,
    social,
    word: wordOf(request),
    bond: { at: -1, named: false, terms: NO_BOND },
  };
};

export const nameOf = ({ request: { virtualMachine } }: Resident): string =>
  `${virtualMachine.namespace}/${virtualMachine.name}`;
