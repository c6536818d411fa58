import { done, fail, type Errno, type Outcome } from '../outcome.js';
import { directAccess, type Change, type StoreBehind } from './direct-access.js';
import { formatPermissions, OWNER, ownerOf, parsePermissions, READ, WRITE, type Permission } from './permissions.js';
import { canonicalPath, countedLength, parentOf, type StorePath } from './store-path.js';
import { StoreDomains, type SpecialForm } from './store-domains.js';
import { findNode, isPrivileged, type NodeAccess, type NodeChange } from './store-tree.js';
import { commit, transactionAccess } from './transaction-access.js';
import { WatchIndex } from './watch-index.js';
import { PAYLOAD_MAX, type Answer, type WatchEvent } from './xenstore-answer.js';
import type { StoreDomainState, StoreNode, XenstoreState } from './xenstore-state.js';

/** No transaction. */
export const NO_TRANSACTION = 0;

export interface DirectoryPart {
  /** Equal generations of two parts mean that the list did not change between them. */
  readonly generation: number;
  readonly names: readonly string[];
  /** The list ends here. */
  readonly complete: boolean;
}

interface Place {
  readonly access: NodeAccess;
  readonly at: StorePath;
}

const NO_EVENTS: readonly WatchEvent[] = [];
const DONE = done(null);

/**
 * A xenstore daemon (tools/xenstored in Xen's tree) over plain data. Each operation comes from a domain's one connection; what tools in Dom0 would
 * send over sockets of their own comes from domain 0. Values are texts of bytes, one character each. Operations answer with the daemon's
 * error names; one from a domain that has no connection answers EIO.
 */
export class Xenstore {
  readonly state: XenstoreState;
  /** Who is connected, with which rights and limits. */
  readonly domains: StoreDomains;
  readonly #watches = new WatchIndex();
  readonly #behind: StoreBehind;
  readonly #dom0: NodeAccess;
  #events: readonly WatchEvent[] = NO_EVENTS;

