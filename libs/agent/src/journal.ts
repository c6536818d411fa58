import type { JsonObject, Reply } from '@xenolith/kernel';
import type { MemorySharing, ProfileName, HostDevices, XenSetup } from '@xenolith/xen';
import { z } from 'zod';

const json = z.custom<JsonObject>((value) => typeof value === 'object' && value !== null);

/** What a fault rule does to one command, as the dice fell. */
export const strike = z.strictObject({
  rule: z.string(),
  phase: z.enum(['before', 'after']),
  delayMs: z.number(),
  /** `none`: the delay is all. */
  then: z.enum(['none', 'fail', 'timeout', 'crash']),
  code: z.string(),
  message: z.string(),
});
export type Strike = z.infer<typeof strike>;

const reply = z.custom<Reply>((value) => typeof value === 'object' && value !== null && 'ok' in value);
const at = z.number();
const rules = z.array(z.strictObject({ uid: z.string(), name: z.string(), spec: json }));
export type RuleList = z.infer<typeof rules>;

const command = {
  at,
  host: z.string(),
  id: z.string(),
  hash: z.string(),
  type: z.string(),
  uid: z.string(),
  data: json,
  strikes: z.array(strike),
  /** Somebody gave it on the host itself, with this command of a tool. */
  direct: z.string().optional(),
};

const report = z.strictObject({
  at,
  host: z.string(),
  id: z.string(),
  type: z.string(),
  uid: z.string(),
  data: json,
});
export type Report = z.infer<typeof report>;

/** What a host has to say to another in a migration. */
const posted = z.strictObject({
  id: z.string(),
  at,
  host: z.string(),
  to: z.string(),
  uid: z.string(),
  /** The run that the machine has at its target. */
  incarnation: z.number(),
  seq: z.number(),
  connection: z.number(),
  message: json,
});
export type Posted = z.infer<typeof posted>;

/** A line of the journal. Times are milliseconds since the epoch and never go back. */
export const journalEntry = z.discriminatedUnion('k', [
  /** The first line: what the fleet's machines are is fixed here. */
  z.strictObject({ k: z.literal('born'), at, seed: z.string(), profile: z.custom<ProfileName>() }),
  /** What a host is, from before anything happened to it; one that has no such line is the usual one of Xen's. */
  z.strictObject({
    k: z.literal('made'),
    host: z.string(),
    hypervisor: z.enum(['xen', 'kvm']),
    profile: z.custom<ProfileName>().optional(),
    setup: z.custom<XenSetup>().optional(),
    devices: z.custom<HostDevices>().optional(),
    memorySharing: z.custom<MemorySharing>().optional(),
  }),
  /** The agent started; from here on guests boot in this time. */
  z.strictObject({ k: z.literal('opened'), at, bootTimeMs: z.number() }),
  /** Takes effect at once unless a strike delays it. */
  z.strictObject({ k: z.literal('accepted'), ...command, undoes: z.string().optional() }),
  /** A command that was held back took effect. */
  z.strictObject({ k: z.literal('applied'), at, id: z.string() }),
  /** `cause`: the command that a fault rule struck. */
  z.strictObject({ k: z.literal('crashed'), at, host: z.string(), cause: z.string().optional() }),
  z.strictObject({
    k: z.literal('guest'),
    at,
    host: z.string(),
    uid: z.string(),
    reason: z.enum(['poweroff', 'reboot', 'crash']),
  }),
  /** `reply` is null for a command that is never answered. */
  z.strictObject({ k: z.literal('answered'), id: z.string(), reply: reply.nullable() }),
  /** The fault rules of a host; the list itself once, then its hash. */
  z.strictObject({ k: z.literal('rules'), host: z.string(), hash: z.string(), list: rules.optional() }),
  /** A host was told what shall go wrong inside it. */
  z.strictObject({ k: z.literal('faults'), at, host: z.string(), faults: z.array(json) }),
  z.strictObject({ k: z.literal('reported'), id: z.string() }),
  /** Compute has heard of the boot that followed upon a crash that a fault rule wanted. */
  z.strictObject({ k: z.literal('registered'), host: z.string() }),
  /** The other host's agent has taken a message, or refused it. */
  z.strictObject({ k: z.literal('delivered'), id: z.string() }),
  /** A host learns that its message was refused. */
  z.strictObject({
    k: z.literal('peerRefused'),
    at,
    host: z.string(),
    uid: z.string(),
    incarnation: z.number(),
    connection: z.number(),
    unknown: z.boolean(),
  }),
  // The lines below are what a snapshot consists of, beside `born`, `made`, `opened` and `rules`.
  /** `told`: hash of the faults that it was told of. */
  z.strictObject({ k: z.literal('host'), name: z.string(), state: z.string(), told: z.string().optional() }),
  z.strictObject({
    k: z.literal('command'),
    ...command,
    stage: z.enum(['held', 'working', 'finishing', 'answered']),
    doneAt: z.number(),
    reply: reply.nullable(),
  }),
  z.strictObject({ k: z.literal('cancelled'), at, id: z.string() }),
  z.strictObject({ k: z.literal('fired'), rule: z.string(), count: z.number(), host: z.string(), command: z.string() }),
  z.strictObject({ k: z.literal('report'), report }),
  /** The rule, at its `count`-th firing, made the host crash, and compute has not heard of the boot since. */
  z.strictObject({ k: z.literal('struckDown'), host: z.string(), rule: z.string(), count: z.number() }),
  z.strictObject({ k: z.literal('posted'), posted }),
]);
export type JournalEntry = z.infer<typeof journalEntry>;
export type EntryOf<Kind extends JournalEntry['k']> = Extract<JournalEntry, { k: Kind }>;

/** Where an agent keeps what it has accepted. */
export interface Journal {
  /** Everything kept so far, in order. Called once, before the first append. */
  read(): AsyncIterable<JournalEntry>;
  /** Entries keep the order of the calls. Settles when the entry would survive a crash; throws when it cannot be kept. */
  append(entry: JournalEntry): Promise<void>;
  /** Replaces everything that was appended before this call. What is appended meanwhile is kept too. */
  compact(snapshot: Iterable<JournalEntry>): Promise<void>;
}

/** A journal in memory, for simulations and tests. `crash` loses what had not been made durable. */
export class MemoryJournal implements Journal {
  private durable: JournalEntry[] = [];
  private pending: JournalEntry[] = [];

  constructor(private readonly flush: (done: () => void) => void = (done) => done()) {}

  async *read(): AsyncGenerator<JournalEntry> {
    await Promise.resolve();
    yield* this.durable;
  }

  append(entry: JournalEntry): Promise<void> {
    // A copy, as a file would hold it.
    const kept = JSON.parse(JSON.stringify(entry)) as JournalEntry;
    this.pending.push(kept);
    return new Promise((resolve) =>
      this.flush(() => {
        const through = this.pending.indexOf(kept) + 1;
        this.durable.push(...this.pending.splice(0, through));
        resolve();
      }),
    );
  }

  compact(snapshot: Iterable<JournalEntry>): Promise<void> {
    this.durable = JSON.parse(JSON.stringify([...snapshot])) as JournalEntry[];
    this.pending = [];
    return Promise.resolve();
  }

  crash(): void {
    this.pending = [];
  }

  get entries(): readonly JournalEntry[] {
    return this.durable;
  }
}
