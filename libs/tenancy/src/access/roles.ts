import {
  categoryOf,
  changeData,
  clusterRoleBindingKind,
  decideObject,
  deleteData,
  eventOf,
  evolveObject,
  invalid,
  objectConsequences,
  objectResource,
  RBAC_KINDS,
  roleBindingKind,
  type KindDefinition,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import type { CommandRoute } from '@xenolith/engine';
import { ok, reject, sameJson, type Aggregate, type JsonObject } from '@xenolith/kernel';

type NoOwn = Readonly<Record<string, never>>;
export type RbacState = ObjectState<JsonObject, NoOwn>;

const BINDINGS: readonly KindDefinition[] = [roleBindingKind, clusterRoleBindingKind];

/** A binding that could be turned to another role would give people what its maker never meant to: a new role is a new binding. */
const keepRoleRef =
  (kind: KindDefinition): NonNullable<ObjectRules<JsonObject, NoOwn>['onSpecChange']> =>
  ({ meta, spec }, wished) => {
    if (!sameJson(spec['roleRef'], wished['roleRef'])) {
      const message = 'cannot change roleRef; delete the binding and make it anew, or use kubectl auth reconcile';
      return invalid(kind, meta, [{ field: 'roleRef', reason: 'FieldValueInvalid', message }]);
    }
    return ok([eventOf(`${kind.kind}SpecChanged`, { spec: wished })]);
  };

const rulesOf = (kind: KindDefinition): ObjectRules<JsonObject, NoOwn> => ({
  kind,
  initialOwn: () => ({}),
  ...(BINDINGS.includes(kind) ? { onSpecChange: keepRoleRef(kind) } : {}),
  status: () => ({}),
});

const aggregateOf = (kind: KindDefinition): Aggregate<RbacState> => {
  const rules = rulesOf(kind);
  return {
    category: categoryOf(kind),
    initial: { phase: 'absent' },
    decide: (command, state) =>
      decideObject(rules, command, state) ??
      reject('command_unknown', `a ${kind.kind} knows no command ${command.type}`),
    evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
    toResource: (state) => objectResource(rules, state),
    consequences: (event, before, command) => objectConsequences(rules, event, before, command),
    ended: (state) => state.phase === 'deleted',
    stateVersion: 1,
  };
};

/** Roles and bindings: objects like all others. What they mean is for who asks `AccessIndex`. */
export const rbacAggregates: readonly Aggregate<RbacState>[] = RBAC_KINDS.map(aggregateOf);

export const rbacRoutes: readonly CommandRoute[] = RBAC_KINDS.flatMap((kind) => [
  { type: `Change${kind.kind}`, category: categoryOf(kind), schema: changeData },
  { type: `Delete${kind.kind}`, category: categoryOf(kind), schema: deleteData },
]);
