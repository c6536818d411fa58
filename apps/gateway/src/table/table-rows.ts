import type { JsonObject, JsonValue } from '@xenolith/kernel';
import type { ServedColumn, ServedKind } from '../discovery/served-kind.js';
import { humanDuration } from './human-duration.js';
import { compileJsonPath } from './json-path.js';

/** What a row carries beside its cells; Kubernetes' default is the metadata. */
export type IncludeObject = 'None' | 'Metadata' | 'Object';

export type MetaVersion = 'v1' | 'v1beta1';

type Cell = (object: JsonObject, now: number) => JsonValue;

/** Builds rows of one kind. */
export interface TableBuilder {
  readonly columnDefinitions: readonly JsonObject[];
  /** `now`: milliseconds since the epoch, for ages. */
  row(object: JsonObject, options: RowOptions): JsonObject;
}

export interface RowOptions {
  readonly includeObject: IncludeObject;
  readonly now: number;
  readonly version: MetaVersion;
}

export interface TableOptions extends RowOptions {
  /** The list's metadata: resourceVersion, continue, remainingItemCount. */
  readonly listMetadata: JsonObject;
  /** True for all but the first event of a watch. */
  readonly withoutColumns?: boolean;
}

const asText = (value: JsonValue): string => {
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) return value.map(String).join(',');
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
};

/** A value of the wrong type shows as no value, as in Kubernetes' tables of custom resources. */
const convert = (type: ServedColumn['type'], value: JsonValue, now: number): JsonValue => {
  switch (type) {
    case 'string':
      return asText(value);
    case 'integer':
      return typeof value === 'number' ? Math.trunc(value) : null;
    case 'number':
      return typeof value === 'number' ? value : null;
    case 'boolean':
      return typeof value === 'boolean' ? value : null;
    case 'date': {
      const at = typeof value === 'string' ? Date.parse(value) : Number.NaN;
      return Number.isNaN(at) ? '<invalid>' : humanDuration(now - at);
    }
  }
};

const cellOf = (column: ServedColumn): Cell => {
  const { cell, type, ofEmptyList } = column;
  if (cell) return cell;
  const path = compileJsonPath(column.path);
  return (object, now) => {
    const value = path(object);
    if (ofEmptyList !== undefined && Array.isArray(value) && value.length === 0) return ofEmptyList;
    return value === undefined || value === null ? null : convert(type, value, now);
  };
};

const definitionOf = (column: ServedColumn): JsonObject => ({
  name: column.name,
  type: column.type,
  format: column.format ?? '',
  description: column.description,
  priority: column.priority ?? 0,
});

/** The object's metadata alone, as metadata-only clients and table rows want it. */
export const partialObjectMetadata = (object: JsonObject, version: MetaVersion): JsonObject => ({
  kind: 'PartialObjectMetadata',
  apiVersion: `meta.k8s.io/${version}`,
  metadata: object['metadata'],
});

/** The metadata of each object of a list. */
export const partialObjectMetadataList = (
  objects: readonly JsonObject[],
  listMetadata: JsonObject,
  version: MetaVersion,
): JsonObject => ({
  kind: 'PartialObjectMetadataList',
  apiVersion: `meta.k8s.io/${version}`,
  metadata: listMetadata,
  items: objects.map((object) => partialObjectMetadata(object, version)),
});

const included = (object: JsonObject, options: RowOptions): JsonObject | null => {
  switch (options.includeObject) {
    case 'None':
      return null;
    case 'Metadata':
      return partialObjectMetadata(object, options.version);
    case 'Object':
      return object;
  }
};

const compile = (kind: ServedKind): TableBuilder => {
  const cells = kind.columns.map(cellOf);
  return {
    columnDefinitions: kind.columns.map(definitionOf),
    row: (object, options) => ({
      cells: cells.map((cell) => cell(object, options.now)),
      object: included(object, options),
    }),
  };
};

const builders = new WeakMap<ServedKind, TableBuilder>();

/** The builder of a kind's rows, compiled once. */
export const tableBuilderOf = (kind: ServedKind): TableBuilder => {
  const known = builders.get(kind);
  if (known) return known;
  const compiled = compile(kind);
  builders.set(kind, compiled);
  return compiled;
};

/** A whole `Table` of meta.k8s.io; a watch event carries one with a single row. */
export const tableOf = (kind: ServedKind, objects: readonly JsonObject[], options: TableOptions): JsonObject => {
  const builder = tableBuilderOf(kind);
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: options.listMetadata,
    columnDefinitions: options.withoutColumns === true ? null : builder.columnDefinitions,
    rows: objects.map((object) => builder.row(object, options)),
  };
};

/** The query's `includeObject`, in any case of letters; absent: Metadata. Null: no such word (400). */
export const parseIncludeObject = (text: string | undefined): IncludeObject | null => {
  switch ((text ?? '').toLowerCase()) {
    case '':
    case 'metadata':
      return 'Metadata';
    case 'none':
      return 'None';
    case 'object':
      return 'Object';
    default:
      return null;
  }
};
