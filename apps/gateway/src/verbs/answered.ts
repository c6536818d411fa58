import {
  failoverPlanKind,
  listFailoverPlansAnswer,
  querySubject,
  type KindDefinition,
  type ListFailoverPlansData,
} from '@xenolith/contracts';
import { BusFault, rootCommand, uuidFrom, type JsonObject, type Reply } from '@xenolith/kernel';
import { cachedObject, indexerOf, type CachedObject } from '../cache/cached-object.js';
import { selects } from '../cache/selection.js';
import { ANSWERED_KINDS, type ServedKind } from '../discovery/index.js';
import { actorOf, type ApiAnswer, type ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { statusOfFault, statusOfRejection } from '../http/rejection-table.js';
import { notFoundObject } from '../http/status.js';
import { commandIds, deadlineOf, type WritePorts } from './commands.js';
import { freshEnough } from './read.js';
import { listText, objectText, readView } from './representation.js';
import { readSelection } from './select.js';

type Ports = Pick<WritePorts, 'cache' | 'bus'>;

/** What each kind's service is asked. */
const QUERIES: ReadonlyMap<KindDefinition | null, string> = new Map([[failoverPlanKind, 'ListFailoverPlans']]);

/** Whether the objects of a kind are in no log, so that its service is asked for them. */
export const isAnswered = (kind: ServedKind): boolean => ANSWERED_KINDS.includes(kind);

/** Asks a kind's service, page by page, for what is true once everything has happened that this gateway has seen. */
class Questions {
  private asked = 0;

  constructor(
    private readonly ports: Ports,
    private readonly target: ResourcePath,
    private readonly request: ApiRequest,
  ) {}

  async all(only: Pick<ListFailoverPlansData, 'name'> = {}): Promise<readonly CachedObject[]> {
    const { position } = this.ports.cache;
    const indexer = indexerOf(this.target.kind.fieldSelectors);
    const found: CachedObject[] = [];
    for (let after: string | undefined; ;) {
      const page = await this.ask({ position, ...only, ...(after !== undefined && { after }) });
      for (const plan of page.plans) {
        const document = plan as JsonObject;
        const { uid } = document['metadata'] as { uid: string };
        found.push(cachedObject({ uid, position, version: 0, document, indexer }));
      }
      after = found.at(-1)?.name;
      if (!page.more || after === undefined) return found;
    }
  }

  private async ask(data: ListFailoverPlansData) {
    const { target, request } = this;
    const type = QUERIES.get(target.kind.definition) ?? '';
    const commandId = commandIds(request).nth(this.asked);
    this.asked += 1;
    const message = rootCommand({
      commandId,
      type,
      streamId: uuidFrom('query', type),
      data: data,
      actor: actorOf(request.user),
      sourceAddress: request.sourceAddress,
      at: Date.now(),
    });
    const reply = await this.send(querySubject(target.kind.definition?.service ?? 'gateway', type), message);
    if (!reply.ok) throw statusOfRejection(reply.rejection, target);
    return listFailoverPlansAnswer.parse(reply.value);
  }

  private async send(subject: string, message: Parameters<Ports['bus']['request']>[1]): Promise<Reply> {
    try {
      return await this.ports.bus.request(subject, message, { timeoutMs: deadlineOf(this.request).left() });
    } catch (error) {
      if (error instanceof BusFault) throw statusOfFault(error);
      throw error;
    }
  }
}

export const readAnswered = async (
  ports: Ports,
  target: ResourcePath & { readonly name: string },
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const view = readView(target.kind, request.headers.accept, request.query);
  await freshEnough(ports.cache, request.query.get('resourceVersion'));
  const [object] = await new Questions(ports, target, request).all({ name: target.name });
  if (object === undefined) throw notFoundObject(target.kind, target.name);
  return { status: 200, contentType: view.representation.contentType, body: objectText(view, object.text) };
};

/** All objects that are selected, in one page. */
export const listAnswered = async (ports: Ports, target: ResourcePath, request: ApiRequest): Promise<ApiAnswer> => {
  const view = readView(target.kind, request.headers.accept, request.query);
  const selection = readSelection(target.kind, target.namespace, request.query);
  await freshEnough(ports.cache, request.query.get('resourceVersion'));
  const metadata = { resourceVersion: String(ports.cache.position) };
  const all = await new Questions(ports, target, request).all();
  const objects = all.filter((object) => selects(selection, object));
  return { status: 200, contentType: view.representation.contentType, body: listText(view, objects, metadata) };
};
