import type { CachedObject } from '../cache/cached-object.js';
import type { Change } from '../cache/change-ring.js';
import type { DocumentCache } from '../cache/document-cache.js';
import type { KindStore } from '../cache/kind-store.js';
import type { Selection } from '../cache/selection.js';
import type { EventSink } from '../http/api-request.js';
import { expired, unavailable, type StatusError } from '../http/status.js';
import { addedFrame, bookmarkFrame, errorFrame, type View } from '../verbs/representation.js';
import { encodeChanges, type WatchHub } from './watch-hub.js';

/** A client that leaves so many bytes untaken is cut off. That is some 2,000 events; those of one group share their bytes. */
const MAX_PENDING_BYTES = 4 * 2 ** 20;
/** While a client catches up, what it is sent at once. */
const CATCH_UP_BYTES = 2 ** 20;
/** As often as Kubernetes' own watch cache. */
export const BOOKMARK_INTERVAL_MS = 60_000;

export interface WatchRequest {
  readonly view: View;
  readonly selection: Selection;
  /** Objects to begin with, as of `position`; null: changes behind `position` only. */
  readonly initial: readonly CachedObject[] | null;
  readonly position: number;
  readonly bookmarks: boolean;
  /** A bookmark tells where the initial objects end. */
  readonly marksInitialEnd: boolean;
  readonly timeoutMs: number;
}

/** Changes before what the store remembers; null: too long ago. */
export type ReadHistory = (
  position: number,
) => Promise<{ readonly changes: readonly Change[]; readonly upTo: number } | null>;

export interface WatchTools {
  readonly cache: DocumentCache;
  readonly store: KindStore;
  readonly hub: WatchHub;
  readonly history: ReadHistory;
  /** Called when the watch is over. */
  readonly onEnd: (reason: EndReason) => void;
}

export const END_REASONS = ['closed', 'timeout', 'expired', 'slow', 'stopped', 'failed', 'revoked'] as const;
export type EndReason = (typeof END_REASONS)[number];

export const tooOld = (position: number): StatusError =>
  expired(`too old resource version: ${position}; list again and watch from the resourceVersion of the list`);

/** A watch that is under way. */
export interface Watching {
  /** Bytes that its client has not taken yet. */
  readonly pendingBytes: number;
  /** The server is going away: the client comes again, to this one or another. */
  stop(): void;
  /** The client has lost the right to see this. */
  revoke(status: StatusError): void;
}

/** One watch: first what was there, then what happened meanwhile, then each batch as it comes. */
export class WatchSession implements Watching {
  private position: number;
  private ended = false;
  private live = false;
  private leave: () => void = () => undefined;
  private readonly timers: NodeJS.Timeout[] = [];

  constructor(
    private readonly request: WatchRequest,
    private readonly tools: WatchTools,
    private readonly sink: EventSink,
  ) {
    this.position = request.position;
  }

  start(): void {
    this.sink.onClose(() => this.end('closed'));
    if (this.sink.closed) {
      this.end('closed');
      return;
    }
    this.timers.push(setTimeout(() => this.finish(), this.request.timeoutMs));
    if (this.request.bookmarks) this.timers.push(setInterval(() => this.bookmark(), BOOKMARK_INTERVAL_MS));
    this.catchUp().catch((cause: unknown) => {
      if (this.over) return;
      this.cut(
        unavailable('the event log does not answer; watch again from the last resource version', cause),
        'failed',
      );
    });
  }

  /** The server is going away: the client comes again, to this one or another. */
  stop(): void {
    if (this.ended) return;
    this.end('stopped');
    this.sink.end();
  }

  /** Bytes that the client has not taken yet. */
  get pendingBytes(): number {
    return this.sink.pendingBytes;
  }

  /** The client has lost the right to see this. */
  revoke(status: StatusError): void {
    if (!this.over) this.cut(status, 'revoked');
  }

  private async catchUp(): Promise<void> {
    const { request, sink } = this;
    if (request.initial !== null) {
      await this.sendInitial(request.initial);
      if (this.over) return;
      if (request.marksInitialEnd) sink.write(bookmarkFrame(request.view, request.position, true));
    }
    for (;;) {
      const remembered = this.tools.store.ring.since(this.position);
      if (remembered === null) {
        if (!(await this.sendHistory())) return;
        continue;
      }
      const chunk = encodeChanges(request.view, request.selection, remembered);
      this.position = remembered.at(-1)?.position ?? this.position;
      if (chunk !== null) sink.write(chunk);
      if (chunk === null || sink.pendingBytes < CATCH_UP_BYTES) break;
      await sink.drained();
      if (this.over) return;
    }
    // Nothing has happened since the last look: no change falls between it and this.
    this.leave = this.tools.hub.join(this.tools.store, request.view, request.selection, {
      deliver: (chunk, position) => this.deliver(chunk, position),
    });
    this.live = true;
  }

  /** One stretch of the log, from before what is remembered; false: the watch is over. */
  private async sendHistory(): Promise<boolean> {
    const { request, sink } = this;
    const page = await this.tools.history(this.position);
    if (this.over) return false;
    if (page === null) {
      this.cut(tooOld(this.position), 'expired');
      return false;
    }
    const chunk = encodeChanges(request.view, request.selection, page.changes);
    this.position = page.upTo;
    if (chunk === null) return true;
    sink.write(chunk);
    if (sink.pendingBytes >= CATCH_UP_BYTES) await sink.drained();
    return !this.over;
  }

  private async sendInitial(objects: readonly CachedObject[]): Promise<void> {
    const { sink } = this;
    let frames: Buffer[] = [];
    let bytes = 0;
    for (const object of objects) {
      const frame = addedFrame(this.request.view, object);
      frames.push(frame);
      bytes += frame.length;
      if (bytes < CATCH_UP_BYTES) continue;
      sink.write(Buffer.concat(frames));
      frames = [];
      bytes = 0;
      await sink.drained();
      if (this.over) return;
    }
    if (frames.length > 0) sink.write(Buffer.concat(frames));
  }

  private deliver(chunk: Buffer, position: number): void {
    if (this.over) return;
    if (this.sink.pendingBytes > MAX_PENDING_BYTES) {
      this.cut(
        expired(
          `this watch fell behind by more than ${MAX_PENDING_BYTES} bytes at resource version ${this.position}; list again, and read faster or select less`,
        ),
        'slow',
      );
      return;
    }
    this.position = position;
    this.sink.write(chunk);
  }

  private bookmark(): void {
    // Who has not been sent everything up to now must not be told that it was.
    if (this.over || !this.live) return;
    this.sink.write(bookmarkFrame(this.request.view, this.tools.cache.position, false));
  }

  private finish(): void {
    if (this.over) return;
    if (this.request.bookmarks) this.bookmark();
    this.end('timeout');
    this.sink.end();
  }

  private cut(status: StatusError, reason: EndReason): void {
    this.sink.write(errorFrame(status.body));
    this.end(reason);
    this.sink.end();
  }

  private get over(): boolean {
    return this.ended || this.sink.closed;
  }

  private end(reason: EndReason): void {
    if (this.ended) return;
    this.ended = true;
    this.leave();
    for (const timer of this.timers) clearTimeout(timer);
    this.tools.onEnd(reason);
  }
}
