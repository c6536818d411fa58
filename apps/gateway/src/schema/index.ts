import type { DesiredMetadata, KindDefinition } from '@xenolith/contracts';
import type { JsonObject, Result } from '@xenolith/kernel';
import type { StaticAnswer } from '../discovery/static-answer.js';

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

export interface ParseOptions {
  readonly fieldValidation: FieldValidation;
  /** Name in the URL (update, patch), or the one that was generated; absent on create: the body's. */
  readonly name?: string;
  /** Namespace in the URL; absent for cluster-scoped kinds. */
  readonly namespace?: string;
}

/** What a client may say of an object, parsed: `metadata` and `spec` are the data of `Change<Kind>`. */
export interface ParsedObject {
  readonly metadata: DesiredMetadata;
  /** With all defaults, in its normal form. */
  readonly spec: JsonObject;
  /** The `metadata.resourceVersion` and `metadata.uid` that the client stated, to be used as preconditions. */
  readonly resourceVersion?: string;
  readonly uid?: string;
  /** Texts for `Warning` headers. */
  readonly warnings: readonly string[];
}

/**
 * Parses an incoming object. Refusals: `request_malformed` (400: not an object, another apiVersion, kind, name or namespace than the URL's, unknown
 * fields under `Strict`) and `object_invalid` (422, one cause per wrong field). What only the server sets (uid, timestamps, generation, status, …) is ignored.
 */
export type ParseObject = (kind: KindDefinition, input: unknown, options: ParseOptions) => Result<ParsedObject>;

/** `/openapi/v3`, `/openapi/v3/api/v1`, `/openapi/v3/apis/<group>/<version>` (without query). Null: no such page (404). */
export type OpenApiAnswer = (path: string) => StaticAnswer | null;
