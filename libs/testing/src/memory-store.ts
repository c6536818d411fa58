import {
  uuidFrom,
  type AppendOutcome,
  type AppendRequest,
  type ClaimChange,
  type Clock,
  type CommandResult,
  type JsonObject,
  type LoggedEvent,
  type NewTimer,
  type Snapshot,
  type StoredDocument,
  type StoredEvent,
  type StreamVersion,
  type StreamWrite,
  type Uuid,
} from '@xenolith/kernel';

/** How long things take, in milliseconds of the clock; drawn anew for each call. Absent: nothing takes time. */
export interface MemoryLatency {
  readonly append?: () => number;
  readonly read?: () => number;
  /** From an append to its events having positions and being shown to followers. */
  readonly sequence?: () => number;
}

/** Guards of the store that a mutation test takes out, to see that the simulation notices. */
export type StoreGuard = 'expected_version' | 'command_deduplication' | 'claims' | 'cancels' | 'lease_fencing';

interface Stream {
  readonly category: string;
  readonly events: StoredEvent[];
  ended: boolean;
}

interface Unsequenced {
  readonly event: StoredEvent;
  readonly document?: JsonObject | null;
  readonly recordedAt: number;
}

interface Lease {
  /** Whoever holds it or waits for it. */
  readonly connection: object;
  readonly grant: () => void;
  readonly lose: () => void;
}

type Timer = NewTimer & { op: 'set' };

/** What the log in memory holds, with the semantics of the one in Postgres. Everything happens at one moment of the clock. */
export class MemoryStore {
  private readonly streams = new Map<Uuid, Stream>();
  private readonly commands = new Map<Uuid, CommandResult>();
  private readonly claims = new Map<string, Uuid>();
  private readonly snapshots = new Map<string, Snapshot>();
  private readonly timers = new Map<Uuid, Timer>();
  private readonly newest = new Map<Uuid, { version: number; category: string; document: JsonObject | null }>();
  private readonly positions = new Map<string, number>();
  private readonly unsequenced: Unsequenced[] = [];
  private readonly followers = new Set<() => void>();
  private readonly leases = new Map<string, Lease[]>();
  private readonly checkpoints = new Map<string, number>();
  readonly log: LoggedEvent[] = [];
  /** When each event of the log was recorded. */
  readonly recordedAt: number[] = [];

  constructor(
    readonly clock: Clock,
    readonly latency: MemoryLatency = {},
    private readonly without: ReadonlySet<StoreGuard> = new Set(),
  ) {}

  /** All writes of a request happen, or none: the whole runs at one moment of the clock. */
  append(request: AppendRequest): AppendOutcome {
    const stored = this.commands.get(request.commandId);
    if (stored && !(this.without.has('command_deduplication') && !stored.cancelled)) return { status: 'known', stored };
    const refusal = this.checkWrites(request.writes) ?? this.checkClaims(request.claims);
    if (refusal) return refusal;
    for (const claim of request.claims) this.change(claim);
    for (const timer of request.timers) this.keepTimer(timer);
    const versions = request.writes.map((write) => this.write(write, request));
    this.commands.set(request.commandId, {
      commandId: request.commandId,
      requestHash: request.requestHash,
      result: request.result,
      versions,
      cancelled: false,
    });
    if (!this.without.has('cancels')) for (const cancelled of request.cancels) this.cancel(cancelled);
    if (request.writes.length > 0) this.sequenceSoon();
    return { status: 'appended', versions };
  }

  commandResult(commandId: Uuid): CommandResult | null {
    return this.commands.get(commandId) ?? null;
  }

  readStream(streamId: Uuid, afterVersion: number): readonly StoredEvent[] {
    return this.streams.get(streamId)?.events.slice(afterVersion) ?? [];
  }

  claimHolder(scope: string, value: string): Uuid | null {
    return this.claims.get(claimKey({ scope, value })) ?? null;
  }

