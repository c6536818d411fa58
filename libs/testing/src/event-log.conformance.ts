import { uuidFrom } from '@xenolith/kernel';
import type {
  AppendRequest,
  ClaimChange,
  EventLog,
  JsonObject,
  LoggedEvent,
  StoredDocument,
  StreamWrite,
  Uuid,
} from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let named = 0;

/** An id that is the same at each run and used nowhere else in it. */
export const nextTestId = (): Uuid => uuidFrom('test id', (named += 1));

/** A write of one event, unless `over` says otherwise. */
export const writeTo = (streamId: Uuid, over: Partial<StreamWrite> = {}): StreamWrite => ({
  streamId,
  category: 'machine',
  expected: 'any',
  events: [{ type: 'MachineRenamed', schemaVersion: 1, data: { to: 'web' } }],
  document: null,
  ends: false,
  ...over,
});

/** A request with a new command id. */
export const appendOf = (writes: readonly StreamWrite[], over: Partial<AppendRequest> = {}): AppendRequest => {
  const commandId = over.commandId ?? nextTestId();
  return {
    commandId,
    requestHash: 'hash',
    writes,
    claims: [],
    timers: [],
    cancels: [],
    metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'user:test', at: 1_000 },
    result: { ok: true },
    ...over,
  };
};

const claim = (op: ClaimChange['op'], value: string, holder: Uuid): ClaimChange => ({
  op,
  scope: 'name',
  value,
  holder,
});

const document = (text: string): JsonObject => ({ metadata: { name: text } });

/** The whole log, once everything that was appended has a position. */
export const wholeLog = async (log: EventLog): Promise<readonly LoggedEvent[]> => {
  const head = await log.head();
  const events: LoggedEvent[] = [];
  while (events.length < head) events.push(...(await log.readLog(events.length, 100)));
  return events;
};

const describeExpectations = (log: () => EventLog): void => {
  it('answers the version of each stream that it wrote', async () => {
    const [one, two] = [nextTestId(), nextTestId()];
    await log().append(appendOf([writeTo(one)]));
    const twoEvents = [1, 2].map((n) => ({ type: 'Counted', schemaVersion: 1, data: { n } }));
    const outcome = await log().append(appendOf([writeTo(two, { events: twoEvents }), writeTo(one)]));
    expect(outcome).toEqual({
      status: 'appended',
      versions: [
        { streamId: two, version: 2 },
        { streamId: one, version: 2 },
      ],
    });
  });

  it('refuses no_stream for a stream that exists, and exact for another version', async () => {
    const stream = nextTestId();
    await log().append(appendOf([writeTo(stream, { expected: 'no_stream' })]));
    const again = await log().append(appendOf([writeTo(stream, { expected: 'no_stream' })]));
    expect(again).toEqual({ status: 'conflict', streamId: stream, actual: 1 });
    const ahead = await log().append(appendOf([writeTo(stream, { expected: { exact: 2 } })]));
    expect(ahead).toEqual({ status: 'conflict', streamId: stream, actual: 1 });
    const missing = nextTestId();
    const absent = await log().append(appendOf([writeTo(missing, { expected: { exact: 1 } })]));
    expect(absent).toEqual({ status: 'conflict', streamId: missing, actual: 0 });
    const right = await log().append(appendOf([writeTo(stream, { expected: { exact: 1 } })]));
    expect(right.status).toBe('appended');
    expect(await log().readStream(missing)).toEqual([]);
  });

  it('writes all streams of a request or none', async () => {
    const [fresh, taken] = [nextTestId(), nextTestId()];
    await log().append(appendOf([writeTo(taken)]));
    const refused = appendOf([writeTo(fresh), writeTo(taken, { expected: 'no_stream' })]);
    expect(await log().append(refused)).toEqual({ status: 'conflict', streamId: taken, actual: 1 });
    expect(await log().readStream(fresh)).toEqual([]);
    expect(await log().commandResult(refused.commandId)).toBeNull();
    expect((await log().append(appendOf([writeTo(fresh, { expected: 'no_stream' })]))).status).toBe('appended');
  });

  it('accepts no event after the one that ended the stream', async () => {
    const stream = nextTestId();
    await log().append(appendOf([writeTo(stream, { ends: true })]));
    expect(await log().append(appendOf([writeTo(stream)]))).toEqual({ status: 'stream_ended', streamId: stream });
  });

  it('gives requests that arrive together the verdicts of one after the other', async () => {
    const stream = nextTestId();
    const create = (): AppendRequest => appendOf([writeTo(stream, { expected: 'no_stream' })]);
    const outcomes = await Promise.all([log().append(create()), log().append(create()), log().append(create())]);
    expect(outcomes.filter(({ status }) => status === 'appended')).toHaveLength(1);
    expect(outcomes.filter(({ status }) => status === 'conflict')).toHaveLength(2);
    expect(await log().readStream(stream)).toHaveLength(1);
  });

  it('reads a stream in order of version, after the stated one, as it was written', async () => {
    const stream = nextTestId();
    const data = { text: 'naïve “quotes” \\ \n', number: 1.5, nested: { list: [1, null, false] } };
    const request = appendOf([
      writeTo(stream, {
        events: [
          { type: 'Filled', schemaVersion: 3, data },
          { type: 'Closed', schemaVersion: 1, data: {} },
        ],
      }),
    ]);
    await log().append(request);
    const events = await log().readStream(stream);
    expect(events.map(({ version, type }) => [version, type])).toEqual([
      [1, 'Filled'],
      [2, 'Closed'],
    ]);
    expect(events[0]).toEqual({
      eventId: uuidFrom(request.commandId, stream, 0),
      streamId: stream,
      category: 'machine',
      version: 1,
      type: 'Filled',
      schemaVersion: 3,
      data,
      metadata: request.metadata,
    });
    expect(await log().readStream(stream, 1)).toEqual(events.slice(1));
    expect(await log().readStream(stream, 2)).toEqual([]);
  });
};

