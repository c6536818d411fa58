import type { JsonObject } from '@xenolith/kernel';
import { humanDuration } from '../table/human-duration.js';
import type { ServedColumn, ServedKind } from './served-kind.js';

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const member = (object: JsonObject, name: string): JsonObject => {
  const value = object[name];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
};

const sinceText = (time: string, now: number): string => {
  const at = Date.parse(time);
  return Number.isNaN(at) ? '<unknown>' : humanDuration(now - at);
};

/** An event in either form: core/v1 names and events.k8s.io/v1 names of the same things. */
const regarding = (event: JsonObject): JsonObject =>
  'regarding' in event ? member(event, 'regarding') : member(event, 'involvedObject');
const firstSeen = (event: JsonObject): string =>
  text(event['firstTimestamp']) || text(event['deprecatedFirstTimestamp']) || text(event['eventTime']);
const lastSeen = (event: JsonObject): string =>
  text(event['lastTimestamp']) || text(event['deprecatedLastTimestamp']) || firstSeen(event);
const countOf = (event: JsonObject): number => {
  const count = event['count'] ?? event['deprecatedCount'];
  return typeof count === 'number' && count > 0 ? count : 1;
};

const lastSeenCell = (event: JsonObject, now: number): string => {
  const last = sinceText(lastSeen(event), now);
  const count = countOf(event);
  return count > 1 ? `${last} (x${count} over ${sinceText(firstSeen(event), now)})` : last;
};

const sourceCell = (event: JsonObject): string => {
  const source = 'deprecatedSource' in event ? member(event, 'deprecatedSource') : member(event, 'source');
  const component =
    text(source['component']) || text(event['reportingComponent']) || text(event['reportingController']);
  const host = text(source['host']);
  return host === '' ? component : `${component}, ${host}`;
};

const objectCell = (event: JsonObject): string => {
  const object = regarding(event);
  return `${text(object['kind']).toLowerCase()}/${text(object['name'])}`;
};

/** The columns of Kubernetes' own printer for events, in its order. */
const columns: readonly ServedColumn[] = [
  {
    name: 'Last Seen',
    type: 'string',
    path: '',
    description: 'Time since the event was last seen.',
    cell: lastSeenCell,
  },
  { name: 'Type', type: 'string', path: '.type', description: 'Normal or Warning.' },
  { name: 'Reason', type: 'string', path: '.reason', description: 'Why, in one word.' },
  { name: 'Object', type: 'string', path: '', description: 'The object that the event is about.', cell: objectCell },
  {
    name: 'Subobject',
    type: 'string',
    path: '',
    description: 'A part of it.',
    priority: 1,
    cell: (event) => text(regarding(event)['fieldPath']),
  },
  { name: 'Source', type: 'string', path: '', description: 'Who reported it.', priority: 1, cell: sourceCell },
  {
    name: 'Message',
    type: 'string',
    path: '',
    description: 'What happened.',
    cell: (event) => (text(event['message']) || text(event['note'])).trim(),
  },
  {
    name: 'First Seen',
    type: 'string',
    path: '',
    description: 'Time since it was first seen.',
    priority: 1,
    cell: (event, now) => sinceText(firstSeen(event), now),
  },
  { name: 'Count', type: 'integer', path: '', description: 'How often it was seen.', priority: 1, cell: countOf },
  {
    name: 'Name',
    type: 'string',
    format: 'name',
    path: '.metadata.name',
    description: 'Name of the event.',
    priority: 1,
  },
];

const OBJECT_FIELDS = ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'];
const METADATA_FIELDS = ['metadata.name', 'metadata.namespace', 'metadata.uid'];

const shared = {
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  singular: 'event',
  shortNames: ['ev'],
  categories: [],
  namespaced: true,
  verbs: ['get', 'list', 'watch'],
  subresources: [],
  columns,
  definition: null,
} as const;

/** Events are a view of the log with a time to live: read-only, in the form of core/v1 and in that of events.k8s.io/v1. */
export const EVENT_KINDS: readonly ServedKind[] = [
  {
    ...shared,
    group: '',
    description: 'Something that happened to an object, as the log tells it; kept for an hour.',
    fieldSelectors: [
      ...METADATA_FIELDS,
      ...OBJECT_FIELDS.map((field) => `involvedObject.${field}`),
      'reason',
      'reportingComponent',
      'source',
      'type',
    ],
    fieldPaths: { source: 'source.component' },
  },
  {
    ...shared,
    group: 'events.k8s.io',
    description: 'Something that happened to an object, as the log tells it; kept for an hour.',
    fieldSelectors: [
      ...METADATA_FIELDS,
      ...OBJECT_FIELDS.map((field) => `regarding.${field}`),
      ...OBJECT_FIELDS.map((field) => `involvedObject.${field}`),
      'reason',
      'reportingController',
      'type',
    ],
    fieldPaths: Object.fromEntries(OBJECT_FIELDS.map((field) => [`involvedObject.${field}`, `regarding.${field}`])),
  },
];
