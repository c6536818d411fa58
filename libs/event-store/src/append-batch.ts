import { createHash, randomUUID } from 'node:crypto';
import { assert, present } from '@xenolith/kernel';
import type {
  AppendOutcome,
  AppendRequest,
  ClaimChange,
  CommandResult,
  StreamVersion,
  StreamWrite,
  Uuid,
} from '@xenolith/kernel';

/** An append request on its way: serialized once, with an id of its own, so that a repeat of the call can tell our own earlier success from another sender's. */
export interface PendingAppend {
  readonly request: AppendRequest;
  readonly attempt: Uuid;
  /** For each write its events and its document as JSON without their place in the batch. */
  readonly writes: readonly { readonly events: readonly string[]; readonly document: string | null }[];
  /** Characters of `writes`. */
  readonly size: number;
}

/** The document shapes that this process writes; a category that is not listed has shape 1. */
export type DocumentShapes = Readonly<Record<string, number>>;

/** The same as kernel's `uuidFrom`, by the native hash: it is on the path of every event. */
const eventId = (commandId: Uuid, streamId: Uuid, index: number): Uuid => {
  const digest = createHash('sha256').update(`${commandId}\u0000${streamId}\u0000${index}`).digest().subarray(0, 16);
  digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x80;
  digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80;
  const hex = digest.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};

export const prepareAppend = (request: AppendRequest): PendingAppend => {
  const metadata = JSON.stringify(request.metadata);
  let size = 0;
  const streams = new Set<Uuid>();
  const writes = request.writes.map((write) => {
    assert(!streams.has(write.streamId), `command ${request.commandId} writes stream ${write.streamId} twice`);
    assert(write.events.length > 0, `command ${request.commandId} writes no event to stream ${write.streamId}`);
    streams.add(write.streamId);
    const events = write.events.map((event, index) => {
      const id = eventId(request.commandId, write.streamId, index);
      const text =
        `"i":${index + 1},"id":"${id}","t":${JSON.stringify(event.type)},"v":${event.schemaVersion},` +
        `"d":${JSON.stringify(event.data)},"m":${metadata}}`;
      size += text.length;
      return text;
    });
    const document = write.document === null ? null : JSON.stringify(write.document);
    size += document?.length ?? 0;
    return { events, document };
  });
  return { request, attempt: randomUUID(), writes, size };
};

const expectedNumber = ({ expected }: StreamWrite): number => {
  if (expected === 'any') return -1;
  return expected === 'no_stream' ? 0 : expected.exact;
};

/** Modes and operations of a claim as the SQL function knows them; a key's lock is the strongest that any of its operations needs. */
const CLAIM_OPS: Readonly<Record<ClaimChange['op'], number>> = { require: 0, release: 1, claim: 2 };

interface ClaimKey {
  readonly scope: string;
  readonly value: string;
  mode: number;
}

const claimKeyOf = (change: ClaimChange): string => `${change.scope}\u0000${change.value}`;

const byCodeUnits = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

const collectKeys = (batch: readonly PendingAppend[]): ReadonlyMap<string, ClaimKey> => {
  const keys = new Map<string, ClaimKey>();
  for (const { request } of batch) {
    for (const change of request.claims) {
      const key = keys.get(claimKeyOf(change));
      if (!key) keys.set(claimKeyOf(change), { scope: change.scope, value: change.value, mode: CLAIM_OPS[change.op] });
      else key.mode = Math.max(key.mode, CLAIM_OPS[change.op]);
    }
  }
  return new Map([...keys].sort(([left], [right]) => byCodeUnits(left, right)));
};

/** Distinct streams in id order, with the category of their first write. PostgreSQL orders lower-case UUID texts as we do. */
const collectStreams = (batch: readonly PendingAppend[]): ReadonlyMap<Uuid, string> => {
  const streams = new Map<Uuid, string>();
  for (const { request } of batch) {
    for (const write of request.writes) {
      if (!streams.has(write.streamId)) streams.set(write.streamId, write.category);
    }
  }
  return new Map([...streams].sort(([left], [right]) => byCodeUnits(left, right)));
};

const placesOf = (keys: Iterable<string>): ReadonlyMap<string, number> =>
  new Map([...keys].map((key, index) => [key, index + 1]));

const placeIn = (places: ReadonlyMap<string, number>, key: string): number =>
  present(places.get(key), `no place for ${key}`);

const writeColumns = (batch: readonly PendingAppend[], streams: ReadonlyMap<Uuid, string>, shapes: DocumentShapes) => {
  const places = placesOf(streams.keys());
  const columns = {
    request: [] as number[],
    stream: [] as number[],
    expected: [] as number[],
    count: [] as number[],
    ends: [] as boolean[],
    hasDocument: [] as boolean[],
    shape: [] as number[],
  };
  const events: string[] = [];
  const documents: string[] = [];
  batch.forEach(({ request, writes }, index) => {
    request.writes.forEach((write, order) => {
      columns.request.push(index + 1);
      columns.stream.push(placeIn(places, write.streamId));
      columns.expected.push(expectedNumber(write));
      columns.count.push(write.events.length);
      columns.ends.push(write.ends);
      columns.hasDocument.push(write.document !== null);
      columns.shape.push(shapes[write.category] ?? 1);
      const place = columns.request.length;
      const serialized = present(writes[order], 'every write was serialized');
      for (const event of serialized.events) events.push(`{"w":${place},${event}`);
      if (serialized.document !== null) documents.push(`{"w":${place},"b":${serialized.document}}`);
    });
  });
  return { columns, events: `[${events.join(',')}]`, documents: `[${documents.join(',')}]` };
};

