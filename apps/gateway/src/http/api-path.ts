import { findServedKind, type ServedKind } from '../discovery/index.js';

/** What a path under `/api` or `/apis` is about. */
export interface ResourcePath {
  readonly kind: ServedKind;
  /** Empty: all namespaces, or a kind without one. */
  readonly namespace: string;
  readonly name?: string;
  readonly subresource?: string;
}

const decode = (segment: string): string | null => {
  try {
    const text = decodeURIComponent(segment);
    return text === '' || text.includes('/') || text.includes('\u0000') ? null : text;
  } catch {
    return null;
  }
};

const located = (kind: ServedKind | undefined, namespace: string, rest: readonly string[]): ResourcePath | null => {
  if (kind === undefined || rest.length > 2) return null;
  const [name, subresource] = rest;
  return {
    kind,
    namespace,
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
  };
};

/** Reads `/api/v1/…` and `/apis/<group>/<version>/…`; null when there is no such resource. */
export const parseResourcePath = (path: string): ResourcePath | null => {
  const segments = path.split('/').slice(1).map(decode);
  if (segments.some((segment) => segment === null)) return null;
  const [root, ...inner] = segments as string[];
  const [group, version, ...rest] = root === 'api' ? ['', ...inner] : inner;
  if ((root !== 'api' && root !== 'apis') || group === undefined || version === undefined) return null;
  const [first, second, third] = rest;
  if (first === undefined) return null;
  if (first === 'namespaces' && second !== undefined && third !== undefined) {
    const kind = findServedKind(group, version, third);
    if (kind?.namespaced === true) return located(kind, second, rest.slice(3));
  }
  const kind = findServedKind(group, version, first);
  // Namespaced objects are reached through their namespace only; their lists over all namespaces are not.
  if (kind?.namespaced === true && rest.length > 1) return null;
  return located(kind, '', rest.slice(1));
};
