import {
  uuidFrom,
  type Clock,
  type CommandMessage,
  type EventLog,
  type JsonObject,
  type LogFeed,
  type MessageBus,
  type Reply,
  type Uuid,
} from '@xenolith/kernel';
import { MemoryBus } from './memory-bus.js';
import { MemoryEventLog } from './memory-event-log.js';
import type { MemoryLatency } from './memory-store.js';
import { VirtualClock } from './virtual-clock.js';

/** What an engine looks like to its tests: this lib stands below it. */
interface Engine {
  start(): Promise<void>;
  handle(message: CommandMessage): Promise<Reply>;
}

interface Ports {
  readonly log: EventLog;
  readonly feed: LogFeed;
  readonly bus: MessageBus;
  readonly clock: Clock;
}

/** Long enough for reactions to an event. */
const REACTED_MS = 1_000;

/** A service at work on a log in memory, with the namespace `default`: `new TestService((ports) => new ServiceEngine(storageService(), ports))`. */
export class TestService {
  readonly clock = new VirtualClock();
  readonly log: MemoryEventLog;
  private engine: Engine | null = null;
  private commands = 0;

  constructor(
    private readonly engineOf: (ports: Ports) => Engine,
    latency: MemoryLatency = {},
  ) {
    this.log = new MemoryEventLog(this.clock, latency);
  }

  async start(): Promise<this> {
    const commandId = uuidFrom('namespace');
    this.log.append({
      commandId,
      requestHash: '',
      writes: [],
      claims: [{ op: 'claim', scope: 'namespace/active', value: 'default', holder: commandId }],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'user:test', at: 0 },
      result: {},
    });
    const connection = this.log.connect();
    const bus = new MemoryBus(this.clock).connect();
    this.engine = this.engineOf({ log: connection, feed: connection, bus, clock: this.clock });
    await this.settled(this.engine.start());
    return this;
  }

  send(
    type: string,
    object: string,
    data: object,
    more: { readonly actor?: string; readonly dryRun?: boolean } = {},
  ): Promise<Reply> {
    if (!this.engine) throw new Error('the service was not started');
    this.commands += 1;
    const commandId = uuidFrom('command', this.commands);
    return this.engine.handle({
      commandId,
      type,
      streamId: uuidFrom(object),
      data: data as JsonObject,
      actor: 'user:test',
      correlationId: commandId,
      causationId: commandId,
      at: this.clock.now(),
      ...more,
    });
  }

  /** An event of another service's stream. */
  async logged(category: string, streamId: Uuid, type: string): Promise<void> {
    const commandId = uuidFrom('logged', streamId, type);
    this.log.append({
      commandId,
      requestHash: '',
      writes: [
        {
          streamId,
          category,
          expected: 'any',
          events: [{ type, schemaVersion: 1, data: {} }],
          document: null,
          ends: false,
        },
      ],
      claims: [],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'user:test', at: 0 },
      result: {},
    });
    await this.clock.advance(REACTED_MS);
  }

  create(kind: string, name: string, spec: object, namespaced = true): Promise<Reply> {
    const metadata = { name, ...(namespaced ? { namespace: 'default' } : {}) };
    return this.send(`Change${kind}`, name, { intent: 'create', metadata, spec });
  }

  update(kind: string, name: string, spec: object, namespaced = true): Promise<Reply> {
    const metadata = { name, ...(namespaced ? { namespace: 'default' } : {}) };
    return this.send(`Change${kind}`, name, { intent: 'update', metadata, spec });
  }

  /** Settles the promise by moving virtual time. */
  async settled<Value>(promise: Promise<Value>): Promise<Value> {
    let done = false;
    void promise.finally(() => (done = true));
    await this.clock.advanceUntil(() => done, 600_000);
    return promise;
  }

  /** Documents of a category by name. */
  documents(category: string): ReadonlyMap<string, { readonly status: JsonObject; readonly metadata: JsonObject }> {
    const entries = this.log.documents([category]).documents.map(({ document }) => {
      const { metadata, status } = document as unknown as { metadata: { name: string }; status: JsonObject };
      return [metadata.name, { metadata: metadata, status }] as const;
    });
    return new Map(entries);
  }
}

/** What a reply says in one word: `ok`, or the code of its refusal. */
export const verdict = (reply: Reply): string => (reply.ok ? 'ok' : reply.rejection.code);

export const owner = (name: string): { apiVersion: string; kind: string; name: string; uid: Uuid } => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  name,
  uid: uuidFrom('vm', name),
});
export const machine = (name: string): { uid: Uuid; name: string } => ({ uid: uuidFrom('vm', name), name });
