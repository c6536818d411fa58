import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { atPosition, cachedObject, indexerOf, keyOf, parsed, type CachedObject } from './cached-object.js';
import { KindStore } from './kind-store.js';
import { SortedObjects } from './sorted-objects.js';

const indexer = indexerOf(['spec.colour']);

const objectOf = (
  name: string,
  position: number,
  namespace = 'default',
  uid = `uid-${namespace}-${name}`,
): CachedObject =>
  cachedObject({
    uid,
    position,
    version: position,
    document: {
      kind: 'Thing',
      metadata: { name, namespace, labels: { resourceVersion: '"7"' } },
      spec: { colour: 'red' },
    },
    indexer,
  });

const EVERYTHING = { namespace: '', id: 'all' };

describe('a cached object', () => {
  it('carries its position as resourceVersion, and takes another without touching its labels', () => {
    const moved = parsed(atPosition(objectOf('a', 7), 9));
    expect(moved['metadata']).toMatchObject({ resourceVersion: '9', labels: { resourceVersion: '"7"' } });
  });

  it('keeps for selectors what they may read and nothing else', () => {
    expect(objectOf('a', 7).index).toEqual({
      metadata: { name: 'a', namespace: 'default', labels: { resourceVersion: '"7"' } },
      spec: { colour: 'red' },
    });
  });
});

describe('sorted objects', () => {
  it('equal a sorted map, whatever is put in and taken out', () => {
    const names = fc.integer({ min: 0, max: 40 }).map((number) => `n${number}`);
    fc.assert(
      fc.property(fc.array(fc.record({ name: names, put: fc.boolean() }), { maxLength: 300 }), names, (steps, from) => {
        const objects = new SortedObjects();
        const model = new Map<string, CachedObject>();
        for (const [index, { name, put }] of steps.entries()) {
          const object = objectOf(name, index + 1);
          if (put) {
            objects.set(object);
            model.set(object.key, object);
          } else {
            objects.delete(object.key);
            model.delete(object.key);
          }
        }
        const expected = [...model.values()].sort((left, right) => (left.key < right.key ? -1 : 1));
        const start = keyOf('default', from);
        expect([...objects.range('')]).toEqual(expected);
        expect([...objects.range(start)]).toEqual(expected.filter(({ key }) => key >= start));
        expect(objects.countRange(start)).toBe(expected.filter(({ key }) => key >= start).length);
        expect(objects.size).toBe(model.size);
      }),
    );
  });

  it('keep their order over thousands of objects', () => {
    const objects = new SortedObjects();
    const names = Array.from({ length: 5000 }, (_, index) => `n${(index * 7919) % 5000}`);
    for (const [index, name] of names.entries()) objects.set(objectOf(name, index + 1));
    const keys = [...objects.range('')].map(({ key }) => key);
    expect(keys).toEqual([...keys].sort());
    expect(keys.length).toBe(5000);
    expect(objects.countRange(keys[1234] ?? '')).toBe(5000 - 1234);
  });
});

describe('a store', () => {
  it('lists any kept moment as it was', () => {
    const step = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd', 'e'), put: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(60), (steps, asOf) => {
        const store = new KindStore();
        store.load([], 0);
        const moments: string[][] = [[]];
        const living = new Map<string, CachedObject>();
        for (const [index, { name, put }] of steps.entries()) {
          const position = index + 1;
          const held = living.get(name);
          if (put) {
            const object = objectOf(name, position);
            living.set(name, object);
            store.put(object);
          } else if (held !== undefined) {
            living.delete(name);
            store.remove(held, position, position);
          }
          moments.push([...living.values()].map(({ name: at, position: of }) => `${at}@${of}`).sort());
        }
        const moment = Math.min(asOf, steps.length);
        const listed = store.list({ selection: EVERYTHING, asOf: moment })?.objects ?? [];
        expect(listed.map(({ name, position }) => `${name}@${position}`)).toEqual(moments[moment]);
      }),
    );
  });

  it('says how many objects follow a page, in the namespace that is listed', () => {
    const store = new KindStore();
    store.load(
      ['a', 'b', 'c', 'd'].flatMap((name, index) => [
        objectOf(name, index + 1, 'one'),
        objectOf(name, index + 1, 'two'),
      ]),
      4,
    );
    const page = store.list({ selection: { namespace: 'one', id: 'one' }, limit: 1 });
    expect(page?.objects.map(({ name }) => name)).toEqual(['a']);
    expect(page?.remaining).toBe(3);
    const rest = store.list({ selection: { namespace: 'one', id: 'one' }, limit: 3, after: page?.lastKey ?? '' });
    expect(rest?.objects.map(({ name }) => name)).toEqual(['b', 'c', 'd']);
    expect(rest?.lastKey).toBeUndefined();
  });

  it('forgets old changes, and says so', () => {
    const store = new KindStore();
    store.load([], 0);
    for (let position = 1; position <= 5000; position += 1) store.put(objectOf('a', position));
    expect(store.ring.since(0)).toBeNull();
    expect(store.list({ selection: EVERYTHING, asOf: 1 })).toBeNull();
    expect(store.ring.since(store.ring.floor)?.length).toBe(4096);
    expect(store.ring.since(5000)).toEqual([]);
  });

  it('shows a new object under an old name as the end of the old one and a beginning', () => {
    const store = new KindStore();
    store.load([objectOf('a', 1, 'default', 'old')], 1);
    store.put(objectOf('a', 2, 'default', 'new'));
    expect(store.ring.since(1)?.map(({ type, object }) => `${type} ${object.uid}`)).toEqual([
      'DELETED old',
      'ADDED new',
    ]);
  });
});

describe('a name that was given on', () => {
  it('keeps its new object when the end of the old one comes late', () => {
    const store = new KindStore();
    store.load([], 0);
    const [old, fresh] = [objectOf('a', 1, 'default', 'first'), objectOf('a', 5, 'default', 'second')];
    store.put(old);
    // Positions of two streams need not follow the order of their claims.
    store.put(fresh);
    store.remove(old, 6, 2);
    expect(store.get(fresh.key)?.uid).toBe('second');
    expect(store.ring.since(0)?.map(({ type, position, object }) => [type, position, object.uid])).toEqual([
      ['ADDED', 1, 'first'],
      ['DELETED', 5, 'first'],
      ['ADDED', 5, 'second'],
    ]);
  });
});
