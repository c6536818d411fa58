import { categoryOf } from '@xenolith/contracts';
import { indexerOf, type CachedObject } from '../cache/cached-object.js';
import type { Change } from '../cache/change-ring.js';
import { selectablePaths } from '../cache/selectable-paths.js';
import { changesOf, WINDOW_POSITIONS, type ReadDocumentChanges } from '../cache/log-history.js';
import type { Selection } from '../cache/selection.js';
import type { EventSink } from '../http/api-request.js';
import { unavailable, type StatusError } from '../http/status.js';
import { addedFrame, bookmarkFrame, changeFrame, errorFrame, type View } from '../verbs/representation.js';
import { BOOKMARK_INTERVAL_MS, type Watching } from '../watch/watch-session.js';

/** A client that leaves so much untaken is waited for. */
const UNTAKEN_BYTES = 2 ** 20;
/** `setTimeout` takes no more; who waits for longer than three weeks waits once more. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

export interface ReplayRequest {
  readonly view: View;
  readonly selection: Selection;
  /** Objects to begin with, as of `from`; null: changes behind it only. */
  readonly initial: readonly CachedObject[] | null;
  readonly marksInitialEnd: boolean;
  readonly from: { readonly position: number; readonly time: number };
  /** The replay ends when it has shown everything up to here. */
  readonly upTo: number;
  /** So many milliseconds of the past in one. */
  readonly speed: number;
  readonly bookmarks: boolean;
  /** How long it goes on at most. */
  readonly timeoutMs: number;
}

/** One replay of a stretch of the log: what a watch would have shown then, at the pace of then or faster. It ends; the present is another watch. */
export class Replay implements Watching {
  private position: number;
  private readonly started = performance.now();
  private readonly timers: NodeJS.Timeout[] = [];
  private ended = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly request: ReplayRequest,
    private readonly tools: { readonly read: ReadDocumentChanges; readonly onEnd: () => void },
    private readonly sink: EventSink,
  ) {
    this.position = request.from.position;
  }

  get pendingBytes(): number {
    return this.sink.pendingBytes;
  }

  start(): void {
    this.sink.onClose(() => this.end());
    this.timers.push(setTimeout(() => this.finish(), this.request.timeoutMs));
    if (this.request.bookmarks) this.timers.push(setInterval(() => this.bookmark(), BOOKMARK_INTERVAL_MS));
    this.run().then(
      () => this.finish(),
      (cause: unknown) => {
        if (this.over) return;
        const status = unavailable('the event log does not answer; watch again from the last resource version', cause);
        this.sink.write(errorFrame(status.body));
        this.finish();
      },
    );
  }

  stop(): void {
    if (this.ended) return;
    this.end();
    this.sink.end();
  }

  revoke(status: StatusError): void {
    if (!this.over) this.sink.write(errorFrame(status.body));
    this.stop();
  }

  private async run(): Promise<void> {
    const { initial, view, from, marksInitialEnd } = this.request;
    for (const object of initial ?? []) {
      await this.send(addedFrame(view, object));
      if (this.over) return;
    }
    if (initial !== null && marksInitialEnd) this.sink.write(bookmarkFrame(view, from.position, true));
    while (this.position < this.request.upTo && !this.over) await this.window();
  }

  /** One stretch of the log, each change at its time. */
  private async window(): Promise<void> {
    const { kind } = this.request.view;
    const upTo = Math.min(this.request.upTo, this.position + WINDOW_POSITIONS);
    const stored = await this.tools.read({ category: categoryOf(kind), after: this.position, upTo });
    const times = new Map(stored.map(({ position, recordedAt }) => [position, recordedAt]));
    for (const change of changesOf(indexerOf(selectablePaths(kind)), stored)) {
      if (!(await this.show(change, times.get(change.position) ?? 0))) return;
    }
    this.position = upTo;
  }

  /** False: the replay is over. */
  private async show(change: Change, recordedAt: number): Promise<boolean> {
    const frame = changeFrame(this.request.view, this.request.selection, change);
    if (frame !== null) {
      await this.waitFor(recordedAt);
      if (this.over) return false;
      await this.send(frame);
    }
    this.position = change.position;
    return !this.over;
  }

  private async waitFor(recordedAt: number): Promise<void> {
    const dueMs = (recordedAt - this.request.from.time) / this.request.speed;
    for (;;) {
      const left = this.started + dueMs - performance.now();
      if (left <= 0 || this.over) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, LONGEST_WAIT_MS));
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  private async send(frame: Buffer): Promise<void> {
    this.sink.write(frame);
    if (this.sink.pendingBytes >= UNTAKEN_BYTES) await this.sink.drained();
  }

  private bookmark(): void {
    if (!this.over) this.sink.write(bookmarkFrame(this.request.view, this.position, false));
  }

  private finish(): void {
    if (this.over) return;
    if (this.request.bookmarks) this.bookmark();
    this.end();
    this.sink.end();
  }

  private get over(): boolean {
    return this.ended || this.sink.closed;
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.wake();
    this.tools.onEnd();
  }
}