  snapshot(streamId: Uuid, stateVersion: number): Snapshot | null {
    return this.snapshots.get(`${streamId}/${stateVersion}`) ?? null;
  }

  saveSnapshot(snapshot: Snapshot): void {
    this.snapshots.set(`${snapshot.streamId}/${snapshot.stateVersion}`, snapshot);
  }

  readLog(after: number, limit: number): readonly LoggedEvent[] {
    return this.log.slice(after, after + limit);
  }

  readEvents(after: number, limit: number): readonly LoggedEvent[] {
    return this.readLog(after, limit).map(({ document, ...event }) => {
      const lives = (this.newest.get(event.streamId)?.document ?? null) !== null;
      return document === undefined || lives ? event : { ...event, document };
    });
  }

  readCategory(
    category: string,
    { after, until, limit }: { readonly after: number; readonly until: number; readonly limit: number },
  ): readonly LoggedEvent[] {
    return this.log
      .slice(after, until)
      .filter((event) => event.category === category)
      .slice(0, limit)
      .map(({ document: _document, ...event }) => event);
  }

  /** Sequences what is waiting: every append acknowledged before the call is at or below the answer. */
  head(): number {
    this.sequence();
    return this.log.length;
  }

  documents(categories: readonly string[] | undefined): { position: number; documents: readonly StoredDocument[] } {
    this.sequence();
    const documents: StoredDocument[] = [];
    for (const [streamId, entry] of this.newest) {
      if (entry.document === null || (categories && !categories.includes(entry.category))) continue;
      const position = this.positions.get(`${streamId}/${entry.version}`) ?? 0;
      documents.push({
        streamId,
        category: entry.category,
        version: entry.version,
        position,
        document: entry.document,
      });
    }
    return { position: this.log.length, documents };
  }

  /** The living timers, for whoever runs them. */
  dueTimers(now: number): readonly Timer[] {
    return [...this.timers.values()]
      .filter((timer) => timer.dueAt <= now)
      .sort((left, right) => left.dueAt - right.dueAt || (left.id < right.id ? -1 : 1));
  }

  timerSent(id: Uuid): void {
    this.timers.delete(id);
  }

  nextTimerAt(): number | null {
    return this.timers.size === 0 ? null : Math.min(...[...this.timers.values()].map((timer) => timer.dueAt));
  }

  /** Names of claims and their holders, for invariants. */
  allClaims(): ReadonlyMap<string, Uuid> {
    return this.claims;
  }

  onSequenced(listener: () => void): () => void {
    this.followers.add(listener);
    return () => this.followers.delete(listener);
  }

  checkpoint(name: string): number {
    return this.checkpoints.get(name) ?? 0;
  }

  saveCheckpoint(name: string, position: number, connection: object): boolean {
    const holder = this.leases.get(name)?.[0]?.connection;
    if (holder !== connection && !this.without.has('lease_fencing')) return false;
    this.checkpoints.set(name, position);
    return true;
  }

  /** Queues for a lease; `grant` runs when the connection holds it. */
  requestLease(name: string, lease: Lease): void {
    const queue = this.leases.get(name) ?? [];
    queue.push(lease);
    this.leases.set(name, queue);
    if (queue.length === 1 || this.without.has('lease_fencing')) lease.grant();
  }

  releaseLeases(connection: object, name?: string): void {
    for (const [leased, queue] of this.leases) {
      if (name !== undefined && leased !== name) continue;
      const held = queue[0]?.connection === connection;
      const left = queue.filter((lease) => lease.connection !== connection);
      this.leases.set(leased, left);
      if (held) left[0]?.grant();
    }
  }

  /** As the end of the connection that holds them would: each goes to the next in line, who may be the same again. */
  loseLeases(connection: object): void {
    for (const [name, queue] of this.leases) {
      const [first, ...others] = queue;
      if (first?.connection !== connection) continue;
      this.leases.set(name, [...others, first]);
      first.lose();
      (others[0] ?? first).grant();
    }
  }

