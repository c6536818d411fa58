import { hostKind } from '@xenolith/contracts';
import type { JsonObject, Uuid } from '@xenolith/kernel';
import { keyOf, parsed, type CachedObject } from '../cache/cached-object.js';
import type { DocumentCache } from '../cache/document-cache.js';
import { findServedKind, type MetricsKind, type ServedKind } from '../discovery/index.js';
import type { ApiAnswer, ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { notFoundObject, StatusError, unavailable } from '../http/status.js';
import { hostFigures, machineFigures } from '../telemetry/figures.js';
import type { Hearing, Telemetry } from '../telemetry/telemetry.js';
import { consistent, freshEnough } from './read.js';
import { listText, objectText, readView } from './representation.js';
import { readSelection } from './select.js';

export interface MetricsPorts {
  readonly cache: DocumentCache;
  readonly telemetry: Telemetry;
}

const servedKindOf = (metrics: MetricsKind): ServedKind => {
  const kind = findServedKind(metrics.of.group, metrics.of.version, metrics.of.plural);
  if (kind === undefined) throw new Error(`the API serves ${metrics.of.kind}`);
  return kind;
};

const silence = (host: string, hearing: Hearing): StatusError =>
  unavailable(
    hearing.heard === null && hearing.silentMs !== null
      ? `host ${host} was last heard ${Math.round(hearing.silentMs / 1000)} s ago: it is down, or its agent or the network is; ask again when it is Ready`
      : `host ${host} has said nothing to this gateway yet; figures come within seconds of a host's start, and of the gateway's`,
  );

const noFigures = (code: 404 | 503, message: string): StatusError =>
  code === 404 ? new StatusError({ code, reason: 'NotFound', message, details: {} }) : unavailable(message);

/** Looks a host up once, however many of its machines are listed. */
class Listening {
  private readonly hosts = new Map<string, { hearing: Hearing; domains: Map<Uuid, number> }>();

  constructor(private readonly telemetry: Telemetry) {}

  host(name: string): { readonly hearing: Hearing; readonly domains: ReadonlyMap<Uuid, number> } {
    const known = this.hosts.get(name);
    if (known) return known;
    const hearing = this.telemetry.host(name);
    const found = { hearing, domains: new Map(hearing.heard?.domains.map(({ uid }, index) => [uid, index])) };
    this.hosts.set(name, found);
    return found;
  }
}

const hostOf = (machine: CachedObject): string | undefined =>
  (parsed(machine)['status'] as { host?: string } | undefined)?.host;

/** The figures of an object, or why there are none. */
const figuresOf = (metrics: MetricsKind, object: CachedObject, listening: Listening): JsonObject | StatusError => {
  const now = Date.now();
  const ofHost = metrics.of === hostKind;
  const host = ofHost ? object.name : hostOf(object);
  if (host === undefined)
    return noFigures(404, `virtual machine ${object.name} runs on no host, so that it uses nothing`);
  const { hearing, domains } = listening.host(host);
  if (hearing.heard === null) return silence(host, hearing);
  if (ofHost) return hostFigures(object, hearing.heard, now);
  const domain = hearing.heard.domains[domains.get(object.uid) ?? -1];
  if (domain === undefined)
    return noFigures(503, `host ${host} has not told figures of ${object.name} yet; it does so every few seconds`);
  return machineFigures(object, { host, telemetry: hearing.heard, domain }, now);
};

/** The figures of one host or machine. Throws a StatusError (404, 503) that says why there are none. */
export const readMetrics = async (
  ports: MetricsPorts,
  metrics: MetricsKind,
  target: ResourcePath & { readonly name: string },
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const view = readView(metrics, request.headers.accept, request.query);
  await freshEnough(ports.cache, request.query.get('resourceVersion'));
  const kind = servedKindOf(metrics);
  const object = ports.cache.store(kind).get(keyOf(target.namespace, target.name));
  if (object === undefined) throw notFoundObject(kind, target.name);
  const figures = figuresOf(metrics, object, new Listening(ports.telemetry));
  if (figures instanceof StatusError) throw figures;
  return { status: 200, contentType: view.representation.contentType, body: objectText(view, JSON.stringify(figures)) };
};

/** Figures of all that tell any; what is silent or does not run is left out, as metrics.k8s.io does. In one page. */
export const listMetrics = async (
  ports: MetricsPorts,
  metrics: MetricsKind,
  target: ResourcePath,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  const view = readView(metrics, request.headers.accept, request.query);
  const selection = readSelection(metrics, target.namespace, request.query);
  await consistent(ports.cache);
  const page = ports.cache.store(servedKindOf(metrics)).list({ selection });
  const listening = new Listening(ports.telemetry);
  const texts = (page?.objects ?? []).flatMap((object) => {
    const figures = figuresOf(metrics, object, listening);
    return figures instanceof StatusError ? [] : [{ text: JSON.stringify(figures) }];
  });
  return { status: 200, contentType: view.representation.contentType, body: listText(view, texts, {}) };
};
