import type { Change, StoreBehind } from './direct-access.js';
import { growth, growthRefusal } from './direct-access.js';
import { ownedBy, ownerOf } from './permissions.js';
import { canonicalPath, childOf, parentOf, type StorePath } from './store-path.js';
import {
  addChild,
  childNameBytes,
  count,
  dropChild,
  findNode,
  freshNode,
  isPrivileged,
  nodeBytes,
  type NodeAccess,
  storeDomain,
} from './store-tree.js';
import type { AccessedState, StoreNode, TransactionState, XenstoreState } from './xenstore-state.js';

/** A transaction's own copy of a node: of its children it knows the names only. */
const copyOf = (node: StoreNode): StoreNode => {
  const copy = freshNode(node.value, node.perms, node.generation);
  if (!node.children) return copy;
  const children: Record<string, null> = {};
  for (const step of Object.keys(node.children)) children[step] = null;
  return { ...copy, children, childBytes: node.childBytes ?? 0 };
};

interface Inside {
  readonly state: XenstoreState;
  readonly domid: number;
  readonly transaction: TransactionState;
}

/**
 * Touches a path: from its first touch on, the transaction sees its own copy, and the generation that the node had is what must still hold
 * at the commit (tools/xenstored/transaction.c `access_node`).
 */
const touch = ({ state, domid, transaction }: Inside, path: StorePath): AccessedState | 'ENOSPC' => {
  const known = transaction.accessed[path.path];
  if (known) return known;
  const limit = isPrivileged(domid) ? 0 : storeDomain(state, domid).quotas['transaction-nodes'];
  if (limit > 0 && transaction.accessedCount + 1 > limit) {
    transaction.failed = true;
    return 'ENOSPC';
  }
  const node = findNode(state, path);
  const accessed: AccessedState = {
    before: node?.generation ?? null,
    permsBefore: node?.perms ?? null,
    node: node ? copyOf(node) : null,
    modified: false,
    fires: null,
  };
  transaction.accessed[path.path] = accessed;
  transaction.accessedCount += 1;
  return accessed;
};

const find = (inside: Inside, path: StorePath): StoreNode | null | 'ENOSPC' => {
  const accessed = touch(inside, path);
  return accessed === 'ENOSPC' ? 'ENOSPC' : accessed.node;
};

const put = ({ state, transaction }: Inside, path: StorePath, node: StoreNode | null): void => {
  state.generation += 1;
  const accessed = transaction.accessed[path.path];
  if (!accessed) return;
  if (node) node.generation = state.generation;
  accessed.node = node;
  accessed.modified = true;
};

const countNode = ({ transaction }: Inside, node: StoreNode, sign: 1 | -1): void => {
  const owner = ownerOf(node.perms);
  if (!isPrivileged(owner)) transaction.nodes[owner] = (transaction.nodes[owner] ?? 0) + sign;
};

const queue = ({ transaction }: Inside, path: StorePath, reach: 'exact' | 'subtree'): void => {
  const accessed = transaction.accessed[path.path];
  if (accessed && accessed.fires !== 'subtree') accessed.fires = reach;
};

const create = (inside: Inside, path: StorePath, value: string): 'ENOSPC' | 'EIO' | null => {
  const { domid, state, transaction } = inside;
  const missing = [path];
  let parentPath = parentOf(path);
  let parent = find(inside, parentPath);
  while (parent === null && parentPath.steps.length > 0) {
    missing.push(parentPath);
    parentPath = parentOf(parentPath);
    parent = find(inside, parentPath);
  }
  if (parent === 'ENOSPC' || parent === null) return 'ENOSPC';
  const refusal = createRefusal(inside, { parent, missing, value });
  transaction.createdNode = true;
  if (refusal) return refusal;
  const perms = isPrivileged(domid) ? parent.perms : ownedBy(parent.perms, domid);
  put(inside, parentPath, parent);
  let above = parent;
  for (const each of missing.toReversed()) {
    const node = freshNode(each === path ? value : '', perms, state.generation);
    addChild(above, each.steps.at(-1) ?? '', null);
    put(inside, each, node);
    countNode(inside, node, 1);
    above = node;
  }
  return null;
};

const createRefusal = (
  { domid, state, transaction }: Inside,
  made: { readonly parent: StoreNode; readonly missing: readonly StorePath[]; readonly value: string },
): 'ENOSPC' | 'EIO' | null => {
  if (isPrivileged(domid)) return null;
  const { quotas, nodes, memoryBytes } = storeDomain(state, domid);
  const owned = nodes + (transaction.nodes[domid] ?? 0);
  if (quotas.nodes > 0 && owned >= quotas.nodes) return 'ENOSPC';
  const leafBytes = nodeBytes(freshNode(made.value, made.parent.perms, 0));
  const parentBytes = nodeBytes(made.parent) + childNameBytes(made.missing.at(-1)?.steps.at(-1) ?? '');
  const size = quotas['node-size'];
  const tooLarge = size > 0 && (leafBytes > size || parentBytes > size);
  const tooMany = quotas.nodes > 0 && owned + made.missing.length > quotas.nodes;
  const tooMuch = quotas.memory > 0 && memoryBytes + leafBytes >= quotas.memory;
  if (!tooLarge && !tooMany && !tooMuch) return null;
  // Some nodes are written already when the daemon finds this out, and it cannot take them back.
  transaction.failed = true;
  return tooLarge || tooMany ? 'ENOSPC' : 'EIO';
};

