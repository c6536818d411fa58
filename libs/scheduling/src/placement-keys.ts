import { HOSTNAME_LABEL, type AntiAffineMachine, type PlacementRequest } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import type { Wish } from './filters.js';
import type { AffinityBook, Term } from './machine-affinity.js';
import { selects } from './selectors.js';

/** Keys of this scope make an attempt look again when another placement has them. */
export const ANTI_AFFINITY_SCOPE = 'anti-affinity/';

export interface HeldKey {
  readonly scope: string;
  readonly value: string;
}

/**
 * Keys that make rules about places larger than a host hold for schedulers side by side, where the rule is about machines like this one: replicas far
 * from each other, or the first of those that want to be together.
 */
export const affinityKeys = (book: AffinityBook, wish: Wish, slot: number): readonly HeldKey[] => {
  const { machines, request } = wish;
  if (!machines) return [];
  const { labels = {}, virtualMachine } = request;
  const scope = `${ANTI_AFFINITY_SCOPE}${virtualMachine.namespace}`;
  const wide = machines.far.filter((term) => term.topologyKey !== HOSTNAME_LABEL && selects(term.selector, labels));
  const far = wide.flatMap((term) => {
    const domain = book.domain(term, slot);
    // A machine on its way within its place has the key already.
    if (domain === undefined || machines.own.some((own) => book.domain(term, own.slot) === domain)) return [];
    return [{ scope, value: `${uuidFrom(term.key)}/${domain}` }];
  });
  // What it has already where it comes from, it keeps until it is gone from there.
  const first =
    machines.own.length > 0
      ? []
      : machines.first.map((term: Term) => ({ scope, value: `${uuidFrom(term.key)}/first` }));
  return [...far, ...first];
};

/** What the host's ledger checks against the machines that are there: rules about single hosts. */
export const antiAffineMachine = (request: PlacementRequest): AntiAffineMachine | undefined => {
  const { labels, affinity, virtualMachine } = request;
  const required = affinity?.virtualMachineAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const far = required
    .filter(({ topologyKey }) => topologyKey === HOSTNAME_LABEL)
    .map(({ labelSelector }) => labelSelector);
  if (!labels && far.length === 0) return undefined;
  return { namespace: virtualMachine.namespace, labels: labels ?? {}, far };
};

/** Whether two machines must not share a host. */
export const areFar = (one: AntiAffineMachine, other: AntiAffineMachine): boolean =>
  one.namespace === other.namespace &&
  (one.far.some((selector) => selects(selector, other.labels)) ||
    other.far.some((selector) => selects(selector, one.labels)));
