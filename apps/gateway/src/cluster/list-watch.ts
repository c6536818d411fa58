import type { JsonObject } from '@xenolith/kernel';
import { z } from 'zod';
import { ClusterRefusal, type ClusterApi } from './cluster-api.js';

/** Objects in one answer. */
const PAGE = 500;
/** The cluster ends a watch after this; it goes on where it stood. */
const WATCH_SECONDS = 300;
/** A connection that died without a word is given up a little later than the cluster would have ended it. */
const WATCH_LIMIT_MS = (WATCH_SECONDS + 30) * 1_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 30_000;
/** A watch that ended sooner did not work, though nobody said so. */
const SHORT_WATCH_MS = 1_000;

const GONE = 410;

const metadata = z.looseObject({ name: z.string(), resourceVersion: z.string().optional() });
const object = z.looseObject({ metadata });
const list = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(object).nullish(),
});
const watchEvent = z.discriminatedUnion('type', [
  z.looseObject({ type: z.enum(['ADDED', 'MODIFIED', 'DELETED']), object }),
  z.looseObject({
    type: z.literal('BOOKMARK'),
    object: z.looseObject({ metadata: z.looseObject({ resourceVersion: z.string() }) }),
  }),
  z.looseObject({
    type: z.literal('ERROR'),
    object: z.looseObject({ code: z.number().default(0), message: z.string().default('') }),
  }),
]);

/** Called after each change, with all that there is. */
export type OnObjects = (objects: ReadonlyMap<string, JsonObject>) => void;

export interface Watched {
  /** A collection whose names are unique, such as /api/v1/namespaces. */
  readonly path: string;
  readonly fieldSelector?: string;
}

/**
 * Knows all objects of a collection of the cluster: lists them, watches from there, goes on where a watch ended, lists again when the cluster has forgotten that
 * place, and comes again after ever longer pauses while the cluster is not there.
 */
export class ListWatch {
  private readonly objects = new Map<string, JsonObject>();
  private readonly ending = new AbortController();
  /** Null: to be listed. */
  private version: string | null = null;
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly api: ClusterApi,
    private readonly watched: Watched,
    private readonly tell: { readonly onObjects: OnObjects; readonly warn: (message: string, err: unknown) => void },
  ) {}

  /** Settles when the objects were listed once. Throws what kept it from that. */
  async start(): Promise<void> {
    await this.list();
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.ending.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    while (!this.isOver()) {
      const began = performance.now();
      try {
        if (this.version === null) await this.list();
        await this.watch();
      } catch (error) {
        if (this.isOver()) return;
        if (error instanceof ClusterRefusal && error.status === GONE) this.version = null;
        else this.tell.warn(`${this.watched.path} of the cluster can't be watched; it is tried again`, error);
      }
      pauseMs = performance.now() - began < SHORT_WATCH_MS ? Math.min(pauseMs * 2, LONGEST_PAUSE_MS) : FIRST_PAUSE_MS;
      await this.pause(pauseMs);
    }
  }

  private isOver(): boolean {
    return this.ending.signal.aborted;
  }

  private pause(ms: number): Promise<void> {
    const { signal } = this.ending;
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
    });
  }

  private pathWith(query: Readonly<Record<string, string>>): string {
    const { path, fieldSelector } = this.watched;
    const all = new URLSearchParams({ ...(fieldSelector === undefined ? {} : { fieldSelector }), ...query });
    return `${path}?${all.toString()}`;
  }

  private async list(): Promise<void> {
    const found = new Map<string, JsonObject>();
    let more = '';
    let version: string;
    do {
      const query = { limit: String(PAGE), ...(more === '' ? {} : { continue: more }) };
      const page = list.parse(await this.api.expect('GET', this.pathWith(query)));
      for (const item of page.items ?? []) found.set(item.metadata.name, item as unknown as JsonObject);
      more = page.metadata.continue ?? '';
      version = page.metadata.resourceVersion;
    } while (more !== '');
    this.objects.clear();
    for (const [name, item] of found) this.objects.set(name, item);
    this.version = version;
    this.tell.onObjects(this.objects);
  }

  private async watch(): Promise<void> {
    const path = this.pathWith({
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(WATCH_SECONDS),
      resourceVersion: this.version ?? '',
    });
    const signal = AbortSignal.any([this.ending.signal, AbortSignal.timeout(WATCH_LIMIT_MS)]);
    await this.api.watch(path, (line) => this.take(line), signal);
  }

  private take(line: JsonObject): void {
    const event = watchEvent.parse(line);
    if (event.type === 'ERROR') throw new ClusterRefusal(event.object.code, event.object.message);
    this.version = event.object.metadata.resourceVersion ?? this.version;
    if (event.type === 'BOOKMARK') return;
    const { name } = event.object.metadata;
    if (event.type === 'DELETED') this.objects.delete(name);
    else this.objects.set(name, event.object as unknown as JsonObject);
    this.tell.onObjects(this.objects);
  }
}
