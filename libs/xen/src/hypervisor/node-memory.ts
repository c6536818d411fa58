import type { DomainState, HypervisorState, NodeState } from './state.js';
import { sum } from './state.js';

/** Pages of a superpage, the extent in which libxc populates a guest (tools/libs/guest/xg_dom_x86.c: 2 MiB). */
const EXTENT_PAGES = 512;

/** Where pages shall come from. */
export interface NodePolicy {
  /** Preferred nodes, ascending and at least one. */
  readonly preferred: readonly number[];
  /** Node that gave last; the turn goes to the next one. */
  readonly lastNode: number;
  /** No other node than a preferred one will do. */
  readonly exact: boolean;
}

/** Pages by node that a request would take. */
export interface Allocation {
  readonly taken: number[];
  readonly pages: number;
  readonly lastNode: number;
}

/** The preferred nodes, beginning behind the one that gave last (`cycle_node`, xen/common/page_alloc.c). */
const turnOf = ({ preferred, lastNode }: NodePolicy): readonly number[] => {
  const next = preferred.findIndex((node) => node > lastNode);
  return next <= 0 ? preferred : [...preferred.slice(next), ...preferred.slice(0, next)];
};

/**
 * Takes up to `pages` from the nodes as Xen's heap does extent by extent (xen/common/page_alloc.c `get_free_buddy`): the preferred nodes in turn; when
 * they are exhausted, the others, each to its end. Nothing is changed.
 */
export const planAllocation = (nodes: readonly NodeState[], pages: number, policy: NodePolicy): Allocation => {
  const taken = nodes.map(() => 0);
  let remaining = pages;
  let { lastNode } = policy;
  const leftOn = (node: number): number => (nodes[node]?.freePages ?? 0) - (taken[node] ?? 0);
  const take = (node: number, wish: number): void => {
    const got = Math.min(wish, remaining, leftOn(node));
    if (got <= 0) return;
    taken[node] = (taken[node] ?? 0) + got;
    remaining -= got;
    lastNode = node;
  };
  const turn = turnOf(policy);
  // Each round empties a node or ends the request.
  for (let live = turn; remaining > 0 && live.length > 0; live = live.filter((node) => leftOn(node) > 0)) {
    const rounds = Math.max(1, Math.floor(Math.ceil(remaining / EXTENT_PAGES) / live.length));
    for (const node of live) take(node, rounds * EXTENT_PAGES);
  }
  if (!policy.exact) for (let node = 0; node < nodes.length && remaining > 0; node += 1) take(node, remaining);
  return { taken, pages: pages - remaining, lastNode };
};

/**
 * What is left when `take` of the pages go one after the other, each from the fullest node, of equal ones from the first. That order lets a
 * movement be cut anywhere without another end. Assumption: Linux's balloon frees pages wherever it finds them.
 */
export const levelDown = (counts: readonly number[], take: number): number[] => {
  const left = [...counts];
  for (let remaining = Math.min(take, sum(counts)); remaining > 0;) {
    const top = Math.max(...left);
    const fullest = left.flatMap((count, node) => (count === top ? [node] : []));
    const below = Math.max(0, ...left.filter((count) => count < top));
    const drop = Math.min(top - below, Math.floor(remaining / fullest.length));
    for (const [index, node] of fullest.entries()) {
      // Less than one page for each: the first ones give it.
      const given = drop > 0 ? drop : index < remaining ? 1 : 0;
      left[node] = top - given;
    }
    remaining -= drop > 0 ? drop * fullest.length : remaining;
  }
  return left;
};

/** Takes planned pages from the heap. */
export const takeFromHeap = (state: HypervisorState, allocation: Allocation): void => {
  allocation.taken.forEach((pages, node) => {
    const heap = state.nodes[node];
    if (heap) heap.freePages -= pages;
  });
};

/** Gives planned pages to the domain, and counts them against its claim (xen/common/page_alloc.c `alloc_heap_pages`). */
export const givePages = (state: HypervisorState, domain: DomainState, allocation: Allocation): void => {
  takeFromHeap(state, allocation);
  addPages(domain.pages, allocation.taken);
  const claimed = Math.min(domain.claimedPages, allocation.pages);
  domain.claimedPages -= claimed;
  state.claimedPages -= claimed;
  domain.lastNode = allocation.lastNode;
};

/** Adds pages by node to a count by node. */
export const addPages = (counts: number[], pages: readonly number[]): void => {
  pages.forEach((more, node) => {
    counts[node] = (counts[node] ?? 0) + more;
  });
};

/** Gives pages back to the heap. */
export const freePages = (state: HypervisorState, pages: readonly number[]): void => {
  pages.forEach((more, node) => {
    const heap = state.nodes[node];
    if (heap) heap.freePages += more;
  });
};

/** Reduces a domain's pages by `take` and says from which nodes they came. */
export const takePages = (counts: number[], take: number): number[] => {
  const left = levelDown(counts, take);
  const taken = counts.map((count, node) => count - (left[node] ?? 0));
  for (const [node, count] of left.entries()) counts[node] = count;
  return taken;
};

/**
 * How many of `pages` the heap may give to one that claimed `ownClaim`: what others claimed is not free for it, its own claim is used first
 * (`alloc_heap_pages`).
 */
export const allowedPages = (state: HypervisorState, ownClaim: number, pages: number): number => {
  const unclaimed = Math.max(0, sum(state.nodes.map((node) => node.freePages)) - state.claimedPages);
  return Math.min(pages, Math.min(pages, ownClaim) + unclaimed);
};
