import { apiVersionOf, categoryOf, KINDS, timestamp, type KindDefinition } from '@xenolith/contracts';
import {
  uuidFrom,
  type EventLog,
  type JsonObject,
  type LoggedEvent,
  type StoredEvent,
  type Uuid,
} from '@xenolith/kernel';
import { indexerOf, keyOf, RenderedObject, type CachedObject } from '../cache/cached-object.js';
import type { BatchObserver, DocumentCache } from '../cache/document-cache.js';
import type { KindStore } from '../cache/kind-store.js';
import { selectablePaths } from '../cache/selectable-paths.js';
import { SERVED_KINDS, type ServedKind } from '../discovery/index.js';

/** What an event of the log is to somebody who reads `kubectl describe`. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

/** An event as it stands now: the same one is seen again with a higher count. */
export interface SeenEvent {
  readonly name: string;
  readonly namespace: string;
  readonly count: number;
  /** As core/v1 has it, without what a server says of it. */
  readonly document: () => JsonObject;
}

/** Each domain has one; null: not worth a line, or not of this domain. */
export type DescribeEvent = (event: StoredEvent) => EventDescription | null;

/** As long as Kubernetes keeps its events. */
export const EVENT_LIFE_MS = 60 * 60_000;
/** Events kept at most. At the highest rates an hour holds more than anybody reads. */
const MAX_EVENTS = 20_000;
/** How many events of the log are read when the gateway starts: about what makes so many events. */
const MAX_HISTORY = 25_000;
const HISTORY_PAGE = 1_000;
/** What an event's document has beside its message, names of Kubernetes' longest included. */
const FRAME_CHARACTERS = 2_000;
const EXPIRE_INTERVAL_MS = 15_000;

interface Subject {
  readonly kind: KindDefinition;
  readonly uid: Uuid;
  readonly name: string;
  readonly namespace: string;
}

interface Entry {
  readonly subject: Subject;
  readonly description: EventDescription;
  readonly name: string;
  readonly uid: Uuid;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly count: number;
  readonly position: number;
}

/** A form in which events are served. */
interface Form {
  readonly store: KindStore;
  readonly document: (entry: Entry) => JsonObject;
  readonly indexer: (document: JsonObject) => JsonObject;
}

const DEFAULT_NAMESPACE = 'default';

const kindByCategory = new Map(KINDS.map((kind) => [categoryOf(kind), kind]));

const reference = (subject: Subject): JsonObject => ({
  kind: subject.kind.kind,
  ...(subject.namespace === '' ? {} : { namespace: subject.namespace }),
  name: subject.name,
  uid: subject.uid,
  apiVersion: apiVersionOf(subject.kind),
});

const componentOf = (subject: Subject): string => `xenolith-${subject.kind.service}`;

const metadata = (entry: Entry): JsonObject => ({
  name: entry.name,
  namespace: entry.subject.namespace || DEFAULT_NAMESPACE,
  uid: entry.uid,
  creationTimestamp: timestamp(entry.firstAt),
});

/** Kinds that a cluster knows better than we do are told of by itself. */
const OWN_GROUP = /\.xenolith\.dev$/;

const seen = (entry: Entry): SeenEvent => ({
  name: entry.name,
  namespace: entry.subject.namespace || DEFAULT_NAMESPACE,
  count: entry.count,
  document: () => {
    const { name, namespace } = metadata(entry);
    return { ...coreDocument(entry), metadata: { name, namespace } };
  },
});

const coreDocument = (entry: Entry): JsonObject => ({
  kind: 'Event',
  apiVersion: 'v1',
  metadata: metadata(entry),
  involvedObject: reference(entry.subject),
  reason: entry.description.reason,
  message: entry.description.message,
  source: { component: componentOf(entry.subject) },
  firstTimestamp: timestamp(entry.firstAt),
  lastTimestamp: timestamp(entry.lastAt),
  count: entry.count,
  type: entry.description.type,
  eventTime: null,
  reportingComponent: componentOf(entry.subject),
  reportingInstance: '',
});

const eventsDocument = (entry: Entry): JsonObject => ({
  kind: 'Event',
  apiVersion: 'events.k8s.io/v1',
  metadata: metadata(entry),
  eventTime: null,
  regarding: reference(entry.subject),
  reason: entry.description.reason,
  note: entry.description.message,
  type: entry.description.type,
  reportingController: componentOf(entry.subject),
  reportingInstance: '',
  deprecatedSource: { component: componentOf(entry.subject) },
  deprecatedFirstTimestamp: timestamp(entry.firstAt),
  deprecatedLastTimestamp: timestamp(entry.lastAt),
  deprecatedCount: entry.count,
});

/** Kubernetes' events as a view of the log: the same thing that happens to an object again is counted, an hour after the last time it is forgotten. */
export class EventView implements BatchObserver {
  /** Oldest last sighting first. */
  private readonly entries = new Map<string, Entry>();
  private readonly forms: readonly Form[];
  private timer: NodeJS.Timeout | null = null;
  private tell: (event: SeenEvent) => void = () => undefined;

  constructor(
    private readonly cache: DocumentCache,
    private readonly describe: DescribeEvent,
    private readonly now: () => number = Date.now,
  ) {
    const form = (kind: ServedKind): Form => ({
      store: cache.store(kind),
      document: kind.group === '' ? coreDocument : eventsDocument,
      indexer: indexerOf(selectablePaths(kind)),
    });
    this.forms = SERVED_KINDS.filter((kind) => kind.kind === 'Event').map(form);
  }

