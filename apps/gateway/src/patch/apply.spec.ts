import { virtualMachineKind, type ManagedFieldsEntry } from '@xenolith/contracts';
import { present, type JsonObject, type Rejection } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseObject } from '../schema/index.js';
import { applyObject, managedFieldsAfterUpdate, mergePatch, withoutLivePreconditions } from './index.js';

const kind = virtualMachineKind;
const T0 = Date.parse('2026-11-21T12:00:00Z');

/** Stores as the gateway does: parsed, with defaults, empty metadata left out. */
const stored = (object: JsonObject, managedFields?: readonly ManagedFieldsEntry[]): JsonObject => {
  const parsed = parseObject(kind, object, { fieldValidation: 'Strict', name: 'web', namespace: 'default' });
  if (!parsed.ok) throw new Error(parsed.rejection.message);
  const metadata = { ...parsed.value.metadata, ...(managedFields && { managedFields: [...managedFields] }) };
  const full = Object.entries(metadata).filter(
    ([, value]) => typeof value !== 'object' || Object.keys(value).length > 0,
  );
  return {
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: Object.fromEntries(full) as JsonObject,
    spec: parsed.value.spec,
  };
};

const config = (spec: JsonObject, metadata: JsonObject = {}): JsonObject => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: { name: 'web', namespace: 'default', ...metadata },
  spec,
});

interface Apply {
  manager?: string;
  force?: boolean;
  at?: number;
}

const attempt = (live: JsonObject | null, applied: JsonObject, options: Apply = {}): JsonObject | Rejection => {
  const result = applyObject(kind, {
    live,
    applied,
    manager: options.manager ?? 'a',
    force: options.force ?? false,
    at: options.at ?? T0,
  });
  return result.ok ? stored(result.value) : result.rejection;
};

const isRefusal = (result: JsonObject | Rejection): result is Rejection => 'code' in result;

const apply = (live: JsonObject | null, applied: JsonObject, options: Apply = {}): JsonObject => {
  const result = attempt(live, applied, options);
  if (isRefusal(result)) throw new Error(result.message);
  return result;
};

const update = (live: JsonObject | null, next: JsonObject, manager: string, at = T0): JsonObject => {
  const after = stored(next);
  return stored(next, managedFieldsAfterUpdate(kind, { before: live, after, manager, at }));
};

const patch = (live: JsonObject, change: JsonObject, manager: string, at = T0): JsonObject =>
  update(live, withoutLivePreconditions(live, mergePatch(live, change) as JsonObject), manager, at);

const managersOf = (object: JsonObject): readonly ManagedFieldsEntry[] =>
  ((object['metadata'] as JsonObject)['managedFields'] ?? []) as unknown as ManagedFieldsEntry[];
const fieldsOf = (object: JsonObject, manager: string): unknown =>
  managersOf(object).find((entry) => entry.manager === manager)?.fieldsV1;
const specOf = (object: JsonObject): JsonObject => object['spec'] as JsonObject;

