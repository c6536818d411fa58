import { describe, expect, it } from 'vitest';
import { documentDiff, fieldAt } from './document-diff.js';

describe('the difference of two documents', () => {
  it('names each field that differs, at its JSON pointer, with what it was and is', () => {
    const before = {
      metadata: { resourceVersion: '1', labels: { 'a/b': 'x', gone: 'y' } },
      spec: { list: [1, { n: 2 }] },
    };
    const after = {
      metadata: { resourceVersion: '2', labels: { 'a/b': 'z' } },
      spec: { list: [1, { n: 3 }], more: [] },
    };
    expect(documentDiff(before, after)).toEqual([
      { op: 'replace', path: '/metadata/labels/a~1b', from: 'x', value: 'z' },
      { op: 'remove', path: '/metadata/labels/gone', from: 'y' },
      { op: 'replace', path: '/spec/list/1/n', from: 2, value: 3 },
      { op: 'add', path: '/spec/more', value: [] },
    ]);
  });

  it('shows lists whole that grew or shrank, and documents whole that came or went', () => {
    expect(documentDiff({ a: [1] }, { a: [1, 2] })).toEqual([{ op: 'replace', path: '/a', from: [1], value: [1, 2] }]);
    expect(documentDiff(null, { a: 1 })).toEqual([{ op: 'add', path: '', value: { a: 1 } }]);
    expect(documentDiff({ a: 1 }, null)).toEqual([{ op: 'remove', path: '', from: { a: 1 } }]);
    expect(documentDiff({ a: 1 }, { a: 1 })).toEqual([]);
  });
});

describe('a field', () => {
  it('is found by members, places and names', () => {
    const document = {
      status: { conditions: [{ type: 'Ready', status: 'True' }], nics: [{ name: 'eth0', mac: 'm' }] },
    };
    expect(fieldAt(document, 'status.conditions[Ready].status')).toBe('True');
    expect(fieldAt(document, 'status.nics[0].mac')).toBe('m');
    expect(fieldAt(document, 'status.nics.eth0.mac')).toBe('m');
    expect(fieldAt(document, 'status.nics[eth1].mac')).toBeUndefined();
    expect(fieldAt(null, 'status')).toBeUndefined();
  });
});
