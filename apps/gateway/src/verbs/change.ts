import { isKubernetesKind } from '@xenolith/contracts';
import type { CommandAnswer, JsonObject, Result } from '@xenolith/kernel';
import { takeRoom } from '../auth/quota.js';
import { keyOf, parsed, type CachedObject } from '../cache/cached-object.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { duplicatesIn, mediaType, OBJECT_TYPES, parseBody } from '../http/json-body.js';
import { dryRun, flag } from '../http/query.js';
import { badRequest, conflict, MODIFIED_MEANWHILE, notFoundObject, StatusError } from '../http/status.js';
import {
  applyObject,
  jsonPatch,
  managedFieldsAfterUpdate,
  managerName,
  mergePatch,
  strategicMergePatch,
} from '../patch/index.js';
import { parseObject, type ParsedObject } from '../schema/index.js';
import {
  commandIds,
  deadlineOf,
  earlierAnswer,
  sendCommand,
  writable,
  writtenText,
  type WritePorts,
} from './commands.js';
import { fieldValidation, refusalOf, storedForm, updateManager, warningHeaders } from './create.js';
import { consistent } from './read.js';
import { accepted, objectText, readView } from './representation.js';

type NamedTarget = ResourcePath & { readonly name: string };

/** A change is merged anew after a conflict, but not for ever: then others write faster than we read. */
const MAX_ATTEMPTS = 5;

/** How a request changes an object. */
interface Merge {
  /** The whole object after the change; `live` is null when it does not exist. */
  readonly merge: (live: JsonObject | null) => Result<unknown>;
  /** Makes the object when it does not exist. */
  readonly creates: boolean;
  /** The merge has set the managed fields itself. */
  readonly managesFields: boolean;
}

interface Change {
  readonly target: NamedTarget;
  readonly merge: Merge;
  /** Paths of what the body named twice. */
  readonly duplicates: ReturnType<typeof duplicatesIn>;
  readonly request: ApiRequest;
}

interface Attempted {
  readonly result: Result<CommandAnswer>;
  readonly object: ParsedObject;
  readonly created: boolean;
}

/** What the client stated of the object must hold for the one that is there. */
const checkStated = (target: NamedTarget, object: ParsedObject, live: CachedObject | undefined): void => {
  if (object.uid !== undefined && live !== undefined && object.uid !== live.uid)
    throw conflict(
      target.kind,
      target.name,
      `Precondition failed: UID in precondition: ${object.uid}, UID in object meta: ${live.uid}`,
    );
  if (object.resourceVersion === undefined) return;
  if (live === undefined) throw notFoundObject(target.kind, target.name);
  if (object.resourceVersion !== String(live.position)) throw conflict(target.kind, target.name, MODIFIED_MEANWHILE);
};

const attempt = async (
  ports: WritePorts,
  { target, merge: change, duplicates, request }: Change,
  commandId: string,
): Promise<Attempted> => {
  const { kind, namespace, name } = target;
  const definition = writable(kind);
  await consistent(ports.cache);
  const live = ports.cache.store(kind).get(keyOf(namespace, name));
  if (live === undefined && !change.creates) throw notFoundObject(kind, name);
  const before = live === undefined ? null : parsed(live);
  const merged = accepted(change.merge(before), { kind, name });
  const object = accepted(
    parseObject(definition, merged, {
      fieldValidation: fieldValidation(request.query),
      duplicateFields: duplicates,
      name,
      ...(kind.namespaced ? { namespace } : {}),
    }),
    { kind, name },
  );
  checkStated(target, object, live);
  const after = storedForm(kind, object);
  await ports.admit({ user: request.user, kind, namespace, name, before, after });
  const managedFields = change.managesFields
    ? object.metadata.managedFields
    : managedFieldsAfterUpdate(definition, {
        before,
        after,
        manager: updateManager(request),
        at: request.receivedAt,
      });
  const uid = live?.uid ?? commandId;
  const growth = { kind, namespace, name, uid, commandId, before, after, dryRun: dryRun(request.query) };
  const giveBack = await takeRoom(ports, growth, request);
  const result = await sendCommand(
    ports,
    {
      kind: definition,
      type: `Change${definition.kind}`,
      streamId: uid,
      commandId,
      data: {
        intent: live === undefined ? 'create' : 'update',
        metadata: { ...object.metadata, managedFields } as unknown as JsonObject,
        spec: object.spec,
      },
      // What was merged holds for the version that it was merged with.
      ...(live === undefined ? {} : { expectedVersion: live.version }),
      dryRun: dryRun(request.query),
    },
    request,
    deadlineOf(request),
  );
  if (!result.ok) await giveBack();
  return { result, object, created: live === undefined };
};

const attemptAlone = async (ports: WritePorts, change: Change, commandId: string): Promise<Attempted> => {
  const { kind, namespace, name } = change.target;
  const release = await ports.locks.acquire(`${kind.group}/${kind.kind}/${keyOf(namespace, name)}`);
  try {
    return await attempt(ports, change, commandId);
  } finally {
    release();
  }
};

/** Somebody else was faster: what they wrote is merged with, unless the client stated what it wants to change. */
const isRace = (attempted: Attempted): boolean => {
  if (attempted.result.ok) return false;
  const { code } = attempted.result.rejection;
  return code === 'version_conflict' || (attempted.created && code === 'already_exists');
};

