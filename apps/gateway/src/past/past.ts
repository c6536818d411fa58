import type { LogPast, Uuid } from '@xenolith/kernel';
import type { AccessAttributes } from '../auth/access.js';
import type { ReadDocumentChanges } from '../cache/log-history.js';
import { isPastSubresource, metricsKindOf, type ServedKind } from '../discovery/index.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { flag, parseResourceVersion, wholeNumber } from '../http/query.js';
import { badRequest, methodNotAllowed, notFoundObject, resourceName, StatusError } from '../http/status.js';
import { isAnswered } from '../verbs/answered.js';
import { listAnswer, readContinue } from '../verbs/read.js';
import { objectText, readView, type View } from '../verbs/representation.js';
import { readSelection } from '../verbs/select.js';
import { MAX_WATCH_SECONDS, provenMs, roomForWatch, wantsInitial, type WatchPorts } from '../verbs/watch.js';
import { readingPast, resolveMoment, timeText, type AsOf, type PastMoment } from './as-of.js';
import type { Describe } from './object-past.js';
import { PastObjects } from './past-objects.js';
import { Replay } from './replay.js';

export interface PastPorts extends Pick<WatchPorts, 'sessions'> {
  readonly past: LogPast;
  /** What a replay shows; absent: nothing can be replayed. */
  readonly documentChanges?: ReadDocumentChanges | undefined;
  /** What people are told of an event. */
  readonly describeEvent: Describe;
}

type Named = ResourcePath & { readonly name: string };

/** A replay that states no end of its own goes on for a day at most. */
const LONGEST_REPLAY_MS = 24 * 3_600_000;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Names the place of the log that an answer shows. */
export const POSITION_HEADER = 'Xenolith-Position';

const nothingKept = (message: string): StatusError =>
  new StatusError({ code: 404, reason: 'NotFound', message, details: {} });

/** Refuses what nobody kept: the log is all that is known of the past. */
const checkKept = (kind: ServedKind): void => {
  if (metricsKindOf(kind, undefined) !== undefined)
    throw nothingKept(
      `figures such as ${resourceName(kind)} never enter the log, so that there are none of the past; scrape /metrics to keep them`,
    );
  if (isAnswered(kind))
    throw nothingKept(
      `${resourceName(kind)} are computed when they are asked for, so that there are none of the past; look at the hosts and machines of then`,
    );
  if (kind.kind === 'Event')
    throw nothingKept(
      'events are kept for an hour and not as they were then; GET …/NAME/history tells all that happened to an object',
    );
};

export const checkSubresourceKept = (subresource: string | undefined): void => {
  if (subresource === undefined || subresource === 'status' || isPastSubresource(subresource)) return;
  throw nothingKept(`${subresource} tells or changes what is now; of the past there are get, list, watch and history`);
};

/** Writes have no place there. Throws a StatusError (405). */
export const refuseWrite = (request: ApiRequest, asOf: AsOf): never => {
  throw methodNotAllowed(
    `what was can't be changed: ${asOf.text} is looked at read-only; send the ${request.method} to ${asOf.path} to change what is`,
  );
};

export class PastReads {
  constructor(
    private readonly ports: PastPorts,
    private readonly asOf: AsOf,
    private readonly target: ResourcePath,
    private readonly request: ApiRequest,
  ) {
    checkKept(target.kind);
  }

  async get(): Promise<ApiAnswer> {
    const { target, ports } = this;
    if (target.name === undefined) return this.list();
    const moment = await this.moment();
    const view = this.view(moment);
    const uid = this.uid();
    const found =
      target.kind.definition === null
        ? null
        : await new PastObjects(ports.past, target.kind, moment.position).get(target.namespace, target.name, uid);
    if (found === null) throw await this.notThere({ ...target, name: target.name }, moment, uid);
    return {
      status: 200,
      contentType: view.representation.contentType,
      body: objectText(view, found.text),
      headers: { [POSITION_HEADER]: String(moment.position) },
    };
  }

