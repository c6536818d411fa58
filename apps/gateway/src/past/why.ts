import { apiVersionOf } from '@xenolith/contracts';
import {
  fieldAt,
  sameJson,
  type JsonObject,
  type JsonValue,
  type LogPast,
  type PastEvent,
  type Uuid,
} from '@xenolith/kernel';
import type { Authorize } from '../auth/access.js';
import { jsonAnswer, type ApiAnswer, type ApiRequest, type User } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { badRequest, type StatusError } from '../http/status.js';
import { readingPast, timeText, type PastMoment } from './as-of.js';
import { allChanges, kindOf, lifeOf, messageOf, originOf, type Describe } from './object-past.js';
import type { PastPorts } from './past.js';

/** Causes of causes that are told; a chain that is longer begins at its last links. */
const MAX_LINKS = 24;
/** Older releases did not record where a cause is: it is looked for so far back. */
const LOOK_BACK_POSITIONS = 4000;
/** What people mean who name no field. */
const USUAL_FIELDS = ['status.powerState', 'status.phase', 'status.conditions[Ready].status', 'spec'];

/** The value of a field, and the event that gave it. */
interface Found {
  readonly field: string;
  readonly value: JsonValue | undefined;
  readonly event: PastEvent;
}

/** What set a field last, and what has kept the object from leaving that state since: its newest news, where that is bad. */
interface LastChange {
  readonly found: Found;
  readonly hindrance: PastEvent | undefined;
}

/** Of what a command wrote, the event that tells most: a warning, else what people are told of at all. */
const telling = (events: readonly PastEvent[], describe: Describe): PastEvent | undefined =>
  events.find((event) => describe(event)?.type === 'Warning') ??
  events.find((event) => describe(event) !== null) ??
  // Who owns which field is noted beside what was changed.
  events.find(({ type }) => !type.endsWith('MetadataChanged')) ??
  events[0];

/** Finds what set a field last. */
const lastChange = async (
  { past, describeEvent }: Pick<PastPorts, 'past' | 'describeEvent'>,
  { streamId, upTo, fields }: { readonly streamId: Uuid; readonly upTo: number; readonly fields: readonly string[] },
): Promise<LastChange | undefined> => {
  const found = new Map<string, Found>();
  let write: PastEvent[] = [];
  let news: PastEvent | undefined;
  for await (const { event, change } of allChanges(past, streamId, upTo)) {
    write.push(event);
    if (describeEvent(event) !== null) news = event;
    if (change === undefined) continue;
    for (const field of fields) {
      const [before, value] = [fieldAt(change.before, field), fieldAt(change.after, field)];
      if (change.after === null || (before === undefined && value === undefined)) continue;
      if (!sameJson(before ?? null, value ?? null))
        found.set(field, { field, value, event: telling(write, describeEvent) ?? event });
    }
    write = [];
  }
  const last = fields.map((field) => found.get(field)).find((each) => each !== undefined);
  if (last === undefined) return undefined;
  const isHindered =
    last.field.startsWith('status.') &&
    news !== undefined &&
    news.metadata.commandId !== last.event.metadata.commandId &&
    news.position > last.event.position &&
    describeEvent(news)?.type === 'Warning';
  return { found: last, hindrance: isHindered ? news : undefined };
};

/** A process names the step that moved it last. People want what it set out to do, and what went wrong on the way. */
const withoutSteps = (chain: readonly PastEvent[], describe: Describe): readonly PastEvent[] =>
  chain.filter((event, index) => {
    const { actor } = event.metadata;
    const goesOn = actor.startsWith('process:') && chain[index - 1]?.metadata.actor === actor;
    return !goesOn || describe(event)?.type === 'Warning';
  });

/** Walks from an event to what led to it, over all streams. */
class Causes {
  private readonly seen = new Set<Uuid>();

  constructor(
    private readonly past: LogPast,
    private readonly describe: Describe,
  ) {}

  async chain(start: PastEvent): Promise<readonly PastEvent[]> {
    const chain: PastEvent[] = [];
    let event: PastEvent | undefined = start;
    while (event !== undefined && chain.length < MAX_LINKS) {
      chain.push(event);
      this.seen.add(event.metadata.commandId);
      event = await this.before(event);
    }
    return chain;
  }

  private async before(event: PastEvent): Promise<PastEvent | undefined> {
    const { commandId, causationId, causePosition, correlationId } = event.metadata;
    if (causePosition !== undefined) return this.fresh(await this.atPosition(causePosition));
    const caused = causationId === commandId ? undefined : await this.fromId(causationId, event.position);
    if (caused !== undefined) return caused;
    // What a host was asked to do leaves no event: the operation that asked for it does.
    const operation = await this.operationOf(event);
    if (operation !== undefined) return operation;
    if (correlationId !== commandId) return this.ofCommand(correlationId);
    return event.category === 'faultrule' ? this.makingOf(event) : undefined;
  }

  private fresh(event: PastEvent | undefined): PastEvent | undefined {
    return event === undefined || this.seen.has(event.metadata.commandId) ? undefined : event;
  }

  private async atPosition(position: number): Promise<PastEvent | undefined> {
    const [event] = await readingPast(() => this.past.eventsAfter(position - 1, 1));
    return event === undefined ? undefined : this.tellingOfCommand(event);
  }

  /** The event itself may say less than another of the same write. */
  private async tellingOfCommand(event: PastEvent): Promise<PastEvent> {
    const written = await readingPast(() => this.past.eventsOfCommand(event.metadata.commandId));
    return telling(written, this.describe) ?? event;
  }

