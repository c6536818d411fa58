import { randomFrom, type EventLog, type LogPast, type Uuid } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendOf, nextTestId, wholeLog, writeTo } from './event-log.conformance.js';
import { MemoryPast } from './memory-past.js';

type Log = EventLog & { readonly past: LogPast };

interface Shown {
  readonly uid: Uuid;
  readonly namespace: string;
  readonly name: string;
}

const document = ({ uid, namespace, name }: Shown, n: number) => ({
  metadata: { uid, name, ...(namespace === '' ? {} : { namespace }) },
  spec: { n },
});

const events = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ type: 'Counted', schemaVersion: 1, data: { n } }));

/** Makes, changes and ends objects of few names, so that names are used again; answers what the log showed on the way. */
const live = async (log: Log, category: string, steps: number) => {
  const random = randomFrom(7);
  const alive = new Map<string, Shown>();
  const seen: { readonly position: number; readonly documents: readonly unknown[] }[] = [];
  for (let step = 0; step < steps; step += 1) {
    const namespace = random.pick(['', 'a', 'a-b', 'b']);
    const name = `vm${random.pick(['', '-1', '-10', '.x'])}`;
    const key = `${namespace}/${name}`;
    const object = alive.get(key) ?? { uid: nextTestId(), namespace, name };
    const ends = alive.has(key) && random.chance(0.25);
    if (ends) alive.delete(key);
    else alive.set(key, object);
    const write = writeTo(object.uid, {
      category,
      events: events(1 + random.below(3)),
      document: ends ? null : document(object, step),
      ends,
    });
    // Streams that show nothing have positions, too.
    await log.append(appendOf(random.chance(0.2) ? [write, writeTo(nextTestId())] : [write]));
    if (random.chance(0.7)) continue;
    const { position, documents } = await log.documents([category]);
    seen.push({ position, documents: sorted(documents) });
  }
  return seen;
};

const sorted = <Entry extends { readonly streamId: Uuid }>(entries: readonly Entry[]): readonly Entry[] =>
  [...entries].sort((left, right) => (left.streamId < right.streamId ? -1 : 1));

const everything = async (past: LogPast, category: string, position: number) =>
  past.documentsAt({ category, position, limit: 1000 });

/** As someone does who reads page by page. */
const paged = async (past: LogPast, category: string, position: number, namespace?: string) => {
  const all = [];
  let after: { namespace: string; name: string } | undefined;
  for (;;) {
    const place = { category, position, ...(namespace !== undefined && { namespace }), ...(after && { after }) };
    const left = await past.countAt(place);
    const page = await past.documentsAt({ ...place, limit: 3 });
    expect(page.length).toBe(Math.min(3, left));
    all.push(...page);
    const last = page.at(-1)?.document['metadata'] as { namespace?: string; name: string } | undefined;
    if (last === undefined || page.length < 3) return all;
    after = { namespace: last.namespace ?? '', name: last.name };
  }
};

const describeDocuments = (log: () => Log): void => {
  it('shows what was shown, and the same page by page and one by one', async () => {
    const category = 'past-random';
    const seen = await live(log(), category, 120);
    expect(seen.length).toBeGreaterThan(20);
    const { past } = log();
    for (const { position, documents } of seen) {
      const listed = await everything(past, category, position);
      expect(sorted(listed)).toEqual(documents);
      expect(await paged(past, category, position)).toEqual(listed);
      expect((await paged(past, category, position, 'a')).length).toBeLessThanOrEqual(listed.length);
      for (const stored of listed) {
        const { namespace = '', name } = stored.document['metadata'] as { namespace?: string; name: string };
        expect(await past.documentAt({ category, position, namespace, name })).toEqual(stored);
      }
    }
  });

  it('agrees at every position with a walk through the whole log', async () => {
    const { past } = log();
    const category = 'past-random';
    const all = await wholeLog(log());
    const times = (await past.eventsAfter(0, all.length)).map(({ recordedAt }) => recordedAt);
    const walk = new MemoryPast({ log: all, recordedAt: times, head: () => all.length });
    for (let position = 0; position <= all.length; position += 1) {
      expect(await everything(past, category, position)).toEqual(await everything(walk, category, position));
      expect(await past.momentOf(position)).toEqual(await walk.momentOf(position));
      for (const name of ['vm', 'vm-1']) {
        const of = { category, namespace: 'a', name };
        expect(await past.lives({ ...of, upTo: position })).toEqual(await walk.lives({ ...of, upTo: position }));
      }
    }
  });

  it('picks one of several that had a name one after the other by its uid', async () => {
    const { past } = log();
    const category = 'past-again';
    const [first, second] = [nextTestId(), nextTestId()];
    const place = { namespace: 'a', name: 'web' };
    await log().append(appendOf([writeTo(first, { category, document: document({ uid: first, ...place }, 1) })]));
    const one = await log().head();
    await log().append(appendOf([writeTo(first, { category, ends: true })]));
    const none = await log().head();
    await log().append(appendOf([writeTo(second, { category, document: document({ uid: second, ...place }, 2) })]));
    const two = await log().head();
    const at = async (position: number, uid?: Uuid) =>
      (await past.documentAt({ category, position, ...place, ...(uid && { uid }) }))?.streamId;
    expect([await at(one), await at(none), await at(two)]).toEqual([first, undefined, second]);
    expect([await at(one, second), await at(two, first), await at(two, second)]).toEqual([
      undefined,
      undefined,
      second,
    ]);
    expect(await past.lives({ category, ...place, upTo: two })).toEqual([
      { streamId: second, category, ...place, born: two, ended: null },
      { streamId: first, category, ...place, born: one, ended: none },
    ]);
    expect(await past.lives({ uid: first, upTo: one })).toMatchObject([{ streamId: first, ended: null }]);
  });
};

