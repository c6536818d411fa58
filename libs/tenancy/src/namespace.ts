import {
  ACTIVE_NAMESPACE_SCOPE,
  categoryOf,
  decideObject,
  evolveObject,
  namespaceKind,
  objectConsequences,
  objectResource,
  PROTECTED_NAMESPACES,
  type DesiredMetadata,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  type Aggregate,
  type ClaimChange,
  type Command,
  type Consequences,
  type NewEvent,
} from '@xenolith/kernel';
import type { z } from 'zod';

type NamespaceSpec = z.infer<typeof namespaceKind.spec>;
type NoOwn = Readonly<Record<string, never>>;
export type NamespaceState = ObjectState<NamespaceSpec, NoOwn>;

export const NAMESPACE_CATEGORY = categoryOf(namespaceKind);

/** Keeps a namespace that was asked to go until nothing is left in it. */
export const NAMESPACE_FINALIZER = 'xenolith.dev/namespace-content';

const rules: ObjectRules<NamespaceSpec, NoOwn> = {
  kind: namespaceKind,
  teardownFinalizer: NAMESPACE_FINALIZER,
  initialOwn: () => ({}),
  onDeletion: ({ meta }) =>
    PROTECTED_NAMESPACES.some((name) => name === meta.name)
      ? reject('namespace_protected', `namespace "${meta.name}" belongs to the platform and cannot be deleted`)
      : ok([]),
  status: ({ meta }) => ({ phase: meta.deletionTimestamp === undefined ? 'Active' : 'Terminating' }),
};

/** From its deletion request on, nothing new is born into a namespace: it gives up its claim of being active in that very append. */
const consequences = (event: NewEvent, before: NamespaceState, command: Command): Consequences => {
  const shared = objectConsequences(rules, event, before, command);
  const claim = (op: ClaimChange['op'], value: string): Consequences => ({
    ...shared,
    claims: [...(shared.claims ?? []), { op, scope: ACTIVE_NAMESPACE_SCOPE, value, holder: command.streamId }],
  });
  switch (event.type) {
    case 'NamespaceCreated':
      return claim('claim', (event.data as unknown as { metadata: DesiredMetadata }).metadata.name);
    case 'NamespaceDeletionRequested':
      return before.phase === 'absent' ? shared : claim('release', before.meta.name);
    default:
      return shared;
  }
};

export const namespaceAggregate: Aggregate<NamespaceState> = {
  category: NAMESPACE_CATEGORY,
  initial: { phase: 'absent' },
  stateVersion: 1,
  decide: (command, state) =>
    decideObject(rules, command, state) ?? reject('command_unknown', `namespaces know no command ${command.type}`),
  evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
  toResource: (state) => objectResource(rules, state),
  consequences,
  ended: (state) => state.phase === 'deleted',
};
