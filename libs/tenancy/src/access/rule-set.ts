import type { PolicyRule } from '@xenolith/contracts';

/** What somebody wants to do, as an authorizer is asked. */
export type AccessRequest = ResourceAccess | PathAccess;

export interface ResourceAccess {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string | undefined;
  readonly name?: string | undefined;
}

export interface PathAccess {
  readonly verb: string;
  readonly path: string;
}

const ANY = '*';

/** Names for which a right holds; null: for all. */
type Names = Set<string> | null;

const NOTHING: readonly string[] = [];

const prefixOf = (url: string): string | null => (url.endsWith(ANY) ? url.slice(0, -1) : null);

/**
 * Rules, looked up by verb, group and resource: a question costs a dozen look-ups at most, however many rules there are. Means what Kubernetes'
 * authorizer means (plugin/pkg/auth/authorizer/rbac): a rule grants, none takes away.
 */
export class RuleSet {
  /** By verb, then group, then resource. */
  private readonly resources = new Map<string, Map<string, Map<string, Names>>>();
  /** By verb. */
  private readonly paths = new Map<string, { readonly exact: Set<string>; readonly prefixes: Set<string> }>();

  constructor(rules: Iterable<PolicyRule>) {
    for (const rule of rules) {
      for (const verb of rule.verbs) {
        this.addPaths(verb, rule.nonResourceURLs ?? NOTHING);
        for (const group of rule.apiGroups ?? NOTHING)
          for (const resource of rule.resources ?? NOTHING) this.addResource(verb, group, resource, rule);
      }
    }
  }

  allows(request: AccessRequest): boolean {
    return 'path' in request
      ? this.allowsPath(request.verb, request.path) || this.allowsPath(ANY, request.path)
      : this.allowsVerb(request.verb, request) || this.allowsVerb(ANY, request);
  }

  private addPaths(verb: string, urls: readonly string[]): void {
    if (urls.length === 0) return;
    const known = this.paths.get(verb) ?? { exact: new Set(), prefixes: new Set() };
    this.paths.set(verb, known);
    for (const url of urls) {
      const prefix = prefixOf(url);
      if (prefix === null) known.exact.add(url);
      else known.prefixes.add(prefix);
    }
  }

  private addResource(verb: string, group: string, resource: string, rule: PolicyRule): void {
    const groups = this.resources.get(verb) ?? new Map<string, Map<string, Names>>();
    this.resources.set(verb, groups);
    const resources = groups.get(group) ?? new Map<string, Names>();
    groups.set(group, resources);
    const named = rule.resourceNames ?? NOTHING;
    const known = resources.get(resource);
    if (named.length === 0 || known === null) resources.set(resource, null);
    else resources.set(resource, new Set([...(known ?? []), ...named]));
  }

  private allowsPath(verb: string, path: string): boolean {
    const known = this.paths.get(verb);
    if (known === undefined) return false;
    if (known.exact.has(path)) return true;
    for (const prefix of known.prefixes) if (path.startsWith(prefix)) return true;
    return false;
  }

  private allowsVerb(verb: string, request: ResourceAccess): boolean {
    const groups = this.resources.get(verb);
    if (groups === undefined) return false;
    return allowsGroup(groups.get(request.group), request) || allowsGroup(groups.get(ANY), request);
  }
}

const allowsGroup = (resources: ReadonlyMap<string, Names> | undefined, request: ResourceAccess): boolean => {
  if (resources === undefined) return false;
  const { resource, subresource, name } = request;
  if (allowsName(resources.get(ANY), name)) return true;
  if (subresource === undefined || subresource === '') return allowsName(resources.get(resource), name);
  return (
    allowsName(resources.get(`${resource}/${subresource}`), name) ||
    allowsName(resources.get(`${ANY}/${subresource}`), name)
  );
};

const allowsName = (names: Names | undefined, name: string | undefined): boolean =>
  names === null || (names !== undefined && name !== undefined && names.has(name));

/** A rule as single grants: one verb on one resource (of one name), or on one path. */
function* grantsOf(rule: PolicyRule): Generator<AccessRequest> {
  for (const verb of rule.verbs) {
    for (const path of rule.nonResourceURLs ?? NOTHING) yield { verb, path };
    for (const group of rule.apiGroups ?? NOTHING) {
      for (const text of rule.resources ?? NOTHING) {
        const slash = text.indexOf('/');
        const resource = slash < 0 ? text : text.slice(0, slash);
        const subresource = slash < 0 ? undefined : text.slice(slash + 1);
        const names = rule.resourceNames ?? NOTHING;
        if (names.length === 0) yield { verb, group, resource, subresource };
        for (const name of names) yield { verb, group, resource, subresource, name };
      }
    }
  }
}

/** A path that stands for many is held only by who holds as many. */
const holdsPath = (owned: RuleSet, { verb, path }: PathAccess): boolean => owned.allows({ verb, path });

/**
 * The rules of `wanted` that `owned` does not hold whole: nobody may give what they do not have. A wildcard is held by that wildcard only, as in
 * Kubernetes: what it stands for may grow.
 */
export const uncovered = (owned: RuleSet, wanted: readonly PolicyRule[]): readonly PolicyRule[] =>
  wanted.filter((rule) => {
    for (const grant of grantsOf(rule)) {
      const held = 'path' in grant ? holdsPath(owned, grant) : owned.allows(grant);
      if (!held) return true;
    }
    return false;
  });