describe('server-side apply', () => {
  it('creates, and its manager owns what it stated, not the defaults', () => {
    const made = apply(
      null,
      config(
        { memory: '2Gi', disks: [{ name: 'root', size: '20Gi' }] },
        { labels: { app: 'web' }, finalizers: ['example.com/x'] },
      ),
    );
    expect(managersOf(made)).toEqual([
      {
        manager: 'a',
        operation: 'Apply',
        apiVersion: 'compute.xenolith.dev/v1alpha1',
        time: '2026-11-21T12:00:00Z',
        fieldsType: 'FieldsV1',
        fieldsV1: {
          'f:metadata': { 'f:finalizers': { 'v:"example.com/x"': {} }, 'f:labels': { 'f:app': {} } },
          'f:spec': {
            'f:disks': { 'k:{"name":"root"}': { '.': {}, 'f:name': {}, 'f:size': {} } },
            'f:memory': {},
          },
        },
      },
    ]);
    expect(specOf(made)).toMatchObject({ cpu: { vcpus: 1 }, memory: '2Gi' });
  });

  it('changes nothing the second time, times included', () => {
    const applied = config({ memory: '2Gi', disks: [{ name: 'root' }] });
    const made = apply(null, applied);
    expect(apply(made, applied, { at: T0 + 60_000 })).toEqual(made);
  });

  it('removes what it does not state any more: a default comes back, a list item goes', () => {
    const made = apply(
      null,
      config(
        { memory: '2Gi', cpu: { vcpus: 4 }, disks: [{ name: 'root' }, { name: 'data' }] },
        { labels: { a: '1', b: '2' } },
      ),
    );
    const next = apply(made, config({ memory: '2Gi', disks: [{ name: 'root' }] }, { labels: { b: '2' } }), {
      at: T0 + 60_000,
    });
    expect(specOf(next)).toMatchObject({ cpu: { vcpus: 1 }, disks: [{ name: 'root' }] });
    expect(next['metadata']).toMatchObject({ labels: { b: '2' } });
    expect((specOf(next)['disks'] as JsonObject[]).length).toBe(1);
    expect(managersOf(next)[0]?.time).toBe('2026-11-21T12:01:00Z');
  });

  it('leaves what another owns too', () => {
    const made = apply(null, config({ memory: '2Gi', cpu: { vcpus: 4 } }));
    const shared = apply(made, config({ cpu: { vcpus: 4 } }), { manager: 'b' });
    expect(specOf(apply(shared, config({ memory: '2Gi' })))).toMatchObject({ cpu: { vcpus: 4 } });
  });

  it('keeps the live order of items, with new ones where they were stated', () => {
    const made = apply(null, config({ memory: '1Gi', disks: [{ name: 'one' }, { name: 'two' }] }));
    const next = apply(made, config({ disks: [{ name: 'zero' }, { name: 'three' }] }), { manager: 'b' });
    expect((specOf(next)['disks'] as JsonObject[]).map(({ name }) => name)).toEqual(['one', 'two', 'zero', 'three']);
    const turned = apply(next, config({ memory: '1Gi', disks: [{ name: 'two' }, { name: 'one' }] }));
    expect((specOf(turned)['disks'] as JsonObject[]).map(({ name }) => name)).toEqual(['two', 'one', 'zero', 'three']);
  });

  it('refuses to change what another manages, naming manager and field', () => {
    const made = apply(null, config({ memory: '2Gi', disks: [{ name: 'root', size: '20Gi' }], powerState: 'Running' }));
    const edited = patch(made, { spec: { powerState: 'Halted' } }, 'kubectl-edit');
    expect(attempt(edited, config({ memory: '2Gi', powerState: 'Running' }))).toEqual({
      code: 'apply_conflict',
      message:
        'Apply failed with 1 conflict: conflict with "kubectl-edit" using compute.xenolith.dev/v1alpha1: .spec.powerState',
      causes: [
        {
          field: '.spec.powerState',
          reason: 'FieldManagerConflict',
          message: 'conflict with "kubectl-edit" using compute.xenolith.dev/v1alpha1',
        },
      ],
    });
    const two = attempt(edited, config({ powerState: 'Paused', disks: [{ name: 'root', size: '30Gi' }] }), {
      manager: 'b',
    });
    expect((two as Rejection).message).toBe(
      'Apply failed with 2 conflicts: conflicts with "a":\n- .spec.disks[name="root"].size\nconflicts with "kubectl-edit" using compute.xenolith.dev/v1alpha1:\n- .spec.powerState',
    );
  });

  it('takes fields over by force', () => {
    const made = apply(null, config({ memory: '2Gi', powerState: 'Running' }));
    const forced = apply(made, config({ powerState: 'Halted' }), { manager: 'b', force: true });
    expect(specOf(forced)['powerState']).toBe('Halted');
    expect(fieldsOf(forced, 'a')).toEqual({ 'f:spec': { 'f:memory': {} } });
    expect(fieldsOf(forced, 'b')).toEqual({ 'f:spec': { 'f:powerState': {} } });
  });

  it('shares what has the same value', () => {
    const made = apply(null, config({ memory: '2Gi', powerState: 'Running' }));
    const both = apply(made, config({ powerState: 'Running' }), { manager: 'b' });
    expect(managersOf(both).map(({ manager }) => manager)).toEqual(['a', 'b']);
    expect(attempt(both, config({ powerState: 'Halted' }), { manager: 'b' })).toMatchObject({ code: 'apply_conflict' });
  });

  it('forgets a manager that states nothing any more', () => {
    const made = apply(null, config({ memory: '2Gi' }));
    const both = apply(made, config({ powerState: 'Halted' }), { manager: 'b' });
    expect(managersOf(apply(both, config({}), { manager: 'b' })).map(({ manager }) => manager)).toEqual(['a']);
  });

  it('keeps what the live object has beside it, and only the client’s preconditions', () => {
    const made = apply(null, config({ memory: '2Gi' }));
    const live = {
      ...made,
      metadata: { ...(made['metadata'] as JsonObject), uid: 'u', resourceVersion: '7', generation: 3 },
      status: { phase: 'Running' },
    };
    const result = applyObject(kind, { live, applied: config({ memory: '2Gi' }), manager: 'a', force: false, at: T0 });
    expect(result.ok && result.value['metadata']).not.toHaveProperty('resourceVersion');
    const stated = applyObject(kind, {
      live,
      applied: config({ memory: '2Gi' }, { resourceVersion: '6' }),
      manager: 'a',
      force: false,
      at: T0,
    });
    expect(stated.ok && stated.value['metadata']).toMatchObject({ resourceVersion: '6', name: 'web' });
  });

  it('passes unknown fields on, to be refused or warned of, and owns none of them', () => {
    const result = applyObject(kind, {
      live: null,
      applied: config({ memory: '2Gi', typo: 1 }),
      manager: 'a',
      force: false,
      at: T0,
    });
    expect(result.ok && result.value['spec']).toMatchObject({ typo: 1 });
    expect(JSON.stringify(result)).not.toContain('f:typo');
  });

  it('refuses managed fields, other versions and what is no object', () => {
    expect(attempt(null, config({}, { managedFields: [{}] }))).toMatchObject({
      code: 'request_malformed',
      message: 'metadata.managedFields must be nil',
    });
    expect(attempt(null, { ...config({}), apiVersion: 'v1' })).toMatchObject({ code: 'request_malformed' });
    expect(attempt(null, [] as unknown as JsonObject)).toMatchObject({ code: 'request_malformed' });
  });
});

