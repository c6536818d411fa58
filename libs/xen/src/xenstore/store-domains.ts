import { done, fail, type Errno, type Outcome } from '../outcome.js';
import { removeTree, type StoreBehind } from './direct-access.js';
import { domainPath, INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './paths.js';
import {
  accessOf,
  ANY_DOMAIN,
  OWNER,
  ownerOf,
  READ,
  SELF_DOMAIN,
  type Permission,
  type PermissionList,
} from './permissions.js';
import { isQuotaName, type QuotaName } from './quota.js';
import { canonicalPath, childOf, countedLength, isRelative, parentOf, ROOT, type StorePath } from './store-path.js';
import { findNode, isPrivileged, storeDomain } from './store-tree.js';
import type { Answer } from './xenstore-answer.js';
import {
  ALL_FEATURES,
  XENSTORE_FEATURES,
  type StoreDomainState,
  type StoreNode,
  type WatchState,
  type XenstoreState,
} from './xenstore-state.js';

/** A special event is told plainly, and to those who asked for it with the domain's number. */
export type SpecialForm = 'plain' | 'named';
const BOTH: readonly SpecialForm[] = ['plain', 'named'];

export interface StoreDomainsNeeds {
  readonly domainExists: (domid: number) => boolean;
  readonly collect: <Value>(work: () => Outcome<Value>) => Answer<Value>;
  readonly fireSpecial: (name: string, domid: number, forms: readonly SpecialForm[]) => void;
}

const DOMID_MAX = 65_535;
const DONE = done(null);

/** The connections of a store: who is introduced, with which rights, features, limits and watches (tools/xenstored/domain.c). */
export class StoreDomains {
  readonly #behind: StoreBehind;
  readonly #needs: StoreDomainsNeeds;

  constructor(behind: StoreBehind, needs: StoreDomainsNeeds) {
    this.#behind = behind;
    this.#needs = needs;
    for (const [domid, domain] of Object.entries(behind.state.domains))
      for (const watch of domain.watches) this.#index(Number(domid), domain, watch);
  }

  /** The domain, if it has a connection. */
  connected(domid: number): StoreDomainState | null {
    const domain = this.#state.domains[domid];
    return domain?.introduced ? domain : null;
  }

  /**
   * Connects a domain by the event channel of its ring; a connected one starts afresh, without its watches and transactions. Dom0 only.
   */
  introduce(domid: number, subject: number, port: number): Answer {
    return this.#needs.collect(() => {
      if (!isPrivileged(domid)) return fail('EACCES');
      if (!isDomid(subject) || port <= 0) return fail('EINVAL');
      const domain = storeDomain(this.#state, subject);
      domain.port = port;
      if (!domain.introduced) {
        domain.introduced = true;
        domain.shutdown = false;
        domain.order = this.#state.nextOrder;
        this.#state.nextOrder += 1;
        this.#needs.fireSpecial(INTRODUCE_DOMAIN, subject, BOTH);
      }
      this.resetConnection(subject);
      return DONE;
    });
  }

  /** Ends a domain's connection and removes what it owns. Dom0 only; ENOENT for one that is not introduced, EINVAL for Dom0 itself. */
  release(domid: number, subject: number): Answer {
    return this.#needs.collect(() => {
      const refusal = this.#subjectRefusal(domid, subject);
      if (refusal) return fail(refusal);
      this.#destroy(subject);
      return DONE;
    });
  }

  /** A domain that shut down runs again: its next shutdown is told again. Dom0 only. */
  resume(domid: number, subject: number): Outcome<null> {
    const refusal = this.#subjectRefusal(domid, subject);
    if (refusal) return fail(refusal);
    storeDomain(this.#state, subject).shutdown = false;
    return DONE;
  }

  /**
   * What the daemon does when the hypervisor's VIRQ_DOM_EXC made it look: a shutdown is told once as `@releaseDomain`; a domain that is
   * gone loses its connection and all that it owns, which is told too.
   */
  domainChanged(subject: number, change: 'shutdown' | 'gone'): Answer {
    return this.#needs.collect(() => {
      const domain = this.#state.domains[subject];
      if (!domain || isPrivileged(subject)) return DONE;
      if (change === 'gone') this.#destroy(subject);
      else if (domain.introduced && !domain.shutdown) {
        domain.shutdown = true;
        this.#needs.fireSpecial(RELEASE_DOMAIN, subject, ['named', 'plain']);
      }
      return DONE;
    });
  }

  /** The home of any domain, whether it exists or not. */
  getDomainPath(subject: number): Outcome<string> {
    return isDomid(subject) ? done(domainPath(subject)) : fail('EINVAL');
  }

  /** Dom0 only; DOMID_SELF is always introduced. */
  isDomainIntroduced(domid: number, subject: number): Outcome<boolean> {
    if (!isPrivileged(domid)) return fail('EACCES');
    if (!isDomid(subject)) return fail('EINVAL');
    return done(subject === SELF_DOMAIN || this.connected(subject) !== null);
  }

  /** Gives a domain, such as one with a device model, the rights of the domain that it serves. Dom0 only; both must be introduced. */
  setTarget(domid: number, subject: number, target: number): Outcome<null> {
    if (!isPrivileged(domid)) return fail('EACCES');
    if (!isDomid(subject) || !isDomid(target)) return fail('EINVAL');
    const domain = this.connected(subject);
    if (!domain || !this.connected(target)) return fail('ENOENT');
    domain.target = target;
    return DONE;
  }

  /** Features as bits, of the caller, or for Dom0 of any domain that exists. */
  getFeature(domid: number, subject: number | null = null): Outcome<number> {
    if (subject === null) {
      const domain = this.connected(domid);
      return domain ? done(domain.features) : fail('EIO');
    }
    if (!isPrivileged(domid)) return fail('EACCES');
    const domain = this.#existing(subject);
    return typeof domain === 'string' ? fail(domain) : done(domain.features);
  }

  /** Dom0 only, before the domain is introduced: EBUSY after it, EINVAL for bits that the store does not know. */
  setFeature(domid: number, subject: number, features: number): Outcome<null> {
    if (!isPrivileged(domid)) return fail('EACCES');
    const domain = this.#existing(subject);
    if (typeof domain === 'string') return fail(domain);
    if (domain.introduced) return fail('EBUSY');
    if ((features & ~ALL_FEATURES) !== 0) return fail('EINVAL');
    domain.features = features;
    return DONE;
  }

  /** A limit of a domain, or without one the limit that new domains get. Dom0 only; EINVAL for an unknown name. */
  getQuota(domid: number, name: string, subject: number | null = null): Outcome<number> {
    const holder = this.#quotaHolder(domid, name, subject);
    return typeof holder === 'string' ? fail(holder) : done(holder.quotas[name as QuotaName]);
  }

  setQuota(domid: number, name: string, value: number, subject: number | null = null): Outcome<null> {
    const holder = this.#quotaHolder(domid, name, subject);
    if (typeof holder === 'string') return fail(holder);
    if (!Number.isInteger(value) || value < 0) return fail('EINVAL');
    holder.quotas = { ...holder.quotas, [name]: value };
    return DONE;
  }

  /**
   * Whether the daemon leaves a domain's requests in its ring: too many answers and events wait to be taken (`outstanding`), or it holds too
   * much memory (tools/xenstored/domain.c `domain_can_read`).
   */
  isStalled(domid: number, outstanding: number): boolean {
    const domain = this.#state.domains[domid];
    if (!domain || isPrivileged(domid)) return false;
    const { quotas, memoryBytes } = domain;
    if (quotas.outstanding > 0 && outstanding >= quotas.outstanding) return true;
    return quotas.memory > 0 && memoryBytes >= quotas.memory;
  }

  /** What a domain may do with a node, as bits. */
  accessTo(node: StoreNode, domid: number): number {
    return this.#access(domid, node.perms, node.generation);
  }

  /**
   * Whether a domain may be told of a change: it can read the node, could read it before, or can read its parent (tools/xenstored/watch.c
   * `watch_permitted`).
   */
  maySee(
    domid: number,
    path: StorePath,
    seen: { readonly node: StoreNode | null; readonly permsBefore: PermissionList | null },
  ): boolean {
    const { node, permsBefore } = seen;
    if (isPrivileged(domid)) return node !== null || permsBefore !== null;
    if (permsBefore !== null && (this.#access(domid, permsBefore, this.#state.generation) & READ) !== 0) return true;
    if (!node) return false;
    if ((this.accessTo(node, domid) & READ) !== 0) return true;
    const parent = findNode(this.#state, parentOf(path));
    return parent !== null && (this.accessTo(parent, domid) & READ) !== 0;
  }

  /** The list as it is stored, with those entries marked that name nobody; or why it cannot be set. */
  checkPermissions(domid: number, permissions: readonly Permission[]): readonly Permission[] | Errno {
    const domain = this.#state.domains[domid];
    const limit = domain?.quotas['node-permissions'] ?? 0;
    if (!domain || permissions.length === 0) return 'EINVAL';
    if (!isPrivileged(domid) && limit > 0 && permissions.length > limit) return 'ENOSPC';
    const list: Permission[] = [];
    for (const { domid: named, access } of permissions) {
      if (!isDomid(named)) return 'EINVAL';
      const known = named === ANY_DOMAIN ? (domain.features & XENSTORE_FEATURES.domidAny) !== 0 : this.#knows(named);
      list.push(known ? { domid: named, access } : { domid: named, access, ignored: true });
    }
    return list[0]?.ignored ? 'ENOENT' : list;
  }

  addWatch(
    domid: number,
    { path, token, depth }: { readonly path: string; readonly token: string; readonly depth: number | null },
  ): WatchState | Errno {
    const domain = this.connected(domid);
    if (!domain) return 'EIO';
    if (depth !== null && (depth < 0 || (domain.features & XENSTORE_FEATURES.watchDepth) === 0)) return 'EINVAL';
    const at = this.#watchPath(domid, domain, path);
    if (!at) return 'EINVAL';
    if (domain.watches.some((watch) => watch.path === at.path && watch.token === token)) return 'EEXIST';
    const { quotas } = domain;
    const bytes = at.path.length + token.length;
    if (!isPrivileged(domid)) {
      // The daemon compares before it adds, so that one more than the quota's number can be set.
      if (quotas.watches > 0 && domain.watches.length > quotas.watches) return 'ENOSPC';
      if (quotas.memory > 0 && domain.memoryBytes + bytes >= quotas.memory) return 'ENOMEM';
      domain.memoryBytes += bytes;
    }
    const prefix = isRelative(path) ? domainPath(domid).length + 1 : 0;
    const watch: WatchState = { path: at.path, token, depth, prefix, order: this.#state.nextOrder };
    this.#state.nextOrder += 1;
    domain.watches.push(watch);
    this.#index(domid, domain, watch);
    return watch;
  }

  removeWatch(domid: number, path: string, token: string): Errno | null {
    const domain = this.connected(domid);
    if (!domain) return 'EIO';
    const at = this.#watchPath(domid, domain, path);
    if (!at) return 'EINVAL';
    const index = domain.watches.findIndex((watch) => watch.path === at.path && watch.token === token);
    if (index < 0) return 'ENOENT';
    for (const watch of domain.watches.splice(index, 1)) this.#forget(domid, domain, watch);
    return null;
  }

  /** Ends all watches and transactions of a connection. */
  resetConnection(domid: number): void {
    const domain = this.#state.domains[domid];
    if (!domain) return;
    for (const watch of domain.watches) this.#forget(domid, domain, watch);
    domain.watches = [];
    domain.transactions = {};
    domain.transactionCount = 0;
  }

  get #state(): XenstoreState {
    return this.#behind.state;
  }

  #watchPath(domid: number, domain: StoreDomainState, path: string): StorePath | null {
    const at = canonicalPath(domid, path, 'special');
    if (!at || isPrivileged(domid)) return at;
    const longest = domain.quotas['path-max'];
    return longest > 0 && countedLength(at.path) > longest ? null : at;
  }

  #index(domid: number, domain: StoreDomainState, watch: WatchState): void {
    const at = canonicalPath(domid, watch.path, 'special');
    if (at) this.#behind.watches.add(at, { domid, connection: domain.order, watch });
  }

  #forget(domid: number, domain: StoreDomainState, watch: WatchState): void {
    const at = canonicalPath(domid, watch.path, 'special');
    if (at) this.#behind.watches.remove(at, watch);
    if (!isPrivileged(domid)) domain.memoryBytes -= watch.path.length + watch.token.length;
  }

  #access(domid: number, perms: PermissionList, generation: number): number {
    if (isPrivileged(domid)) return OWNER;
    const target = this.#state.domains[domid]?.target ?? null;
    return accessOf(perms, { domid, target }, (named) => {
      const meant = this.#state.domains[named];
      return meant !== undefined && meant.generation <= generation;
    });
  }

  #knows(domid: number): boolean {
    if (this.#state.domains[domid]) return true;
    if (!this.#needs.domainExists(domid)) return false;
    storeDomain(this.#state, domid);
    return true;
  }

  #existing(subject: number): StoreDomainState | Errno {
    if (!isDomid(subject)) return 'EINVAL';
    return this.#knows(subject) ? storeDomain(this.#state, subject) : 'ENOENT';
  }

  #quotaHolder(domid: number, name: string, subject: number | null): StoreDomainState | XenstoreState | Errno {
    if (!isPrivileged(domid)) return 'EACCES';
    const holder = subject === null ? this.#state : this.#existing(subject);
    return typeof holder === 'string' || isQuotaName(name) ? holder : 'EINVAL';
  }

  #subjectRefusal(domid: number, subject: number): Errno | null {
    if (!isPrivileged(domid)) return 'EACCES';
    if (!isDomid(subject) || isPrivileged(subject)) return 'EINVAL';
    return this.connected(subject) ? null : 'ENOENT';
  }

  #destroy(subject: number): void {
    const domain = this.#state.domains[subject];
    if (!domain) return;
    this.resetConnection(subject);
    this.#removeOwned(subject, domain);
    Reflect.deleteProperty(this.#state.domains, subject);
    if (domain.introduced) this.#needs.fireSpecial(RELEASE_DOMAIN, subject, BOTH);
  }

  /** Looks at a domain's home first, where nearly all that it owns lies, and at the rest of the store only if something is left. */
  #removeOwned(subject: number, domain: StoreDomainState): void {
    const home = canonicalPath(subject, domainPath(subject), 'plain');
    const node = home && findNode(this.#state, home);
    if (home && node && domain.nodes > 0) this.#removeOwnedBelow(subject, home, node);
    if (domain.nodes > 0) this.#removeOwnedBelow(subject, ROOT, this.#state.root);
  }

  #removeOwnedBelow(subject: number, path: StorePath, node: StoreNode): void {
    if (ownerOf(node.perms) === subject && path.steps.length > 0) {
      removeTree(this.#behind, path, node);
      return;
    }
    for (const [step, child] of Object.entries(node.children ?? {}))
      if (child) this.#removeOwnedBelow(subject, childOf(path, step), child);
  }
}

const isDomid = (domid: number): boolean => Number.isInteger(domid) && domid >= 0 && domid <= DOMID_MAX;