const describeCommands = (log: () => EventLog): void => {
  it('answers a known command with its stored result and writes nothing', async () => {
    const stream = nextTestId();
    const request = appendOf([writeTo(stream)], { result: { answer: 42 } });
    await log().append(request);
    const stored = {
      commandId: request.commandId,
      requestHash: 'hash',
      result: { answer: 42 },
      versions: [{ streamId: stream, version: 1 }],
      cancelled: false,
    };
    const repeated = await log().append({ ...request, requestHash: 'other', result: { answer: 43 } });
    expect(repeated).toEqual({ status: 'known', stored });
    expect(await log().commandResult(request.commandId)).toEqual(stored);
    expect(await log().readStream(stream)).toHaveLength(1);
  });

  it('answers known before it looks at versions and claims', async () => {
    const stream = nextTestId();
    const request = appendOf([writeTo(stream, { expected: 'no_stream' })], {
      claims: [claim('claim', 'known-first', stream)],
    });
    await log().append(request);
    expect((await log().append(request)).status).toBe('known');
  });

  it('keeps the result of a command that writes nothing', async () => {
    const request = appendOf([], { result: { rejection: 'machine_runs' } });
    expect(await log().append(request)).toEqual({ status: 'appended', versions: [] });
    expect((await log().append(request)).status).toBe('known');
    expect(await log().commandResult(nextTestId())).toBeNull();
  });

  it('does the same command once when it comes twice at the same moment', async () => {
    const stream = nextTestId();
    const request = appendOf([writeTo(stream)]);
    const outcomes = await Promise.all([log().append(request), log().append(request)]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['appended', 'known']);
    expect(await log().readStream(stream)).toHaveLength(1);
  });

  it('refuses a cancelled command for ever, but leaves one that has a result', async () => {
    const [undo, stream] = [nextTestId(), nextTestId()];
    const [late, early] = [appendOf([writeTo(stream)]), appendOf([writeTo(stream)])];
    await log().append(early);
    await log().append(appendOf([writeTo(undo)], { cancels: [late.commandId, early.commandId] }));
    const outcome = await log().append(late);
    expect(outcome.status).toBe('known');
    expect(outcome.status === 'known' && outcome.stored.cancelled).toBe(true);
    expect(await log().readStream(stream)).toHaveLength(1);
    expect((await log().commandResult(early.commandId))?.cancelled).toBe(false);
  });

  it('cancels nothing when the undo itself is refused', async () => {
    const [undo, stream] = [nextTestId(), nextTestId()];
    const late = appendOf([writeTo(stream)]);
    await log().append(appendOf([writeTo(undo, { expected: { exact: 7 } })], { cancels: [late.commandId] }));
    expect((await log().append(late)).status).toBe('appended');
  });
};

