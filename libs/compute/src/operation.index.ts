import type { OperationPhase } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { StoredDocument, Uuid } from '@xenolith/kernel';

/** Operations by name, and which of them wait for which stream: what happens there wakes them. */
export class OperationIndex implements Index {
  readonly name = 'operations';
  readonly categories = ['operation'];
  private readonly byStream = new Map<string, Set<Uuid>>();
  private readonly byOperation = new Map<Uuid, readonly string[]>();
  private readonly uids = new Map<string, Uuid>();
  private readonly names = new Map<Uuid, string>();
  private readonly phases = new Map<Uuid, OperationPhase>();
  private readonly counts = new Map<OperationPhase, number>();

  /** An operation is the target of another one when an operator makes his choice. */
  uid(namespace: string, name: string): Uuid | undefined {
    return this.uids.get(`${namespace}/${name}`);
  }

  /** Those that wait longest, in their order. `stream` is a uid, or the key of a thing that may not exist yet (`operation.waits.ts`). */
  waitingFor(stream: string, atMost: number): readonly Uuid[] {
    return [...(this.byStream.get(stream) ?? [])].slice(0, atMost);
  }

  inPhase(phase: OperationPhase): number {
    return this.counts.get(phase) ?? 0;
  }

  load(documents: readonly StoredDocument[]): void {
    this.phases.clear();
    this.counts.clear();
    this.byStream.clear();
    this.byOperation.clear();
    this.uids.clear();
    this.names.clear();
    for (const stored of documents) this.set(stored.streamId, stored.document);
  }

  apply(event: IndexedEvent): void {
    if (event.document !== undefined) this.set(event.streamId, event.document);
  }

  private setName(operation: Uuid, document: StoredDocument['document'] | null): void {
    const before = this.names.get(operation);
    if (document === null) {
      this.names.delete(operation);
      if (before !== undefined && this.uids.get(before) === operation) this.uids.delete(before);
      return;
    }
    if (before !== undefined) return;
    const { namespace, name } = document['metadata'] as { namespace?: string; name: string };
    const key = `${namespace ?? ''}/${name}`;
    this.names.set(operation, key);
    this.uids.set(key, operation);
  }

  private setPhase(operation: Uuid, phase: OperationPhase | undefined): void {
    const before = this.phases.get(operation);
    if (before === phase) return;
    if (before !== undefined) this.counts.set(before, this.inPhase(before) - 1);
    if (phase === undefined) this.phases.delete(operation);
    else {
      this.phases.set(operation, phase);
      this.counts.set(phase, this.inPhase(phase) + 1);
    }
  }

  private set(operation: Uuid, document: StoredDocument['document'] | null): void {
    this.setName(operation, document);
    for (const stream of this.byOperation.get(operation) ?? []) {
      const waiting = this.byStream.get(stream);
      waiting?.delete(operation);
      if (waiting?.size === 0) this.byStream.delete(stream);
    }
    const status = document?.['status'] as { phase?: OperationPhase; waitsOn?: readonly string[] } | undefined;
    this.setPhase(operation, status?.phase);
    const streams = status?.waitsOn ?? [];
    if (streams.length === 0) this.byOperation.delete(operation);
    else this.byOperation.set(operation, streams);
    for (const stream of streams)
      this.byStream.set(stream, (this.byStream.get(stream) ?? new Set<Uuid>()).add(operation));
  }
}