  private checkWrites(writes: readonly StreamWrite[]): AppendOutcome | null {
    for (const write of writes) {
      const stream = this.streams.get(write.streamId);
      const actual = stream?.events.length ?? 0;
      if (stream?.ended === true) return { status: 'stream_ended', streamId: write.streamId };
      if (this.without.has('expected_version')) continue;
      const wanted = write.expected === 'any' ? actual : write.expected === 'no_stream' ? 0 : write.expected.exact;
      if (wanted !== actual) return { status: 'conflict', streamId: write.streamId, actual };
    }
    return null;
  }

  private checkClaims(changes: readonly ClaimChange[]): AppendOutcome | null {
    if (this.without.has('claims')) return null;
    const pending = new Map<string, Uuid | null>();
    for (const change of changes) {
      const key = claimKey(change);
      const holder = pending.has(key) ? (pending.get(key) ?? null) : (this.claims.get(key) ?? null);
      if (change.op === 'claim' && holder !== null && holder !== change.holder)
        return { status: 'claim_taken', scope: change.scope, value: change.value, holder };
      if (change.op === 'require' && holder === null)
        return { status: 'claim_missing', scope: change.scope, value: change.value };
      if (change.op === 'claim') pending.set(key, change.holder);
      if (change.op === 'release' && holder === change.holder) pending.set(key, null);
    }
    return null;
  }

  private change(claim: ClaimChange): void {
    const key = claimKey(claim);
    if (claim.op === 'claim') this.claims.set(key, claim.holder);
    if (claim.op === 'release' && this.claims.get(key) === claim.holder) this.claims.delete(key);
  }

  private keepTimer(timer: NewTimer): void {
    if (timer.op === 'set') this.timers.set(timer.id, timer);
    else this.timers.delete(timer.id);
  }

  private cancel(commandId: Uuid): void {
    if (this.commands.has(commandId)) return;
    this.commands.set(commandId, { commandId, requestHash: '', result: {}, versions: [], cancelled: true });
  }

  private write(write: StreamWrite, request: AppendRequest): StreamVersion {
    const stream = this.streams.get(write.streamId) ?? { category: write.category, events: [], ended: false };
    this.streams.set(write.streamId, stream);
    write.events.forEach((event, index) => {
      const stored: StoredEvent = {
        ...event,
        eventId: uuidFrom(request.commandId, write.streamId, index),
        streamId: write.streamId,
        category: write.category,
        version: stream.events.length + 1,
        metadata: request.metadata,
      };
      stream.events.push(stored);
      // A tombstone follows a document, once.
      const shown = write.document !== null || (this.newest.get(write.streamId)?.document ?? null) !== null;
      const document = index === write.events.length - 1 && shown ? { document: write.document } : {};
      this.unsequenced.push({ event: stored, recordedAt: this.clock.now(), ...document });
    });
    stream.ended = write.ends;
    const version = stream.events.length;
    if (write.document !== null || this.newest.has(write.streamId))
      this.newest.set(write.streamId, { version, category: write.category, document: write.document });
    return { streamId: write.streamId, version };
  }

  private sequenceSoon(): void {
    const delay = this.latency.sequence?.() ?? 0;
    if (delay === 0) this.sequence();
    else this.clock.after(delay, () => this.sequence());
  }

  private sequence(): void {
    if (this.unsequenced.length === 0) return;
    for (const { event, document, recordedAt } of this.unsequenced.splice(0)) {
      const position = this.log.length + 1;
      this.log.push({ ...event, position, ...(document === undefined ? {} : { document }) });
      this.recordedAt.push(recordedAt);
      this.positions.set(`${event.streamId}/${event.version}`, position);
    }
    for (const listener of [...this.followers]) listener();
  }
}

const claimKey = (claim: { scope: string; value: string }): string => `${claim.scope}\u0000${claim.value}`;
