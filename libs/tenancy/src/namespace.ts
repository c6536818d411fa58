import {
  ACTIVE_NAMESPACE_SCOPE,
  categoryOf,
  changeData,
  decideObject,
  evolveObject,
  namespaceKind,
  objectConsequences,
  objectResource,
  PROTECTED_NAMESPACES,
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
  type JsonObject,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';

interface NamespaceSpec {
  readonly finalizers: readonly string[];
}

type NoOwn = Readonly<Record<string, never>>;
export type NamespaceState = ObjectState<NamespaceSpec, NoOwn>;

export const NAMESPACE_CATEGORY = categoryOf(namespaceKind);

/** Keeps a namespace that was asked to go until nothing is left in it. */
export const NAMESPACE_FINALIZER = 'xenolith.dev/namespace-content';

/** The label by which selectors find a namespace by name; Kubernetes sets it, too. */
const NAME_LABEL = 'kubernetes.io/metadata.name';

const isProtected = (name: string): boolean => (PROTECTED_NAMESPACES as readonly string[]).includes(name);

const rules: ObjectRules<NamespaceSpec, NoOwn> = {
  kind: namespaceKind,
  teardownFinalizer: NAMESPACE_FINALIZER,
  initialOwn: () => ({}),
  onDeletion: ({ meta }) =>
    isProtected(meta.name)
      ? reject('namespace_protected', `namespace "${meta.name}" is the platform’s own and stays; delete what is in it`)
      : ok([]),
  status: ({ meta }) => ({ phase: meta.deletionTimestamp === undefined ? 'Active' : 'Terminating' }),
};

const withNameLabel = (command: Command): Command => {
  const data = changeData.parse(command.data);
  const labels = { ...data.metadata.labels, [NAME_LABEL]: data.metadata.name };
  return { ...command, data: { ...data, metadata: { ...data.metadata, labels } } as unknown as JsonObject };
};

const decide = (command: Command, state: NamespaceState): Result<readonly NewEvent[]> => {
  const complete = command.type === 'ChangeNamespace' ? withNameLabel(command) : command;
  return (
    decideObject(rules, complete, state) ?? reject('command_unknown', `a namespace knows no command ${command.type}`)
  );
};

/** While a namespace is active it holds its name in a scope that everything born into it requires; a request to delete it ends that at once. */
const activity = (event: NewEvent, before: NamespaceState, command: Command): ClaimChange[] => {
  const change = (op: 'claim' | 'release', value: string): ClaimChange[] => [
    { op, scope: ACTIVE_NAMESPACE_SCOPE, value, holder: command.streamId },
  ];
  if (event.type === 'NamespaceCreated') return change('claim', (event.data['metadata'] as { name: string }).name);
  if (event.type === 'NamespaceDeletionRequested' && before.phase === 'present')
    return change('release', before.meta.name);
  return [];
};

const consequences = (event: NewEvent, before: NamespaceState, command: Command): Consequences => ({
  claims: [...(objectConsequences(rules, event, before, command).claims ?? []), ...activity(event, before, command)],
});

export const namespaceAggregate: Aggregate<NamespaceState> = {
  category: NAMESPACE_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
  toResource: (state) => objectResource(rules, state),
  consequences,
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
};
