import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './paths.js';
import type { PermissionList } from './permissions.js';
import { DEFAULT_QUOTAS, type Quotas } from './quota.js';

/** A node; the leaf's fields come first, as most nodes are leaves. */
export interface StoreNode {
  /** A text of bytes: one character for each, code points 0 to 255. */
  value: string;
  perms: PermissionList;
  /** Grows with every change anywhere; two equal generations mean that the node did not change. */
  generation: number;
  /** By step (`/name`), in the order of their creation. A transaction's own copy knows only their names: null. */
  children?: Record<string, StoreNode | null>;
  /** Bytes of the children's names with their terminators. */
  childBytes?: number;
}

export interface WatchState {
  /** Canonical. */
  readonly path: string;
  readonly token: string;
  /** Levels below the path that are watched too; null for all. */
  readonly depth: number | null;
  /** How many letters of an event's path this watcher is not told, as it gave a relative path. */
  readonly prefix: number;
  /** Watches fire in the order of their registration. */
  readonly order: number;
}

/** A path that a transaction touched. */
export interface AccessedState {
  /** The generation the node had when it was first touched; null where there was none. */
  readonly before: number | null;
  /** The permissions it had then. */
  readonly permsBefore: PermissionList | null;
  /** The transaction's own version; null where it has none. */
  node: StoreNode | null;
  modified: boolean;
  fires: 'exact' | 'subtree' | null;
}

export interface TransactionState {
  /** By path, in the order in which they were touched. */
  readonly accessed: Record<string, AccessedState>;
  accessedCount: number;
  /** Nodes that each domain gains (or loses) by it. */
  readonly nodes: Record<number, number>;
  createdNode: boolean;
  /** Something could not be undone: it can only be aborted. */
  failed: boolean;
}

export interface StoreDomainState {
  /** The store's generation when it heard of the domain first: nodes that are older mean another domain of this number. */
  readonly generation: number;
  introduced: boolean;
  /** The guest's event channel of the ring, as introduced. */
  port: number;
  /** Connections get events in the order in which they came. */
  order: number;
  features: number;
  quotas: Quotas;
  /** Nodes that it owns, and bytes that they and its watches take. */
  nodes: number;
  memoryBytes: number;
  /** It was seen to have shut down, and that was told. */
  shutdown: boolean;
  target: number | null;
  watches: WatchState[];
  transactions: Record<number, TransactionState>;
  transactionCount: number;
  nextTransaction: number;
}

export interface XenstoreState {
  generation: number;
  /** Drawn for connections and watches. */
  nextOrder: number;
  quotas: Quotas;
  readonly root: StoreNode;
  readonly specials: Record<string, StoreNode>;
  readonly domains: Record<number, StoreDomainState>;
}

/** The capability to be told why a connection died; a depth for watches; DOMID_ANY in permissions (public/io/xs_wire.h). */
export const XENSTORE_FEATURES = { error: 2, watchDepth: 4, domidAny: 8 } as const;
export const ALL_FEATURES = XENSTORE_FEATURES.error | XENSTORE_FEATURES.watchDepth | XENSTORE_FEATURES.domidAny;

export const newStoreDomain = (state: XenstoreState): StoreDomainState => ({
  generation: state.generation,
  introduced: false,
  port: 0,
  order: 0,
  features: ALL_FEATURES,
  quotas: state.quotas,
  nodes: 0,
  memoryBytes: 0,
  shutdown: false,
  target: null,
  watches: [],
  transactions: {},
  transactionCount: 0,
  nextTransaction: 1,
});

/** Owned by Dom0 and closed to all others, as everything that the daemon itself makes. */
const CLOSED: PermissionList = 'n0';

const emptyNode = (): StoreNode => ({ value: '', perms: CLOSED, generation: 0 });

/**
 * A store as the daemon starts it: the root, `/tool/xenstored`, the two special nodes (tools/xenstored/core.c `setup_structure`), and Dom0
 * connected.
 */
export const createXenstore = (): XenstoreState => {
  const state: XenstoreState = {
    generation: 0,
    nextOrder: 1,
    quotas: DEFAULT_QUOTAS,
    root: {
      ...emptyNode(),
      children: {
        '/tool': {
          ...emptyNode(),
          children: { '/xenstored': emptyNode() },
          childBytes: 'xenstored'.length + 1,
        },
      },
      childBytes: 'tool'.length + 1,
    },
    specials: { [INTRODUCE_DOMAIN]: emptyNode(), [RELEASE_DOMAIN]: emptyNode() },
    domains: {},
  };
  state.domains[0] = { ...newStoreDomain(state), introduced: true, port: 1 };
  return state;
};
