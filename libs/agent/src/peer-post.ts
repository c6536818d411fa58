import { agentSubject } from '@xenolith/contracts';
import { uuidFrom, type JsonObject, type Reply, type Uuid } from '@xenolith/kernel';
import type { HostEvent } from '@xenolith/xen';
import type { Fleet, HostSlot } from './fleet.js';
import type { EntryOf, JournalEntry, Posted } from './journal.js';
import { messageFrom } from './messages.js';
import type { Outbox } from './outbox.js';

export interface PeerPostParts {
  readonly fleet: Fleet;
  readonly outbox: Outbox;
  readonly keep: (entry: JournalEntry) => Promise<void>;
  /** Settles when all that was kept so far would survive a crash. */
  readonly settled: () => Promise<void>;
}

const keyOf = ({ host, to, uid, incarnation }: Posted): string => `peer/${host}/${to}/${uid}/${incarnation}`;

/**
 * Carries what hosts say to each other in a migration: one message of each side at a time, until the other host's agent has taken it. A message leaves only when what made
 * the host say it can't be lost any more.
 */
export class PeerPost {
  private readonly queues = new Map<string, Posted[]>();
  /** Found delivered in the journal before the host had come to say it. */
  private readonly delivered = new Set<Uuid>();
  private live = false;

  constructor(private readonly parts: PeerPostParts) {}

  goLive(): void {
    this.live = true;
    for (const key of this.queues.keys()) this.post(key);
  }

  said(slot: HostSlot, event: HostEvent & { type: 'peer' }): void {
    const { to, uid, incarnation, seq, connection, at } = event;
    const id = uuidFrom('DeliverMigrationMessage', slot.uid, to, uid, incarnation, seq, at);
    const message = event.message as unknown as JsonObject;
    this.add({ id, host: slot.name, to, uid, incarnation, seq, connection, at, message });
  }

  /** Power is gone: what the host had still to say it never says. */
  lostPower(slot: HostSlot): void {
    for (const [key, queue] of this.queues) if (queue[0]?.host === slot.name) this.queues.delete(key);
  }

  recover(entry: EntryOf<'delivered'> | EntryOf<'posted'> | EntryOf<'peerRefused'>): void {
    switch (entry.k) {
      case 'posted':
        this.add(entry.posted);
        return;
      case 'delivered':
        if (!this.take(entry.id)) this.delivered.add(entry.id);
        return;
      case 'peerRefused':
        this.parts.fleet.moveTo(entry.at);
        this.tell(entry);
        return;
    }
  }

  snapshot(): JournalEntry[] {
    return [...this.queues.values()].flat().map((posted) => ({ k: 'posted', posted }));
  }

  private add(posted: Posted): void {
    if (this.delivered.delete(posted.id)) return;
    const key = keyOf(posted);
    // What was said over an earlier connection is lost with it.
    const queue = (this.queues.get(key) ?? []).filter(({ connection }) => connection >= posted.connection);
    this.queues.set(key, [...queue, posted]);
    if (this.live) void this.parts.settled().then(() => this.post(key));
  }

  /** Takes a message off its queue; false: it is on none. */
  private take(id: Uuid): boolean {
    for (const [key, queue] of this.queues) {
      if (!queue.some((posted) => posted.id === id)) continue;
      const left = queue.filter((posted) => posted.id !== id);
      if (left.length > 0) this.queues.set(key, left);
      else this.queues.delete(key);
      return true;
    }
    return false;
  }

  private post(key: string): void {
    const [first] = this.queues.get(key) ?? [];
    if (!first) return;
    const sent: { posted: Posted | null } = { posted: null };
    this.parts.outbox.post({
      key,
      subject: agentSubject(first.to, 'DeliverMigrationMessage'),
      message: () => {
        sent.posted = this.queues.get(key)?.[0] ?? null;
        if (sent.posted === null) return null;
        const { id, host, uid, incarnation, seq, message, at } = sent.posted;
        const data: JsonObject = { incarnation, from: host, seq, message };
        return messageFrom({ name: host }, { id, type: 'DeliverMigrationMessage', streamId: uid, data, at });
      },
      answered: (reply) => this.answered(key, sent.posted, reply),
    });
  }

  private answered(key: string, posted: Posted | null, reply: Reply): number | null {
    // One that was given up meanwhile is not what the host waits for any more.
    if (posted !== null && this.take(posted.id)) {
      void this.parts.keep({ k: 'delivered', id: posted.id });
      if (!reply.ok) this.refused(posted, reply.rejection.code === 'host_unknown_domain');
    }
    return this.queues.has(key) ? 0 : null;
  }

  private refused({ host, uid, incarnation, connection }: Posted, unknown: boolean): void {
    const entry = {
      k: 'peerRefused',
      at: this.parts.fleet.now(),
      host,
      uid,
      incarnation,
      connection,
      unknown,
    } as const;
    void this.parts.keep(entry);
    this.tell(entry);
  }

  private tell({ at, host, uid, incarnation, connection, unknown }: EntryOf<'peerRefused'>): void {
    const { fleet } = this.parts;
    fleet.apply(fleet.slot(host), { do: 'peerRefused', uid, incarnation, connection, unknown }, at);
  }
}
