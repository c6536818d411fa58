import type {
  Life,
  LogPast,
  LoggedEvent,
  Moment,
  PastEvent,
  PastListQuery,
  PastObjectQuery,
  StoredDocument,
  Uuid,
} from '@xenolith/kernel';

/** The part of the log in memory that its past is read from. */
export interface PastSource {
  readonly log: readonly LoggedEvent[];
  /** When each event was recorded; the first is that of position 1. */
  readonly recordedAt: readonly number[];
  head(): number;
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

interface Named {
  readonly namespace: string;
  readonly name: string;
}

const namesOf = (event: LoggedEvent): Named => {
  const metadata = (event.document?.['metadata'] ?? {}) as Record<string, unknown>;
  return { namespace: textOf(metadata['namespace']), name: textOf(metadata['name']) };
};

const isBehind = (left: Named, right: Named): boolean =>
  left.namespace > right.namespace || (left.namespace === right.namespace && left.name > right.name);

/** Reads the past by walking through the whole log: slow, and too simple to be wrong. */
export class MemoryPast implements LogPast {
  constructor(private readonly source: PastSource) {}

  newest(): Promise<Moment> {
    return this.momentOf(this.source.head());
  }

  momentAt(time: number): Promise<Moment> {
    const head = this.source.head();
    const first = this.source.recordedAt.findIndex((at) => at > time);
    return this.momentOf(first < 0 ? head : first);
  }

  momentOf(position: number): Promise<Moment> {
    const times = this.source.recordedAt.slice(0, position);
    return Promise.resolve({ position, recordedAt: times.reduce((newest, at) => Math.max(newest, at), 0) });
  }

  documentAt({ category, position, namespace, name, uid }: PastObjectQuery): Promise<StoredDocument | null> {
    const found = this.shownAt(category, position).findLast(
      ({ life }) => life.namespace === namespace && life.name === name && (uid === undefined || life.streamId === uid),
    );
    return Promise.resolve(found?.stored ?? null);
  }

  documentsAt(query: PastListQuery): Promise<readonly StoredDocument[]> {
    return Promise.resolve(this.listed(query).slice(0, query.limit));
  }

  countAt(query: Omit<PastListQuery, 'limit'>): Promise<number> {
    return Promise.resolve(this.listed(query).length);
  }

  lives(of: Parameters<LogPast['lives']>[0]): Promise<readonly Life[]> {
    const all = this.livesUpTo(of.upTo).filter((life) =>
      'uid' in of
        ? life.streamId === of.uid
        : life.category === of.category && life.namespace === of.namespace && life.name === of.name,
    );
    return Promise.resolve(all.reverse());
  }

  eventsOf(query: Parameters<LogPast['eventsOf']>[0]): Promise<readonly PastEvent[]> {
    const events = this.source.log.filter(
      ({ streamId, version, position }) =>
        streamId === query.streamId && version > query.after && position <= query.upTo,
    );
    return Promise.resolve(events.slice(0, query.limit).map((event) => this.pastEvent(event)));
  }

  eventsOfCommand(commandId: Uuid): Promise<readonly PastEvent[]> {
    const events = this.source.log.filter(({ metadata }) => metadata.commandId === commandId);
    return Promise.resolve(events.map((event) => this.pastEvent(event)));
  }

  eventsAfter(after: number, limit: number): Promise<readonly PastEvent[]> {
    return Promise.resolve(this.source.log.slice(after, after + limit).map((event) => this.pastEvent(event)));
  }

  private pastEvent(event: LoggedEvent): PastEvent {
    return { ...event, recordedAt: this.source.recordedAt[event.position - 1] ?? 0 };
  }

  private livesUpTo(position: number): Life[] {
    const lives: Life[] = [];
    const open = new Map<Uuid, number>();
    for (const event of this.source.log.slice(0, position)) {
      const { streamId, category, document } = event;
      const at = open.get(streamId);
      if (document === undefined) continue;
      if (document === null) {
        const life = at === undefined ? undefined : lives[at];
        if (at !== undefined && life !== undefined) lives[at] = { ...life, ended: event.position };
        open.delete(streamId);
      } else if (at === undefined) {
        open.set(streamId, lives.length);
        lives.push({ streamId, category, ...namesOf(event), born: event.position, ended: null });
      }
    }
    return lives;
  }

  /** What was shown, in the order of birth. */
  private shownAt(category: string, position: number): readonly { life: Life; stored: StoredDocument }[] {
    const newest = new Map<Uuid, LoggedEvent>();
    for (const event of this.source.log.slice(0, position))
      if (event.document !== undefined) newest.set(event.streamId, event);
    return this.livesUpTo(position)
      .filter((life) => life.category === category && life.ended === null)
      .flatMap((life) => {
        const event = newest.get(life.streamId);
        if (event?.document === undefined || event.document === null) return [];
        const { streamId, version, document } = event;
        return [{ life, stored: { streamId, category, version, position: event.position, document } }];
      });
  }

  private listed({ category, position, namespace, after }: Omit<PastListQuery, 'limit'>): readonly StoredDocument[] {
    const byName = new Map<string, { life: Life; stored: StoredDocument }>();
    for (const shown of this.shownAt(category, position)) {
      const { life } = shown;
      if (namespace !== undefined && life.namespace !== namespace) continue;
      if (after !== undefined && !isBehind(life, after)) continue;
      byName.set(`${life.namespace}/${life.name}`, shown);
    }
    return [...byName.values()]
      .sort(({ life: left }, { life: right }) => (isBehind(left, right) ? 1 : -1))
      .map(({ stored }) => stored);
  }
}
