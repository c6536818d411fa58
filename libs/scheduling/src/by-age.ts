import { millisecondsOf } from '@xenolith/contracts';
import type { StoredDocument } from '@xenolith/kernel';

const created = ({ document }: StoredDocument): string =>
  (document['metadata'] as { creationTimestamp: string }).creationTimestamp;

/** Documents, the oldest first; `atMs`: about when the last of them was known, as documents tell no time but that of their creation. */
export const byAge = (
  documents: readonly StoredDocument[],
): { readonly documents: readonly StoredDocument[]; readonly atMs: number } => {
  const sorted = [...documents].sort(
    (left, right) => created(left).localeCompare(created(right)) || (left.streamId < right.streamId ? -1 : 1),
  );
  const youngest = sorted.at(-1);
  return { documents: sorted, atMs: (youngest && millisecondsOf(created(youngest))) ?? 0 };
};
