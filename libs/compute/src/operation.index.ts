import type { Index, IndexedEvent } from '@xenolith/engine';
import type { StoredDocument, Uuid } from '@xenolith/kernel';

/** Which operation waits for which stream: what happens there wakes it. */
export class OperationIndex implements Index {
  readonly name = 'operations';
  readonly categories = ['operation'];
  private readonly byStream = new Map<Uuid, Uuid>();
  private readonly byOperation = new Map<Uuid, readonly Uuid[]>();

  waitingFor(streamId: Uuid): Uuid | undefined {
    return this.byStream.get(streamId);
  }

  load(documents: readonly StoredDocument[]): void {
    this.byStream.clear();
    this.byOperation.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private set(operation: Uuid, document: StoredDocument['document'] | null): void {
    for (const stream of this.byOperation.get(operation) ?? []) this.byStream.delete(stream);
    const status = document?.['status'] as { waitsOn?: readonly Uuid[] } | undefined;
    const streams = status?.waitsOn ?? [];
    if (streams.length === 0) this.byOperation.delete(operation);
    else this.byOperation.set(operation, streams);
    for (const stream of streams) this.byStream.set(stream, operation);
  }
}
