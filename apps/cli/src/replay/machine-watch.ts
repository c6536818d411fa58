import { z } from 'zod';
import { UserError } from '../terminal.js';
import { refusalOf, type ApiClient } from './api-client.js';

const machineSchema = z.looseObject({
  metadata: z.looseObject({ name: z.string(), resourceVersion: z.string() }),
  status: z
    .looseObject({
      powerState: z.string().optional(),
      host: z.string().optional(),
      conditions: z.array(z.looseObject({ type: z.string(), reason: z.string(), message: z.string() })).default([]),
    })
    .optional(),
});

/** What the replay needs to know of a machine. */
export interface SeenMachine {
  readonly name: string;
  readonly running: boolean;
  readonly host: string | undefined;
  /** Reason and message of the Ready condition. */
  readonly reason: string;
  readonly message: string;
}

const eventSchema = z.discriminatedUnion('type', [
  z.looseObject({ type: z.literal('ADDED'), object: machineSchema }),
  z.looseObject({ type: z.literal('MODIFIED'), object: machineSchema }),
  z.looseObject({ type: z.literal('DELETED'), object: machineSchema }),
  z.looseObject({
    type: z.literal('BOOKMARK'),
    object: z.looseObject({ metadata: z.looseObject({ resourceVersion: z.string() }) }),
  }),
  z.looseObject({ type: z.literal('ERROR'), object: z.looseObject({ code: z.number().optional() }) }),
]);

const listSchema = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string() }),
  items: z.array(machineSchema),
});

const seenOf = (machine: z.infer<typeof machineSchema>): SeenMachine => {
  const ready = machine.status?.conditions.find(({ type }) => type === 'Ready');
  return {
    name: machine.metadata.name,
    running: machine.status?.powerState === 'Running',
    host: machine.status?.host,
    reason: ready?.reason ?? '',
    message: ready?.message ?? '',
  };
};

export interface MachineListener {
  onSeen(machine: SeenMachine): void;
  onGone(name: string): void;
  /** All that exists: what is not among them is gone. */
  onListed(names: ReadonlySet<string>): void;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Follows the machines of a selector: lists, watches from there, and lists again when the watch can't go on. */
export class MachineWatch {
  private readonly abort = new AbortController();
  private version: string | null = null;
  private done: Promise<void> = Promise.resolve();

  constructor(
    private readonly client: ApiClient,
    private readonly collection: string,
    private readonly selector: string,
    private readonly listener: MachineListener,
  ) {}

  /** Settles when the first list has been read; from then on nothing is missed. */
  async start(): Promise<void> {
    await this.list();
    this.done = this.follow();
  }

  async stop(): Promise<void> {
    this.abort.abort();
    await this.done;
  }

  private async list(): Promise<void> {
    const answer = await this.client.send('GET', `${this.collection}?${this.query({})}`);
    if (answer.status !== 200) {
      const { message } = refusalOf(answer);
      throw new UserError(`cannot list virtual machines: ${message}`, ['Is this the API of a Xenolith platform?']);
    }
    const { metadata, items } = listSchema.parse(answer.body);
    this.version = metadata.resourceVersion;
    this.listener.onListed(new Set(items.map((item) => item.metadata.name)));
    for (const item of items) this.listener.onSeen(seenOf(item));
  }

  private async follow(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    while (!this.abort.signal.aborted) {
      try {
        if (this.version === null) await this.list();
        const before = this.version;
        const query = { watch: 'true', allowWatchBookmarks: 'true', resourceVersion: this.version ?? '' };
        const status = await this.client.watch(`${this.collection}?${this.query(query)}`, this.abort.signal, (line) =>
          this.take(line),
        );
        if (status !== 200) this.version = null;
        if (this.version !== before) pauseMs = FIRST_PAUSE_MS;
      } catch {
        // The connection broke, or the server restarts: the list tells what was missed.
        this.version = null;
      }
      await this.pause(pauseMs);
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
  }

  private take(line: unknown): void {
    const event = eventSchema.parse(line);
    switch (event.type) {
      case 'ERROR':
        // Too old, as a rule: list again.
        this.version = null;
        return;
      case 'BOOKMARK':
        this.version = event.object.metadata.resourceVersion;
        return;
      case 'DELETED':
        this.version = event.object.metadata.resourceVersion;
        this.listener.onGone(event.object.metadata.name);
        return;
      case 'ADDED':
      case 'MODIFIED':
        this.version = event.object.metadata.resourceVersion;
        this.listener.onSeen(seenOf(event.object));
        return;
    }
  }

  private query(parameters: Readonly<Record<string, string>>): string {
    return new URLSearchParams({ labelSelector: this.selector, ...parameters }).toString();
  }

  private pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.abort.signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
  }
}
