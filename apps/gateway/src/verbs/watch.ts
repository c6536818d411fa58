import type { AccessAttributes } from '../auth/access.js';
import type { WatchRegistry } from '../auth/watch-registry.js';
import type { DocumentCache } from '../cache/document-cache.js';
import type { LogHistory } from '../cache/log-history.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { flag, parseResourceVersion, wholeNumber } from '../http/query.js';
import { badRequest, StatusError } from '../http/status.js';
import type { WatchHub } from '../watch/watch-hub.js';
import { WatchSession, type EndReason, type WatchRequest } from '../watch/watch-session.js';
import { freshEnough } from './read.js';
import { readView } from './representation.js';
import { readSelection } from './select.js';

/** Without a stated timeout a watch ends after half an hour to an hour, spread so that not all clients come back at once; as Kubernetes does. */
const DEFAULT_WATCH_MS = 30 * 60_000;
/** `setTimeout` takes no more than this. */
export const MAX_WATCH_SECONDS = 2_000_000;

export interface WatchPorts {
  readonly cache: DocumentCache;
  readonly hub: WatchHub;
  readonly history: LogHistory;
  readonly sessions: WatchRegistry;
  readonly onWatchEnd?: (reason: EndReason) => void;
}

/** Watches at once: each holds a connection, a timer or two, and what its client has not taken yet. */
const MAX_WATCHES = 10_000;

const tooMany = (): StatusError =>
  new StatusError({
    code: 429,
    reason: 'TooManyRequests',
    message: `this gateway serves ${MAX_WATCHES} watches already; end some, or use another gateway`,
    details: { retryAfterSeconds: 10 },
  });

/** Throws a StatusError (429) when there is none. */
export const roomForWatch = (sessions: Pick<WatchRegistry, 'size'>): void => {
  if (sessions.size >= MAX_WATCHES) throw tooMany();
};

export const wantsInitial = (query: URLSearchParams, bookmarks: boolean): { objects: boolean; markEnd: boolean } => {
  const sendInitial = flag(query, 'sendInitialEvents');
  const match = query.get('resourceVersionMatch') ?? '';
  const asked = query.get('resourceVersion') ?? '';
  if (sendInitial === undefined) {
    if (match !== '')
      throw badRequest('resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided');
    return { objects: asked === '' || asked === '0', markEnd: false };
  }
  if (match !== 'NotOlderThan')
    throw badRequest('sendInitialEvents requires setting resourceVersionMatch to NotOlderThan');
  if (sendInitial && !bookmarks) throw badRequest('sendInitialEvents requires setting allowWatchBookmarks to true');
  return { objects: sendInitial, markEnd: sendInitial };
};

const watchMs = (seconds: number | undefined): number =>
  seconds === undefined || seconds === 0
    ? DEFAULT_WATCH_MS * (1 + Math.random())
    : Math.min(seconds, MAX_WATCH_SECONDS) * 1000;

/** For how long the sender's proof of identity holds: a watch ends with it. */
export const provenMs = ({ user }: ApiRequest): number =>
  user.expiresAt === undefined ? MAX_WATCH_SECONDS * 1000 : Math.max(1, user.expiresAt - Date.now());

export const watchObjects = async (
  ports: WatchPorts,
  target: ResourcePath,
  request: ApiRequest,
  attributes: AccessAttributes,
): Promise<ApiAnswer> => {
  const { cache, hub, history, sessions } = ports;
  const { query } = request;
  roomForWatch(sessions);
  const view = readView(target.kind, request.headers.accept, query);
  const selection = readSelection(target.kind, target.namespace, query);
  const bookmarks = flag(query, 'allowWatchBookmarks') ?? false;
  const initial = wantsInitial(query, bookmarks);
  const asked = query.get('resourceVersion') ?? '';
  await freshEnough(cache, asked);
  const store = cache.store(target.kind);
  const seconds = wholeNumber(query, 'timeoutSeconds');
  const stream: WatchRequest = {
    view,
    selection,
    initial: initial.objects ? (store.list({ selection })?.objects ?? []) : null,
    position: initial.objects || asked === '' || asked === '0' ? cache.position : parseResourceVersion(asked),
    bookmarks,
    marksInitialEnd: initial.markEnd,
    timeoutMs: Math.min(watchMs(seconds), provenMs(request)),
  };
  return {
    status: 200,
    contentType: 'application/json',
    stream: (sink) => {
      const session: WatchSession = new WatchSession(
        stream,
        {
          cache,
          store,
          hub,
          history: (position) => history.page(target.kind, position),
          onEnd: (reason) => {
            sessions.delete(session);
            ports.onWatchEnd?.(reason);
          },
        },
        sink,
      );
      sessions.add(session, { user: request.user, attributes });
      session.start();
    },
  };
};
