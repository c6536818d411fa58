import type { IncomingMessage } from 'node:http';
import { forbidden, unauthorized, type AccessAttributes, type Authorize } from '../auth/access.js';
import { reviewAnswer, type ReviewPorts } from '../auth/reviews.js';
import { bearerTokenOf, type Authenticate } from '../auth/authenticate.js';
import { impersonated } from '../auth/impersonation.js';
import {
  discoveryAnswer,
  isPastSubresource,
  metricsKindOf,
  REVIEW_KINDS,
  staticAnswer,
  type ServedKind,
  type StaticAnswer,
  type Verb,
} from '../discovery/index.js';
import type { ApiAnswer, ApiRequest, User } from '../http/api-request.js';
import { parseResourcePath, type ResourcePath } from '../http/api-path.js';
import { flag } from '../http/query.js';
import { methodNotAllowed, notFoundPath, resourceName } from '../http/status.js';
import { openApiAnswer, swaggerAnswer } from '../schema/index.js';
import { readAsOf, resolveMoment, type AsOf } from '../past/as-of.js';
import { checkSubresourceKept, PastReads, refuseWrite, type PastPorts } from '../past/past.js';
import { parseFieldSelector } from '../table/index.js';
import { readPastSubresource } from '../past/subresources.js';
import { isAnswered, listAnswered, readAnswered } from '../verbs/answered.js';
import { patchObject, updateObject } from '../verbs/change.js';
import type { WritePorts } from '../verbs/commands.js';
import { createAction, createObject } from '../verbs/create.js';
import { deleteObject, deleteObjects } from '../verbs/delete.js';
import { listMetrics, readMetrics, type MetricsPorts } from '../verbs/metrics.js';
import { listObjects, readObject } from '../verbs/read.js';
import { runHostTool } from '../verbs/tool.js';
import { watchObjects, type WatchPorts } from '../verbs/watch.js';

export interface ApiPorts extends WritePorts, WatchPorts, MetricsPorts, ReviewPorts, PastPorts {
  readonly authenticate: Authenticate;
  readonly authorize: Authorize;
  /** Settles when a namespace is here that the cluster has whose API ours is a part of; absent: we are no cluster's. */
  readonly ensureNamespace?: (name: string) => Promise<void>;
}

/** What a request asks for. */
interface Asked {
  readonly verb: Verb;
  readonly target: ResourcePath;
}

type Authorized = Asked & { readonly attributes: AccessAttributes };

type Named = ResourcePath & { readonly name: string };

const isWatch = (query: URLSearchParams): boolean => flag(query, 'watch') === true;

/** The verb of a method on a collection or an object; null: there is none. */
const verbOf = (method: string, target: ResourcePath, query: URLSearchParams): Verb | null => {
  const named = target.name !== undefined;
  switch (method) {
    case 'GET':
      return isWatch(query) ? 'watch' : named ? 'get' : 'list';
    case 'POST':
      return named && target.subresource === undefined ? null : 'create';
    case 'PUT':
      return named ? 'update' : null;
    case 'PATCH':
      return named ? 'patch' : null;
    case 'DELETE':
      return named ? 'delete' : 'deletecollection';
    default:
      return null;
  }
};

const refuseVerb = (kind: ServedKind, verbs: readonly string[], what: string): never => {
  throw methodNotAllowed(
    `the server does not allow this method on ${what}; ${resourceName(kind)} take ${verbs.join(', ')}`,
  );
};

const checkSubresource = ({ target, verb }: Asked): void => {
  const { kind, subresource } = target;
  if (subresource === undefined) return;
  const known = kind.subresources.find((candidate) => candidate.name === subresource);
  if (known === undefined) throw notFoundPath();
  if (known.verbs.includes(verb)) return;
  throw methodNotAllowed(
    subresource === 'status'
      ? `the status of ${resourceName(kind)} tells what the platform observed, nobody writes it; change spec, or ask for an action`
      : `${resourceName(kind)}/${subresource} takes ${known.verbs.join(', ')} only`,
  );
};

