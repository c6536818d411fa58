import type { CommandMessage, JsonObject, Reply } from '@xenolith/kernel';
import { headers, type Msg, type MsgHdrs } from '@nats-io/transport-node';
import { z } from 'zod';

/** Milliseconds since the epoch after which nobody waits for the reply. */
export const DEADLINE_HEADER = 'Xenolith-Deadline';
/** Marks a message to a reply inbox that is not the reply itself; its value is a `SignalKind`, its payload a sentence. */
export const FRAME_HEADER = 'Xenolith-Frame';

/**
 * What a server says instead of a reply. `keep_alive`: still in hand; `ask_again`: not taken, ask another server; `overloaded`: not taken, the
 * queue is full; `expired`: not taken, the deadline has passed; `fault`: the handler threw, the effect is unknown.
 */
const SIGNAL_KINDS = ['keep_alive', 'ask_again', 'overloaded', 'expired', 'fault'] as const;
export type SignalKind = (typeof SIGNAL_KINDS)[number];

export type Frame =
  | { readonly kind: 'reply'; readonly reply: Reply }
  | { readonly kind: 'no_responders' }
  | { readonly kind: SignalKind; readonly message: string }
  | { readonly kind: 'malformed'; readonly message: string };

const jsonObject = z.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object',
);

// Loose: members that newer senders add pass through to the handler.
const commandMessage = z.looseObject({
  commandId: z.string().min(1),
  type: z.string().min(1),
  streamId: z.string().min(1),
  data: jsonObject,
  actor: z.string().min(1),
  sourceAddress: z.string().optional(),
  correlationId: z.string().min(1),
  causationId: z.string().min(1),
  causePosition: z.number().int().optional(),
  at: z.number(),
  expectedVersion: z.number().int().optional(),
  dryRun: z.boolean().optional(),
  undoes: z.string().optional(),
});

const rejection = z.looseObject({ code: z.string(), message: z.string() });

const replyFrame = z.union([
  z.object({ ok: z.literal(true), value: jsonObject }),
  z.object({ ok: z.literal(false), rejection }),
]);

const sentence = (error: z.ZodError): string =>
  error.issues.map((issue) => `${issue.path.join('.') || 'message'}: ${issue.message}`).join('; ');

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
};

/** The command in a request's payload, or a sentence that says what is wrong with it. */
export const parseCommand = (text: string): CommandMessage | string => {
  const parsed = commandMessage.safeParse(parseJson(text));
  // zod types absent members as `undefined`; JSON has no such members, so the exact type holds.
  return parsed.success ? (parsed.data as CommandMessage) : `malformed command: ${sentence(parsed.error)}`;
};

/** The object in a signal's payload, or null when it holds none. */
export const parseObject = (text: string): JsonObject | null => jsonObject.safeParse(parseJson(text)).data ?? null;

const isSignalKind = (text: string): text is SignalKind => (SIGNAL_KINDS as readonly string[]).includes(text);

/** Reads a message that arrived at a reply inbox. */
export const readFrame = (message: Msg): Frame => {
  if (message.headers?.code === 503 && message.data.length === 0) return { kind: 'no_responders' };
  const signal = message.headers?.get(FRAME_HEADER) ?? '';
  if (isSignalKind(signal)) return { kind: signal, message: message.string() };
  const parsed = replyFrame.safeParse(parseJson(message.string()));
  if (!parsed.success) return { kind: 'malformed', message: `malformed reply: ${sentence(parsed.error)}` };
  return { kind: 'reply', reply: parsed.data as Reply };
};

export const signalHeaders = (kind: SignalKind): MsgHdrs => {
  const marked = headers();
  marked.set(FRAME_HEADER, kind);
  return marked;
};

/** The deadline of a request, or null when the sender stated none that can be read. */
export const deadlineOf = (message: Msg): number | null => {
  const stated = Number(message.headers?.get(DEADLINE_HEADER) || Number.NaN);
  return Number.isFinite(stated) ? stated : null;
};
