import { ok, reject, type JsonObject, type Result } from '@xenolith/kernel';
import fastJsonPatch, { type Operation } from 'fast-json-patch';

/** Kubernetes' own limit (apiserver, maxJSONPatchOperations). */
const MAX_OPERATIONS = 10_000;

/** All that `copy` may add, in characters of JSON: as much as a request body may have, so that a small patch cannot grow without bound. */
const MAX_COPIED = 3 * 1024 * 1024;

const OPERATIONS: readonly string[] = ['add', 'remove', 'replace', 'move', 'copy', 'test'];

const isOperation = (value: unknown): value is Operation =>
  typeof value === 'object' &&
  value !== null &&
  'op' in value &&
  OPERATIONS.includes(value.op as string) &&
  'path' in value &&
  typeof value.path === 'string';

/** A refusal with its cause, as kubectl shows the causes only. */
const refuse = (operation: Operation, message: string): Result<never> =>
  reject('object_invalid', `the JSON patch does not apply: ${message}`, {
    causes: [{ field: operation.path, reason: 'FieldValueInvalid', message }],
  });

const refuseOperation = (operation: Operation, error: unknown): Result<never> => {
  if (error instanceof fastJsonPatch.JsonPatchError && error.name === 'TEST_OPERATION_FAILED')
    return refuse(operation, `testing value ${operation.path} failed`);
  // The library throws plain errors for pointers into prototypes and for paths through scalars.
  const sentence = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
  return refuse(
    operation,
    `${operation.op} operation on ${JSON.stringify(operation.path)} does not apply: ${sentence}`,
  );
};

const copiedLength = (document: JsonObject, operation: Operation): number => {
  if (operation.op !== 'copy') return 0;
  const text = JSON.stringify(fastJsonPatch.getValueByPointer(document, operation.from)) as string | undefined;
  return text?.length ?? 0;
};

/**
 * JSON patch (RFC 6902) on a copy of `target`. Refusals: `request_malformed` (400: no list of operations, too many) and `object_invalid` (422: a
 * test failed, a path is not there).
 */
export const jsonPatch = (target: JsonObject, operations: unknown): Result<JsonObject> => {
  if (!Array.isArray(operations) || !operations.every(isOperation))
    return reject(
      'request_malformed',
      'a JSON patch must be a list of operations, each with "op" and "path", such as [{"op":"remove","path":"/spec/disks/0"}]',
    );
  if (operations.length > MAX_OPERATIONS)
    return reject(
      'request_malformed',
      `the JSON patch has ${operations.length} operations, at most ${MAX_OPERATIONS} are allowed`,
    );
  let document = structuredClone(target);
  let copied = 0;
  for (const operation of operations) {
    try {
      copied += copiedLength(document, operation);
      if (copied > MAX_COPIED)
        return reject('request_malformed', `the JSON patch copies more than ${MAX_COPIED} characters`);
      document = fastJsonPatch.applyOperation(document, operation, true, true, true).newDocument;
    } catch (error) {
      return refuseOperation(operation, error);
    }
  }
  return ok(document);
};
