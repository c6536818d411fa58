import { namespaceKind, virtualMachineKind } from '@xenolith/contracts';
import type { JsonObject, JsonValue, Result } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonPatch, managerName, mergePatch, strategicMergePatch, withoutLivePreconditions } from './index.js';

const refusal = (result: Result<unknown>): string =>
  result.ok ? 'accepted' : `${result.rejection.code}: ${result.rejection.message}`;

describe('a merge patch', () => {
  // The examples of RFC 7386, appendix A.
  it.each<[JsonValue, JsonValue, JsonValue]>([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('of %j with %j', (target, patch, result) => expect(mergePatch(target, patch)).toEqual(result));

  it('does not reach prototypes', () => {
    const patched = mergePatch({}, JSON.parse('{"__proto__":{"polluted":true}}') as JsonValue);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(JSON.stringify(patched)).toBe('{"__proto__":{"polluted":true}}');
  });
});

describe('a JSON patch', () => {
  const target = { spec: { disks: [{ name: 'root' }], cpu: { vcpus: 1 } } };

  it('does its operations in order, on a copy', () => {
    const patched = jsonPatch(target, [
      { op: 'test', path: '/spec/cpu/vcpus', value: 1 },
      { op: 'replace', path: '/spec/cpu/vcpus', value: 2 },
      { op: 'add', path: '/spec/disks/-', value: { name: 'data' } },
      { op: 'copy', from: '/spec/disks/0', path: '/spec/disks/-' },
      { op: 'move', from: '/spec/cpu', path: '/spec/processor' },
      { op: 'remove', path: '/spec/disks/0' },
    ]);
    expect(patched).toEqual({
      ok: true,
      value: { spec: { disks: [{ name: 'data' }, { name: 'root' }], processor: { vcpus: 2 } } },
    });
    expect(target).toEqual({ spec: { disks: [{ name: 'root' }], cpu: { vcpus: 1 } } });
  });

  it.each<[unknown, string]>([
    [{}, 'request_malformed: a JSON patch must be a list'],
    [[{ op: 'leap', path: '/' }], 'request_malformed: a JSON patch must be a list'],
    [new Array(10_001).fill({ op: 'remove', path: '/spec' }), 'request_malformed: the JSON patch has 10001 operations'],
    [
      [{ op: 'test', path: '/spec/cpu/vcpus', value: 7 }],
      'object_invalid: the JSON patch does not apply: testing value /spec/cpu/vcpus failed',
    ],
    [
      [{ op: 'remove', path: '/spec/nothing' }],
      'object_invalid: the JSON patch does not apply: remove operation on "/spec/nothing" does not apply',
    ],
    [
      [{ op: 'replace', path: '/spec/a/b/c', value: 1 }],
      'object_invalid: the JSON patch does not apply: replace operation',
    ],
    [[{ op: 'add', path: '/spec/disks/7', value: 1 }], 'object_invalid: the JSON patch does not apply: add operation'],
    [
      [{ op: 'add', path: '/__proto__/polluted', value: 1 }],
      'object_invalid: the JSON patch does not apply: add operation',
    ],
    [[{ op: 'copy', from: '/no', path: '/spec/x' }], 'object_invalid: the JSON patch does not apply: copy operation'],
  ])('%j is refused', (operations, message) => expect(refusal(jsonPatch(target, operations))).toContain(message));

  it('cannot grow without bound by copies of copies', () => {
    const doubling = Array.from({ length: 60 }, (_, index) => ({
      op: 'copy',
      from: '/spec',
      path: `/spec/copy${index}`,
    }));
    expect(refusal(jsonPatch(target, doubling))).toContain('request_malformed: the JSON patch copies more than');
  });
});

describe('a strategic merge patch', () => {
  const namespace: JsonObject = {
    metadata: {
      name: 'a',
      labels: { x: '1', y: '2' },
      finalizers: ['one', 'two'],
      ownerReferences: [
        { uid: '1', name: 'first' },
        { uid: '2', name: 'second' },
      ],
    },
  };
  const patched = (patch: unknown): JsonValue | undefined => {
    const result = strategicMergePatch(namespaceKind, namespace, patch);
    return result.ok ? result.value['metadata'] : result.rejection.code;
  };

  it('merges lists by their keys, and sets', () => {
    expect(
      patched({
        metadata: {
          labels: { x: null, z: '3' },
          finalizers: ['three', 'one'],
          ownerReferences: [{ uid: '2', name: 'other' }, { uid: '3' }],
        },
      }),
    ).toEqual({
      name: 'a',
      labels: { y: '2', z: '3' },
      finalizers: ['one', 'two', 'three'],
      ownerReferences: [{ uid: '1', name: 'first' }, { uid: '2', name: 'other' }, { uid: '3' }],
    });
  });

  it('follows directives', () => {
    expect(
      patched({
        metadata: {
          '$deleteFromPrimitiveList/finalizers': ['one'],
          '$setElementOrder/ownerReferences': [{ uid: '2' }, { uid: '1' }],
          labels: { $patch: 'replace', only: 'me' },
        },
      }),
    ).toEqual({
      name: 'a',
      labels: { only: 'me' },
      finalizers: ['two'],
      ownerReferences: [
        { uid: '2', name: 'second' },
        { uid: '1', name: 'first' },
      ],
    });
    expect(patched({ metadata: { ownerReferences: [{ uid: '1', $patch: 'delete' }] } })).toMatchObject({
      ownerReferences: [{ uid: '2' }],
    });
    expect(patched({ metadata: { ownerReferences: [{ $patch: 'replace' }, { uid: '9' }] } })).toMatchObject({
      ownerReferences: [{ uid: '9' }],
    });
    expect(patched({ metadata: { $retainKeys: ['name', 'labels'], labels: { z: '3' } } })).toEqual({
      name: 'a',
      labels: { x: '1', y: '2', z: '3' },
    });
  });

  it('knows the lists of a kind', () => {
    const machine: JsonObject = { spec: { disks: [{ name: 'root', size: '1Gi' }] } };
    expect(
      strategicMergePatch(virtualMachineKind, machine, {
        spec: { disks: [{ name: 'data' }, { name: 'root', size: '2Gi' }] },
      }),
    ).toEqual({
      ok: true,
      value: { spec: { disks: [{ name: 'root', size: '2Gi' }, { name: 'data' }] } },
    });
  });

  it.each([
    [[]],
    ['x'],
    [{ metadata: { ownerReferences: [{ name: 'x' }] } }],
    [{ metadata: { $patch: 'burn' } }],
    [{ metadata: { $retainKeys: 1 } }],
  ])('%j is refused', (patch) => expect(patched(patch)).toBe('request_malformed'));
});

describe('the manager of a request', () => {
  const nameOf = (fieldManager: string | undefined, userAgent: string | undefined, apply = false): string => {
    const result = managerName({ fieldManager, userAgent, apply });
    return result.ok ? result.value : result.rejection.code;
  };
  it.each([
    ['kubectl-edit', 'kubectl/v1.35', false, 'kubectl-edit'],
    [undefined, 'kubectl/v1.35 (linux/amd64)', false, 'kubectl'],
    [undefined, undefined, false, 'unknown'],
    [undefined, 'kubectl/v1.35', true, 'request_malformed'],
    ['x'.repeat(129), undefined, false, 'request_malformed'],
    ['a\u0007b', undefined, false, 'request_malformed'],
  ])('%s and %s, apply %s', (manager, agent, apply, name) => expect(nameOf(manager, agent, apply)).toBe(name));
});

describe('preconditions after a patch', () => {
  const live = { metadata: { name: 'a', resourceVersion: '7', uid: 'u' } };
  it('are what the client stated, not what the live object had', () => {
    expect(withoutLivePreconditions(live, live)).toEqual({ metadata: { name: 'a' } });
    expect(withoutLivePreconditions(live, { metadata: { name: 'a', resourceVersion: '6', uid: 'u' } })).toEqual({
      metadata: { name: 'a', resourceVersion: '6' },
    });
  });
});

it('a merge patch that was taken from two objects leads from one to the other', () => {
  const json = fc.dictionary(
    fc.constantFrom('a', 'b', 'c'),
    fc.oneof(fc.integer(), fc.dictionary(fc.constantFrom('x', 'y'), fc.string())),
  );
  const difference = (from: JsonObject, to: JsonObject): JsonObject => ({
    ...Object.fromEntries(
      Object.keys(from)
        .filter((key) => !(key in to))
        .map((key) => [key, null]),
    ),
    ...Object.fromEntries(
      Object.entries(to).map(([key, value]) => {
        const before = from[key];
        return typeof before === 'object' && before !== null && typeof value === 'object' && value !== null
          ? [key, difference(before as JsonObject, value as JsonObject)]
          : [key, value];
      }),
    ),
  });
  fc.assert(
    fc.property(json, json, (from, to) => {
      expect(mergePatch(from, difference(from, to))).toEqual(to);
    }),
  );
});
