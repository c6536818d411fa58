import { appendOf, nextTestId, writeTo } from '@xenolith/testing';
import { expect, it } from 'vitest';
import { openEventStore, runSequencer } from './index.js';
import { useTestbed } from './testbed.spec-fixture.js';

const testbed = useTestbed();

const document = (text: string) => ({ metadata: { name: text } });

it('tells what happened to the documents of a category in a range, each with what was there before', async () => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const [one, two, other] = [nextTestId(), nextTestId(), nextTestId()];
  const events = [1, 2].map((n) => ({ type: 'Counted', schemaVersion: 1, data: { n } }));
  // Positions 1; 2 and 3, of which the second has the document; 4; 5; 6.
  await store.append(appendOf([writeTo(one, { document: document('a') })]));
  await store.append(appendOf([writeTo(one, { document: document('b'), events })]));
  await store.append(appendOf([writeTo(other, { document: document('x'), category: 'disk' })]));
  await store.append(appendOf([writeTo(two, { document: document('c') })]));
  await store.append(appendOf([writeTo(one, { document: null, ends: true })]));
  expect(await store.head()).toBe(6);
  const ask = (after: number, upTo: number) => store.documentChanges({ category: 'machine', after, upTo });
  const first = { version: 1, position: 1, document: document('a') };
  const second = { version: 3, position: 3, document: document('b') };
  const recordedAt = expect.any(Number) as number;
  const changes = [
    { streamId: one, ...first, recordedAt },
    { streamId: one, ...second, recordedAt, previous: first },
    { streamId: two, version: 1, position: 5, document: document('c'), recordedAt },
    { streamId: one, version: 4, position: 6, document: null, recordedAt, previous: second },
  ];
  expect(await ask(0, 6)).toEqual(changes);
  expect(await ask(1, 5)).toEqual(changes.slice(1, 3));
  expect(await ask(5, 6)).toEqual(changes.slice(3));
  expect(await ask(6, 6)).toEqual([]);
  await store.close();
  await sequencer.stop();
});

it('can be read up to the newest position though nobody has written the chronicle so far', async () => {
  const databaseUrl = await testbed().newDatabase();
  const sequencer = await runSequencer({ databaseUrl, chronicle: false });
  const store = await openEventStore({ databaseUrl, name: 'test' });
  const [one, other] = [nextTestId(), nextTestId()];
  // More than one step of the chronicle.
  const events = Array.from({ length: 600 }, (_, n) => ({ type: 'Counted', schemaVersion: 1, data: { n } }));
  await store.append(appendOf([writeTo(one, { document: document('a'), events })]));
  await store.append(appendOf([writeTo(other, { document: document('b') })]));
  const { position } = await store.past.newest();
  expect(position).toBe(601);
  const [read, ...same] = await Promise.all(
    [1, 2, 3].map(() => store.past.documentAt({ category: 'machine', position, namespace: '', name: 'b' })),
  );
  expect(read).toMatchObject({ streamId: other, position: 601 });
  expect(same).toEqual([read, read]);
  await store.close();
  await sequencer.stop();
});
