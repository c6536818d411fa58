import type { CachedObject } from './cached-object.js';

/** Which objects of a kind a list or a watch is about. */
export interface Selection {
  /** Empty: all namespaces. */
  readonly namespace: string;
  /** Absent: all objects of the namespace. */
  readonly matches?: (object: CachedObject) => boolean;
  /** Set when only objects of this name can match. */
  readonly name?: string;
  /** Equal for equal selections. */
  readonly id: string;
}

export const selects = (selection: Selection, object: CachedObject): boolean =>
  (selection.namespace === '' || object.namespace === selection.namespace) && (selection.matches?.(object) ?? true);
