import { clusterKind, hostKind, namespaceKind, virtualMachineKind } from '@xenolith/contracts';
import { present, type JsonObject } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { generatedName, parseObject, type FieldValidation, type ParsedObject } from './index.js';

const machine = (spec: JsonObject, metadata: JsonObject = {}): JsonObject => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: { name: 'web-1', ...metadata },
  spec,
});

const parse = (object: unknown, fieldValidation: FieldValidation = 'Warn', kind = virtualMachineKind as never) =>
  parseObject(kind, object, { fieldValidation, namespace: 'default' });

const parsed = (object: unknown, fieldValidation?: FieldValidation): ParsedObject => {
  const result = parse(object, fieldValidation);
  if (!result.ok) throw new Error(result.rejection.message);
  return result.value;
};

const causes = (object: unknown): readonly string[] => {
  const result = parse(object);
  if (result.ok) return [];
  expect(result.rejection.code).toBe('object_invalid');
  return present(result.rejection.causes, 'causes').map(({ field, reason }) => `${field} ${reason}`);
};

const refusal = (object: unknown, fieldValidation?: FieldValidation): string => {
  const result = parse(object, fieldValidation);
  return result.ok ? 'accepted' : `${result.rejection.code}: ${result.rejection.message}`;
};

describe('an incoming object', () => {
  it('gets all defaults, and keeps memory in the form that was given', () => {
    const { spec, metadata } = parsed(machine({ memory: '2Gi' }));
    expect(spec).toMatchObject({
      powerState: 'Running',
      cpu: { vcpus: 1, weight: 256 },
      memory: '2Gi',
      disks: [],
    });
    expect(metadata).toEqual({
      name: 'web-1',
      namespace: 'default',
      labels: {},
      annotations: {},
      finalizers: [],
      ownerReferences: [],
      managedFields: [],
    });
  });

  it('may give a quantity as a bare number', () => {
    expect(parsed(machine({ memory: 1073741824 })).spec['memory']).toBe('1073741824');
    expect(parsed(machine({ memory: '1Gi', disks: [{ name: 'root', size: 5000000000 }] })).spec['disks']).toMatchObject(
      [{ size: '5000000000' }],
    );
  });

  it('loses what only the server sets, and keeps it as preconditions', () => {
    const read = parsed(
      {
        ...machine(
          { memory: '2Gi' },
          { uid: 'u', resourceVersion: '7', generation: 3, creationTimestamp: null, selfLink: '/x' },
        ),
        status: { phase: 'Running' },
      },
      'Strict',
    );
    expect(read).toMatchObject({ uid: 'u', resourceVersion: '7', warnings: [] });
    expect(JSON.stringify(read.metadata)).not.toContain('generation');
  });

  it('counts null as absent', () => {
    expect(parsed(machine({ memory: '2Gi', cpu: { max: null, vcpus: null }, nics: null })).spec).toMatchObject({
      cpu: { vcpus: 1 },
      nics: [],
    });
  });

  it('names each wrong field, as Kubernetes writes paths', () => {
    expect(
      causes(
        machine({
          cpu: { vcpus: 0, weight: '5' },
          memory: { staticMax: 'lots', dynamicMin: true },
          powerState: 'On',
          disks: [{ name: 'A_b' }, { size: 'x', name: 'ok' }],
        }),
      ),
    ).toEqual([
      'spec.powerState FieldValueNotSupported',
      'spec.cpu.vcpus FieldValueInvalid',
      'spec.cpu.weight FieldValueTypeInvalid',
      'spec.memory.staticMax FieldValueInvalid',
      'spec.memory.dynamicMin FieldValueTypeInvalid',
      'spec.disks[0].name FieldValueInvalid',
      'spec.disks[1].size FieldValueInvalid',
    ]);
    expect(causes(machine({}))).toEqual(['spec.memory FieldValueRequired']);
    expect(causes(machine({ memory: [1] }))).toEqual(['spec.memory FieldValueTypeInvalid']);
    expect(causes({ ...machine({}), spec: 'x' })).toEqual(['spec FieldValueTypeInvalid']);
    const many = Array.from({ length: 17 }, (_, index) => ({ name: `eth${index}`, network: 'web' }));
    expect(causes(machine({ memory: '1Gi', nics: many }))).toEqual(['spec.nics FieldValueTooMany']);
  });

  it('says all of it in the message', () => {
    expect(refusal(machine({ memory: '2Gi', cpu: { vcpus: 0 } }))).toBe(
      'object_invalid: VirtualMachine.compute.xenolith.dev "web-1" is invalid: spec.cpu.vcpus: Invalid value: 0: must be greater than or equal to 1',
    );
  });

  it('has no two disks of one name', () => {
    expect(causes(machine({ memory: '1Gi', disks: [{ name: 'a' }, { name: 'a' }] }))).toEqual([
      'spec.disks[1].name FieldValueDuplicate',
    ]);
  });

  it('has unknown fields pruned, warned of, or refused', () => {
    const object = {
      ...machine({ memory: '2Gi', cpu: { cores: 2 }, disks: [{ name: 'a', sise: 1 }] }, { lables: {} }),
      extra: 1,
    };
    expect(parsed(object, 'Ignore').warnings).toEqual([]);
    expect(parsed(object, 'Warn').warnings).toEqual([
      'unknown field "extra"',
      'unknown field "metadata.lables"',
      'unknown field "spec.cpu.cores"',
      'unknown field "spec.disks[0].sise"',
    ]);
    expect(JSON.stringify(parsed(object, 'Warn').spec)).not.toContain('sise');
    expect(refusal(object, 'Strict')).toMatch(
      /^request_malformed: VirtualMachine in version "v1alpha1" cannot be handled as a VirtualMachine: strict decoding error: unknown field "extra", /,
    );
  });

  it('says unknown field within a union that has the right type', () => {
    expect(parsed(machine({ memory: { staticMax: '1Gi', typo: 1 } })).warnings).toEqual([
      'unknown field "spec.memory.typo"',
    ]);
  });

  it('is refused when it is for another place', () => {
    expect(refusal([])).toMatch(/^request_malformed: the body/);
    expect(refusal({ ...machine({}), apiVersion: 'v1' })).toMatch(
      /^request_malformed: the API version in the data \("v1"\)/,
    );
    expect(refusal({ ...machine({}), kind: 'Host' })).toMatch(/^request_malformed: the kind in the data/);
    expect(refusal({ ...machine({}), metadata: 5 })).toMatch(/^request_malformed: metadata must be an object/);
    expect(refusal(machine({}, { namespace: 'other' }))).toMatch(
      /^request_malformed: the namespace of the object \(other\)/,
    );
    const renamed = parseObject(virtualMachineKind, machine({}), {
      fieldValidation: 'Warn',
      name: 'web-2',
      namespace: 'default',
    });
    expect(renamed).toMatchObject({ ok: false, rejection: { code: 'request_malformed' } });
  });
});