describe('an update', () => {
  it('makes its manager the owner of all that it created', () => {
    const made = update(null, config({ memory: '2Gi' }, { labels: { app: 'web' } }), 'kubectl-create');
    expect(managersOf(made)).toMatchObject([{ manager: 'kubectl-create', operation: 'Update' }]);
    expect(fieldsOf(made, 'kubectl-create')).toMatchObject({
      'f:metadata': { 'f:labels': { '.': {}, 'f:app': {} } },
      'f:spec': { '.': {}, 'f:memory': {}, 'f:powerState': {} },
    });
  });

  it('leaves managed fields as they are when nothing changes', () => {
    const made = update(null, config({ memory: '2Gi' }), 'kubectl-create');
    expect(update(made, made, 'other', T0 + 60_000)).toEqual(made);
  });

  it('takes what it changed from every other manager', () => {
    const made = apply(null, config({ memory: '2Gi', powerState: 'Running', cpu: { vcpus: 2 } }));
    const patched = patch(made, { spec: { powerState: 'Halted' } }, 'kubectl-patch');
    expect(fieldsOf(patched, 'kubectl-patch')).toEqual({ 'f:spec': { 'f:powerState': {} } });
    expect(fieldsOf(patched, 'a')).toMatchObject({ 'f:spec': { 'f:cpu': { 'f:vcpus': {} } } });
    expect(JSON.stringify(fieldsOf(patched, 'a'))).not.toContain('powerState');
  });

  it('loses what it removed', () => {
    const made = update(null, config({ memory: '2Gi' }, { labels: { a: '1', b: '2' } }), 'x');
    const without = patch(made, { metadata: { labels: { a: null } } }, 'y', T0 + 1000);
    expect(fieldsOf(without, 'x')).toMatchObject({ 'f:metadata': { 'f:labels': { 'f:b': {} } } });
    expect(JSON.stringify(fieldsOf(without, 'x'))).not.toContain('f:a"');
    expect(fieldsOf(without, 'y')).toBeUndefined();
  });

  it('starts afresh when the client sends one empty entry, and takes a client’s own list', () => {
    const made = update(null, config({ memory: '2Gi' }), 'x');
    const reset = managedFieldsAfterUpdate(kind, {
      before: made,
      after: { ...made, metadata: { ...(made['metadata'] as JsonObject), managedFields: [{}] } },
      manager: 'y',
      at: T0,
    });
    expect(reset).toEqual([]);
    const own = [
      {
        manager: 'z',
        operation: 'Apply',
        apiVersion: 'compute.xenolith.dev/v1alpha1',
        fieldsType: 'FieldsV1',
        fieldsV1: { 'f:spec': { 'f:memory': {} } },
      },
    ];
    const replaced = managedFieldsAfterUpdate(kind, {
      before: made,
      after: { ...made, metadata: { ...(made['metadata'] as JsonObject), managedFields: own } },
      manager: 'y',
      at: T0,
    });
    expect(replaced).toEqual(own);
  });

  it('counts the oldest of many managers as one', () => {
    let object = update(null, config({ memory: '2Gi' }), 'creator');
    for (let index = 0; index < 15; index += 1)
      object = patch(
        object,
        { metadata: { labels: { [`label-${index}`]: 'x' } } },
        `manager-${index}`,
        T0 + (index + 1) * 1000,
      );
    const names = managersOf(object).map(({ manager }) => manager);
    expect(names).toHaveLength(10);
    expect(names[0]).toBe('ancient-changes');
    expect(JSON.stringify(fieldsOf(object, 'ancient-changes'))).toContain('f:label-0');
  });
});

