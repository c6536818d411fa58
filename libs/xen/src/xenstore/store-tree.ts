import { entriesOf, ownerOf, type PermissionList } from './permissions.js';
import { isSpecial, type StorePath } from './store-path.js';
import { newStoreDomain, type StoreDomainState, type StoreNode, type XenstoreState } from './xenstore-state.js';

/** `struct node_hdr` and `struct xs_permissions` (tools/xenstored/core.h, tools/include/xenstore_lib.h), in bytes. */
const NODE_HEADER_BYTES = 16;
const PERMISSION_BYTES = 8;

/** Bytes that a node counts for (tools/xenstored/core.c `calc_node_acc_size`). */
export const nodeBytes = (node: StoreNode): number =>
  NODE_HEADER_BYTES + PERMISSION_BYTES * entriesOf(node.perms) + node.value.length + (node.childBytes ?? 0);

/** Bytes of a child's name in its parent: the terminator stands for the slash. */
export const childNameBytes = (step: string): number => step.length;

export const isPrivileged = (domid: number): boolean => domid === 0;

export const findNode = (state: XenstoreState, path: StorePath): StoreNode | null => {
  if (isSpecial(path)) return state.specials[path.path] ?? null;
  let node: StoreNode | null | undefined = state.root;
  for (const step of path.steps) {
    node = node.children?.[step];
    if (!node) return null;
  }
  return node;
};

/** The record of a domain, made when it is named first. */
export const storeDomain = (state: XenstoreState, domid: number): StoreDomainState =>
  (state.domains[domid] ??= newStoreDomain(state));

/** Counts a node for its owner, or no more with a `sign` of -1. What is Dom0's is not counted, as it has no limits. */
export const count = (state: XenstoreState, node: StoreNode, pathLength: number, sign: 1 | -1): void => {
  const owner = ownerOf(node.perms);
  if (isPrivileged(owner)) return;
  const domain = storeDomain(state, owner);
  domain.nodes += sign;
  domain.memoryBytes += sign * (nodeBytes(node) + pathLength);
};

export const addChild = (parent: StoreNode, step: string, child: StoreNode | null): void => {
  (parent.children ??= {})[step] = child;
  parent.childBytes = (parent.childBytes ?? 0) + childNameBytes(step);
};

export const dropChild = (parent: StoreNode, step: string): void => {
  delete parent.children?.[step];
  parent.childBytes = (parent.childBytes ?? 0) - childNameBytes(step);
};

export const freshNode = (value: string, perms: PermissionList, generation: number): StoreNode => ({
  value,
  perms,
  generation,
});

export interface NodeChange {
  readonly value?: string;
  readonly perms?: PermissionList;
}

/** How operations reach nodes, inside a transaction and outside of one. */
export interface NodeAccess {
  /** A node as this access sees it; ENOSPC if a transaction may touch no more. */
  find(path: StorePath): StoreNode | null | 'ENOSPC';
  /** Makes a node that does not exist, and its missing parents; what it makes belongs to an unprivileged maker. */
  create(path: StorePath, value: string): 'ENOSPC' | 'EIO' | null;
  /** Gives a node that exists another value or other permissions. */
  update(path: StorePath, node: StoreNode, change: NodeChange): 'ENOSPC' | 'EIO' | null;
  /** Removes a node that exists, with all below it. */
  remove(path: StorePath, node: StoreNode): 'ENOSPC' | 'EINVAL' | 'EIO' | null;
  /** Tells of a change: now, or when the transaction commits. */
  changed(path: StorePath, permsBefore: PermissionList | null): void;
}