describe('metadata', () => {
  const metadataCauses = (metadata: JsonObject): readonly string[] => causes(machine({ memory: '1Gi' }, metadata));
  it.each([
    [{ name: 'Web_1' }, ['metadata.name FieldValueInvalid']],
    [{ name: '' }, ['metadata.name FieldValueRequired']],
    [{ name: 'a'.repeat(64) }, ['metadata.name FieldValueTooLong']],
    [{ name: 5 }, ['metadata.name FieldValueTypeInvalid']],
    [
      { labels: { 'a b': 'x', ok: 'not ok' } },
      ['metadata.labels FieldValueInvalid', 'metadata.labels FieldValueInvalid'],
    ],
    [{ labels: { n: 5 } }, ['metadata.labels.n FieldValueTypeInvalid']],
    [{ annotations: { 'Example.com/Key': 'anything at all' } }, []],
    [{ annotations: { big: 'ü'.repeat(131_072) } }, ['metadata.annotations FieldValueTooLong']],
    [{ finalizers: ['a/b/c'] }, ['metadata.finalizers FieldValueInvalid']],
    [
      { ownerReferences: [{ apiVersion: 'v1', kind: 'X', name: 'x', uid: '' }] },
      ['metadata.ownerReferences[0].uid FieldValueRequired'],
    ],
    [
      { ownerReferences: [{ apiVersion: 'v1', kind: 'X', name: 'x' }] },
      ['metadata.ownerReferences[0].uid FieldValueRequired'],
    ],
    [
      { managedFields: [{ manager: 'x', operation: 'Steal', apiVersion: 'v1' }] },
      ['metadata.managedFields[0].operation FieldValueNotSupported'],
    ],
    [{ managedFields: [{}] }, []],
  ])('%j', (metadata, expected) => expect(metadataCauses(metadata)).toEqual(expected));

  it('of a cluster-scoped kind names no namespace', () => {
    const cluster = (metadata: JsonObject) => parseObject(clusterKind, { metadata }, { fieldValidation: 'Warn' });
    expect(cluster({ name: 'a' })).toMatchObject({ ok: true, value: { metadata: { name: 'a' } } });
    expect(cluster({ name: 'a', namespace: 'b' })).toMatchObject({
      ok: false,
      rejection: { causes: [{ field: 'metadata.namespace' }] },
    });
  });

  it('has two controllers at most once', () => {
    const owner = { apiVersion: 'v1', kind: 'X', name: 'x', controller: true };
    expect(
      metadataCauses({
        ownerReferences: [
          { ...owner, uid: '1' },
          { ...owner, uid: '2' },
        ],
      }),
    ).toEqual(['metadata.ownerReferences FieldValueInvalid']);
  });

  it('warns of finalizers without a domain', () => {
    expect(parsed(machine({ memory: '1Gi' }, { finalizers: ['mine', 'orphan'] })).warnings).toEqual([
      'metadata.finalizers: "mine": prefer a domain-qualified finalizer name, such as example.com/mine',
    ]);
  });

  it('takes the name from the URL', () => {
    const result = parseObject(hostKind, { spec: {} }, { fieldValidation: 'Strict', name: 'host-1' });
    expect(result).toMatchObject({ ok: true, value: { metadata: { name: 'host-1' } } });
  });

  it('of a namespace needs a name only', () => {
    const result = parseObject(
      namespaceKind,
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team-a' } },
      { fieldValidation: 'Strict' },
    );
    expect(result).toMatchObject({ ok: true, value: { spec: { finalizers: [] } } });
  });
});

it('generates names of a prefix and five letters, cut to a label’s length', () => {
  expect(generatedName('web-', () => 0)).toBe('web-bbbbb');
  expect(generatedName('x'.repeat(80), () => 26)).toHaveLength(63);
});