describe('kubectl apply', () => {
  const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
  const clientSide = (spec: JsonObject): JsonObject => {
    const applied = config(spec);
    return config(spec, { annotations: { [LAST_APPLIED]: `${JSON.stringify(applied)}\n` } });
  };

  it('moves from the client to the server without a conflict, and back', () => {
    const made = update(null, clientSide({ memory: '2Gi', cpu: { vcpus: 1 } }), 'kubectl-client-side-apply');
    const moved = apply(made, config({ memory: '2Gi', cpu: { vcpus: 2 } }), { manager: 'kubectl' });
    expect(specOf(moved)).toMatchObject({ cpu: { vcpus: 2 } });
    const annotations = (moved['metadata'] as JsonObject)['annotations'] as JsonObject;
    expect(JSON.parse(annotations[LAST_APPLIED] as string)).toMatchObject({ spec: { cpu: { vcpus: 2 } } });
    const other = attempt(made, config({ memory: '2Gi', cpu: { vcpus: 2 } }), { manager: 'another' });
    expect(other).toMatchObject({ code: 'apply_conflict' });
  });

  it('still conflicts over what kubectl had not applied', () => {
    const made = update(null, clientSide({ memory: '2Gi' }), 'kubectl-client-side-apply');
    const edited = patch(made, { spec: { powerState: 'Halted' } }, 'kubectl-edit');
    const result = attempt(edited, config({ memory: '4Gi', powerState: 'Running' }), { manager: 'kubectl' });
    expect((result as Rejection).causes?.map(({ field }) => field)).toEqual(['.spec.powerState']);
  });
});

const labels = (prefix: string) =>
  fc.dictionary(fc.constantFrom(...['a', 'b', 'c'].map((name) => `${prefix}${name}`)), fc.constantFrom('1', '2'));
const disks = (prefix: string) =>
  fc
    .uniqueArray(
      fc.record(
        {
          name: fc.constantFrom(...['r', 's', 't'].map((name) => `${prefix}${name}`)),
          size: fc.constantFrom('1Gi', '2Gi'),
        },
        { requiredKeys: ['name'] },
      ),
      { selector: ({ name }) => name },
    )
    .map((items) => items as JsonObject[]);
const configs = (prefix: string, spec: JsonObject) =>
  fc
    .record({ labels: labels(prefix), disks: disks(prefix), annotations: labels(prefix) })
    .map((parts) => config({ ...spec, disks: parts.disks }, { labels: parts.labels, annotations: parts.annotations }));
const first = configs('x', { memory: '2Gi', cpu: { vcpus: 2 } });
const second = configs('y', { powerState: 'Halted', onCrash: 'restart' });

const contains = (object: JsonObject, stated: JsonObject): void => {
  const metadata = object['metadata'] as JsonObject;
  const wanted = stated['metadata'] as JsonObject;
  expect(metadata['labels'] ?? {}).toMatchObject(wanted['labels'] as JsonObject);
  const names = (specOf(object)['disks'] as JsonObject[]).map(({ name }) => name);
  for (const disk of specOf(stated)['disks'] as JsonObject[]) expect(names).toContain(disk['name']);
};

describe('for all configurations', () => {
  it('apply is idempotent', () =>
    fc.assert(
      fc.property(first, first, (one, other) => {
        const live = apply(apply(null, one), other, { at: T0 + 1000 });
        expect(apply(live, other, { at: T0 + 2000 })).toEqual(live);
      }),
    ));

  it('two managers with disjoint fields never conflict, and the fields of both survive', () =>
    fc.assert(
      fc.property(first, second, first, second, (oneA, twoA, oneB, twoB) => {
        let live = apply(apply(null, oneA, { manager: 'one' }), twoA, { manager: 'two' });
        live = apply(apply(live, oneB, { manager: 'one' }), twoB, { manager: 'two' });
        contains(live, oneB);
        contains(live, twoB);
        const count = (specOf(oneB)['disks'] as JsonObject[]).length + (specOf(twoB)['disks'] as JsonObject[]).length;
        expect(specOf(live)['disks']).toHaveLength(count);
      }),
    ));

  it('an applier that takes all back leaves nothing of its own', () =>
    fc.assert(
      fc.property(first, second, (one, two) => {
        const alone = apply(null, one, { manager: 'one' });
        const back = apply(apply(alone, two, { manager: 'two' }), config({}), { manager: 'two' });
        expect(back).toEqual(present(alone, 'the object of the first'));
      }),
    ));

  it('what was applied by force is what is stored', () =>
    fc.assert(
      fc.property(first, first, (one, other) => {
        const live = apply(update(null, one, 'creator'), other, { force: true });
        contains(live, other);
      }),
    ));
});