const remove = (inside: Inside, path: StorePath, node: StoreNode): 'ENOSPC' | 'EINVAL' | 'EIO' | null => {
  const parent = find(inside, parentOf(path));
  if (parent === 'ENOSPC') return 'ENOSPC';
  // The node was made outside after the transaction had found its parent missing.
  if (!parent) return 'EINVAL';
  if (!removeBelow(inside, path, node)) return 'EIO';
  countNode(inside, node, -1);
  put(inside, path, null);
  queue(inside, path, 'subtree');
  dropChild(parent, path.steps.at(-1) ?? '');
  put(inside, parentOf(path), parent);
  return null;
};

/** False if a child is gone outside meanwhile, or too many nodes would be touched: the transaction cannot succeed any more. */
const removeBelow = (inside: Inside, path: StorePath, node: StoreNode): boolean => {
  for (const step of Object.keys(node.children ?? {})) {
    const childPath = childOf(path, step);
    const child = find(inside, childPath);
    if (child === null || child === 'ENOSPC' || !removeBelow(inside, childPath, child)) return false;
    countNode(inside, child, -1);
    put(inside, childPath, null);
    queue(inside, childPath, 'exact');
  }
  return true;
};

/** Works on a transaction's copies, for one domain. */
export const transactionAccess = ({ state }: StoreBehind, domid: number, transaction: TransactionState): NodeAccess => {
  const inside: Inside = { state, domid, transaction };
  return {
    find: (path) => find(inside, path),
    create: (path, value) => create(inside, path, value),
    update: (path, node, change) => {
      if (!isPrivileged(domid)) {
        const refusal = growthRefusal(state, domid, { node, grownBytes: growth(node, change) });
        if (refusal) {
          transaction.failed = true;
          return refusal;
        }
      }
      if (change.value !== undefined) node.value = change.value;
      if (change.perms !== undefined) {
        countNode(inside, node, -1);
        node.perms = change.perms;
        countNode(inside, node, 1);
      }
      put(inside, path, node);
      return null;
    },
    remove: (path, node) => remove(inside, path, node),
    changed: (path) => queue(inside, path, 'subtree'),
  };
};

const pathOf = (path: string): StorePath => canonicalPath(0, path, 'special') ?? { path, steps: [] };

const exceedsNodes = (state: XenstoreState, transaction: TransactionState): boolean =>
  Object.entries(transaction.nodes).some(([domid, gained]) => {
    const { quotas, nodes } = storeDomain(state, Number(domid));
    return quotas.nodes > 0 && nodes + gained >= quotas.nodes;
  });

/**
 * Makes a transaction's changes the store's own, or refuses: ENOMEM if it failed before, ENOSPC if a domain would own too many nodes, EAGAIN
 * if any node that it touched is not as it was when it was touched (tools/xenstored/transaction.c `finalize_transaction`).
 */
export const commit = (
  { state, fire }: StoreBehind,
  domid: number,
  transaction: TransactionState,
): 'ENOMEM' | 'ENOSPC' | 'EAGAIN' | null => {
  if (transaction.failed) return 'ENOMEM';
  if (transaction.createdNode && !isPrivileged(domid) && exceedsNodes(state, transaction)) return 'ENOSPC';
  const touched = Object.entries(transaction.accessed).map(([path, accessed]) => ({ path: pathOf(path), accessed }));
  for (const { path, accessed } of touched)
    if ((findNode(state, path)?.generation ?? null) !== accessed.before) return 'EAGAIN';
  const modified = touched.filter(({ accessed }) => accessed.modified);
  apply(state, modified);
  for (const { path, accessed } of modified)
    if (accessed.fires) fire(changeOf(state, path, { accessed, reach: accessed.fires }));
  return null;
};

const changeOf = (
  state: XenstoreState,
  path: StorePath,
  { accessed, reach }: { readonly accessed: AccessedState; readonly reach: Change['reach'] },
): Change => ({ path, reach, node: findNode(state, path), permsBefore: accessed.permsBefore });

interface Touched {
  readonly path: StorePath;
  readonly accessed: AccessedState;
}

const apply = (state: XenstoreState, modified: readonly Touched[]): void => {
  const made = new Map<string, StoreNode>();
  for (const { path, accessed } of modified) {
    const existing = findNode(state, path);
    if (existing) count(state, existing, path.path.length, -1);
    const { node } = accessed;
    if (!node) continue;
    state.generation += 1;
    node.generation = state.generation;
    count(state, node, path.path.length, 1);
    if (!existing) made.set(path.path, freshNode(node.value, node.perms, node.generation));
  }
  // Lower nodes first: when a parent takes its children up, they are complete.
  for (const { path, accessed } of modified.toSorted((one, other) => other.path.steps.length - one.path.steps.length)) {
    const target = made.get(path.path) ?? findNode(state, path);
    if (target && accessed.node) become(target, accessed.node, { path, made });
  }
};

/** Gives a node of the store what the transaction made of it; children that it does not name any more go with that. */
const become = (
  target: StoreNode,
  version: StoreNode,
  { path, made }: { readonly path: StorePath; readonly made: ReadonlyMap<string, StoreNode> },
): void => {
  target.value = version.value;
  target.perms = version.perms;
  target.generation = version.generation;
  if (!version.children) {
    delete target.children;
    delete target.childBytes;
    return;
  }
  const children: Record<string, StoreNode> = {};
  for (const step of Object.keys(version.children)) {
    const child = made.get(childOf(path, step).path) ?? target.children?.[step];
    if (child) children[step] = child;
  }
  target.children = children;
  target.childBytes = version.childBytes ?? 0;
};
