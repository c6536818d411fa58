import { KINDS } from '@xenolith/contracts';
import { present, type JsonObject } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { SERVED_KINDS } from '../discovery/index.js';
import { openApiAnswer, swaggerAnswer } from './index.js';

const page = (path: string): JsonObject =>
  JSON.parse(present(openApiAnswer(path), `${path} is served`).body) as JsonObject;
const at = (value: unknown, ...path: string[]): unknown =>
  path.reduce<unknown>((inner, name) => (inner as JsonObject | undefined)?.[name], value);

const compute = page('/openapi/v3/apis/compute.xenolith.dev/v1alpha1');
const machine = at(compute, 'components', 'schemas', 'dev.xenolith.compute.v1alpha1.VirtualMachine');
const spec = at(machine, 'properties', 'spec', 'properties');

describe('the OpenAPI documents', () => {
  it('are listed with the hash of their content', () => {
    const paths = page('/openapi/v3')['paths'] as JsonObject;
    expect(Object.keys(paths)).toContain('api/v1');
    for (const [path, entry] of Object.entries(paths)) {
      expect(at(entry, 'serverRelativeURL')).toMatch(new RegExp(`^/openapi/v3/${path}\\?hash=[0-9A-F]{64}$`));
      expect(page(`/openapi/v3/${path}`)).toMatchObject({ openapi: '3.0.0' });
    }
    expect(openApiAnswer('/openapi/v3/apis/apps/v1')).toBeNull();
  });

  it('have a schema for every kind, found by group, version and kind', () => {
    for (const kind of SERVED_KINDS) {
      const document = page(`/openapi/v3/${kind.group === '' ? 'api' : `apis/${kind.group}`}/${kind.version}`);
      const schemas = Object.values(at(document, 'components', 'schemas') as JsonObject);
      const wanted = { group: kind.group, kind: kind.kind, version: kind.version };
      expect(
        schemas.filter(
          (schema) => JSON.stringify(at(schema, 'x-kubernetes-group-version-kind')) === JSON.stringify([wanted]),
        ),
      ).toHaveLength(1);
    }
  });

  it('refer to nothing that they do not have', () => {
    const references = JSON.stringify(compute).matchAll(/"#\/components\/schemas\/([^"]+)"/g);
    for (const [, name = ''] of references) expect(at(compute, 'components', 'schemas', name)).toBeDefined();
  });

  it('describe memory by its object form, and both forms', () => {
    const memory = at(spec, 'memory');
    expect(Object.keys(at(memory, 'properties') as JsonObject)).toEqual(['staticMax', 'dynamicMin', 'dynamicMax']);
    expect(at(memory, 'description')).toBe('A quantity, or an object with staticMax, dynamicMin and dynamicMax.');
    expect((at(memory, 'anyOf') as JsonObject[]).map(({ type }) => type)).toEqual(['string', 'object']);
  });

  it('tell which lists merge by key', () => {
    expect(at(spec, 'disks')).toMatchObject({
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
    });
    const network = page('/openapi/v3/apis/network.xenolith.dev/v1alpha1');
    const reserved = at(
      network,
      'components',
      'schemas',
      'dev.xenolith.network.v1alpha1.Network',
      'properties',
      'spec',
      'properties',
      'reserved',
    );
    expect(reserved).toMatchObject({ 'x-kubernetes-list-type': 'atomic' });
  });

  it('say that the server checks fields, where it takes patches', () => {
    for (const kind of KINDS.filter(({ verbs }) => verbs === undefined || verbs.includes('update'))) {
      const root = kind.group === '' ? '/api/v1' : `/apis/${kind.group}/${kind.version}`;
      const document = page(`/openapi/v3${root}`);
      const path = `${root}/${kind.namespaced ? 'namespaces/{namespace}/' : ''}${kind.plural}/{name}`;
      const parameters = at(document, 'paths', path, 'patch', 'parameters') as JsonObject[];
      expect(parameters.map(({ name }) => name)).toContain('fieldValidation');
    }
  });

  it('describe every field of every kind', () => {
    const undescribed = (schema: JsonObject, path: string): readonly string[] => [
      ...Object.entries((schema['properties'] ?? {}) as Record<string, JsonObject>).flatMap(([name, property]) => [
        ...(property['description'] === undefined ? [`${path}.${name}`] : []),
        ...undescribed(property, `${path}.${name}`),
      ]),
      ...(schema['items'] === undefined ? [] : undescribed(schema['items'] as JsonObject, `${path}[]`)),
    ];
    for (const kind of SERVED_KINDS) {
      const document = page(`/openapi/v3/${kind.group === '' ? 'api' : `apis/${kind.group}`}/${kind.version}`);
      const schemas = at(document, 'components', 'schemas') as Record<string, JsonObject>;
      expect(Object.entries(schemas).flatMap(([name, schema]) => undescribed(schema, name))).toEqual([]);
    }
  });

  it('have an empty Swagger form, without which kubectl can not say that a kind does not exist', () => {
    const asked = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
    const { body, contentType } = present(swaggerAnswer('/openapi/v2', asked), 'kubectl gets Swagger');
    expect(Buffer.from(body).toString('hex')).toBe('0a03322e30120d0a0858656e6f6c697468120130');
    // Go's mime package, which kubectl reads it with, takes no "@".
    expect(contentType).toMatch(/^application\/[\w.+-]+$/);
    expect(swaggerAnswer('/openapi/v2', 'application/json')).toBeNull();
  });

  it('have no operation id twice', () => {
    const ids = [...JSON.stringify(compute).matchAll(/"operationId":"([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
