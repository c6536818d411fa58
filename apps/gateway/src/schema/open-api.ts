import { isKubernetesKind } from '@xenolith/contracts';
import { hashOf, type JsonObject } from '@xenolith/kernel';
import { metricsKindOf } from '../discovery/metrics-kinds.js';
import type { ServedKind } from '../discovery/served-kind.js';
import { SERVED_KINDS } from '../discovery/served-kinds.js';
import { staticAnswer, type StaticAnswer } from '../discovery/static-answer.js';
import { coreEventSchema, eventSchema } from './event-schemas.js';
import { answerSchema, specSchema, statusSchema } from './json-schema.js';
import { API_VERSION, KIND, LIST_META, META_SCHEMAS, OBJECT_META } from './meta-schemas.js';
import { pathsOfKind } from './open-api-paths.js';

/** `dev.xenolith.compute.v1alpha1.VirtualMachine`, as Kubernetes names schemas: the group's domain turned around. */
const schemaName = (kind: ServedKind): string =>
  isKubernetesKind(kind)
    ? `io.k8s.api.${kind.group === '' ? 'core' : (kind.group.split('.')[0] ?? '')}.${kind.version}.${kind.kind}`
    : `${kind.group.split('.').slice(1).toReversed().join('.')}.${kind.group.split('.')[0] ?? ''}.${kind.version}.${kind.kind}`;

const groupVersionKind = (kind: ServedKind, suffix = ''): JsonObject => ({
  'x-kubernetes-group-version-kind': [{ group: kind.group, kind: `${kind.kind}${suffix}`, version: kind.version }],
});

/** Of kinds that are not in the log. */
const viewSchema = (kind: ServedKind): JsonObject => {
  if (kind.kind === 'Event') return kind.group === '' ? coreEventSchema : eventSchema;
  const metrics = metricsKindOf(kind, undefined);
  if (metrics !== undefined) {
    const schema = answerSchema(metrics.schema);
    const figures = schema['properties'] as JsonObject;
    return {
      ...schema,
      description: kind.description,
      properties: { apiVersion: API_VERSION, kind: KIND, ...figures, metadata: OBJECT_META },
    };
  }
  const properties = { apiVersion: API_VERSION, kind: KIND, metadata: OBJECT_META };
  return { type: 'object', description: kind.description, properties };
};

const objectSchema = (kind: ServedKind): JsonObject => {
  const { definition } = kind;
  if (definition === null) return { ...viewSchema(kind), ...groupVersionKind(kind) };
  const spec = specSchema(definition);
  if (definition.content === 'top')
    return {
      ...spec,
      description: kind.description,
      properties: {
        apiVersion: API_VERSION,
        kind: KIND,
        metadata: OBJECT_META,
        ...(spec['properties'] as JsonObject),
      },
      ...groupVersionKind(kind),
    };
  return {
    type: 'object',
    description: kind.description,
    ...(Array.isArray(spec['required']) && spec['required'].length > 0 && { required: ['spec'] }),
    properties: {
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: OBJECT_META,
      spec: { description: `What is wished of the ${kind.kind}.`, ...spec },
      status: {
        description: `What is the case with the ${kind.kind}. Written by the platform only.`,
        ...statusSchema(definition),
      },
    },
    ...groupVersionKind(kind),
  };
};

const listSchema = (kind: ServedKind): JsonObject => ({
  type: 'object',
  description: `A list of ${kind.kind} objects.`,
  required: ['items'],
  properties: {
    apiVersion: API_VERSION,
    kind: KIND,
    metadata: LIST_META,
    items: { type: 'array', items: { $ref: `#/components/schemas/${schemaName(kind)}` }, description: 'The objects.' },
  },
  ...groupVersionKind(kind, 'List'),
});

const documentOf = (kinds: readonly ServedKind[]): JsonObject => {
  const reference = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });
  const schemas = kinds.flatMap((kind): [string, JsonObject][] => [
    [schemaName(kind), objectSchema(kind)],
    [`${schemaName(kind)}List`, listSchema(kind)],
  ]);
  const figuresReference = (kind: ServedKind): JsonObject | undefined => {
    const metrics = metricsKindOf(kind, 'metrics');
    return metrics && reference(schemaName(metrics));
  };
  const paths = kinds.map((kind) =>
    pathsOfKind({
      kind,
      object: reference(schemaName(kind)),
      list: reference(`${schemaName(kind)}List`),
      figures: figuresReference(kind),
    }),
  );
  return {
    openapi: '3.0.0',
    info: { title: 'Xenolith', version: 'v0.1.0' },
    paths: Object.assign({}, ...paths) as JsonObject,
    components: { schemas: { ...Object.fromEntries(schemas), ...META_SCHEMAS } },
  };
};

const buildPages = (): ReadonlyMap<string, StaticAnswer> => {
  const documents = [
    ...Map.groupBy(SERVED_KINDS, (kind) =>
      kind.group === '' ? `api/${kind.version}` : `apis/${kind.group}/${kind.version}`,
    ),
  ].map(([path, kinds]) => ({ path, document: documentOf(kinds) }));
  const index = Object.fromEntries(
    documents.map(({ path, document }) => [
      path,
      { serverRelativeURL: `/openapi/v3/${path}?hash=${hashOf(document).toUpperCase()}` },
    ]),
  );
  return new Map([
    ['/openapi/v3', staticAnswer({ paths: index })],
    ...documents.map(({ path, document }): [string, StaticAnswer] => [`/openapi/v3/${path}`, staticAnswer(document)]),
  ]);
};

/** How `kubectl` asks for gnostic's protobuf form of Swagger 2.0. "@" is not allowed in a media type, so it is answered under another name. */
const SWAGGER_ASKED = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
const SWAGGER_PROTOBUF = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

/**
 * A Swagger document without definitions: `swagger` (field 1) "2.0" and `info` (2) with title "Xenolith" (1) and version "0" (2). `kubectl` falls back to it for a
 * kind that the documents above don't have, and only when it gets one does it go on to say that there is no such kind.
 */
const SWAGGER: StaticAnswer = {
  contentType: SWAGGER_PROTOBUF,
  body: '\n\u00032.0\u0012\r\n\bXenolith\u0012\u00010',
  etag: '"SWAGGER-0"',
};

/** `/openapi/v2`, for clients that take it as protobuf. */
export const swaggerAnswer = (path: string, accept: string | undefined): StaticAnswer | null =>
  path === '/openapi/v2' && [SWAGGER_ASKED, SWAGGER_PROTOBUF].some((type) => accept?.includes(type)) ? SWAGGER : null;

let pages: ReadonlyMap<string, StaticAnswer> | undefined;

/**
 * `/openapi/v3`, `/openapi/v3/api/v1`, `/openapi/v3/apis/<group>/<version>` (without query; the index names each with the hash of its content, so a
 * document under a hash may be cached for ever). Null: no such page (404).
 */
export const openApiAnswer = (path: string): StaticAnswer | null => {
  // Made at the first question: most processes are never asked.
  pages ??= buildPages();
  return pages.get(path) ?? null;
};