const describeClaims = (log: () => EventLog): void => {
  it('gives a key to one holder at a time, and again after its release', async () => {
    const [one, two] = [nextTestId(), nextTestId()];
    const value = `key-${one}`;
    await log().append(appendOf([writeTo(one)], { claims: [claim('claim', value, one)] }));
    expect(await log().claimHolder('name', value)).toBe(one);
    const taken = await log().append(appendOf([writeTo(two)], { claims: [claim('claim', value, two)] }));
    expect(taken).toEqual({ status: 'claim_taken', scope: 'name', value, holder: one });
    expect(await log().readStream(two)).toEqual([]);
    await log().append(appendOf([writeTo(one)], { claims: [claim('release', value, one)] }));
    expect(await log().claimHolder('name', value)).toBeNull();
    const given = await log().append(appendOf([writeTo(two)], { claims: [claim('claim', value, two)] }));
    expect(given.status).toBe('appended');
  });

  it('lets the holder claim again, and ignores the release of a key that another holds', async () => {
    const [one, two] = [nextTestId(), nextTestId()];
    const value = `key-${one}`;
    await log().append(appendOf([writeTo(one)], { claims: [claim('claim', value, one)] }));
    const again = await log().append(appendOf([writeTo(one)], { claims: [claim('claim', value, one)] }));
    expect(again.status).toBe('appended');
    const foreign = await log().append(appendOf([writeTo(two)], { claims: [claim('release', value, two)] }));
    expect(foreign.status).toBe('appended');
    expect(await log().claimHolder('name', value)).toBe(one);
  });

  it('requires that somebody holds a key', async () => {
    const [one, two] = [nextTestId(), nextTestId()];
    const value = `key-${one}`;
    const missing = await log().append(appendOf([writeTo(two)], { claims: [claim('require', value, two)] }));
    expect(missing).toEqual({ status: 'claim_missing', scope: 'name', value });
    await log().append(appendOf([writeTo(one)], { claims: [claim('claim', value, one)] }));
    const there = await log().append(appendOf([writeTo(two)], { claims: [claim('require', value, two)] }));
    expect(there.status).toBe('appended');
  });

  it('applies the claims of a request in their order, and none of them when one fails', async () => {
    const [one, two] = [nextTestId(), nextTestId()];
    const [old, young, taken] = [`old-${one}`, `young-${one}`, `taken-${one}`];
    await log().append(appendOf([writeTo(one)], { claims: [claim('claim', old, one)] }));
    await log().append(appendOf([writeTo(two)], { claims: [claim('claim', taken, two)] }));
    const rename = (to: string): readonly ClaimChange[] => [claim('release', old, one), claim('claim', to, one)];
    const refused = await log().append(appendOf([writeTo(one)], { claims: rename(taken) }));
    expect(refused.status).toBe('claim_taken');
    expect(await log().claimHolder('name', old)).toBe(one);
    expect((await log().append(appendOf([writeTo(one)], { claims: rename(young) }))).status).toBe('appended');
    expect(await log().claimHolder('name', old)).toBeNull();
    expect(await log().claimHolder('name', young)).toBe(one);
    const handOver = [claim('release', young, one), claim('claim', young, two), claim('require', young, one)];
    expect((await log().append(appendOf([writeTo(one)], { claims: handOver }))).status).toBe('appended');
    expect(await log().claimHolder('name', young)).toBe(two);
  });

  it('gives a key to one of many that claim it at the same moment', async () => {
    const value = `key-${nextTestId()}`;
    const streams = Array.from({ length: 20 }, () => nextTestId());
    const outcomes = await Promise.all(
      streams.map((stream) => log().append(appendOf([writeTo(stream)], { claims: [claim('claim', value, stream)] }))),
    );
    expect(outcomes.filter(({ status }) => status === 'appended')).toHaveLength(1);
    expect(outcomes.filter(({ status }) => status === 'claim_taken')).toHaveLength(19);
    const winner = streams[outcomes.findIndex(({ status }) => status === 'appended')];
    expect(await log().claimHolder('name', value)).toBe(winner);
  });
};

