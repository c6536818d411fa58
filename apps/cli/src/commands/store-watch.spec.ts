import { expect, it } from 'vitest';
import { firedBetween, parseWatch, snapshotOf } from './store-watch.js';

const LISTING = `/local/domain/1 = ""
/local/domain/1/name = "web-1"
/local/domain/1/device/vbd/51712/state = "4"
`;

it('reads the listing of whole paths', () => {
  expect([...snapshotOf(LISTING)]).toEqual([
    ['/local/domain/1', '""'],
    ['/local/domain/1/name', '"web-1"'],
    ['/local/domain/1/device/vbd/51712/state', '"4"'],
  ]);
});

it('fires where a value changed and where a node is new', () => {
  const before = snapshotOf('/a = ""\n/a/state = "3"\n');
  const after = snapshotOf('/a = ""\n/a/state = "4"\n/a/ring-ref = "8"\n');
  expect(firedBetween(before, after)).toEqual(['/a/state', '/a/ring-ref']);
  expect(firedBetween(after, after)).toEqual([]);
});

it('fires once for a subtree that is removed', () => {
  const before = snapshotOf('/a = ""\n/a/b = ""\n/a/b/c = "1"\n/a/d = "2"\n');
  expect(firedBetween(before, snapshotOf('/a = ""\n/a/d = "2"\n'))).toEqual(['/a/b']);
  expect(firedBetween(before, snapshotOf(''))).toEqual(['/a']);
});

it('takes paths and a number of events, and says what is wrong with others', () => {
  expect(parseWatch(['/a', '/b'])).toEqual({ paths: ['/a', '/b'], events: null });
  expect(parseWatch(['-n', '3', '/a'])).toEqual({ paths: ['/a'], events: 3 });
  expect(() => parseWatch([])).toThrow('name a path');
  expect(() => parseWatch(['-n', 'x', '/a'])).toThrow('number of events');
  expect(() => parseWatch(['a/b'])).toThrow('a/b is no whole path');
});
