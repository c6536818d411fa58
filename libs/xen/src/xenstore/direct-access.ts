import { ownedBy, ownerOf, type PermissionList } from './permissions.js';
import { childOf, parentOf, type StorePath } from './store-path.js';
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
  type NodeChange,
  storeDomain,
} from './store-tree.js';
import type { WatchIndex, WatchLevel } from './watch-index.js';
import type { StoreNode, XenstoreState } from './xenstore-state.js';

export interface Change {
  readonly path: StorePath;
  readonly reach: 'exact' | 'subtree';
  /** As it was when it went; null for one that the store shows as it is. */
  readonly node: StoreNode | null;
  readonly permsBefore: PermissionList | null;
}

export interface StoreBehind {
  readonly state: XenstoreState;
  readonly watches: WatchIndex;
  readonly fire: (change: Change) => void;
}

/** The nearest ancestor that exists, and how many steps of the path lead to it. */
const nearestAncestor = (state: XenstoreState, path: StorePath): { parent: StoreNode; depth: number } => {
  let parent = state.root;
  let depth = 0;
  for (const step of path.steps) {
    const next = parent.children?.[step];
    if (!next) break;
    parent = next;
    depth += 1;
  }
  return { parent, depth };
};

/** Works on the store itself, for one domain. */
export const directAccess = (behind: StoreBehind, domid: number): NodeAccess => {
  const { state, fire } = behind;
  const privileged = isPrivileged(domid);
  return {
    find: (path) => findNode(state, path),
    create: (path, value) => create(behind, domid, path, value),
    update: (path, node, change) => {
      if (!privileged) {
        const refusal = growthRefusal(state, domid, { node, grownBytes: growth(node, change) });
        if (refusal) return refusal;
      }
      state.generation += 1;
      node.generation = state.generation;
      const counted = change.perms !== undefined || !isPrivileged(ownerOf(node.perms));
      if (counted) count(state, node, path.path.length, -1);
      if (change.value !== undefined) node.value = change.value;
      if (change.perms !== undefined) node.perms = change.perms;
      if (counted) count(state, node, path.path.length, 1);
      return null;
    },
    remove: (path, node) => {
      removeTree(behind, path, node);
      return null;
    },
    changed: (path, permsBefore) => fire({ path, reach: 'subtree', node: null, permsBefore }),
  };
};

/** Bytes that a node gains by another value; other permissions are bounded by a quota of their own. */
export const growth = (node: StoreNode, change: NodeChange): number =>
  change.value === undefined ? 0 : change.value.length - node.value.length;

/** Why a node may not grow for an unprivileged domain: too large itself, or its owner takes too much. */
export const growthRefusal = (
  state: XenstoreState,
  domid: number,
  { node, grownBytes }: { readonly node: StoreNode; readonly grownBytes: number },
): 'ENOSPC' | 'EIO' | null => {
  const { quotas, memoryBytes } = storeDomain(state, domid);
  const size = quotas['node-size'];
  if (size > 0 && nodeBytes(node) + grownBytes > size) return 'ENOSPC';
  // The daemon charges the node's owner, but compares with the limit of the one who writes.
  return grownBytes > 0 && quotas.memory > 0 && memoryBytes + grownBytes >= quotas.memory ? 'EIO' : null;
};

const createRefusal = (
  state: XenstoreState,
  domid: number,
  made: { readonly parent: StoreNode; readonly step: string; readonly nodes: number; readonly leaf: StoreNode },
): 'ENOSPC' | 'EIO' | null => {
  const { quotas, nodes, memoryBytes } = storeDomain(state, domid);
  if (quotas.nodes > 0 && nodes + made.nodes > quotas.nodes) return 'ENOSPC';
  const leafBytes = nodeBytes(made.leaf);
  const size = quotas['node-size'];
  if (size > 0 && (leafBytes > size || nodeBytes(made.parent) + childNameBytes(made.step) > size)) return 'ENOSPC';
  return quotas.memory > 0 && memoryBytes + leafBytes >= quotas.memory ? 'EIO' : null;
};

const create = ({ state }: StoreBehind, domid: number, path: StorePath, value: string): 'ENOSPC' | 'EIO' | null => {
  const { parent, depth } = nearestAncestor(state, path);
  const perms = isPrivileged(domid) ? parent.perms : ownedBy(parent.perms, domid);
  const step = path.steps[depth];
  if (step === undefined) return null;
  if (!isPrivileged(domid)) {
    const leaf = freshNode(value, perms, 0);
    const refusal = createRefusal(state, domid, { parent, step, nodes: path.steps.length - depth, leaf });
    if (refusal) return refusal;
  }
  let above = parent;
  for (const name of path.steps.slice(depth)) {
    state.generation += 1;
    const node = freshNode('', perms, state.generation);
    addChild(above, name, node);
    above = node;
  }
  above.value = value;
  state.generation += 1;
  parent.generation = state.generation;
  countMade(state, path, { parent, depth });
  return null;
};

const countMade = (
  state: XenstoreState,
  path: StorePath,
  { parent, depth }: { readonly parent: StoreNode; readonly depth: number },
): void => {
  const made = path.steps.slice(depth);
  const [first] = made;
  if (first === undefined) return;
  chargeName(state, parent, childNameBytes(first));
  let length = path.path.length - made.reduce((sum, step) => sum + step.length, 0);
  let node: StoreNode | null | undefined = parent;
  for (const step of made) {
    node = node.children?.[step];
    if (!node || isPrivileged(ownerOf(node.perms))) return;
    length += step.length;
    count(state, node, length, 1);
  }
};

const chargeName = (state: XenstoreState, parent: StoreNode, bytes: number): void => {
  const owner = ownerOf(parent.perms);
  if (!isPrivileged(owner)) storeDomain(state, owner).memoryBytes += bytes;
};

/**
 * Takes a node and all below it out of the store. Watches of the lower nodes hear of their very path, children before parents, while the
 * permissions can still be seen (tools/xenstored/core.c `delnode_sub`).
 */
export const removeTree = (behind: StoreBehind, path: StorePath, node: StoreNode): void => {
  const { state, watches } = behind;
  const parent = findNode(state, parentOf(path));
  const step = path.steps.at(-1);
  if (!parent || step === undefined) return;
  removeBelow(behind, path, node, watches.levelAt(path));
  count(state, node, path.path.length, -1);
  behind.fire({ path, reach: 'subtree', node, permsBefore: null });
  dropChild(parent, step);
  state.generation += 1;
  parent.generation = state.generation;
  chargeName(state, parent, -childNameBytes(step));
};

const removeBelow = (behind: StoreBehind, path: StorePath, node: StoreNode, level: WatchLevel | null): void => {
  if (!node.children) return;
  for (const [step, child] of Object.entries(node.children)) {
    if (!child) continue;
    if (level) {
      const below = level.below.get(step) ?? null;
      const childPath = childOf(path, step);
      removeBelow(behind, childPath, child, below);
      count(behind.state, child, childPath.path.length, -1);
      if (below && below.watchers.length > 0)
        behind.fire({ path: childPath, reach: 'exact', node: child, permsBefore: null });
    } else uncountBelow(behind.state, child, path.path.length + step.length);
  }
};

/** Where nobody watches, only what the nodes count for is left to be done, and no path has to be built. */
const uncountBelow = (state: XenstoreState, node: StoreNode, pathLength: number): void => {
  count(state, node, pathLength, -1);
  if (!node.children) return;
  for (const [step, child] of Object.entries(node.children))
    if (child) uncountBelow(state, child, pathLength + step.length);
};
