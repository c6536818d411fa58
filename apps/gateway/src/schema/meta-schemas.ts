import type { JsonObject } from '@xenolith/kernel';

/** Names of Kubernetes' own schemas, which clients look for. */
const META = 'io.k8s.apimachinery.pkg.apis.meta.v1';

const reference = (name: string): JsonObject => ({ $ref: `#/components/schemas/${META}.${name}` });

/** A reference with a description of its own, as Kubernetes writes it. */
const described = (name: string, description: string): JsonObject => ({ description, allOf: [reference(name)] });

export const OBJECT_META = described(
  'ObjectMeta',
  'Name, labels and all else that objects of every kind have. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata',
);
export const LIST_META = described('ListMeta', 'The version of the list, and where it goes on.');
export const DELETE_OPTIONS = reference('DeleteOptions');
export const STATUS = reference('Status');
export const PATCH = reference('Patch');

const text = (description: string): JsonObject => ({ type: 'string', description });
const flag = (description: string): JsonObject => ({ type: 'boolean', description });
const whole = (description: string): JsonObject => ({ type: 'integer', format: 'int64', description });
const texts = (description: string): JsonObject => ({
  type: 'object',
  additionalProperties: { type: 'string', default: '' },
  description,
});
const time = (description: string): JsonObject => described('Time', description);

export const API_VERSION = text(
  'APIVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources',
);
export const KIND = text(
  'Kind is a string value representing the REST resource this object represents. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds',
);

const objectMeta: JsonObject = {
  type: 'object',
  description: 'What objects of every kind have beside their own content.',
  properties: {
    annotations: texts('Texts of any form for tools and people; 256 KiB in all.'),
    creationTimestamp: time('When the object was created. Set by the server.'),
    deletionGracePeriodSeconds: whole('Set by the server when deletion was asked for.'),
    deletionTimestamp: time(
      'When deletion was asked for. Set by the server; the object goes when its finalizers are gone.',
    ),
    finalizers: {
      type: 'array',
      items: { type: 'string', default: '' },
      description: 'Who must do something before the object may go. Each takes its own entry out.',
      'x-kubernetes-list-type': 'set',
      'x-kubernetes-patch-strategy': 'merge',
    },
    generateName: text('Beginning of a name that the server makes when `name` is empty.'),
    generation: whole('Grows with each change of the spec. Set by the server.'),
    labels: texts('Words that selectors can ask for.'),
    managedFields: {
      type: 'array',
      items: { default: {}, allOf: [reference('ManagedFieldsEntry')] },
      description: 'Which manager owns which field. Kept by the server for server-side apply.',
      'x-kubernetes-list-type': 'atomic',
    },
    name: text('Name, unique in its namespace among objects of the kind. Cannot be changed.'),
    namespace: text('The tenant’s space of names that the object is in. Cannot be changed.'),
    ownerReferences: {
      type: 'array',
      items: { default: {}, allOf: [reference('OwnerReference')] },
      description: 'Objects that this one depends on: it goes when all of them are gone.',
      'x-kubernetes-list-map-keys': ['uid'],
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-patch-merge-key': 'uid',
      'x-kubernetes-patch-strategy': 'merge',
    },
    resourceVersion: text(
      'Position in the log of the object’s last change. A write that states it is refused when it is not the newest.',
    ),
    selfLink: text('Not used.'),
    uid: text('Identity of the object: a new object of the same name has another. Set by the server.'),
  },
};

const ownerReferenceSchema: JsonObject = {
  type: 'object',
  description: 'An object that another depends on.',
  required: ['apiVersion', 'kind', 'name', 'uid'],
  properties: {
    apiVersion: text('API version of the owner.'),
    blockOwnerDeletion: flag('True when the owner cannot go before this object with foreground deletion.'),
    controller: flag('True when the owner manages this object.'),
    kind: text('Kind of the owner.'),
    name: text('Name of the owner.'),
    uid: text('UID of the owner.'),
  },
  'x-kubernetes-map-type': 'atomic',
};

const managedFieldsEntrySchema: JsonObject = {
  type: 'object',
  description: 'The fields of one manager.',
  properties: {
    apiVersion: text('Version that the fields are named in.'),
    fieldsType: text('Always FieldsV1.'),
    fieldsV1: described('FieldsV1', 'The fields, as a tree.'),
    manager: text('Who manages the fields.'),
    operation: text('Apply or Update.'),
    subresource: text('Subresource through which the fields were written.'),
    time: time('When the manager’s fields last changed.'),
  },
};

const deleteOptions: JsonObject = {
  type: 'object',
  description: 'How to delete.',
  properties: {
    apiVersion: API_VERSION,
    kind: KIND,
    dryRun: {
      type: 'array',
      items: { type: 'string' },
      description: '`All`: check only.',
      'x-kubernetes-list-type': 'atomic',
    },
    gracePeriodSeconds: whole('Ignored.'),
    preconditions: {
      type: 'object',
      description: 'What must hold for the deletion.',
      properties: {
        resourceVersion: text('The version that the object must have.'),
        uid: text('The UID that it must have.'),
      },
    },
    propagationPolicy: text('What becomes of dependents: Orphan, Background or Foreground.'),
  },
};

const status: JsonObject = {
  type: 'object',
  description: 'The outcome of a request that answers no object.',
  properties: {
    apiVersion: API_VERSION,
    kind: KIND,
    code: { type: 'integer', format: 'int32', description: 'HTTP status code.' },
    details: {
      type: 'object',
      description: 'What the outcome is about.',
      properties: {
        causes: {
          type: 'array',
          description: 'One per wrong field.',
          items: {
            type: 'object',
            properties: {
              field: text('Path of the field.'),
              message: text('What is wrong.'),
              reason: text('The kind of fault.'),
            },
          },
          'x-kubernetes-list-type': 'atomic',
        },
        group: text('API group.'),
        kind: text('Kind.'),
        name: text('Name.'),
        retryAfterSeconds: { type: 'integer', format: 'int32', description: 'When to try again.' },
        uid: text('UID.'),
      },
    },
    message: text('What happened, for people.'),
    metadata: LIST_META,
    reason: text('What happened, in one word.'),
    status: text('Success or Failure.'),
  },
  'x-kubernetes-group-version-kind': [{ group: '', kind: 'Status', version: 'v1' }],
};

/** Kubernetes' own schemas that every document needs, by their full names. */
export const META_SCHEMAS: JsonObject = {
  [`${META}.ObjectMeta`]: objectMeta,
  [`${META}.OwnerReference`]: ownerReferenceSchema,
  [`${META}.ManagedFieldsEntry`]: managedFieldsEntrySchema,
  [`${META}.FieldsV1`]: {
    type: 'object',
    description: 'A tree of field names (`f:`), list keys (`k:`) and values (`v:`).',
  },
  [`${META}.ListMeta`]: {
    type: 'object',
    description: 'What lists have beside their items.',
    properties: {
      continue: text('Token for the next page.'),
      remainingItemCount: whole('How many items follow.'),
      resourceVersion: text('Position in the log that the list is true for.'),
      selfLink: text('Not used.'),
    },
  },
  [`${META}.DeleteOptions`]: deleteOptions,
  [`${META}.Status`]: status,
  [`${META}.Time`]: { type: 'string', format: 'date-time', description: 'A time in RFC 3339.' },
  [`${META}.Patch`]: { type: 'object', description: 'A patch in the form that its content type says.' },
};