const describeReading = (log: () => EventLog): void => {
  it('numbers the log without gaps, each stream in its order, each event once', async () => {
    const [one, two] = [nextTestId(), nextTestId()];
    for (const stream of [one, two, one, two, two]) await log().append(appendOf([writeTo(stream)]));
    const events = await wholeLog(log());
    expect(events.map(({ position }) => position)).toEqual(events.map((_, index) => index + 1));
    for (const stream of [one, two]) {
      const logged = events.filter(({ streamId }) => streamId === stream);
      const stored = await log().readStream(stream);
      expect(logged.map(({ eventId }) => eventId)).toEqual(stored.map(({ eventId }) => eventId));
    }
    expect(await log().readLog(events.length, 10)).toEqual([]);
    expect((await log().readLog(1, 2)).map(({ position }) => position)).toEqual([2, 3]);
  });

  it('reads one category of a stretch, in pages and without documents', async () => {
    const category = `category-${nextTestId()}`;
    const before = await log().head();
    for (let n = 0; n < 5; n += 1)
      await log().append(
        appendOf([writeTo(nextTestId(), { category, document: { n } }), writeTo(nextTestId(), { document: { n } })]),
      );
    const until = (await log().head()) - 2;
    const page = await log().readCategory(category, { after: before, until, limit: 3 });
    const rest = await log().readCategory(category, { after: page.at(-1)?.position ?? 0, until, limit: 3 });
    expect([page.length, rest.length]).toEqual([3, 1]);
    const all = await log().readLog(before, 10);
    const expected = all.filter((event) => event.category === category && event.position <= until);
    expect([...page, ...rest]).toEqual(expected.map(({ document: _document, ...event }) => event));
  });

  it('counts at the head every append that was acknowledged before', async () => {
    const before = await log().head();
    await Promise.all(Array.from({ length: 10 }, () => log().append(appendOf([writeTo(nextTestId())]))));
    expect(await log().head()).toBe(before + 10);
  });

  it('shows the document of a write at its last event only, a tombstone once, and none for streams without', async () => {
    const [shown, silent] = [nextTestId(), nextTestId()];
    const events = [1, 2].map((n) => ({ type: 'Counted', schemaVersion: 1, data: { n } }));
    await log().append(appendOf([writeTo(shown, { events, document: document('one') })]));
    await log().append(appendOf([writeTo(silent), writeTo(shown, { document: document('two') })]));
    await log().append(appendOf([writeTo(shown)]));
    await log().append(appendOf([writeTo(shown, { ends: true }), writeTo(silent, { ends: true })]));
    const logged = await wholeLog(log());
    const documents = (stream: Uuid): unknown[] =>
      logged.filter(({ streamId }) => streamId === stream).map((event) => event.document);
    expect(documents(shown)).toEqual([undefined, document('one'), document('two'), null, undefined]);
    expect(documents(silent)).toEqual([undefined, undefined]);
  });

  it('reads events as the log has them, with the documents of what is gone at least', async () => {
    const [alive, gone] = [nextTestId(), nextTestId()];
    const before = await log().head();
    await log().append(appendOf([writeTo(alive, { document: document('one') })]));
    await log().append(appendOf([writeTo(gone, { document: document('two') })]));
    await log().append(appendOf([writeTo(gone, { ends: true })]));
    await log().head();
    const [whole, events] = [await log().readLog(before, 10), await log().readEvents(before, 10)];
    expect(events.filter(({ streamId }) => streamId === gone)).toEqual(
      whole.filter(({ streamId }) => streamId === gone),
    );
    const bare = (all: readonly LoggedEvent[]) => all.map(({ document: _document, ...event }) => event);
    expect(bare(events)).toEqual(bare(whole));
    expect(bare(await log().readEvents(before, 2))).toEqual(bare(whole.slice(0, 2)));
  });

  it('hands the same documents over page by page', async () => {
    const category = `paged-${nextTestId()}`;
    const streams = Array.from({ length: 2_100 }, () => nextTestId());
    await Promise.all(
      streams.map((stream) => log().append(appendOf([writeTo(stream, { category, document: document(stream) })]))),
    );
    await log().head();
    const { position, documents } = await log().documents([category]);
    const handed: StoredDocument[] = [];
    expect(await log().scanDocuments([category], (page) => void handed.push(...page))).toBe(position);
    expect(handed).toHaveLength(streams.length);
    expect(handed).toEqual(documents);
  });

  it('lists the newest documents of living objects with their places', async () => {
    const [alive, gone, other] = [nextTestId(), nextTestId(), nextTestId()];
    const category = `listed-${alive}`;
    const write = (stream: Uuid, text: string | null): StreamWrite =>
      writeTo(stream, { category, document: text === null ? null : document(text) });
    await log().append(appendOf([write(alive, 'first'), write(gone, 'short-lived')]));
    await log().append(appendOf([write(alive, 'second'), writeTo(other, { document: document('other') })]));
    await log().append(appendOf([write(gone, null)]));
    const head = await log().head();
    const listed = await log().documents([category]);
    const place = (await wholeLog(log())).find((event) => event.streamId === alive && event.version === 2)?.position;
    expect(listed).toEqual({
      position: head,
      documents: [{ streamId: alive, category, version: 2, position: place, document: document('second') }],
    });
    const all = await log().documents();
    expect(all.documents.map(({ streamId }) => streamId)).toEqual(expect.arrayContaining([alive, other]));
    expect((await log().documents([])).documents).toEqual([]);
  });

  it('keeps one snapshot for each shape of a stream state, the newest', async () => {
    const stream = nextTestId();
    expect(await log().snapshot(stream, 1)).toBeNull();
    const first = { streamId: stream, version: 10, stateVersion: 1, state: { phase: 'running' } };
    await log().saveSnapshot(first);
    expect(await log().snapshot(stream, 1)).toEqual(first);
    const second = { ...first, version: 20, state: { phase: 'halted' } };
    await log().saveSnapshot(second);
    expect(await log().snapshot(stream, 1)).toEqual(second);
    expect(await log().snapshot(stream, 2)).toBeNull();
  });
};

/**
 * What every `EventLog` must do, whatever it is made of. `open` is called once; the tests share the log and use streams of their own.
 */
export const describeEventLog = (
  name: string,
  open: () => Promise<{ readonly log: EventLog; readonly close: () => Promise<void> }>,
): void => {
  describe(`event log: ${name}`, () => {
    let opened: { readonly log: EventLog; readonly close: () => Promise<void> } | undefined;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(async () => opened?.close());
    const log = (): EventLog => {
      if (!opened) throw new Error('the log is not open');
      return opened.log;
    };
    describe('expected versions', () => describeExpectations(log));
    describe('command results', () => describeCommands(log));
    describe('claims', () => describeClaims(log));
    describe('reading', () => describeReading(log));
  });
};
