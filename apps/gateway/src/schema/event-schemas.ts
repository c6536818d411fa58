import type { JsonObject } from '@xenolith/kernel';
import { API_VERSION, KIND, OBJECT_META } from './meta-schemas.js';

const text = (description: string): JsonObject => ({ type: 'string', description });
const instant = (description: string): JsonObject => ({ type: 'string', format: 'date-time', description });
const count = (description: string): JsonObject => ({ type: 'integer', format: 'int32', description });

const objectReference = (description: string): JsonObject => ({
  type: 'object',
  description,
  properties: {
    apiVersion: text('API version of the object.'),
    fieldPath: text('A part of the object.'),
    kind: text('Kind of the object.'),
    name: text('Name of the object.'),
    namespace: text('Namespace of the object.'),
    resourceVersion: text('Version of the object at the time.'),
    uid: text('UID of the object.'),
  },
});

const source = (description: string): JsonObject => ({
  type: 'object',
  description,
  properties: { component: text('The service that reported it.'), host: text('The host that it happened on.') },
});

const DESCRIPTION =
  'Something that happened to an object, as the log tells it; kept for an hour. Events are read-only.';

const shared: JsonObject = {
  apiVersion: API_VERSION,
  kind: KIND,
  metadata: OBJECT_META,
  action: text('What was done.'),
  eventTime: instant('When it happened.'),
  reason: text('Why, in one word.'),
  related: objectReference('A second object.'),
  reportingInstance: text('Which process reported it.'),
  type: text('Normal or Warning.'),
};

/** Event of core/v1. */
export const coreEventSchema: JsonObject = {
  type: 'object',
  description: DESCRIPTION,
  properties: {
    ...shared,
    count: count('How often it was seen.'),
    firstTimestamp: instant('When it was first seen.'),
    involvedObject: objectReference('The object that it happened to.'),
    lastTimestamp: instant('When it was last seen.'),
    message: text('What happened, for people.'),
    reportingComponent: text('The service that reported it.'),
    source: source('Who reported it.'),
  },
};

/** Event of events.k8s.io/v1. */
export const eventSchema: JsonObject = {
  type: 'object',
  description: DESCRIPTION,
  properties: {
    ...shared,
    deprecatedCount: count('How often it was seen.'),
    deprecatedFirstTimestamp: instant('When it was first seen.'),
    deprecatedLastTimestamp: instant('When it was last seen.'),
    deprecatedSource: source('Who reported it.'),
    note: text('What happened, for people.'),
    regarding: objectReference('The object that it happened to.'),
    reportingController: text('The service that reported it.'),
  },
};