const claimColumns = (batch: readonly PendingAppend[], keys: ReadonlyMap<string, ClaimKey>) => {
  const places = placesOf(keys.keys());
  const columns = { request: [] as number[], key: [] as number[], op: [] as number[], holder: [] as Uuid[] };
  batch.forEach(({ request }, index) => {
    for (const change of request.claims) {
      columns.request.push(index + 1);
      columns.key.push(placeIn(places, claimKeyOf(change)));
      columns.op.push(CLAIM_OPS[change.op]);
      columns.holder.push(change.holder);
    }
  });
  return columns;
};

const timerRows = (batch: readonly PendingAppend[]): readonly object[] =>
  batch.flatMap(({ request }, index) =>
    request.timers.map((timer) =>
      timer.op === 'set'
        ? { r: index + 1, op: 'set', id: timer.id, due: timer.dueAt, subject: timer.subject, command: timer.command }
        : { r: index + 1, op: 'cancel', id: timer.id },
    ),
  );

/** The call of `es.append`; the order of the values is the order of the function's parameters. */
export const APPEND_CALL = `select bases, refusals from es.append(
  $1::uuid[], $2::json, $3::uuid[], $4::text[], $5::int[], $6::int[], $7::bigint[], $8::int[], $9::boolean[], $10::boolean[],
  $11::int[], $12::json, $13::json, $14::text[], $15::text[], $16::int[], $17::int[], $18::int[], $19::int[], $20::uuid[],
  $21::json, $22::json)`;

export const appendValues = (batch: readonly PendingAppend[], shapes: DocumentShapes): readonly unknown[] => {
  const streams = collectStreams(batch);
  const keys = collectKeys(batch);
  const { columns, events, documents } = writeColumns(batch, streams, shapes);
  const claims = claimColumns(batch, keys);
  const requests = batch.map(({ request, attempt }, index) => ({
    r: index + 1,
    h: request.requestHash,
    a: attempt,
    s: request.result,
  }));
  const cancels = batch.flatMap(({ request }, index) => request.cancels.map((id) => ({ r: index + 1, id })));
  const lockedKeys = [...keys.values()];
  return [
    batch.map(({ request }) => request.commandId),
    JSON.stringify(requests),
    [...streams.keys()],
    [...streams.values()],
    columns.request,
    columns.stream,
    columns.expected,
    columns.count,
    columns.ends,
    columns.hasDocument,
    columns.shape,
    events,
    documents,
    lockedKeys.map((key) => key.scope),
    lockedKeys.map((key) => key.value),
    lockedKeys.map((key) => key.mode),
    claims.request,
    claims.key,
    claims.op,
    claims.holder,
    JSON.stringify(timerRows(batch)),
    JSON.stringify(cancels),
  ];
};

/** What `es.append` says of a request that it did not accept. */
type Refusal = { readonly request: number } & (
  | { readonly status: 'known'; readonly attempt: Uuid | null; readonly stored: CommandResult }
  | { readonly status: 'conflict'; readonly streamId: Uuid; readonly actual: number }
  | { readonly status: 'claim_taken'; readonly scope: string; readonly value: string; readonly holder: Uuid }
  | { readonly status: 'claim_missing'; readonly scope: string; readonly value: string }
  | { readonly status: 'stream_ended'; readonly streamId: Uuid }
);

export interface AppendAnswer {
  /** For each write the stream's version before it, as text; -1 when it was not done. */
  readonly bases: readonly string[];
  readonly refusals: readonly Refusal[] | null;
}

const refusedOutcome = (refusal: Refusal, pending: PendingAppend): AppendOutcome => {
  const { request: _place, ...outcome } = refusal;
  if (outcome.status !== 'known') return outcome;
  // The earlier success was ours: its answer got lost with a connection.
  if (outcome.attempt === pending.attempt) return { status: 'appended', versions: outcome.stored.versions };
  return { status: 'known', stored: outcome.stored };
};

/** The outcomes, in the order of the batch. */
export const outcomesOf = (batch: readonly PendingAppend[], answer: AppendAnswer): readonly AppendOutcome[] => {
  const refused = new Map((answer.refusals ?? []).map((refusal) => [refusal.request, refusal]));
  let write = 0;
  return batch.map((pending, index) => {
    const bases = answer.bases.slice(write, (write += pending.request.writes.length));
    const refusal = refused.get(index + 1);
    if (refusal) return refusedOutcome(refusal, pending);
    const versions = pending.request.writes.map(({ streamId, events }, order): StreamVersion => ({
      streamId,
      version: Number(bases[order]) + events.length,
    }));
    return { status: 'appended', versions };
  });
};
