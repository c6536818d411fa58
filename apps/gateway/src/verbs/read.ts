import { z } from 'zod';
import { keyOf } from '../cache/cached-object.js';
import type { DocumentCache } from '../cache/document-cache.js';
import type { ListPage } from '../cache/kind-store.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { flag, parseResourceVersion, wholeNumber } from '../http/query.js';
import { badRequest, expired, notFoundObject, timedOut, tooLargeResourceVersion, unavailable } from '../http/status.js';
import { listText, objectText, readView, type View } from './representation.js';
import { readSelection } from './select.js';

/** How long a read waits for this gateway to have seen what it must show. */
export const READ_WAIT_MS = 3_000;

/** After this call the cache shows everything that was acknowledged before it. */
export const consistent = async (cache: DocumentCache): Promise<void> => {
  let reached: boolean;
  try {
    reached = await cache.catchUp(READ_WAIT_MS);
  } catch (cause) {
    throw unavailable(
      'the event log does not answer, so that the newest state is not known; ask again, or read with resourceVersion=0 what this gateway last saw',
      cause,
    );
  }
  if (!reached)
    throw timedOut(
      `this gateway is more than ${READ_WAIT_MS} ms behind the event log; ask again, or read with resourceVersion=0 what it last saw`,
    );
};

/** Waits for what `resourceVersion` of a get or list asks for: absent the newest state, `0` any, else one not older than that. */
export const freshEnough = async (cache: DocumentCache, asked: string | null): Promise<void> => {
  if (asked === null || asked === '') return consistent(cache);
  const position = parseResourceVersion(asked);
  if (position > cache.position && !(await cache.reach(position, READ_WAIT_MS)))
    throw tooLargeResourceVersion(position, cache.position);
};

export const readObject = async (
  cache: DocumentCache,
  target: ResourcePath & { readonly name: string },
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const view = readView(target.kind, request.headers.accept, request.query);
  await freshEnough(cache, request.query.get('resourceVersion'));
  const object = cache.store(target.kind).get(keyOf(target.namespace, target.name));
  if (object === undefined) throw notFoundObject(target.kind, target.name);
  return { status: 200, contentType: view.representation.contentType, body: objectText(view, object.text) };
};

/** Where the next page of a list begins, and the position that all its pages show. */
const continueToken = z.strictObject({ at: z.number().int().nonnegative(), after: z.string() });

const writeContinue = (token: z.infer<typeof continueToken>): string =>
  Buffer.from(JSON.stringify(token)).toString('base64url');

export const readContinue = (text: string): z.infer<typeof continueToken> => {
  try {
    return continueToken.parse(JSON.parse(Buffer.from(text, 'base64url').toString()));
  } catch {
    throw badRequest('the continue parameter is not one of this server’s; start a new list without it');
  }
};

interface ListStart {
  /** The position that the list shows. */
  readonly position: number;
  readonly after?: string;
  /** Set when the state of an earlier moment is asked for. */
  readonly asOf?: number;
}

const continued = async (cache: DocumentCache, query: URLSearchParams, token: string): Promise<ListStart> => {
  const stated = query.get('resourceVersion') ?? '';
  if (stated !== '' && stated !== '0')
    throw badRequest('specifying resource version is not allowed when using continue');
  const { at, after } = readContinue(token);
  if (at > cache.position && !(await cache.reach(at, READ_WAIT_MS))) throw tooLargeResourceVersion(at, cache.position);
  return { position: at, after, asOf: at };
};

const listStart = async (cache: DocumentCache, query: URLSearchParams): Promise<ListStart> => {
  const token = query.get('continue') ?? '';
  if (token !== '') return continued(cache, query, token);
  const asked = query.get('resourceVersion') ?? '';
  const match = query.get('resourceVersionMatch') ?? '';
  if (match !== '' && match !== 'Exact' && match !== 'NotOlderThan')
    throw badRequest(`resourceVersionMatch="${match}" is none of Exact, NotOlderThan`);
  if (match !== '' && asked === '')
    throw badRequest('resourceVersionMatch is forbidden unless resourceVersion is provided');
  await freshEnough(cache, asked);
  if (match !== 'Exact') return { position: cache.position };
  const position = parseResourceVersion(asked);
  if (position === 0) throw badRequest('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"');
  return { position, asOf: position };
};

export const listObjects = async (
  cache: DocumentCache,
  target: ResourcePath,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const { query } = request;
  if (flag(query, 'sendInitialEvents') !== undefined)
    throw badRequest('sendInitialEvents is forbidden for list; it goes with watch=true');
  const view = readView(target.kind, request.headers.accept, query);
  const selection = readSelection(target.kind, target.namespace, query);
  const limit = wholeNumber(query, 'limit');
  const start = await listStart(cache, query);
  const page = cache.store(target.kind).list({
    selection,
    ...(limit === undefined || limit === 0 ? {} : { limit }),
    ...(start.after === undefined ? {} : { after: start.after }),
    ...(start.asOf === undefined ? {} : { asOf: start.asOf }),
  });
  if (page === null)
    throw expired(
      start.after === undefined
        ? `The resource version for the provided list is too old: ${start.position}; list without it`
        : 'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.',
    );
  return listAnswer(view, page, start.position);
};

/** A page of a list as of a position, with the way to the next one. */
export const listAnswer = (view: View, page: ListPage, position: number): ApiAnswer => {
  const more = page.lastKey === undefined ? {} : { continue: writeContinue({ at: position, after: page.lastKey }) };
  const metadata = {
    resourceVersion: String(position),
    ...more,
    ...(page.remaining === undefined ? {} : { remainingItemCount: page.remaining }),
  };
  return { status: 200, contentType: view.representation.contentType, body: listText(view, page.objects, metadata) };
};