  async list(): Promise<ApiAnswer> {
    const { query } = this.request;
    if (flag(query, 'sendInitialEvents') !== undefined)
      throw badRequest('sendInitialEvents is forbidden for list; it goes with watch=true');
    const moment = await this.moment();
    const view = this.view(moment);
    const selection = readSelection(this.target.kind, this.target.namespace, query);
    const token = query.get('continue') ?? '';
    // A time of this very second may have grown meanwhile: the next page shows what the first did.
    const { at: position, after } = token === '' ? { at: moment.position, after: undefined } : this.next(token, moment);
    const limit = wholeNumber(query, 'limit');
    const page =
      this.target.kind.definition === null
        ? { objects: [] }
        : await new PastObjects(this.ports.past, this.target.kind, position).list(selection, {
            after,
            limit: limit === 0 ? undefined : limit,
          });
    return { ...listAnswer(view, page, position), headers: { [POSITION_HEADER]: String(position) } };
  }

  /** Replays what happened since the moment, up to the newest there is, and ends there. */
  async watch(attributes: AccessAttributes): Promise<ApiAnswer> {
    const { query } = this.request;
    const { sessions, past, documentChanges: read } = this.ports;
    if (read === undefined || this.target.kind.definition === null)
      throw methodNotAllowed(`${resourceName(this.target.kind)} can't be replayed; list them at several moments`);
    roomForWatch(sessions);
    const moment = await this.moment();
    const view = this.view(moment);
    const selection = readSelection(this.target.kind, this.target.namespace, query);
    const bookmarks = flag(query, 'allowWatchBookmarks') ?? false;
    const initial = wantsInitial(query, bookmarks);
    const asked = query.get('resourceVersion') ?? '';
    const from = asked === '' || asked === '0' ? moment : await this.stated(parseResourceVersion(asked), moment);
    const objects = new PastObjects(past, this.target.kind, from.position);
    const seconds = wholeNumber(query, 'timeoutSeconds') ?? 0;
    const stream = {
      view,
      selection,
      initial: initial.objects ? (await objects.list(selection, {})).objects : null,
      marksInitialEnd: initial.markEnd,
      from,
      upTo: moment.head,
      speed: this.asOf.speed,
      bookmarks,
      timeoutMs: Math.min(
        seconds === 0 ? LONGEST_REPLAY_MS : Math.min(seconds, MAX_WATCH_SECONDS) * 1000,
        provenMs(this.request),
      ),
    };
    return {
      status: 200,
      contentType: 'application/json',
      stream: (sink) => {
        const replay: Replay = new Replay(stream, { read, onEnd: () => sessions.delete(replay) }, sink);
        sessions.add(replay, { user: this.request.user, attributes });
        replay.start();
      },
    };
  }

  private uid(): Uuid | undefined {
    const uid = this.request.query.get('uid');
    if (uid === null || uid === '') return undefined;
    if (!UUID.test(uid)) throw badRequest(`uid "${uid}" is none; it is what metadata.uid of an object says`);
    return uid;
  }

  private moment(): Promise<PastMoment> {
    return resolveMoment(this.ports.past, this.asOf.text, this.request.receivedAt);
  }

  private view(moment: PastMoment): View {
    return { ...readView(this.target.kind, this.request.headers.accept, this.request.query), now: moment.time };
  }

  private next(token: string, moment: PastMoment): { readonly at: number; readonly after: string } {
    const next = readContinue(token);
    if (next.at > moment.head)
      throw badRequest('the continue parameter is of another log; start a new list without it');
    return next;
  }

  private async stated(position: number, moment: PastMoment): Promise<PastMoment> {
    if (position > moment.head)
      throw badRequest(`resourceVersion ${position} is in the future: the log ends at ${moment.head}`);
    const { recordedAt } = await readingPast(() => this.ports.past.momentOf(position));
    return { ...moment, position, time: recordedAt };
  }

  /** Says when an object was there, as far as it ever was. */
  private async notThere({ kind, namespace, name }: Named, moment: PastMoment, uid?: Uuid): Promise<StatusError> {
    const plain = notFoundObject(kind, name);
    if (kind.definition === null) return plain;
    const { past } = this.ports;
    const category = new PastObjects(past, kind, moment.position).category;
    const lives = await readingPast(() => past.lives({ category, namespace, name, upTo: moment.head }));
    const told = lives.filter(({ streamId }) => uid === undefined || streamId === uid).slice(0, 3);
    if (told.length === 0) return plain;
    const spans = told.map(
      ({ streamId, born, ended }) =>
        `uid ${streamId} from position ${born} ${ended === null ? 'on' : `to before ${ended}`}`,
    );
    return new StatusError({
      ...plain.source,
      message: `${plain.message} at position ${moment.position} (${timeText(moment.time)}); there was ${spans.join(', and ')}`,
    });
  }
}