const asked = (method: string, target: ResourcePath, query: URLSearchParams): Asked => {
  const { kind } = target;
  const verb = verbOf(method, target, query);
  if (verb === null) return refuseVerb(kind, kind.verbs, target.name === undefined ? 'a collection' : 'an object');
  checkSubresource({ verb, target });
  if (target.subresource === undefined && !kind.verbs.includes(verb))
    return refuseVerb(kind, kind.verbs, resourceName(kind));
  return { verb, target };
};

/** The one name that a list, watch or deletion of many can be about. */
const selectedName = (kind: ServedKind, query: URLSearchParams): string | undefined => {
  const selector = parseFieldSelector(kind, query.get('fieldSelector') ?? '');
  return selector.ok ? selector.value.name : undefined;
};

/** As Kubernetes reads requests: a namespace lies within itself, and a selection of one name is about that object. */
const attributesOf = ({ verb, target }: Asked, query: URLSearchParams): AccessAttributes => {
  const { kind, subresource } = target;
  const name = target.name ?? selectedName(kind, query);
  const isNamespace = kind.group === '' && kind.plural === 'namespaces';
  return {
    verb,
    kind,
    namespace: isNamespace ? (name ?? '') : target.namespace,
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
  };
};

const isNamed = (target: ResourcePath): target is Named => target.name !== undefined;

const act = async (
  ports: ApiPorts,
  { verb, target, attributes }: Authorized,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const tool = target.kind.subresources.find(({ name }) => name === target.subresource)?.tool;
  const metrics = metricsKindOf(target.kind, target.subresource);
  switch (verb) {
    case 'list':
      if (metrics !== undefined) return listMetrics(ports, metrics, target, request);
      if (isAnswered(target.kind)) return listAnswered(ports, target, request);
      return listObjects(ports.cache, target, request);
    case 'watch':
      return watchObjects(ports, named(target), request, attributes);
    case 'deletecollection':
      return deleteObjects(ports, target, request);
    case 'create':
      if (REVIEW_KINDS.includes(target.kind)) return reviewAnswer(ports, target, request);
      return isNamed(target) && target.subresource !== undefined
        ? createAction(ports, { ...target, subresource: target.subresource }, request)
        : createObject(ports, target, request);
    case 'get':
      if (metrics !== undefined) return readMetrics(ports, metrics, mustBeNamed(target), request);
      if (isPastSubresource(target.subresource)) return readPastSubresource(ports, mustBeNamed(target), request, null);
      if (isAnswered(target.kind)) return readAnswered(ports, mustBeNamed(target), request);
      if (isNamed(target) && tool !== undefined) return runHostTool(ports, target, tool, request);
      return isNamed(target) ? readObject(ports.cache, target, request) : listObjects(ports.cache, target, request);
    case 'update':
      return updateObject(ports, mustBeNamed(target), request);
    case 'patch':
      return patchObject(ports, mustBeNamed(target), request);
    case 'delete':
      return deleteObject(ports, mustBeNamed(target), request);
  }
};

const mustBeNamed = (target: ResourcePath): Named => {
  if (!isNamed(target)) throw notFoundPath();
  return target;
};

/** A watch of one object is a watch of its collection, as in Kubernetes since 1.11: use a field selector. */
const named = (target: ResourcePath): ResourcePath => {
  if (target.name !== undefined)
    throw methodNotAllowed(
      `watch the collection with fieldSelector=metadata.name=${target.name} instead of the object`,
    );
  return target;
};

const staticPage = (page: StaticAnswer, request: ApiRequest): ApiAnswer => {
  const headers = { ETag: page.etag, Vary: 'Accept', 'Cache-Control': 'public' };
  if (request.headers['if-none-match'] === page.etag)
    return { status: 304, contentType: page.contentType, body: '', headers };
  return { status: 200, contentType: page.contentType, body: page.body, headers };
};

const ROOT_PAGE = staticAnswer({
  paths: ['/api', '/apis', '/healthz', '/livez', '/openapi/v3', '/readyz', '/version'],
});

const nonResource = async (ports: ApiPorts, request: ApiRequest): Promise<ApiAnswer | null> => {
  if (request.method !== 'GET') return null;
  const page =
    request.path === '/'
      ? ROOT_PAGE
      : request.path.startsWith('/openapi/')
        ? (openApiAnswer(request.path) ?? swaggerAnswer(request.path, request.headers.accept))
        : discoveryAnswer(request.path, request.headers.accept);
  if (page === null) return null;
  const attributes = { verb: 'get', path: request.path };
  if (!(await ports.authorize(request.user, attributes))) throw forbidden(request.user, attributes);
  return staticPage(page, request);
};