  /**
   * Reads what happened in the last hour, up to where the cache is; call it between the cache's load and its first batch. What lives the cache knows by
   * name; documents are read of what is gone.
   */
  async load(log: Pick<EventLog, 'readEvents'>): Promise<void> {
    const end = this.cache.position;
    const names = new Map<Uuid, Subject>();
    const pageAt = (at: number): Promise<readonly LoggedEvent[]> => {
      const page = log.readEvents(at, Math.min(HISTORY_PAGE, end - at));
      // Told where it is awaited, unless the page before could not be read.
      page.catch(() => undefined);
      return page;
    };
    // Positions have no gaps: the database makes the next page while one is looked at.
    let at = await this.startPosition(log, end);
    for (let next = at < end ? pageAt(at) : null; next !== null;) {
      const events = await next;
      at += HISTORY_PAGE;
      next = at < end ? pageAt(at) : null;
      this.take(events, names);
    }
    for (const form of this.forms) {
      const objects = [...this.entries.values()].map((entry) => this.object(form, entry));
      form.store.load(objects, end);
    }
    this.timer = setInterval(() => this.expire(), EXPIRE_INTERVAL_MS);
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  /** Calls back for each event of an object of our groups, once for each time that it is counted. */
  onSeen(listener: (event: SeenEvent) => void): void {
    this.tell = listener;
  }

  /** Events of our groups that were last seen since then, in milliseconds since the epoch; oldest first. */
  seenSince(at: number): readonly SeenEvent[] {
    return [...this.entries.values()]
      .filter(({ lastAt, subject }) => lastAt >= at && OWN_GROUP.test(subject.kind.group))
      .map(seen);
  }

  observe(events: readonly LoggedEvent[]): void {
    for (const entry of this.take(events, new Map())) {
      for (const form of this.forms) form.store.put(this.object(form, entry));
      if (OWN_GROUP.test(entry.subject.kind.group)) this.tell(seen(entry));
    }
    this.dropBeyond(MAX_EVENTS);
  }

  /** The last position whose events are too old, or too many; positions grow with time, near enough. Older ones are not looked at: they may be archived. */
  private async startPosition(log: Pick<EventLog, 'readEvents'>, end: number): Promise<number> {
    const oldest = this.now() - EVENT_LIFE_MS;
    let [low, high] = [Math.max(0, end - MAX_HISTORY), end];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const [event] = await log.readEvents(middle, 1);
      if (event !== undefined && event.metadata.at < oldest) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Adds or counts what the events say; `names` collects the objects that their documents tell of. */
  private take(events: readonly LoggedEvent[], names: Map<Uuid, Subject>): readonly Entry[] {
    for (const event of events) {
      const subject = subjectOf(event);
      if (subject !== null) names.set(event.streamId, subject);
    }
    const touched = new Map<string, Entry>();
    for (const event of events) {
      const description = this.describe(event);
      if (description === null) continue;
      const subject = names.get(event.streamId) ?? this.knownSubject(event);
      if (subject === null) continue;
      const key = `${subject.uid}/${description.type}/${description.reason}/${description.message}`;
      const entry = this.count(key, { event, subject, description });
      touched.set(key, entry);
    }
    return [...touched.values()];
  }

  private count(
    key: string,
    seen: { readonly event: LoggedEvent; readonly subject: Subject; readonly description: EventDescription },
  ): Entry {
    const { event, subject, description } = seen;
    const known = this.entries.get(key);
    const uid = known?.uid ?? uuidFrom(event.eventId, 'event');
    const entry: Entry = {
      subject,
      description,
      name: known?.name ?? `${subject.name}.${uid.replaceAll('-', '').slice(0, 16)}`,
      uid,
      firstAt: known?.firstAt ?? event.metadata.at,
      lastAt: event.metadata.at,
      count: (known?.count ?? 0) + 1,
      position: event.position,
    };
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry;
  }

  private knownSubject(event: LoggedEvent): Subject | null {
    const kind = kindByCategory.get(event.category);
    const object = this.cache.byId(event.streamId);
    if (kind === undefined || object === undefined) return null;
    return { kind, uid: object.uid, name: object.name, namespace: object.namespace };
  }

  /** Far more happens than anybody reads: an event is written out when somebody looks at it. */
  private object(form: Form, entry: Entry): CachedObject {
    const { uid, name, position, count } = entry;
    const namespace = entry.subject.namespace || DEFAULT_NAMESPACE;
    return new RenderedObject(
      {
        uid,
        name,
        namespace,
        position,
        version: count,
        characters: FRAME_CHARACTERS + entry.description.message.length,
      },
      () => form.document(entry),
      form.indexer,
    );
  }

  /** Forgets what is too old; called every few seconds. */
  expire(): void {
    const oldest = this.now() - EVENT_LIFE_MS;
    for (const [key, entry] of this.entries) {
      if (entry.lastAt >= oldest) break;
      this.forget(key, entry);
    }
    for (const form of this.forms) form.store.flush();
  }

  private dropBeyond(limit: number): void {
    for (const [key, entry] of this.entries) {
      if (this.entries.size <= limit) break;
      this.forget(key, entry);
    }
  }

  private forget(key: string, entry: Entry): void {
    this.entries.delete(key);
    for (const form of this.forms) {
      const held = form.store.get(keyOf(entry.subject.namespace || DEFAULT_NAMESPACE, entry.name));
      if (held !== undefined) form.store.remove(held, Math.max(this.cache.position, held.position), held.version);
    }
  }
}

const subjectOf = (event: LoggedEvent): Subject | null => {
  const kind = kindByCategory.get(event.category);
  if (kind === undefined || event.document === undefined || event.document === null) return null;
  const { name, namespace } = event.document['metadata'] as JsonObject;
  return {
    kind,
    uid: event.streamId,
    name: typeof name === 'string' ? name : '',
    namespace: typeof namespace === 'string' ? namespace : '',
  };
};
