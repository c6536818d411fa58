import {
  categoryOf,
  clusterRoleBindingKind,
  clusterRoleKind,
  roleBindingKind,
  roleKind,
  type PolicyRule,
  type RoleRef,
  type RoleSubject,
} from '@xenolith/contracts';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import { RuleSet, type AccessRequest } from './rule-set.js';

/** Who asks. */
export interface Subject {
  readonly name: string;
  readonly groups: readonly string[];
}

/** Members may do everything, whatever roles there are: nobody can lock everybody out. */
export const ADMIN_GROUP = 'system:masters';

/** People whose rights are kept compiled; each takes some kilobytes, and is compiled again in microseconds when it was dropped. */
const KEPT_SUBJECTS = 4096;

const ROLES: readonly string[] = [categoryOf(roleKind), categoryOf(clusterRoleKind)];
const BINDINGS: readonly string[] = [categoryOf(roleBindingKind), categoryOf(clusterRoleBindingKind)];

/** Categories of the documents that say who may do what. */
export const ACCESS_CATEGORIES: readonly string[] = [...ROLES, ...BINDINGS];

/** Empty namespace: a cluster role, or a cluster role binding. */
interface Role {
  readonly namespace: string;
  readonly name: string;
  readonly rules: readonly PolicyRule[];
}

interface Binding {
  readonly namespace: string;
  readonly subjects: readonly RoleSubject[];
  readonly roleRef: RoleRef;
}

const EVERYTHING: PolicyRule[] = [
  { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
  { verbs: ['*'], nonResourceURLs: ['*'] },
];

const roleKey = (namespace: string, name: string): string => `${namespace}/${name}`;

/** Kubernetes' name of a service account as a user. */
const serviceAccountUser = (namespace: string, name: string): string => `system:serviceaccount:${namespace}:${name}`;

const subjectKey = (subject: RoleSubject): string => {
  switch (subject.kind) {
    case 'User':
      return `user ${subject.name}`;
    case 'Group':
      return `group ${subject.name}`;
    case 'ServiceAccount':
      return `user ${serviceAccountUser(subject.namespace ?? '', subject.name)}`;
  }
};

const identityOf = ({ name, groups }: Subject): string => JSON.stringify([name, groups]);

interface Compiled {
  readonly everywhere: RuleSet;
  /** Filled as namespaces are asked for; those in which nothing is bound share one empty set. */
  readonly byNamespace: Map<string, RuleSet>;
}

const NO_RULES = new RuleSet([]);

/**
 * Who may do what, as the roles and bindings of the log say at this moment. Rights are compiled for each person who asks, and forgotten whenever
 * a role or a binding changes.
 */
export class AccessIndex {
  private readonly roles = new Map<string, Role>();
  private readonly rolesByUid = new Map<Uuid, string>();
  private readonly bindings = new Map<Uuid, Binding>();
  /** Bindings by whom they name. */
  private readonly bySubject = new Map<string, Set<Uuid>>();
  private readonly compiled = new Map<string, Compiled>();

  put(category: string, uid: Uuid, document: JsonObject): void {
    if (!ACCESS_CATEGORIES.includes(category)) return;
    const { name = '', namespace = '' } = document['metadata'] as { name?: string; namespace?: string };
    this.drop(uid);
    if (ROLES.includes(category)) {
      const rules = (document['rules'] ?? []) as unknown as readonly PolicyRule[];
      this.roles.set(roleKey(namespace, name), { namespace, name, rules });
      this.rolesByUid.set(uid, roleKey(namespace, name));
    } else {
      const { subjects = [], roleRef } = document as unknown as { subjects?: readonly RoleSubject[]; roleRef: RoleRef };
      this.bindings.set(uid, { namespace, subjects, roleRef });
      for (const key of subjects.map(subjectKey)) {
        const uids = this.bySubject.get(key) ?? new Set();
        this.bySubject.set(key, uids.add(uid));
      }
    }
    this.compiled.clear();
  }

  remove(uid: Uuid): void {
    this.drop(uid);
    this.compiled.clear();
  }

  /** `namespace` empty: of everything, or of what has no namespace. */
  allows(subject: Subject, namespace: string, request: AccessRequest): boolean {
    if (subject.groups.includes(ADMIN_GROUP)) return true;
    const compiled = this.compiledFor(subject);
    if (compiled.everywhere.allows(request)) return true;
    return namespace !== '' && this.setIn(compiled, subject, namespace).allows(request);
  }

  /** All that somebody may do in a namespace (empty: at the cluster's scope), what holds everywhere included. */
  rulesOf(subject: Subject, namespace: string): readonly PolicyRule[] {
    if (subject.groups.includes(ADMIN_GROUP)) return EVERYTHING;
    const rules = this.rulesBound(subject, '');
    return namespace === '' ? rules : [...rules, ...this.rulesBound(subject, namespace)];
  }

  /** What a binding in `namespace` (empty: everywhere) to this role grants; null: there is no such role. */
  rulesOfRole(ref: RoleRef, namespace: string): readonly PolicyRule[] | null {
    return this.roles.get(roleKey(ref.kind === 'Role' ? namespace : '', ref.name))?.rules ?? null;
  }

  private drop(uid: Uuid): void {
    const role = this.rolesByUid.get(uid);
    if (role !== undefined) this.roles.delete(role);
    this.rolesByUid.delete(uid);
    for (const key of this.bindings.get(uid)?.subjects.map(subjectKey) ?? []) {
      const uids = this.bySubject.get(key);
      uids?.delete(uid);
      if (uids?.size === 0) this.bySubject.delete(key);
    }
    this.bindings.delete(uid);
  }

  private compiledFor(subject: Subject): Compiled {
    const identity = identityOf(subject);
    const known = this.compiled.get(identity);
    if (known !== undefined) return known;
    if (this.compiled.size >= KEPT_SUBJECTS) this.compiled.clear();
    const made = { everywhere: new RuleSet(this.rulesBound(subject, '')), byNamespace: new Map<string, RuleSet>() };
    this.compiled.set(identity, made);
    return made;
  }

  private setIn(compiled: Compiled, subject: Subject, namespace: string): RuleSet {
    const known = compiled.byNamespace.get(namespace);
    if (known !== undefined) return known;
    const rules = this.rulesBound(subject, namespace);
    // Names of namespaces come from requests: those without rights are not kept.
    if (rules.length === 0) return NO_RULES;
    const made = new RuleSet(rules);
    compiled.byNamespace.set(namespace, made);
    return made;
  }

  private rulesBound(subject: Subject, namespace: string): readonly PolicyRule[] {
    const keys = [`user ${subject.name}`, ...subject.groups.map((group) => `group ${group}`)];
    const uids = new Set(keys.flatMap((key) => [...(this.bySubject.get(key) ?? [])]));
    return [...uids].flatMap((uid) => {
      const binding = this.bindings.get(uid);
      if (binding?.namespace !== namespace) return [];
      return this.rulesOfRole(binding.roleRef, namespace) ?? [];
    });
  }
}
