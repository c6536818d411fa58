/** What an entry of a node's permission list allows: nothing, read, write, both; the letters are the wire's. */
export type Access = 'n' | 'r' | 'w' | 'b';

/**
 * One entry of a node's permission list. The first names the owner, who may do everything, and what domains without an entry of their own may
 * do; of the others the first that names a domain holds for it.
 */
export interface Permission {
  readonly domid: number;
  readonly access: Access;
  /** Kept, but without effect: it names a domain that did not exist when it was set. */
  readonly ignored?: true;
}

/** Stands for every domain in a permission list (DOMID_ANY, public/xen.h); needs the feature `DOMID_ANY`. */
export const ANY_DOMAIN = 0x7ff5;
/** DOMID_SELF, public/xen.h. */
export const SELF_DOMAIN = 0x7ff0;

export const READ = 1;
export const WRITE = 2;
/** Read, write, and the right to change the permissions. */
export const OWNER = 7;

const ACCESS_BITS: Readonly<Record<Access, number>> = { n: 0, r: READ, w: WRITE, b: READ | WRITE };

/**
 * A node keeps its list as text, `n0,r5`, because short texts are shared between nodes and survive JSON as such; an entry without effect
 * ends in `!`.
 */
export type PermissionList = string;

export const formatPermissions = (permissions: readonly Permission[]): PermissionList =>
  permissions.map(({ domid, access, ignored }) => `${access}${domid}${ignored ? '!' : ''}`).join(',');

const PERMISSION = /^([nrwb])(\d+)(!?)$/;

/** One entry as the wire has it (`r5`); null if it is none. */
export const parsePermission = (text: string): Permission | null => {
  const parts = PERMISSION.exec(text);
  if (!parts) return null;
  const entry = { access: parts[1] as Access, domid: Number(parts[2]) };
  return parts[3] === '!' ? { ...entry, ignored: true } : entry;
};

/** Lists that were looked at lately: a store has few different ones, and each look of a guest needs one. */
const RECENT_LISTS = 1_024;
const recent = new Map<PermissionList, readonly Permission[]>();

export const parsePermissions = (list: PermissionList): readonly Permission[] => {
  const known = recent.get(list);
  if (known) return known;
  const parsed = list.split(',').map((text) => parsePermission(text) ?? { access: 'n' as const, domid: 0 });
  if (recent.size >= RECENT_LISTS) recent.clear();
  recent.set(list, parsed);
  return parsed;
};

const COMMA = 44;
const ZERO = 48;
const NINE = 57;

export const ownerOf = (list: PermissionList): number => {
  let domid = 0;
  for (let at = 1; at < list.length; at += 1) {
    const code = list.charCodeAt(at);
    if (code < ZERO || code > NINE) break;
    domid = domid * 10 + code - ZERO;
  }
  return domid;
};

export const entriesOf = (list: PermissionList): number => {
  let entries = 1;
  for (let at = 2; at < list.length; at += 1) if (list.charCodeAt(at) === COMMA) entries += 1;
  return entries;
};

/** The list under which an unprivileged domain owns what it creates. */
export const ownedBy = (list: PermissionList, domid: number): PermissionList => {
  const comma = list.indexOf(',');
  return `${list.charAt(0)}${domid}${comma < 0 ? '' : list.slice(comma)}`;
};

export interface Viewer {
  readonly domid: number;
  /** The domain that a device model serves, whose rights it has too. */
  readonly target: number | null;
}

/**
 * What an unprivileged domain may do with a node, as bits (tools/xenstored/core.c `perm_for_conn`). `existed` says whether a named domain is
 * the one that was meant when the node was written; entries for others do not count.
 */
export const accessOf = (list: PermissionList, viewer: Viewer, existed: (domid: number) => boolean): number => {
  const entries = parsePermissions(list);
  const [first] = entries;
  const meant = (domid: number): boolean => domid === viewer.domid || domid === ANY_DOMAIN || domid === viewer.target;
  if (!first) return 0;
  if (meant(first.domid)) return OWNER;
  const own = entries.find(
    (entry, index) =>
      index > 0 && !entry.ignored && meant(entry.domid) && (entry.domid === ANY_DOMAIN || existed(entry.domid)),
  );
  return ACCESS_BITS[(own ?? first).access];
};
