import { millisecondsOf } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { StoredDocument, Uuid } from '@xenolith/kernel';

/** When a finished operation ended, in milliseconds since the epoch; null: it goes on, or waits for its operator. */
const endOf = (document: StoredDocument['document'] | null | undefined): number | null => {
  const status = document?.['status'] as { completionTime?: string } | undefined;
  return status?.completionTime === undefined ? null : millisecondsOf(status.completionTime);
};

/** Operations that are over and still to be seen, in the order in which they ended. */
export class FinishedOperations implements Index {
  readonly name = 'finished-operations';
  readonly categories = ['operation'];
  private ends = new Map<Uuid, number>();
  private readonly listeners = new Set<() => void>();

  get size(): number {
    return this.ends.size;
  }

  /** Those that ended first, in their order, and when they did. */
  oldest(atMost: number): readonly (readonly [Uuid, number])[] {
    const oldest: (readonly [Uuid, number])[] = [];
    for (const entry of this.ends) {
      if (oldest.length >= atMost) break;
      oldest.push(entry);
    }
    return oldest;
  }

  /** `listener` is called whenever one more has ended. */
  onMore(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  load(documents: readonly StoredDocument[]): void {
    const ended = documents.flatMap(({ streamId, document }): [Uuid, number][] => {
      const end = endOf(document);
      return end === null ? [] : [[streamId, end]];
    });
    this.ends = new Map(ended.sort(([, left], [, right]) => left - right));
  }

  apply(event: IndexedEvent): void {
    if (event.document === undefined) return;
    const end = endOf(event.document);
    if (end === null) {
      this.ends.delete(event.streamId);
      return;
    }
    if (this.ends.has(event.streamId)) return;
    this.ends.set(event.streamId, end);
    for (const listener of this.listeners) listener();
  }
}
