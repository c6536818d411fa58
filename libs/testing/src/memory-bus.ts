import {
  BusFault,
  subjectMatches,
  type Clock,
  type CommandMessage,
  type JsonObject,
  type MessageBus,
  type Reply,
  type ServeContext,
  type Subscription,
} from '@xenolith/kernel';

/** What the network does to one message: the delay of each copy that arrives; an empty list loses it. Absent: it arrives at once. */
export type NetworkPolicy = (message: {
  readonly subject: string;
  readonly kind: 'request' | 'reply' | 'publish';
  readonly from: string;
  readonly type: string;
}) => readonly number[];

type Handler = (message: CommandMessage, context: ServeContext) => Promise<Reply>;

interface Server {
  readonly connection: MemoryBusConnection;
  readonly handler: Handler;
}

interface Listener {
  readonly connection: MemoryBusConnection;
  readonly pattern: string;
  readonly handler: (payload: JsonObject, subject: string) => void;
}

/** The message bus in memory. Processes reach it through connections that can be killed as a process can. */
export class MemoryBus {
  private readonly servers = new Map<string, Server[]>();
  private readonly listeners: Listener[] = [];
  private turn = 0;

  constructor(
    readonly clock: Clock,
    private readonly network: NetworkPolicy = () => [0],
  ) {}

  connect(name = 'process'): MemoryBusConnection {
    return new MemoryBusConnection(this, name);
  }

  register(subject: string, server: Server): () => void {
    const servers = this.servers.get(subject) ?? [];
    servers.push(server);
    this.servers.set(subject, servers);
    return () => {
      const at = servers.indexOf(server);
      if (at >= 0) servers.splice(at, 1);
    };
  }

  listen(listener: Listener): () => void {
    this.listeners.push(listener);
    return () => {
      const at = this.listeners.indexOf(listener);
      if (at >= 0) this.listeners.splice(at, 1);
    };
  }

  drop(connection: MemoryBusConnection): void {
    for (const servers of this.servers.values()) removeAll(servers, (server) => server.connection === connection);
    removeAll(this.listeners, (listener) => listener.connection === connection);
  }

  /** Carries a request to a server and its reply back; each way the network has its say. */
  deliver(
    from: string,
    subject: string,
    message: CommandMessage,
    options: { deadline: number; onReply: (reply: Reply) => void; onFault: (fault: BusFault) => void },
  ): void {
    const copy = structuredClone(message);
    for (const delay of this.network({ subject, kind: 'request', from, type: message.type })) {
      this.later(delay, () => {
        const server = this.pick(subject);
        if (!server) {
          options.onFault(new BusFault('no_responders', `nobody serves ${subject}`));
          return;
        }
        void this.serve(server, subject, structuredClone(copy), options);
      });
    }
  }

  spread(from: string, subject: string, payload: JsonObject): void {
    const copy = structuredClone(payload);
    for (const delay of this.network({ subject, kind: 'publish', from, type: '' })) {
      this.later(delay, () => {
        for (const listener of [...this.listeners])
          if (subjectMatches(listener.pattern, subject)) listener.handler(structuredClone(copy), subject);
      });
    }
  }

  private async serve(
    server: Server,
    subject: string,
    message: CommandMessage,
    options: { deadline: number; onReply: (reply: Reply) => void; onFault: (fault: BusFault) => void },
  ): Promise<void> {
    const { connection } = server;
    const context: ServeContext = { subject, deadline: options.deadline, signal: connection.signal };
    try {
      const reply = structuredClone(await server.handler(message, context));
      if (connection.signal.aborted) return;
      for (const delay of this.network({ subject, kind: 'reply', from: connection.name, type: message.type }))
        this.later(delay, () => options.onReply(reply));
    } catch (error) {
      if (!connection.signal.aborted)
        options.onFault(
          new BusFault('fault', `${message.type} failed: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          }),
        );
    }
  }

  private pick(subject: string): Server | undefined {
    const servers = this.servers.get(subject) ?? this.serversByPattern(subject);
    this.turn += 1;
    return servers[this.turn % Math.max(1, servers.length)];
  }

  private serversByPattern(subject: string): readonly Server[] {
    for (const [pattern, servers] of this.servers)
      if (pattern.includes('*') && servers.length > 0 && subjectMatches(pattern, subject)) return servers;
    return [];
  }

  private later(delay: number, action: () => void): void {
    if (delay > 0) this.clock.after(delay, action);
    else queueMicrotask(action);
  }
}

/** One process's access to the bus. */
export class MemoryBusConnection implements MessageBus {
  private readonly life = { aborted: false };

  constructor(
    private readonly bus: MemoryBus,
    readonly name: string,
  ) {}

  get signal(): { readonly aborted: boolean } {
    return this.life;
  }

  /** As SIGKILL would: it serves nothing more, and no request of its own is ever answered. */
  kill(): void {
    this.life.aborted = true;
    this.bus.drop(this);
  }

  request(subject: string, message: CommandMessage, options: { readonly timeoutMs: number }): Promise<Reply> {
    if (this.life.aborted) return new Promise(() => undefined);
    return new Promise((resolve, fail) => {
      const cancel = this.bus.clock.after(options.timeoutMs, () => {
        if (!this.life.aborted)
          fail(new BusFault('timeout', `${subject} did not answer within ${options.timeoutMs} ms`));
      });
      this.bus.deliver(this.name, subject, message, {
        deadline: this.bus.clock.now() + options.timeoutMs,
        onReply: (reply) => {
          cancel();
          if (!this.life.aborted) resolve(reply);
        },
        onFault: (fault) => {
          cancel();
          if (!this.life.aborted) fail(fault);
        },
      });
    });
  }

  serve(subject: string, handler: Handler): Promise<Subscription> {
    const unregister = this.bus.register(subject, { connection: this, handler });
    return Promise.resolve({
      stop: () => {
        unregister();
        return Promise.resolve();
      },
    });
  }

  publish(subject: string, payload: JsonObject): void {
    if (!this.life.aborted) this.bus.spread(this.name, subject, payload);
  }

  subscribe(pattern: string, handler: (payload: JsonObject, subject: string) => void): Promise<Subscription> {
    const unlisten = this.bus.listen({ connection: this, pattern, handler });
    return Promise.resolve({
      stop: () => {
        unlisten();
        return Promise.resolve();
      },
    });
  }
}

const removeAll = <Item>(items: Item[], condition: (item: Item) => boolean): void => {
  for (let index = items.length - 1; index >= 0; index -= 1) {
    const item = items[index];
    if (item !== undefined && condition(item)) items.splice(index, 1);
  }
};