  private async ofCommand(commandId: Uuid): Promise<PastEvent | undefined> {
    if (this.seen.has(commandId)) return undefined;
    return telling(await readingPast(() => this.past.eventsOfCommand(commandId)), this.describe);
  }

  /** Ids of causes are those of commands or of events. */
  private async fromId(id: Uuid, position: number): Promise<PastEvent | undefined> {
    const ofCommand = await this.ofCommand(id);
    if (ofCommand !== undefined) return ofCommand;
    const start = Math.max(0, position - 1 - LOOK_BACK_POSITIONS);
    const earlier = await readingPast(() => this.past.eventsAfter(start, position - 1 - start));
    const event = earlier.find(({ eventId }) => eventId === id);
    return event === undefined ? undefined : this.fresh(await this.tellingOfCommand(event));
  }

  private async operationOf(event: PastEvent): Promise<PastEvent | undefined> {
    const written = await readingPast(() => this.past.eventsOfCommand(event.metadata.commandId));
    const own = written.find(({ category, version }) => category === 'operation' && version > 1);
    if (own === undefined) return undefined;
    const [first] = await readingPast(() =>
      this.past.eventsOf({ streamId: own.streamId, after: 0, upTo: event.position, limit: 1 }),
    );
    return this.fresh(first);
  }

  /** Whoever made a rule is why it strikes. */
  private async makingOf(event: PastEvent): Promise<PastEvent | undefined> {
    const { streamId, position } = event;
    const [first] = await readingPast(() => this.past.eventsOf({ streamId, after: 0, upTo: position, limit: 1 }));
    return this.fresh(first);
  }
}

/** One event of the chain. */
interface Link {
  readonly told: JsonObject;
  readonly sentence: string;
}

const shown = (value: JsonValue | undefined): string =>
  value === undefined ? 'gone' : typeof value === 'string' ? value : JSON.stringify(value);

export class Explanation {
  constructor(
    private readonly ports: Pick<PastPorts, 'past' | 'describeEvent'> & { readonly authorize: Authorize },
    private readonly target: ResourcePath & { readonly name: string },
    private readonly request: ApiRequest,
    private readonly moment: PastMoment,
  ) {}

  /** Throws a StatusError (400, 404). */
  async read(): Promise<ApiAnswer> {
    const { past, describeEvent } = this.ports;
    const { position: upTo, head } = this.moment;
    const life = await lifeOf(past, this.target, { uid: this.request.query.get('uid'), upTo: head });
    const field = this.request.query.get('field') ?? '';
    const last = await lastChange(this.ports, {
      streamId: life.streamId,
      upTo,
      fields: field === '' ? USUAL_FIELDS : [field],
    });
    if (last === undefined) throw this.neverSet(field);
    const { found } = last;
    const hindrance = last.hindrance && (await this.link(last.hindrance));
    const chain = withoutSteps(await new Causes(past, describeEvent).chain(found.event), describeEvent);
    const links: Link[] = [];
    for (const event of chain) links.push(await this.link(event));
    const { kind, name } = this.target;
    const because = links.map(({ sentence }) => sentence).join(', because ');
    const still = hindrance === undefined ? '' : `; nothing came of what was tried since: ${hindrance.sentence}`;
    return jsonAnswer(200, {
      kind: 'Explanation',
      apiVersion: apiVersionOf(kind),
      metadata: { name, uid: life.streamId, resourceVersion: String(upTo) },
      field: found.field,
      value: found.value ?? null,
      since: { position: found.event.position, time: timeText(found.event.recordedAt) },
      sentence: `${found.field} of ${kind.singular} ${name} is ${shown(found.value)} since ${timeText(found.event.recordedAt)}: ${because}${still}.`,
      chain: links.map(({ told, sentence }) => ({ ...told, sentence })),
      ...(hindrance && { hindrance: { ...hindrance.told, sentence: hindrance.sentence } }),
    });
  }

  private neverSet(field: string): StatusError {
    const { kind, name } = this.target;
    return field === ''
      ? badRequest(`say which field of ${kind.singular} ${name} is meant, such as ?field=status.conditions[0].status`)
      : badRequest(
          `${kind.singular} ${name} never had a field ${field}; write it as kubectl explain does, such as status.powerState or status.conditions[Ready].reason`,
        );
  }

  private async link(event: PastEvent): Promise<Link> {
    const { past, describeEvent } = this.ports;
    const kind = kindOf(event.category);
    const [life] = await readingPast(() => past.lives({ uid: event.streamId, upTo: this.moment.head }));
    const named =
      kind !== undefined && life !== undefined ? { kind, name: life.name, namespace: life.namespace } : null;
    if (named !== null && !(await this.maySee(this.request.user, named)))
      return { told: { position: event.position }, sentence: 'of an object that you may not read' };
    const what = messageOf(event, describeEvent);
    const subject = named === null ? event.category : `${named.kind.singular} ${named.name}`;
    const by = event.metadata.actor.startsWith('user:') ? ` (by ${event.metadata.actor.slice('user:'.length)})` : '';
    const { namespace = '' } = named ?? {};
    const object = named !== null && {
      object: { kind: named.kind.kind, name: named.name, ...(namespace !== '' && { namespace }), uid: event.streamId },
    };
    return { told: { ...object, ...originOf(event) }, sentence: `${subject}: ${what}${by}` };
  }

  private async maySee(
    user: User,
    object: { readonly kind: { group: string; plural: string }; readonly name: string; readonly namespace: string },
  ): Promise<boolean> {
    const { kind, name, namespace } = object;
    return this.ports.authorize(user, { verb: 'get', kind, namespace, name });
  }
}
