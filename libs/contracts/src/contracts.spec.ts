import { ok, uuidFrom, type Aggregate, type Command, type JsonObject } from '@xenolith/kernel';
import { given, VIRTUAL_EPOCH_MS } from '@xenolith/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  ACTIVE_NAMESPACE_SCOPE,
  categoryOf,
  decideObject,
  defineKind,
  evolveObject,
  FOREGROUND_FINALIZER,
  KINDS,
  memorySizes,
  nameScope,
  objectConsequences,
  objectResource,
  millisecondsOf,
  timestamp,
  virtualMachineSpec,
  type ObjectRules,
  type ObjectState,
} from './index.js';

interface LampSpec {
  readonly watts: number;
}

const lampKind = defineKind({
  group: 'test.xenolith.dev',
  version: 'v1',
  kind: 'Lamp',
  plural: 'lamps',
  singular: 'lamp',
  shortNames: [],
  categories: [],
  namespaced: true,
  service: 'compute',
  description: 'A lamp.',
  spec: z.strictObject({ watts: z.number() }),
  status: z.looseObject({}),
  columns: [],
});

const rules: ObjectRules<LampSpec, null> = {
  kind: lampKind,
  initialOwn: () => null,
  checkCreate: (spec) =>
    spec.watts > 100 ? [{ field: 'spec.watts', reason: 'FieldValueInvalid', message: 'must be at most 100' }] : [],
  status: () => ({ lit: true }),
};

const lamp: Aggregate<ObjectState<LampSpec, null>> = {
  category: categoryOf(lampKind),
  initial: { phase: 'absent' },
  stateVersion: 1,
  decide: (command, state) => decideObject(rules, command, state) ?? ok([]),
  evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
  toResource: (state) => objectResource(rules, state),
  consequences: (event, before, command) => objectConsequences(rules, event, before, command),
  ended: (state) => state.phase === 'deleted',
};

const metadata = (more: JsonObject = {}): JsonObject => ({
  name: 'desk',
  namespace: 'home',
  labels: {},
  annotations: {},
  finalizers: [],
  ownerReferences: [],
  managedFields: [],
  ...more,
});
const created = (more: JsonObject = {}, watts = 40): never =>
  ({ type: 'LampCreated', schemaVersion: 1, data: { metadata: metadata(more), spec: { watts } } }) as never;
const change = (intent: 'create' | 'update', more: JsonObject = {}, watts = 40): { type: string; data: object } => ({
  type: 'ChangeLamp',
  data: { intent, metadata: metadata(more), spec: { watts } },
});
const remove = (more: JsonObject = {}): { type: string; data: object } => ({ type: 'DeleteLamp', data: more });