const changeObject = async (ports: WritePorts, change: Change): Promise<ApiAnswer> => {
  const { target, request } = change;
  const view = readView(target.kind, request.headers.accept, request.query);
  const ids = commandIds(request);
  const deadline = deadlineOf(request);
  for (let index = 0; index < MAX_ATTEMPTS; index += 1) {
    const commandId = ids.nth(index);
    const earlier = ids.repeatable ? await earlierAnswer(ports, commandId) : null;
    if (earlier !== null && !earlier.ok && earlier.rejection.code === 'version_conflict') continue;
    if (earlier?.ok === true) {
      const text = await writtenText(ports, target.kind, earlier.value, deadline);
      const body = objectText(view, text ?? JSON.stringify(earlier.value.document));
      return { status: 200, contentType: view.representation.contentType, body };
    }
    const attempted = await attemptAlone(ports, change, commandId);
    if (isRace(attempted)) continue;
    const { result, object, created } = attempted;
    if (!result.ok) throw refusalOf(ports, result.rejection, target, target.name);
    const text = dryRun(request.query) ? null : await writtenText(ports, target.kind, result.value, deadline);
    return {
      status: created ? 201 : 200,
      contentType: view.representation.contentType,
      // A dry run, or an object that this change let go at last: as the command left it.
      body: objectText(view, text ?? JSON.stringify(result.value.document ?? storedForm(target.kind, object))),
      headers: warningHeaders(object.warnings),
    };
  }
  throw conflict(
    target.kind,
    target.name,
    `others changed it ${MAX_ATTEMPTS} times while this change was merged; ask again`,
  );
};

/** PUT: the body is the whole wished object. */
export const updateObject = async (ports: WritePorts, target: NamedTarget, request: ApiRequest): Promise<ApiAnswer> => {
  writable(target.kind);
  const bytes = await request.body();
  const type = request.headers['content-type'];
  const body = parseBody(bytes, type, OBJECT_TYPES);
  const merge: Merge = { merge: () => ({ ok: true, value: body }), creates: false, managesFields: false };
  return changeObject(ports, { target, merge, duplicates: duplicatesIn(bytes, type), request });
};

const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
] as const;
type PatchType = (typeof PATCH_TYPES)[number];

const isPatchType = (type: string): type is PatchType => PATCH_TYPES.some((known) => known === type);

const asObject = (value: unknown, what: string): JsonObject => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw badRequest(`${what} is not an object`);
  return value as JsonObject;
};

const applyMerge = (target: NamedTarget, body: unknown, request: ApiRequest): Merge => {
  const definition = writable(target.kind);
  const { query, headers } = request;
  const manager = accepted(
    managerName({
      fieldManager: query.get('fieldManager') ?? undefined,
      userAgent: headers['user-agent'],
      apply: true,
    }),
  );
  const force = flag(query, 'force') ?? false;
  return {
    merge: (live) => applyObject(definition, { live, applied: body, manager, force, at: request.receivedAt }),
    creates: true,
    managesFields: true,
  };
};

const patchMerge = (target: NamedTarget, type: PatchType, body: unknown, request: ApiRequest): Merge => {
  const definition = writable(target.kind);
  const changes = { creates: false, managesFields: false };
  switch (type) {
    case 'application/json-patch+json':
      return { ...changes, merge: (live) => jsonPatch(live ?? {}, body) };
    case 'application/merge-patch+json': {
      const patch = asObject(body, 'a merge patch');
      return { ...changes, merge: (live) => ({ ok: true, value: mergePatch(live ?? {}, patch) }) };
    }
    case 'application/strategic-merge-patch+json': {
      // Kubernetes knows strategic merge for its own kinds only; clients fall back to merge patches when they are told so.
      if (!isKubernetesKind(definition)) throw unsupportedPatch(type);
      const patch = asObject(body, 'a strategic merge patch');
      return { ...changes, merge: (live) => strategicMergePatch(definition, live ?? {}, patch) };
    }
    case 'application/apply-patch+yaml':
      return applyMerge(target, body, request);
  }
};

const unsupportedPatch = (type: string): StatusError =>
  new StatusError({
    code: 415,
    reason: 'UnsupportedMediaType',
    message: `the body of the request was in an unknown format "${type}" - accepted media types include: ${PATCH_TYPES.filter((known) => known !== 'application/strategic-merge-patch+json').join(', ')}`,
    details: {},
  });

/** PATCH: merge patch, JSON patch, server-side apply, and strategic merge patch for core kinds. */
export const patchObject = async (ports: WritePorts, target: NamedTarget, request: ApiRequest): Promise<ApiAnswer> => {
  writable(target.kind);
  const type = mediaType(request.headers['content-type']);
  if (!isPatchType(type)) throw unsupportedPatch(type);
  if (type !== 'application/apply-patch+yaml' && request.query.has('force'))
    throw badRequest('query parameter force goes with server-side apply only');
  const bytes = await request.body();
  const merge = patchMerge(target, type, parseBody(bytes, type, PATCH_TYPES), request);
  return changeObject(ports, { target, merge, duplicates: duplicatesIn(bytes, type), request });
};
