import type { ServedKind } from '../discovery/index.js';

/** Where the values of a kind's field selectors lie. */
export const selectablePaths = (kind: ServedKind): readonly string[] =>
  kind.fieldSelectors.map((label) => kind.fieldPaths?.[label] ?? label);
