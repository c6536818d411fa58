import type { KindDefinition, ManagedFieldsEntry } from '@xenolith/contracts';
import type { JsonObject, JsonValue, Result } from '@xenolith/kernel';

/** RFC 7386. Neither argument is changed. */
export type MergePatch = (target: JsonValue, patch: JsonValue) => JsonValue;

/** RFC 6902. Refusals: `request_malformed` (400: no list of operations, too many), `object_invalid` (422: a test failed, a path is not there). */
export type JsonPatch = (target: JsonObject, operations: unknown) => Result<JsonObject>;

/** Strategic merge for core kinds: merge patch, with known lists merged by their keys and `$patch` directives. */
export type StrategicMergePatch = (kind: KindDefinition, target: JsonObject, patch: JsonObject) => Result<JsonObject>;

export interface ApplyRequest {
  /** The object as it is; null: it does not exist, apply creates it. */
  readonly live: JsonObject | null;
  /** The body of the request. */
  readonly applied: unknown;
  readonly manager: string;
  readonly force: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * Server-side apply: the merged object, `metadata.managedFields` included, still to be parsed by `parseObject`. Refusals: `apply_conflict` (409, one
 * `FieldManagerConflict` cause per field), `request_malformed`, `object_invalid`.
 */
export type ApplyObject = (kind: KindDefinition, request: ApplyRequest) => Result<JsonObject>;

export interface UpdateRecord {
  /** The object before; null: it is being created. */
  readonly before: JsonObject | null;
  /** The object as it will be stored: `metadata` and `spec` out of `parseObject` (its managedFields are the client's, if it sent any). */
  readonly after: JsonObject;
  readonly manager: string;
  readonly at: number;
}

/** `metadata.managedFields` after a create, update or patch (all but apply): the manager owns what it changed, others lose it. */
export type ManagedFieldsAfterUpdate = (kind: KindDefinition, update: UpdateRecord) => ManagedFieldsEntry[];

/** The manager of a request: `fieldManager` of the query, else the user agent up to its first slash. Refusal: `request_malformed`. */
export type ManagerName = (request: {
  readonly fieldManager?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly apply: boolean;
}) => Result<string>;
