/** Names of the quotas as GET_QUOTA and `xenstore-control quota` have them (tools/xenstored/domain.c `quota_adm`). */
export type QuotaName =
  | 'nodes'
  | 'watches'
  | 'outstanding'
  | 'memory'
  | 'soft-memory'
  | 'transactions'
  | 'transaction-nodes'
  | 'node-permissions'
  | 'path-max'
  | 'node-size';

/** Limits of an unprivileged domain; 0 switches a limit off. */
export type Quotas = Readonly<Record<QuotaName, number>>;

/** tools/xenstored/domain.c `quotas`; sizes in bytes. The order is the one in which GET_QUOTA lists the names. */
export const DEFAULT_QUOTAS: Quotas = {
  nodes: 1000,
  watches: 128,
  outstanding: 20,
  memory: 2.5 * 2 ** 20,
  'soft-memory': 2 * 2 ** 20,
  transactions: 10,
  'transaction-nodes': 1024,
  'node-permissions': 5,
  'path-max': 2048,
  'node-size': 2048,
};

export const QUOTA_NAMES = Object.keys(DEFAULT_QUOTAS) as readonly QuotaName[];

export const isQuotaName = (name: string): name is QuotaName => Object.hasOwn(DEFAULT_QUOTAS, name);
