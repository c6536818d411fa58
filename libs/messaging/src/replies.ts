import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node';
import type { Link } from './link.js';
import type { Turn } from './turn.js';

/** Replies that became ready while NATS was away are kept up to this many; a sender whose reply was dropped asks again. */
const KEPT_REPLIES = 1_024;

interface KeptReply {
  readonly inbox: string;
  readonly payload: Uint8Array;
  readonly headers: MsgHdrs | undefined;
}

const encoder = new TextEncoder();

/** Sends replies, and keeps a bounded number of them over a break of the connection, during which the client would drop them. */
export class Replies {
  #kept: KeptReply[] = [];

  constructor(
    private readonly connection: NatsConnection,
    private readonly link: Link,
    private readonly turn: Turn,
  ) {
    link.onChange((connected) => {
      if (!connected) return;
      const kept = this.#kept;
      this.#kept = [];
      for (const { inbox, payload, headers } of kept) this.#publish(inbox, payload, headers);
    });
  }

  /** Sends `text` to each inbox; answers a sentence when it is too long for NATS. Senders that gave no inbox get nothing. */
  send(inboxes: Iterable<string>, text: string, headers?: MsgHdrs): string | undefined {
    const payload = encoder.encode(text);
    const limit = this.connection.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (payload.length > limit) return `the reply has ${payload.length} bytes and NATS takes ${limit} at most`;
    for (const inbox of inboxes) {
      if (inbox !== '') this.turn.add(() => this.#sendOrKeep({ inbox, payload, headers }));
    }
    return undefined;
  }

  #sendOrKeep(reply: KeptReply): void {
    if (this.link.connected) this.#publish(reply.inbox, reply.payload, reply.headers);
    else if (this.#kept.length < KEPT_REPLIES) this.#kept.push(reply);
  }

  #publish(inbox: string, payload: Uint8Array, headers: MsgHdrs | undefined): void {
    // Once the connection ends nobody waits any more: senders ask another server.
    if (!this.connection.isClosed() && !this.connection.isDraining())
      this.connection.publish(inbox, payload, headers ? { headers } : {});
  }
}
