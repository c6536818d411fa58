import { PROTECTED_NAMESPACES } from '@xenolith/contracts';

/** A namespace of the cluster. */
export interface ClusterNamespace {
  readonly name: string;
  readonly uid: string;
  readonly terminating: boolean;
}

/** A namespace of ours. */
export interface OwnNamespace {
  readonly name: string;
  readonly uid: string;
  /** The namespace of the cluster that it mirrors; null: it was made here. */
  readonly mirrors: string | null;
  readonly terminating: boolean;
}

/** What makes our namespaces those of the cluster. */
export type MirrorStep =
  | { readonly do: 'create'; readonly name: string; readonly cause: string }
  /** It was here before, and is the cluster's of that name from now on. */
  | { readonly do: 'adopt'; readonly name: string; readonly uid: string; readonly cause: string }
  | { readonly do: 'delete'; readonly name: string; readonly uid: string; readonly cause: string };

const stepFor = (theirs: ClusterNamespace, own: OwnNamespace | undefined): MirrorStep | null => {
  const { name, uid: cause } = theirs;
  if (own === undefined) return theirs.terminating ? null : { do: 'create', name, cause };
  // What is on its way out must be gone first.
  if (own.terminating) return null;
  if (theirs.terminating) return { do: 'delete', name, uid: own.uid, cause };
  if (own.mirrors === null) return { do: 'adopt', name, uid: own.uid, cause };
  // The cluster's was deleted and made again: what is in ours belongs to the one that is gone.
  return own.mirrors === cause ? null : { do: 'delete', name, uid: own.uid, cause: own.mirrors };
};

const isProtected = (name: string): boolean => (PROTECTED_NAMESPACES as readonly string[]).includes(name);

/**
 * The steps that are due now; others become due when these have shown. A namespace that was made here and that the cluster does not have stays: nothing is deleted
 * because aggregation was turned on.
 */
export const mirrorPlan = (
  theirs: readonly ClusterNamespace[],
  ours: readonly OwnNamespace[],
): readonly MirrorStep[] => {
  const own = new Map(ours.map((namespace) => [namespace.name, namespace]));
  const names = new Set(theirs.map(({ name }) => name));
  return [
    ...theirs.flatMap((namespace) => stepFor(namespace, own.get(namespace.name)) ?? []),
    ...ours.flatMap(({ name, uid, mirrors, terminating }): MirrorStep[] =>
      mirrors === null || terminating || names.has(name) ? [] : [{ do: 'delete', name, uid, cause: mirrors }],
    ),
  ].filter((step) => step.do !== 'delete' || !isProtected(step.name));
};
