import { apiVersionOf, contentMembers, type ManagedFieldsEntry } from '@xenolith/contracts';
import {
  present,
  randomFrom,
  type CommandAnswer,
  type JsonObject,
  type Rejection,
  type Result,
} from '@xenolith/kernel';
import { takeRoom } from '../auth/quota.js';
import { keyOf, type CachedObject } from '../cache/cached-object.js';
import { findServedKind, OPERATION_REFERENCE, type ServedKind } from '../discovery/index.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { duplicatesIn, OBJECT_TYPES, parseBody } from '../http/json-body.js';
import { dryRun } from '../http/query.js';
import { statusOfRejection } from '../http/rejection-table.js';
import { badRequest, notFoundObject, resourceName, type StatusError } from '../http/status.js';
import { managedFieldsAfterUpdate, managerName } from '../patch/index.js';
import { generatedName, parseObject, type FieldValidation, type ParsedObject } from '../schema/index.js';
import { commandIds, deadlineOf, sendCommand, writable, writtenText, type WritePorts } from './commands.js';
import { consistent } from './read.js';
import { accepted, objectText, readView } from './representation.js';

/** As often as Kubernetes tries another suffix when a generated name is taken. */
const NAME_ATTEMPTS = 8;
/** An Operation's name begins with its target's, which is cut so that all of it is a DNS label. */
const MAX_OPERATION_PREFIX = 57;

export const fieldValidation = (query: URLSearchParams): FieldValidation => {
  const word = query.get('fieldValidation') ?? '';
  if (word === '' || word === 'Warn') return 'Warn';
  if (word === 'Strict' || word === 'Ignore') return word;
  throw badRequest(`query parameter fieldValidation="${word}" is none of Ignore, Warn, Strict`);
};

/** The request's `fieldManager`, or the name that its user agent gives. */
export const updateManager = (request: ApiRequest): string =>
  accepted(
    managerName({
      fieldManager: request.query.get('fieldManager') ?? undefined,
      userAgent: request.headers['user-agent'],
      apply: false,
    }),
  );

/** `Warning` headers as HTTP has them: code 299, no agent, quoted text. */
export const warningHeaders = (warnings: readonly string[]): Record<string, readonly string[]> =>
  warnings.length === 0
    ? {}
    : {
        Warning: warnings.map(
          (text) => `299 - "${text.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, '\\$&')}"`,
        ),
      };

export const storedForm = (kind: ServedKind, object: ParsedObject): JsonObject => ({
  apiVersion: apiVersionOf(kind),
  kind: kind.kind,
  metadata: object.metadata as unknown as JsonObject,
  ...contentMembers(kind.definition ?? {}, object.spec),
});

/** A namespace that is not there at all is a 404, as in Kubernetes; one on its way out a 403. */
export const refusalOf = (
  ports: WritePorts,
  rejection: Rejection,
  target: ResourcePath,
  name?: string,
): StatusError => {
  if (rejection.code === 'namespace_not_active') {
    const namespaces = present(findServedKind('', 'v1', 'namespaces'), 'namespaces are served');
    if (ports.cache.store(namespaces).get(keyOf('', target.namespace)) === undefined)
      return notFoundObject(namespaces, target.namespace);
  }
  const about = { kind: target.kind, name };
  if (rejection.code === 'already_exists' && name !== undefined)
    return statusOfRejection({ ...rejection, message: `${resourceName(target.kind)} "${name}" already exists` }, about);
  return statusOfRejection(rejection, about);
};

const withoutTime = ({ time: _time, ...entry }: ManagedFieldsEntry): ManagedFieldsEntry => entry;

interface Creation {
  readonly target: ResourcePath;
  readonly input: unknown;
  /** Paths of what the body named twice. */
  readonly duplicates?: ReturnType<typeof duplicatesIn>;
  readonly dryRun: boolean;
  /** The request was for something that this object only carries out: the right to that is enough. */
  readonly implied?: boolean;
}

const metadataOf = (input: unknown): JsonObject => {
  const metadata = typeof input === 'object' && input !== null ? (input as { metadata?: unknown }).metadata : undefined;
  return typeof metadata === 'object' && metadata !== null ? (metadata as JsonObject) : {};
};

const wishedName = (input: unknown): string => {
  const { name } = metadataOf(input);
  return typeof name === 'string' ? name : '';
};

/** The name to generate, or undefined when the body names the object itself. */
const wishedBase = (input: unknown): string | undefined => {
  const { name, generateName } = metadataOf(input);
  if (typeof name === 'string' && name !== '') return undefined;
  return typeof generateName === 'string' && generateName !== '' ? generateName : undefined;
};

interface Created {
  readonly result: Result<CommandAnswer>;
  readonly object: ParsedObject;
}

const tryCreate = async (
  ports: WritePorts,
  creation: Creation,
  request: ApiRequest,
  commandId: string,
): Promise<Created> => {
  const { kind, namespace } = creation.target;
  const definition = writable(kind);
  const repeatable = request.headers['idempotency-key'] !== undefined;
  const base = wishedBase(creation.input);
  // The same request gives the same name when it comes again.
  const suffix = randomFrom(commandId);
  const object = accepted(
    parseObject(definition, creation.input, {
      fieldValidation: fieldValidation(request.query),
      duplicateFields: creation.duplicates ?? [],
      ...(base === undefined ? {} : { name: generatedName(base, (bound) => suffix.below(bound)) }),
      ...(kind.namespaced ? { namespace } : {}),
    }),
    { kind, name: wishedName(creation.input) },
  );
  const after = storedForm(kind, object);
  if (creation.implied !== true)
    await ports.admit({ user: request.user, kind, namespace, name: object.metadata.name, before: null, after });
  const managedFields = managedFieldsAfterUpdate(definition, {
    before: null,
    after,
    manager: updateManager(request),
    at: request.receivedAt,
  });
  // A request that may come again must be the same then: its managed fields carry no time.
  const lasting = repeatable ? managedFields.map(withoutTime) : managedFields;
  const { name } = object.metadata;
  const growth = { kind, namespace, name, uid: commandId, commandId, before: null, after, dryRun: creation.dryRun };
  const giveBack = await takeRoom(ports, growth, request);
  const result = await sendCommand(
    ports,
    {
      kind: definition,
      type: `Change${definition.kind}`,
      streamId: commandId,
      commandId,
      data: {
        intent: 'create',
        metadata: { ...object.metadata, managedFields: lasting } as unknown as JsonObject,
        spec: object.spec,
      },
      dryRun: creation.dryRun,
    },
    request,
    deadlineOf(request),
  );
  if (!result.ok) await giveBack();
  return { result, object };
};