  /** `domainExists` asks the hypervisor whether it has a domain that was not introduced yet. */
  constructor(state: XenstoreState, domainExists: (domid: number) => boolean = () => true) {
    this.state = state;
    this.#behind = { state, watches: this.#watches, fire: (change) => this.#fire(change) };
    this.#dom0 = directAccess(this.#behind, 0);
    this.domains = new StoreDomains(this.#behind, {
      domainExists,
      collect: (work) => this.#collect(work),
      fireSpecial: (name, domid, forms) => this.#fireSpecial(name, domid, forms),
    });
  }

  read(domid: number, path: string, transaction = NO_TRANSACTION): Outcome<string> {
    const node = this.#look(domid, path, transaction);
    return typeof node === 'string' ? fail(node) : done(node.value);
  }

  /** Names of the children in the order of their creation; E2BIG if they do not fit into one reply (`directoryPart` gets them then). */
  directory(domid: number, path: string, transaction = NO_TRANSACTION): Outcome<readonly string[]> {
    const node = this.#look(domid, path, transaction);
    if (typeof node === 'string') return fail(node);
    return (node.childBytes ?? 0) > PAYLOAD_MAX ? fail('E2BIG') : done(childNames(node));
  }

  /** The children from a byte offset of their list on, as many as fit into one reply. */
  directoryPart(domid: number, path: string, offset: number, transaction = NO_TRANSACTION): Outcome<DirectoryPart> {
    const node = this.#look(domid, path, transaction);
    return typeof node === 'string' ? fail(node) : done(directoryPartOf(node, offset));
  }

  getPermissions(domid: number, path: string, transaction = NO_TRANSACTION): Outcome<readonly Permission[]> {
    const node = this.#look(domid, path, transaction, 'special');
    if (typeof node === 'string') return fail(node);
    return done(parsePermissions(node.perms).map(({ domid: named, access }) => ({ domid: named, access })));
  }

  /** Sets a value; makes the node and its parents where they are missing. */
  write(domid: number, path: string, value: string, transaction = NO_TRANSACTION): Answer {
    if (path.length + 1 + value.length > PAYLOAD_MAX) return { outcome: fail('E2BIG'), events: NO_EVENTS };
    const place = this.#place(domid, path, transaction);
    if (typeof place === 'string') return { outcome: fail(place), events: NO_EVENTS };
    const node = this.#node(domid, place, WRITE);
    if (node === 'ENOENT') return this.#create(place, value);
    return this.#collect(() => (typeof node === 'string' ? fail(node) : this.#update(place, node, { value })));
  }

  /** Makes a node with an empty value, and its parents, where they are missing; keeps the value of one that exists. */
  mkdir(domid: number, path: string, transaction = NO_TRANSACTION): Answer {
    const place = this.#place(domid, path, transaction);
    if (typeof place === 'string') return { outcome: fail(place), events: NO_EVENTS };
    const node = this.#node(domid, place, WRITE);
    if (node === 'ENOENT') return this.#create(place, '');
    return { outcome: typeof node === 'string' ? fail(node) : DONE, events: NO_EVENTS };
  }

  /** Removes a node with all below it. A missing node is no error, a missing parent is one. */
  rm(domid: number, path: string, transaction = NO_TRANSACTION): Answer {
    return this.#collect(() => {
      const place = this.#place(domid, path, transaction);
      if (typeof place === 'string') return fail(place);
      const node = this.#node(domid, place, WRITE);
      if (node === 'ENOENT') {
        const parent = place.access.find(parentOf(place.at));
        return parent === 'ENOSPC' ? fail('ENOSPC') : parent ? DONE : fail('ENOENT');
      }
      if (typeof node === 'string') return fail(node);
      if (place.at.steps.length === 0) return fail('EINVAL');
      const refusal = place.access.remove(place.at, node);
      return refusal ? fail(refusal) : DONE;
    });
  }

  /** Replaces the permissions. The owner may do so, but only Dom0 may give the node to another owner. */
  setPermissions(
    domid: number,
    path: string,
    permissions: readonly Permission[],
    transaction = NO_TRANSACTION,
  ): Answer {
    return this.#collect(() => {
      const place = this.#place(domid, path, transaction, 'special');
      if (typeof place === 'string') return fail(place);
      const list = this.domains.checkPermissions(domid, permissions);
      if (typeof list === 'string') return fail(list);
      const node = this.#node(domid, place, OWNER);
      if (typeof node === 'string') return fail(node);
      if (!isPrivileged(domid) && list[0]?.domid !== ownerOf(node.perms)) return fail('EPERM');
      return this.#update(place, node, { perms: formatPermissions(list) });
    });
  }

  /** Watches a path and what lies below it, `depth` levels deep if given; fires once at once. EEXIST for the same path and token. */
  watch(domid: number, path: string, token: string, depth: number | null = null): Answer {
    return this.#collect(() => {
      const added = this.domains.addWatch(domid, { path, token, depth });
      if (typeof added === 'string') return fail(added);
      this.#queue(domid, added);
      return DONE;
    });
  }

  /** ENOENT where there is no such watch. */
  unwatch(domid: number, path: string, token: string): Outcome<null> {
    const refusal = this.domains.removeWatch(domid, path, token);
    return refusal ? fail(refusal) : DONE;
  }

  /** Ends all watches and transactions of the caller. */
  resetWatches(domid: number): Outcome<null> {
    if (!this.domains.connected(domid)) return fail('EIO');
    this.domains.resetConnection(domid);
    return DONE;
  }

  /** The transaction's number, which other operations take; ENOSPC above the quota. */
  transactionStart(domid: number): Outcome<number> {
    const domain = this.domains.connected(domid);
    if (!domain) return fail('EIO');
    const limit = domain.quotas.transactions;
    // The daemon compares before it adds, so that one more than the quota's number can be open.
    if (!isPrivileged(domid) && limit > 0 && domain.transactionCount > limit) return fail('ENOSPC');
    this.state.generation += 1;
    while (domain.nextTransaction === NO_TRANSACTION || domain.transactions[domain.nextTransaction])
      domain.nextTransaction = (domain.nextTransaction + 1) >>> 0;
    const id = domain.nextTransaction;
    domain.nextTransaction = (id + 1) >>> 0;
    domain.transactionCount += 1;
    domain.transactions[id] = { accessed: {}, accessedCount: 0, nodes: {}, createdNode: false, failed: false };
    return done(id);
  }

  /** Ends a transaction, whatever comes of it. EAGAIN means that it shall be done again, from its start. */
  transactionEnd(domid: number, transaction: number, end: 'commit' | 'abort'): Answer {
    return this.#collect(() => {
      const domain = this.domains.connected(domid);
      if (!domain) return fail('EIO');
      const ended = domain.transactions[transaction];
      if (!ended) return fail('ENOENT');
      // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- A dictionary that must stay plain JSON.
      delete domain.transactions[transaction];
      domain.transactionCount -= 1;
      const refusal = end === 'abort' ? null : commit(this.#behind, domid, ended);
      return refusal ? fail(refusal) : DONE;
    });
  }

  /** Where an operation works, or why it cannot: no connection, no such transaction, no such path. */
  #place(domid: number, path: string, transaction: number, kind: 'plain' | 'special' = 'plain'): Place | Errno {
    const domain = this.state.domains[domid];
    if (!domain?.introduced) return 'EIO';
    const access = this.#access(domid, domain, transaction);
    if (!access) return 'ENOENT';
    const at = canonicalPath(domid, path, kind);
    if (!at) return 'EINVAL';
    if (!isPrivileged(domid)) {
      const longest = domain.quotas['path-max'];
      if (longest > 0 && countedLength(at.path) > longest) return 'EINVAL';
    }
    return { access, at };
  }

  #access(domid: number, domain: StoreDomainState, transaction: number): NodeAccess | null {
    if (transaction === NO_TRANSACTION) return domid === 0 ? this.#dom0 : directAccess(this.#behind, domid);
    const inside = domain.transactions[transaction];
    return inside ? transactionAccess(this.#behind, domid, inside) : null;
  }

  #look(domid: number, path: string, transaction: number, kind: 'plain' | 'special' = 'plain'): StoreNode | Errno {
    const place = this.#place(domid, path, transaction, kind);
    return typeof place === 'string' ? place : this.#node(domid, place, READ);
  }

  /** The node, if the caller may do with it what it needs. */
  #node(domid: number, { access, at }: Place, need: number): StoreNode | Errno {
    const node = access.find(at);
    if (node === 'ENOSPC') return 'ENOSPC';
    const privileged = isPrivileged(domid);
    if (node && (privileged || (this.domains.accessTo(node, domid) & need) === need)) return node;
    if (!node && access === this.#dom0) return 'ENOENT';
    // Who may do nothing with the nearest ancestor is not told whether there is a node.
    let above: StoreNode | null | 'ENOSPC' = null;
    for (let path = at; above === null;) {
      path = parentOf(path);
      above = access.find(path);
    }
    if (above === 'ENOSPC') return 'ENOSPC';
    const known = privileged || (this.domains.accessTo(above, domid) & need) !== 0;
    return known && !node ? 'ENOENT' : 'EACCES';
  }

  #create({ access, at }: Place, value: string): Answer {
    return this.#collect(() => {
      const refusal = access.create(at, value);
      if (refusal) return fail(refusal);
      access.changed(at, null);
      return DONE;
    });
  }

  #update({ access, at }: Place, node: StoreNode, change: NodeChange): Outcome<null> {
    const before = change.perms === undefined ? null : node.perms;
    const refusal = access.update(at, node, change);
    if (refusal) return fail(refusal);
    access.changed(at, before);
    return DONE;
  }

  #collect<Value>(work: () => Outcome<Value>): Answer<Value> {
    this.#events = NO_EVENTS;
    const outcome = work();
    return { outcome, events: this.#events };
  }

  #queue(to: number, { path, token, prefix }: { path: string; token: string; prefix: number }): void {
    const told = prefix === 0 ? path : path.slice(prefix);
    // The daemon does not send what no message could hold.
    if (told.length + token.length + 2 > PAYLOAD_MAX) return;
    if (this.#events === NO_EVENTS) this.#events = [];
    (this.#events as WatchEvent[]).push({ to, token, path: told });
  }

  #fire({ path, reach, node, permsBefore }: Change): void {
    const watchers = this.#watches.of(path, reach);
    if (watchers.length === 0) return;
    const seen = node ?? findNode(this.state, path);
    for (const { domid, watch } of watchers)
      if (this.domains.maySee(domid, path, { node: seen, permsBefore }))
        this.#queue(domid, { path: path.path, token: watch.token, prefix: watch.prefix });
  }

  #fireSpecial(name: string, domid: number, forms: readonly SpecialForm[]): void {
    const path = canonicalPath(0, name, 'special');
    const node = this.state.specials[name];
    if (!path || !node) return;
    const watchers = this.#watches.ofSpecial(path, domid);
    for (const form of forms)
      for (const watcher of form === 'named' ? watchers.named : watchers.plain)
        if (this.domains.maySee(watcher.domid, path, { node, permsBefore: null })) {
          const told = form === 'named' ? `${name}/${domid}` : name;
          this.#queue(watcher.domid, { path: told, token: watcher.watch.token, prefix: 0 });
        }
  }
}

const childNames = (node: StoreNode): readonly string[] =>
  node.children ? Object.keys(node.children).map((step) => step.slice(1)) : [];

const directoryPartOf = (node: StoreNode, offset: number): DirectoryPart => {
  const room = PAYLOAD_MAX - (String(node.generation).length + 1) - 1;
  const names: string[] = [];
  let at = 0;
  let taken = 0;
  for (const name of childNames(node)) {
    const bytes = name.length + 1;
    if (at >= offset) {
      if (taken + name.length >= room) return { generation: node.generation, names, complete: false };
      names.push(name);
      taken += bytes;
    }
    at += bytes;
  }
  return { generation: node.generation, names, complete: true };
};
