import { RBAC_KINDS, type PolicyRule, type RoleRef } from '@xenolith/contracts';
import { sameJson, type JsonObject } from '@xenolith/kernel';
import { RuleSet, uncovered } from '@xenolith/tenancy';
import { SERVED_KINDS, type ServedKind } from '../discovery/index.js';
import type { User } from '../http/api-request.js';
import { notFoundObject, resourceName, StatusError } from '../http/status.js';
import { forbidden, type AccessAttributes, type Authorize } from './access.js';
import type { Authorizer } from './authorizer.js';

/** An object that is about to be written. */
export interface Admitted {
  readonly user: User;
  readonly kind: ServedKind;
  readonly namespace: string;
  readonly name: string;
  /** Null: it is made. */
  readonly before: JsonObject | null;
  readonly after: JsonObject;
}

/** Looks at what is to be written, beyond what the path of the request tells. Throws a StatusError. */
export type Admit = (change: Admitted) => Promise<void>;

type Rights = Pick<Authorizer, 'rulesOf' | 'rulesOfRole'> & { readonly allows: Authorize };

/** Rules that a refusal names; the rest says nothing new. */
const MAX_NAMED = 8;

const ruleText = (rule: PolicyRule): string => {
  const member = (name: string, words: readonly string[] | undefined): string[] =>
    words === undefined || words.length === 0 ? [] : [`${name}:${JSON.stringify(words)}`];
  return `{${[
    ...member('APIGroups', rule.apiGroups),
    ...member('Resources', rule.resources),
    ...member('ResourceNames', rule.resourceNames),
    ...member('NonResourceURLs', rule.nonResourceURLs),
    ...member('Verbs', rule.verbs),
  ].join(', ')}}`;
};

const escalation = ({ user, kind, name }: Admitted, missing: readonly PolicyRule[]): StatusError =>
  new StatusError({
    code: 403,
    reason: 'Forbidden',
    message:
      `${resourceName(kind)} "${name}" is forbidden: user "${user.name}" (groups=${JSON.stringify(user.groups)}) ` +
      `is attempting to grant RBAC permissions not currently held:\n${missing.slice(0, MAX_NAMED).map(ruleText).join('\n')}`,
    details: { name, group: kind.group, kind: kind.plural },
  });

const attributesOf = ({ kind, namespace, name }: Admitted, verb: string): AccessAttributes => ({
  verb,
  kind,
  namespace,
  name,
});

/** Who writes a role must hold what it grants, or have the verb `escalate` on it. */
const checkRole = async (rights: Rights, change: Admitted): Promise<void> => {
  const wanted = (change.after['rules'] ?? []) as unknown as readonly PolicyRule[];
  if (change.before !== null && sameJson(change.before['rules'] ?? [], wanted)) return;
  if (await rights.allows(change.user, attributesOf(change, 'escalate'))) return;
  const missing = uncovered(new RuleSet(rights.rulesOf(change.user, change.namespace)), wanted);
  if (missing.length > 0) throw escalation(change, missing);
};

const servedRole = (plural: string): ServedKind | undefined =>
  SERVED_KINDS.find(({ definition, plural: own }) => own === plural && definition !== null);

/** Who binds a role must hold what it grants, or have the verb `bind` on the role. */
const checkBinding = async (rights: Rights, change: Admitted): Promise<void> => {
  const { user, namespace, before, after } = change;
  const ref = after['roleRef'] as unknown as RoleRef;
  const unchanged = before !== null && sameJson(before['subjects'] ?? [], after['subjects'] ?? []);
  if (unchanged && sameJson(before['roleRef'], after['roleRef'])) return;
  const plural = ref.kind === 'Role' ? 'roles' : 'clusterroles';
  const bind: AccessAttributes = {
    verb: 'bind',
    kind: { group: change.kind.group, plural },
    namespace,
    name: ref.name,
  };
  if (await rights.allows(user, bind)) return;
  const granted = rights.rulesOfRole(ref, namespace);
  const kind = servedRole(plural);
  if (granted === null) throw kind === undefined ? forbidden(user, bind) : notFoundObject(kind, ref.name);
  const missing = uncovered(new RuleSet(rights.rulesOf(user, namespace)), granted);
  if (missing.length > 0) throw escalation(change, missing);
};

/** XAPI's words have underscores; the subresources have dashes. */
const subresourceOf = (action: string): string => action.replaceAll('_', '-');

/** An Operation does what a POST to the subresource of its action does, and takes the same right. */
const checkOperation = async (rights: Rights, change: Admitted): Promise<void> => {
  const { before, after, user, namespace } = change;
  if (before !== null && sameJson(before['spec'], after['spec'])) return;
  const { target, action } = after['spec'] as unknown as { target: { kind: string; name: string }; action: string };
  const kind = SERVED_KINDS.find(({ definition, kind: word }) => definition !== null && word === target.kind);
  // Who is refused by the service anyway needs no other refusal.
  if (kind === undefined) return;
  const attributes = { verb: 'create', kind, namespace, name: target.name, subresource: subresourceOf(action) };
  if (!(await rights.allows(user, attributes))) throw forbidden(user, attributes);
};

/** A PATCH or PUT that makes the object takes the right to create, too. */
const checkCreation = async (rights: Rights, change: Admitted): Promise<void> => {
  if (change.before !== null) return;
  const attributes = { verb: 'create', kind: change.kind, namespace: change.namespace };
  if (!(await rights.allows(change.user, attributes))) throw forbidden(change.user, attributes);
};

const isRbac = (kind: ServedKind): boolean => kind.definition !== null && RBAC_KINDS.includes(kind.definition);

/** What is checked of a change by the rights of who makes it. */
export const admission =
  (rights: Rights): Admit =>
  async (change) => {
    await checkCreation(rights, change);
    if (isRbac(change.kind)) {
      if ('roleRef' in change.after) await checkBinding(rights, change);
      else await checkRole(rights, change);
    }
    if (change.kind.kind === 'Operation') await checkOperation(rights, change);
  };
