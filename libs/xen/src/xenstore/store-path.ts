import { domainPath } from './paths.js';

/** XENSTORE_ABS_PATH_MAX and XENSTORE_REL_PATH_MAX (public/io/xs_wire.h), in bytes. */
export const ABSOLUTE_PATH_MAX = 3072;
export const RELATIVE_PATH_MAX = 2048;

/**
 * A canonical path and its steps. A step keeps its slash (`/device`), so that no step is taken for an array index or for a property that
 * objects have of themselves, and children stay in the order in which they came. The root has no steps; a special path's first step is its
 * name (`@releaseDomain`).
 */
export interface StorePath {
  readonly path: string;
  readonly steps: readonly string[];
}

export const ROOT: StorePath = { path: '/', steps: [] };

const SLASH = 47;
const AT = 64;

const ALLOWED = new Uint8Array(128);
for (const letter of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@')
  ALLOWED[letter.charCodeAt(0)] = 1;

/** The steps of an absolute or special path; null where a letter, a doubled slash or a slash at the end forbids it. */
const stepsOf = (path: string): string[] | null => {
  const steps: string[] = [];
  let from = 0;
  for (let at = 1; at < path.length; at += 1) {
    const code = path.charCodeAt(at);
    if (code === SLASH) {
      if (at === from + 1) return null;
      steps.push(path.slice(from, at));
      from = at;
    } else if (ALLOWED[code] !== 1) return null;
  }
  if (path.length === from + 1) return null;
  steps.push(path.slice(from));
  return steps;
};

/**
 * Paths that were asked for lately are not parsed again: the hosts of a fleet, whose domains have the same numbers, ask for the same ones. When as
 * many are known, those that were not asked for since are forgotten.
 */
const RECENT_PATHS = 16_384;
let recent = new Map<string, StorePath>();
let older = new Map<string, StorePath>();

const remember = (path: string, parsed: StorePath): StorePath => {
  if (recent.size >= RECENT_PATHS) {
    older = recent;
    recent = new Map();
  }
  recent.set(path, parsed);
  return parsed;
};

const absolute = (path: string): StorePath | null => {
  const known = recent.get(path);
  if (known) return known;
  const forgotten = older.get(path);
  if (forgotten) return remember(path, forgotten);
  if (path.length > ABSOLUTE_PATH_MAX) return null;
  const steps = stepsOf(path);
  return steps && remember(path, { path, steps });
};

/**
 * What a domain means by a path: relative ones start at its home, `/local/domain/<domid>` (tools/xenstored/core.c `canonicalize`). Null, which
 * is EINVAL, for a wrong letter, `//`, a slash at the end, an empty or a too long path, and for `@…` where no special path may stand.
 */
export const canonicalPath = (domid: number, path: string, special: 'special' | 'plain'): StorePath | null => {
  if (path === '/') return ROOT;
  const first = path.charCodeAt(0);
  if (first === SLASH) return absolute(path);
  if (first === AT) return special === 'special' ? absolute(path) : null;
  return absolute(`${domainPath(domid)}/${path}`);
};

export const isRelative = (path: string): boolean => {
  const first = path.charCodeAt(0);
  return first !== SLASH && first !== AT;
};

export const isSpecial = (path: StorePath): boolean => path.path.charCodeAt(0) === AT;

const HOME = /^\/local\/domain\/\d{1,5}\//;

/** Length that the quota `path-max` counts: without the home that the path starts with. */
export const countedLength = (path: string): number => path.length - (HOME.exec(path)?.[0].length ?? 0);

/** The parent's path; the root's for the root and for special paths. */
export const parentOf = ({ path, steps }: StorePath): StorePath => {
  const last = steps.at(-1);
  if (steps.length < 2 || last === undefined) return ROOT;
  return { path: path.slice(0, path.length - last.length), steps: steps.slice(0, -1) };
};

export const childOf = ({ path, steps }: StorePath, step: string): StorePath => ({
  path: path === '/' ? step : path + step,
  steps: [...steps, step],
});
