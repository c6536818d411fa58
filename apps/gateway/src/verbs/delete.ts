import type { CommandAnswer, JsonObject, Result } from '@xenolith/kernel';
import { z } from 'zod';
import { keyOf, type CachedObject } from '../cache/cached-object.js';
import { jsonAnswer, type ApiAnswer, type ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { OBJECT_TYPES, parseBody } from '../http/json-body.js';
import { dryRun, flag, parseResourceVersion, wholeNumber } from '../http/query.js';
import { badRequest, conflict, MODIFIED_MEANWHILE, notFoundObject, successBody } from '../http/status.js';
import {
  commandIds,
  deadlineOf,
  sendCommand,
  writable,
  writtenText,
  type Deadline,
  type WritePorts,
} from './commands.js';
import { refusalOf } from './create.js';
import { consistent } from './read.js';
import { listText, objectText, readView } from './representation.js';
import { readSelection } from './select.js';

const propagationPolicy = z.enum(['Orphan', 'Background', 'Foreground']);

/** Kubernetes' DeleteOptions. A grace period means nothing here: teardown takes the time that it takes. */
const deleteOptions = z.object({
  propagationPolicy: propagationPolicy.nullish(),
  orphanDependents: z.boolean().nullish(),
  gracePeriodSeconds: z.number().nullish(),
  preconditions: z.object({ uid: z.string().nullish(), resourceVersion: z.string().nullish() }).nullish(),
  dryRun: z.array(z.literal('All')).nullish(),
});

interface DeleteWish {
  readonly policy: z.infer<typeof propagationPolicy>;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly dryRun: boolean;
}

const readDeleteOptions = async (request: ApiRequest): Promise<DeleteWish> => {
  const body = await request.body();
  const input = body.length === 0 ? {} : parseBody(body, request.headers['content-type'], OBJECT_TYPES);
  const read = deleteOptions.safeParse(input ?? {});
  if (!read.success)
    throw badRequest(
      `the body is not a DeleteOptions: ${read.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')}`,
    );
  const { preconditions, ...options } = read.data;
  const asked = request.query.get('propagationPolicy') ?? '';
  const inQuery = propagationPolicy.safeParse(asked);
  if (asked !== '' && !inQuery.success)
    throw badRequest(`propagationPolicy="${asked}" is none of Orphan, Background, Foreground`);
  const orphan = options.orphanDependents ?? flag(request.query, 'orphanDependents');
  return {
    policy: options.propagationPolicy ?? (inQuery.success ? inQuery.data : orphan === true ? 'Orphan' : 'Background'),
    ...(preconditions?.uid == null ? {} : { uid: preconditions.uid }),
    ...(preconditions?.resourceVersion == null ? {} : { resourceVersion: preconditions.resourceVersion }),
    dryRun: (options.dryRun?.length ?? 0) > 0 || dryRun(request.query),
  };
};

const checkPreconditions = (target: ResourcePath, object: CachedObject, wish: DeleteWish): void => {
  if (wish.uid !== undefined && wish.uid !== object.uid)
    throw conflict(
      target.kind,
      object.name,
      `Precondition failed: UID in precondition: ${wish.uid}, UID in object meta: ${object.uid}`,
    );
  if (wish.resourceVersion === undefined) return;
  parseResourceVersion(wish.resourceVersion, 'preconditions.resourceVersion');
  if (wish.resourceVersion !== String(object.position)) throw conflict(target.kind, object.name, MODIFIED_MEANWHILE);
};

const sendDelete = (
  ports: WritePorts,
  deletion: {
    readonly target: ResourcePath;
    readonly object: CachedObject;
    readonly wish: DeleteWish;
    readonly commandId: string;
  },
  request: ApiRequest,
  deadline: Deadline,
): Promise<Result<CommandAnswer>> => {
  const { object, wish } = deletion;
  const kind = writable(deletion.target.kind);
  const data: JsonObject = {
    propagationPolicy: wish.policy,
    ...(wish.uid === undefined ? {} : { uid: wish.uid }),
  };
  return sendCommand(
    ports,
    {
      kind,
      type: `Delete${kind.kind}`,
      streamId: object.uid,
      commandId: deletion.commandId,
      data,
      ...(wish.resourceVersion === undefined ? {} : { expectedVersion: object.version }),
      dryRun: wish.dryRun,
    },
    request,
    deadline,
  );
};

export const deleteObject = async (
  ports: WritePorts,
  target: ResourcePath & { readonly name: string },
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const { kind, namespace, name } = target;
  writable(kind);
  const view = readView(kind, request.headers.accept, request.query);
  const wish = await readDeleteOptions(request);
  const deadline = deadlineOf(request);
  await consistent(ports.cache);
  const object = ports.cache.store(kind).get(keyOf(namespace, name));
  if (object === undefined) throw notFoundObject(kind, name);
  checkPreconditions(target, object, wish);
  const commandId = commandIds(request).nth(0);
  const result = await sendDelete(ports, { target, object, wish, commandId }, request, deadline);
  if (!result.ok) throw refusalOf(ports, result.rejection, target, name);
  const { document } = result.value;
  const gone = successBody({ name, group: kind.group, kind: kind.plural, uid: object.uid });
  if (wish.dryRun) return document === null ? jsonAnswer(200, gone) : jsonAnswer(200, document);
  const text = await writtenText(ports, kind, result.value, deadline);
  // Finalizers keep it for a while: then the answer is the object with its deletionTimestamp.
  return text === null
    ? jsonAnswer(200, gone)
    : { status: 200, contentType: view.representation.contentType, body: objectText(view, text) };
};

/** Deletions of one request under way at once. */
const DELETE_CONCURRENCY = 16;

export const deleteObjects = async (
  ports: WritePorts,
  target: ResourcePath,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const { kind, namespace } = target;
  writable(kind);
  const view = readView(kind, request.headers.accept, request.query);
  const selection = readSelection(kind, namespace, request.query);
  const limit = wholeNumber(request.query, 'limit');
  const wish = await readDeleteOptions(request);
  const deadline = deadlineOf(request);
  await consistent(ports.cache);
  const objects = ports.cache.store(kind).list({ selection, ...(limit ? { limit } : {}) })?.objects ?? [];
  const ids = commandIds(request);
  const waiting = objects.map((object, index) => ({ object, commandId: ids.nth(index) }));
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (wish.uid !== undefined || wish.resourceVersion !== undefined) checkPreconditions(target, next.object, wish);
      const result = await sendDelete(ports, { target, ...next, wish }, request, deadline);
      // Somebody else may have deleted it first: it is gone, as was asked.
      if (!result.ok && result.rejection.code !== 'not_found')
        throw refusalOf(ports, result.rejection, target, next.object.name);
      if (result.ok && !wish.dryRun) await writtenText(ports, kind, result.value, deadline);
    }
  };
  await Promise.all(Array.from({ length: Math.min(DELETE_CONCURRENCY, objects.length) }, worker));
  const metadata = { resourceVersion: String(ports.cache.position) };
  return { status: 200, contentType: view.representation.contentType, body: listText(view, objects, metadata) };
};
