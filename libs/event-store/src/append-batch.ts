import { hash, randomUUID } from 'node:crypto';
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
  /** For each write the ids and the data of its events, and its document, as JSON. */
  readonly writes: readonly {
    readonly eventIds: readonly Uuid[];
    readonly data: readonly string[];
    readonly document: string | null;
  }[];
  readonly metadata: string;
  readonly result: string;
  /** Characters of JSON. */
  readonly size: number;
}

/** The document shapes that this process writes; a category that is not listed has shape 1. */
export type DocumentShapes = Readonly<Record<string, number>>;

/** The same as kernel's `uuidFrom`, by the native hash: it is on the path of every event. */
const eventId = (commandId: Uuid, streamId: Uuid, index: number): Uuid => {
  const hex = hash('sha256', `${commandId}\u0000${streamId}\u0000${index}`);
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
};

export const prepareAppend = (request: AppendRequest): PendingAppend => {
  const metadata = JSON.stringify(request.metadata);
  const result = JSON.stringify(request.result);
  let size = metadata.length + result.length;
  const streams = new Set<Uuid>();
  const writes = request.writes.map(({ streamId, events, document }) => {
    assert(!streams.has(streamId), `command ${request.commandId} writes stream ${streamId} twice`);
    assert(events.length > 0, `command ${request.commandId} writes no event to stream ${streamId}`);
    streams.add(streamId);
    const serialized = {
      eventIds: events.map((_, index) => eventId(request.commandId, streamId, index)),
      data: events.map((event) => JSON.stringify(event.data)),
      document: document === null ? null : JSON.stringify(document),
    };
    for (const text of serialized.data) size += text.length;
    size += serialized.document?.length ?? 0;
    return serialized;
  });
  return { request, attempt: randomUUID(), writes, metadata, result, size };
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

/** The writes, events and documents of a batch as parallel arrays. */
class WriteColumns {
  readonly request: number[] = [];
  readonly stream: number[] = [];
  readonly expected: number[] = [];
  readonly count: number[] = [];
  readonly ends: boolean[] = [];
  readonly hasDocument: boolean[] = [];
  readonly shape: number[] = [];
  readonly eventWrite: number[] = [];
  readonly eventIndex: number[] = [];
  readonly eventId: Uuid[] = [];
  readonly eventType: string[] = [];
  readonly eventSchema: number[] = [];
  readonly eventData: string[] = [];
  readonly documentWrite: number[] = [];
  readonly documentBody: string[] = [];
  /** Streams that may be new: a stated version above 0 says that they are not. */
  readonly created = new Set<Uuid>();

  add(pending: PendingAppend, requestPlace: number, places: ReadonlyMap<string, number>, shapes: DocumentShapes): void {
    pending.request.writes.forEach((write, order) => {
      const serialized = present(pending.writes[order], 'every write was serialized');
      const expected = expectedNumber(write);
      this.request.push(requestPlace);
      this.stream.push(placeIn(places, write.streamId));
      this.expected.push(expected);
      this.count.push(write.events.length);
      this.ends.push(write.ends);
      this.hasDocument.push(serialized.document !== null);
      this.shape.push(shapes[write.category] ?? 1);
      if (expected < 1) this.created.add(write.streamId);
      const place = this.request.length;
      write.events.forEach((event, index) => {
        this.eventWrite.push(place);
        this.eventIndex.push(index + 1);
        this.eventType.push(event.type);
        this.eventSchema.push(event.schemaVersion);
      });
      this.eventId.push(...serialized.eventIds);
      this.eventData.push(...serialized.data);
      if (serialized.document === null) return;
      this.documentWrite.push(place);
      this.documentBody.push(serialized.document);
    });
  }
}

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

const PARAMETER_TYPES = [
  ...['uuid[]', 'text[]', 'uuid[]', 'text', 'text'],
  ...['uuid[]', 'text[]', 'uuid[]', 'text[]'],
  ...['int[]', 'int[]', 'bigint[]', 'int[]', 'boolean[]', 'boolean[]', 'int[]'],
  ...['int[]', 'int[]', 'uuid[]', 'text[]', 'int[]', 'text', 'int[]', 'text'],
  ...['text[]', 'text[]', 'int[]', 'int[]', 'int[]', 'int[]', 'uuid[]'],
  ...['json', 'int[]', 'uuid[]'],
];

/** The call of `es.append`; the order of the values is the order of the function's parameters. */
export const APPEND_CALL = `select bases, refusals from es.append(${PARAMETER_TYPES.map(
  (type, index) => `$${index + 1}::${type}`,
).join(', ')})`;

/** The unit separator: JSON text holds control characters only escaped. */
const SEPARATOR = '\u001f';

/** An array of numbers, booleans or uuids as PostgreSQL reads it. The driver would look in each element for what must be escaped. */
const bare = (values: readonly (number | boolean | string)[]): string => `{${values.join(',')}}`;

const NEEDS_ESCAPE = /["\\]/;

/** An array of texts; the driver writes those that need an escape. */
const quoted = (values: readonly string[]): string | readonly string[] => {
  if (values.length === 0) return '{}';
  return values.some((value) => NEEDS_ESCAPE.test(value)) ? values : `{"${values.join('","')}"}`;
};

export const appendValues = (batch: readonly PendingAppend[], shapes: DocumentShapes): readonly unknown[] => {
  const streams = collectStreams(batch);
  const keys = collectKeys(batch);
  const places = placesOf(streams.keys());
  const writes = new WriteColumns();
  batch.forEach((pending, index) => {
    writes.add(pending, index + 1, places, shapes);
  });
  const created = [...streams].filter(([id]) => writes.created.has(id));
  const claims = claimColumns(batch, keys);
  const cancels = batch.flatMap(({ request }, index) => request.cancels.map((id) => ({ request: index + 1, id })));
  const lockedKeys = [...keys.values()];
  return [
    ...[bare(batch.map(({ request }) => request.commandId)), quoted(batch.map(({ request }) => request.requestHash))],
    ...[bare(batch.map(({ attempt }) => attempt)), batch.map(({ result }) => result).join(SEPARATOR)],
    batch.map(({ metadata }) => metadata).join(SEPARATOR),
    ...[bare([...streams.keys()]), quoted([...streams.values()])],
    ...[bare(created.map(([id]) => id)), quoted(created.map(([, category]) => category))],
    ...[writes.request, writes.stream, writes.expected, writes.count, writes.ends, writes.hasDocument].map(bare),
    ...[bare(writes.shape), bare(writes.eventWrite), bare(writes.eventIndex), bare(writes.eventId)],
    ...[quoted(writes.eventType), bare(writes.eventSchema)],
    ...[writes.eventData.join(SEPARATOR), bare(writes.documentWrite), writes.documentBody.join(SEPARATOR)],
    ...[quoted(lockedKeys.map((key) => key.scope)), quoted(lockedKeys.map((key) => key.value))],
    ...[lockedKeys.map((key) => key.mode), claims.request, claims.key, claims.op, claims.holder].map(bare),
    JSON.stringify(timerRows(batch)),
    ...[bare(cancels.map(({ request }) => request)), bare(cancels.map(({ id }) => id))],
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