const authorized = async (ports: ApiPorts, wanted: Asked, request: ApiRequest): Promise<Authorized> => {
  const attributes = attributesOf(wanted, request.query);
  if (!(await ports.authorize(request.user, attributes))) throw forbidden(request.user, attributes);
  if (wanted.verb === 'watch') ports.sessions.checkRoom(request.user);
  return { ...wanted, attributes };
};

const READ_VERBS: readonly Verb[] = ['get', 'list', 'watch'];

/** The namespaces are a cluster's: it makes and deletes them, and who made one there a moment ago finds it here. */
const checkMirrored = async (ensure: (name: string) => Promise<void>, { verb, target }: Asked): Promise<void> => {
  const isNamespace = target.kind.group === '' && target.kind.plural === 'namespaces';
  if (isNamespace && !READ_VERBS.includes(verb))
    throw methodNotAllowed(
      'the namespaces here are those of the cluster that serves this API; make and delete them there',
    );
  if (target.namespace !== '' && (verb === 'create' || verb === 'patch')) await ensure(target.namespace);
};

const answerPresent = async (ports: ApiPorts, request: ApiRequest): Promise<ApiAnswer> => {
  const page = await nonResource(ports, request);
  if (page !== null) return page;
  const target = parseResourcePath(request.path);
  if (target === null) throw notFoundPath();
  const wanted = asked(request.method, target, request.query);
  const permitted = await authorized(ports, wanted, request);
  if (ports.ensureNamespace !== undefined) await checkMirrored(ports.ensureNamespace, wanted);
  return act(ports, permitted, request);
};

const PAST_VERBS: readonly string[] = ['get', 'list', 'watch'];

/** Whoever asks what they may do there is told that they may read. */
const readOnly = ({ access, ...ports }: ApiPorts): ApiPorts => ({
  ...ports,
  access: {
    rulesOf: (user, namespace) => access.rulesOf(user, namespace),
    allows: (user, attributes) => PAST_VERBS.includes(attributes.verb) && access.allows(user, attributes),
  },
});

/** The past is read with the rights of the present. */
const answerPast = async (ports: ApiPorts, request: ApiRequest, asOf: AsOf): Promise<ApiAnswer> => {
  const page = await nonResource(ports, request);
  const target = parseResourcePath(request.path);
  const isReview = target !== null && REVIEW_KINDS.includes(target.kind);
  // These are the same at all times; there is no future all the same.
  if (page !== null || isReview) await resolveMoment(ports.past, asOf.text, request.receivedAt);
  if (page !== null) return page;
  if (target === null) throw notFoundPath();
  if (request.method !== 'GET' && !isReview) return refuseWrite(request, asOf);
  const wanted = await authorized(ports, asked(request.method, target, request.query), request);
  if (isReview) return act(readOnly(ports), wanted, request);
  checkSubresourceKept(target.subresource);
  if (isPastSubresource(target.subresource)) return readPastSubresource(ports, mustBeNamed(target), request, asOf);
  const { verb, attributes } = wanted;
  const reads = new PastReads(ports, asOf, verb === 'watch' ? named(target) : target, request);
  if (verb === 'watch') return reads.watch(attributes);
  return verb === 'list' ? reads.list() : reads.get();
};

/** Answers one request of an authenticated user. Throws a StatusError. */
export const answerRequest = async (ports: ApiPorts, request: ApiRequest): Promise<ApiAnswer> => {
  const asOf = readAsOf(request);
  return asOf === null ? answerPresent(ports, request) : answerPast(ports, { ...request, path: asOf.path }, asOf);
};

/** The user that a request is made as. Throws a StatusError (400, 401, 403). */
export const authenticated = async (
  ports: Pick<ApiPorts, 'authenticate' | 'authorize'>,
  message: IncomingMessage,
): Promise<User> => {
  const sender = await ports.authenticate(message);
  if (sender === null) throw unauthorized(bearerTokenOf(message) === null ? 'none' : 'unknown');
  return impersonated(message, sender, ports.authorize);
};