const describeTimes = (log: () => Log): void => {
  it('finds the moment of a time: the last place before something was recorded after it', async () => {
    const { past } = log();
    const newest = await past.newest();
    expect(newest.position).toBe(await log().head());
    expect(await past.momentAt(newest.recordedAt)).toEqual(newest);
    expect(await past.momentAt(0)).toEqual({ position: 0, recordedAt: 0 });
    const all = await past.eventsAfter(0, newest.position);
    for (const time of [...new Set(all.map(({ recordedAt }) => recordedAt))].slice(0, 40)) {
      const later = all.find(({ recordedAt }) => recordedAt > time);
      expect((await past.momentAt(time)).position).toBe(later === undefined ? newest.position : later.position - 1);
    }
  });
};

const describeEvents = (log: () => Log): void => {
  it('tells the events of a stream and of a command, with the documents that they left', async () => {
    const { past } = log();
    const [one, other] = [nextTestId(), nextTestId()];
    const of = (uid: Uuid) => ({ uid, namespace: 'a', name: 'told' });
    const request = appendOf([
      writeTo(one, { events: events(2), document: document(of(one), 1) }),
      writeTo(other, { category: 'disk', document: document(of(other), 1) }),
    ]);
    await log().append(request);
    await log().append(appendOf([writeTo(one, { document: null, ends: true })]));
    const head = await log().head();
    const told = await past.eventsOf({ streamId: one, after: 0, upTo: head, limit: 10 });
    expect(told.map(({ version, document: left }) => [version, left])).toEqual([
      [1, undefined],
      [2, document(of(one), 1)],
      [3, null],
    ]);
    expect(await past.eventsOf({ streamId: one, after: 1, upTo: head - 1, limit: 10 })).toEqual([told[1]]);
    expect(await past.eventsOf({ streamId: one, after: 0, upTo: head, limit: 1 })).toEqual([told[0]]);
    const written = await past.eventsOfCommand(request.commandId);
    expect(written.map(({ streamId, version }) => [streamId, version])).toEqual([
      [one, 1],
      [one, 2],
      [other, 1],
    ]);
    expect(await past.eventsOfCommand(nextTestId())).toEqual([]);
    expect((await past.eventsAfter(head - 1, 5)).map(({ position }) => position)).toEqual([head]);
  });
};

/** What every `LogPast` must do. `open` is called once; the tests share the log. */
export const describeLogPast = (
  name: string,
  open: () => Promise<{ readonly log: Log; readonly close: () => Promise<void> }>,
): void => {
  describe(`past of the log: ${name}`, () => {
    let opened: { readonly log: Log; readonly close: () => Promise<void> } | undefined;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(async () => opened?.close());
    const log = (): Log => {
      if (!opened) throw new Error('the log is not open');
      return opened.log;
    };
    describe('documents', () => describeDocuments(log));
    describe('times', () => describeTimes(log));
    describe('events', () => describeEvents(log));
  });
};
