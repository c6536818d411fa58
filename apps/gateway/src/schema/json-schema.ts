import type { KindDefinition } from '@xenolith/contracts';
import type { JsonObject, JsonValue } from '@xenolith/kernel';
import { z } from 'zod';

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

type ListKeys = Readonly<Record<string, readonly string[]>>;

/** How Kubernetes' extensions say which lists merge by key; all others are one value. */
const listExtensions = (keys: readonly string[] | undefined): JsonObject =>
  keys === undefined
    ? { 'x-kubernetes-list-type': 'atomic' }
    : {
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': keys,
        'x-kubernetes-patch-strategy': 'merge',
        'x-kubernetes-patch-merge-key': keys[0],
      };

/** Words of JSON schema that Kubernetes' structural schemas do not have: what is not described is pruned, not refused by the schema. */
const LEFT_OUT: readonly string[] = [
  'additionalProperties',
  'propertyNames',
  'properties',
  'items',
  'anyOf',
  '$schema',
  'title',
];

const rest = (schema: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(schema).filter(([name]) => !LEFT_OUT.includes(name)));

interface Place {
  readonly path: string;
  readonly keys: ListKeys;
}

/** Free-form members: of a struct all others are kept, of a map each has the same schema. */
const openness = (schema: JsonObject, place: Place): JsonObject => {
  const { additionalProperties } = schema;
  if (!isObject(additionalProperties)) return {};
  if (Object.keys(additionalProperties).length === 0) return { 'x-kubernetes-preserve-unknown-fields': true };
  return { additionalProperties: adapt(additionalProperties, place) };
};

const adaptProperties = (properties: JsonObject, place: Place): JsonObject =>
  Object.fromEntries(
    Object.entries(properties).map(([name, property]) => [
      name,
      isObject(property) ? adapt(property, { ...place, path: `${place.path}.${name}` }) : {},
    ]),
  );

/**
 * Several forms of one thing. Tools that show schemas (`kubectl explain`) know properties only, so the object form's stand beside the list of forms; those
 * that check values find the forms' types in it.
 */
const adaptForms = (schema: JsonObject, forms: readonly JsonObject[], place: Place): JsonObject => {
  const object = forms.find((form) => form['type'] === 'object');
  const plain = forms.map((form) =>
    form === object
      ? { type: 'object', ...(form['required'] !== undefined && { required: form['required'] }) }
      : adapt(form, place),
  );
  return {
    ...rest(schema),
    ...(object && isObject(object['properties']) && { properties: adaptProperties(object['properties'], place) }),
    anyOf: plain,
  };
};

const adapt = (schema: JsonObject, place: Place): JsonObject => {
  const { anyOf, properties, items } = schema;
  if (Array.isArray(anyOf)) return adaptForms(schema, anyOf as readonly JsonObject[], place);
  return {
    ...rest(schema),
    ...(isObject(properties) && { properties: adaptProperties(properties, place) }),
    ...(isObject(items) && { items: adapt(items, place), ...listExtensions(place.keys[place.path]) }),
    ...openness(schema, place),
  };
};

/** Conditions merge by type everywhere, as in Kubernetes. */
const STATUS_KEYS: ListKeys = { 'status.conditions': ['type'] };

/** The schema of a kind's spec as clients write it, in OpenAPI 3.0 with Kubernetes' extensions. */
export const specSchema = (kind: KindDefinition): JsonObject =>
  adapt(
    z.toJSONSchema(kind.spec, { io: 'input', target: 'openapi-3.0', unrepresentable: 'any' }) as unknown as JsonObject,
    {
      path: kind.content === 'top' ? '' : 'spec',
      keys: kind.listMapKeys ?? {},
    },
  );

/** The schema of an answer that is no object of the log, as the gateway writes it. */
export const answerSchema = (schema: z.ZodType): JsonObject =>
  adapt(
    z.toJSONSchema(schema, { io: 'output', target: 'openapi-3.0', unrepresentable: 'any' }) as unknown as JsonObject,
    {
      path: '',
      keys: {},
    },
  );

/** The schema of a kind's status as the platform writes it. */
export const statusSchema = (kind: KindDefinition): JsonObject =>
  adapt(
    z.toJSONSchema(kind.status, {
      io: 'output',
      target: 'openapi-3.0',
      unrepresentable: 'any',
    }) as unknown as JsonObject,
    {
      path: 'status',
      keys: STATUS_KEYS,
    },
  );