/** Creates an object out of a parsed body and answers it with 201. */
export const createFrom = async (ports: WritePorts, creation: Creation, request: ApiRequest): Promise<ApiAnswer> => {
  const { target } = creation;
  const view = readView(target.kind, request.headers.accept, request.query);
  const ids = commandIds(request);
  const generated = wishedBase(creation.input) !== undefined;
  for (let attempt = 0; ; attempt += 1) {
    const { result, object } = await tryCreate(ports, creation, request, ids.nth(attempt));
    if (!result.ok) {
      const another = generated && result.rejection.code === 'already_exists' && attempt + 1 < NAME_ATTEMPTS;
      if (another) continue;
      throw refusalOf(ports, result.rejection, target, object.metadata.name);
    }
    const text = creation.dryRun
      ? JSON.stringify(result.value.document)
      : await writtenText(ports, target.kind, result.value, deadlineOf(request));
    return {
      status: 201,
      contentType: view.representation.contentType,
      // An object that is gone again already is answered as it was made.
      body: objectText(view, text ?? JSON.stringify(storedForm(target.kind, object))),
      headers: warningHeaders(object.warnings),
    };
  }
};

export const createObject = async (
  ports: WritePorts,
  target: ResourcePath,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  writable(target.kind);
  if (target.kind.namespaced && target.namespace === '')
    throw badRequest(
      `an empty namespace may not be set during creation; POST to …/namespaces/<namespace>/${target.kind.plural}`,
    );
  const body = await request.body();
  const type = request.headers['content-type'];
  const input = parseBody(body, type, OBJECT_TYPES);
  const duplicates = duplicatesIn(body, type);
  return createFrom(ports, { target, input, duplicates, dryRun: dryRun(request.query) }, request);
};

const actionParameters = async (request: ApiRequest): Promise<JsonObject> => {
  const body = await request.body();
  if (body.length === 0) return {};
  const input = parseBody(body, request.headers['content-type'], OBJECT_TYPES);
  if (input === null) return {};
  if (typeof input !== 'object' || Array.isArray(input))
    throw badRequest('the body of an action is absent, or an object such as {"parameters": {…}}');
  const { parameters = {}, ...others } = input as { parameters?: unknown };
  const unknown = Object.keys(others).filter((member) => !['apiVersion', 'kind', 'metadata'].includes(member));
  if (unknown.length > 0) throw badRequest(`the body of an action has only "parameters", not ${unknown.join(', ')}`);
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters))
    throw badRequest('"parameters" of an action is an object');
  return parameters as JsonObject;
};

/** An operator's choice about an Operation is a command on the Operation itself: `retry` sends `RetryOperation`. */
const chooseForOperation = async (
  ports: WritePorts,
  choice: { readonly kind: ServedKind; readonly object: CachedObject; readonly action: string },
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const { kind, object, action } = choice;
  const view = readView(kind, request.headers.accept, request.query);
  const definition = writable(kind);
  const deadline = deadlineOf(request);
  const result = await sendCommand(
    ports,
    {
      kind: definition,
      type: `${action.charAt(0).toUpperCase()}${action.slice(1)}${definition.kind}`,
      streamId: object.uid,
      commandId: commandIds(request).nth(0),
      data: {},
      dryRun: dryRun(request.query),
    },
    request,
    deadline,
  );
  if (!result.ok) throw statusOfRejection(result.rejection, { kind, name: object.name });
  const text = dryRun(request.query) ? null : await writtenText(ports, kind, result.value, deadline);
  return { status: 201, contentType: view.representation.contentType, body: objectText(view, text ?? object.text) };
};

/** POST to an action subresource: makes and answers an Operation on the object. */
export const createAction = async (
  ports: WritePorts,
  target: ResourcePath & { readonly name: string; readonly subresource: string },
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const { kind, namespace, name, subresource: action } = target;
  const reference = OPERATION_REFERENCE;
  const operations = present(findServedKind(reference.group, reference.version, 'operations'), 'operations are served');
  const parameters = await actionParameters(request);
  await consistent(ports.cache);
  const object = ports.cache.store(kind).get(keyOf(namespace, name));
  if (object === undefined) throw notFoundObject(kind, name);
  if (kind === operations) return chooseForOperation(ports, { kind, object, action }, request);
  const input: JsonObject = {
    apiVersion: apiVersionOf(operations),
    kind: operations.kind,
    metadata: { generateName: `${name.slice(0, MAX_OPERATION_PREFIX - action.length - 2)}-${action}-` },
    spec: { target: { apiVersion: apiVersionOf(kind), kind: kind.kind, name, uid: object.uid }, action, parameters },
  };
  const creation = { target: { kind: operations, namespace }, input, dryRun: dryRun(request.query), implied: true };
  return createFrom(ports, creation, request);
};
