import type { JsonObject, Result } from '@xenolith/kernel';
import type { ServedKind } from '../discovery/served-kind.js';

/** What the client wants to see, from `Accept`. */
export interface Representation {
  readonly as: 'Object' | 'Table' | 'PartialObjectMetadata' | 'PartialObjectMetadataList';
  /** Of `meta.k8s.io`. */
  readonly version: 'v1' | 'v1beta1';
  /** The `Content-Type` of the answer. */
  readonly contentType: string;
}

/** Takes the first of the accepted types that can be served. Refusal: `not_acceptable` (406). */
export type Negotiate = (accept: string | undefined) => Result<Representation>;

export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** Builds rows of one kind; make it once per kind and keep it. */
export interface TableBuilder {
  /** The column definitions as JSON. */
  readonly columnDefinitions: readonly JsonObject[];
  /** `now`: milliseconds since the epoch, for ages. */
  row(object: JsonObject, includeObject: IncludeObject, now: number): JsonObject;
}
export type TableBuilderOf = (kind: ServedKind) => TableBuilder;

/** A whole `Table`; for a watch event: one object, and column definitions with the first event only. `listMetadata` is the list's (resourceVersion, continue, …). */
export type TableOf = (
  kind: ServedKind,
  objects: readonly JsonObject[],
  options: {
    readonly version: 'v1' | 'v1beta1';
    readonly includeObject: IncludeObject;
    readonly now: number;
    readonly listMetadata: JsonObject;
    readonly withoutColumns?: boolean;
  },
) => JsonObject;

/** `PartialObjectMetadata` of one object. */
export type PartialObjectMetadata = (object: JsonObject, version: 'v1' | 'v1beta1') => JsonObject;

export type Selector = (object: JsonObject) => boolean;

/** Both refuse with `request_malformed` (400). An empty or absent text selects everything. */
export type ParseLabelSelector = (text: string | undefined) => Result<Selector>;
export type ParseFieldSelector = (kind: ServedKind, text: string | undefined) => Result<Selector>;