describe('the life that all kinds share', () => {
  it('begins with a creation that shows in the document', () => {
    const { state } = given(lamp)
      .when(change('create'))
      .then([{ type: 'LampCreated' }]);
    expect(lamp.toResource(state)).toMatchObject({
      apiVersion: 'test.xenolith.dev/v1',
      kind: 'Lamp',
      metadata: { name: 'desk', namespace: 'home', generation: 1, creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: { watts: 40 },
      status: { lit: true },
    });
  });

  it('refuses a creation with one cause per wrong field', () => {
    const rejection = given(lamp)
      .when(change('create', {}, 500))
      .thenRejected('object_invalid', /spec.watts: must be at most 100/);
    expect(rejection.causes).toEqual([
      { field: 'spec.watts', reason: 'FieldValueInvalid', message: 'must be at most 100' },
    ]);
  });

  it('refuses to create what is there', () => {
    given(lamp, [created()]).when(change('create')).thenRejected('already_exists');
  });

  it('finds nothing to do in a change that changes nothing', () => {
    given(lamp, [created()]).when(change('update')).thenNothing();
  });

  it('tells changes of metadata and of spec apart, and counts generations for spec only', () => {
    const labelled = given(lamp, [created()]).when(change('update', { labels: { room: 'attic' } }));
    expect(lamp.toResource(labelled.then([{ type: 'LampMetadataChanged' }]).state)).toMatchObject({
      metadata: { generation: 1, labels: { room: 'attic' } },
    });
    const brighter = given(lamp, [created()]).when(change('update', {}, 60));
    expect(lamp.toResource(brighter.then([{ type: 'LampSpecChanged' }]).state)).toMatchObject({
      metadata: { generation: 2 },
      spec: { watts: 60 },
    });
  });

  it('is gone at once when nothing holds it', () => {
    const { state } = given(lamp, [created()])
      .when(remove())
      .then([{ type: 'LampDeletionRequested' }, { type: 'LampDeleted' }]);
    expect(lamp.toResource(state)).toBeNull();
  });

  it('waits for its finalizers, takes no new ones, and goes with the last', () => {
    const held = given(lamp, [created({ finalizers: ['a.b/c'] })])
      .when(remove())
      .then([{ type: 'LampDeletionRequested' }]);
    expect(lamp.toResource(held.state)).toMatchObject({ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } });
    const going = [
      created({ finalizers: ['a.b/c'] }),
      {
        type: 'LampDeletionRequested',
        schemaVersion: 1,
        data: { deletionTimestamp: timestamp(0), finalizers: ['a.b/c'] },
      } as never,
    ];
    given(lamp, going)
      .when(change('update', { finalizers: ['a.b/c', 'd.e/f'] }))
      .thenRejected('object_invalid', /no new finalizers/);
    given(lamp, going)
      .when(change('update'))
      .then([{ type: 'LampMetadataChanged' }, { type: 'LampDeleted' }]);
  });

  it('keeps an object whose dependents go first', () => {
    given(lamp, [created()])
      .when(remove({ propagationPolicy: 'Foreground' }))
      .then([{ type: 'LampDeletionRequested', data: { finalizers: [FOREGROUND_FINALIZER] } }]);
  });

  it('refuses to delete another object of the same name', () => {
    given(lamp, [created()])
      .when(remove({ uid: uuidFrom('other') }))
      .thenRejected('precondition_failed');
  });

  it('claims its name in an active namespace, and gives it back at the end', () => {
    const command: Command = {
      type: 'ChangeLamp',
      commandId: uuidFrom('c'),
      streamId: uuidFrom('s'),
      at: 0,
      actor: 'user:test',
      data: {},
    };
    expect(lamp.consequences?.(created(), { phase: 'absent' }, command)).toEqual({
      claims: [
        { op: 'claim', scope: nameScope(lampKind, 'home'), value: 'desk', holder: command.streamId },
        { op: 'require', scope: ACTIVE_NAMESPACE_SCOPE, value: 'home', holder: command.streamId },
      ],
    });
    const { state } = given(lamp, [created()]);
    expect(lamp.consequences?.({ type: 'LampDeleted', schemaVersion: 1, data: {} }, state, command)).toEqual({
      claims: [{ op: 'release', scope: nameScope(lampKind, 'home'), value: 'desk', holder: command.streamId }],
    });
  });
});

describe('timestamps', () => {
  it('agree with the platform’s own calendar', () => {
    fc.assert(
      fc.property(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_000 }), (at) => {
        const seconds = Math.floor(at / 1000) * 1000;
        return (
          timestamp(at) === new Date(seconds).toISOString().replace('.000Z', 'Z') &&
          millisecondsOf(timestamp(at)) === seconds
        );
      }),
    );
    expect(timestamp(VIRTUAL_EPOCH_MS)).toBe('2026-01-01T00:00:00Z');
  });
});

describe('kinds', () => {
  it('have names that nobody else has', () => {
    const names = KINDS.flatMap((kind) =>
      [...new Set([kind.plural, kind.singular, ...kind.shortNames])].map((name) => `${kind.group}/${name}`),
    );
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('need no more of a virtual machine than cpu and memory', () => {
    expect(virtualMachineSpec.parse({ cpu: { vcpus: 2 }, memory: '1Gi' })).toMatchObject({
      powerState: 'Running',
      guestType: 'pvh',
      hypervisor: 'any',
      cpu: { vcpus: 2, weight: 256, cap: 0 },
      memory: '1Gi',
      disks: [],
      nics: [],
    });
  });

  it('mean the same memory by a quantity and by its whole form', () => {
    const whole = { staticMax: '1Gi', dynamicMin: '1Gi', dynamicMax: '1Gi' };
    expect(memorySizes('1Gi')).toEqual(whole);
    expect(memorySizes({ staticMax: '1Gi' })).toEqual(whole);
    expect(memorySizes({ staticMax: '2Gi', dynamicMax: '1Gi' })).toEqual({ ...whole, staticMax: '2Gi' });
  });

  it('say what they are and what each column shows', () => {
    for (const kind of KINDS) {
      expect(kind.description.length, kind.kind).toBeGreaterThan(10);
      for (const column of kind.columns) expect(column.path, `${kind.kind} ${column.name}`).toMatch(/^\./);
    }
  });
});
