import { setImmediate as turn } from 'node:timers/promises';
import { categoryOf } from '@xenolith/contracts';
import type { Index } from '@xenolith/engine';
import type { StoredDocument } from '@xenolith/kernel';
import { SERVED_KINDS } from '../discovery/index.js';

/** Documents that are taken in one go; probes are answered between two of them. */
const PAGE = 1_000;

/**
 * Keeps what the engine reads for its indexes when it starts until the cache of documents takes it: both want the newest document of everything there
 * is, which is most of what a start reads.
 */
export class LoadedDocuments implements Index {
  readonly name = 'loaded-documents';
  readonly categories = SERVED_KINDS.flatMap(({ definition }) => (definition === null ? [] : [categoryOf(definition)]));
  private pages: (readonly StoredDocument[])[] = [];
  private position = 0;

  load(documents: readonly StoredDocument[], position: number): void {
    this.position = position;
    this.pages = [];
    for (let at = 0; at < documents.length; at += PAGE) this.pages.push(documents.slice(at, at + PAGE));
  }

  /** What happens later the cache follows by itself, from the position of the documents. */
  apply(): void {}

  /** Hands the documents over, page by page, and keeps none; answers the position that they are exact as of. */
  async handOver(onPage: (documents: readonly StoredDocument[]) => void | Promise<void>): Promise<number> {
    for (let page = this.pages.shift(); page !== undefined; page = this.pages.shift()) {
      await onPage(page);
      await turn();
    }
    return this.position;
  }
}
