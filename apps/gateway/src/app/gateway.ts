import { KeyLock } from '@xenolith/engine';
import type { EventLog, LogFeed, LogPast, MessageBus } from '@xenolith/kernel';
import type { LoggerService } from '@nestjs/common';
import type { Authorize } from '../auth/access.js';
import { admission } from '../auth/admission.js';
import type { ProofOptions } from '../auth/auth-settings.js';
import type { ClientAuthorities } from '../auth/certificate-proofs.js';
import { bearerTokens, firstOf, firstReader } from '../auth/authenticate.js';
import { Authorizer } from '../auth/authorizer.js';
import { FairShare, type Shares } from '../auth/fair-share.js';
import { sourceAddress } from '../auth/source-address.js';
import { LoginGuard, type LoginLimits } from '../auth/login-guard.js';
import { StaticTokens, type TokenEntries } from '../auth/static-tokens.js';
import { WatchRegistry } from '../auth/watch-registry.js';
import { DocumentCache } from '../cache/document-cache.js';
import type { LoadedDocuments } from '../cache/loaded-documents.js';
import { LogHistory, type ReadDocumentChanges } from '../cache/log-history.js';
import { SERVED_KINDS } from '../discovery/index.js';
import { EventView, type DescribeEvent } from '../events/event-view.js';
import { Telemetry } from '../telemetry/telemetry.js';
import type { Cluster } from '../cluster/cluster.js';
import { WatchHub } from '../watch/watch-hub.js';
import type { ApiPorts } from './api.js';
import type { Gateway } from './api.controller.js';
import type { GatewayLog, RequestObserver } from './gateway-log.js';
import { openHttpsServer, type HttpsOptions, type HttpsServer } from './https-server.js';

export interface GatewayOptions {
  readonly log: EventLog;
  /** The documents, when the engine has read them; absent: they are read. */
  readonly loaded?: LoadedDocuments;
  /** Reads what watches missed that resume from before this gateway's memory; absent: they get 410. */
  readonly documentChanges?: ReadDocumentChanges;
  /** What was. */
  readonly past: LogPast;
  readonly feed: LogFeed;
  readonly bus: MessageBus;
  readonly name: string;
  readonly tokens: TokenEntries;
  /** Ways to prove who one is, beside the tokens above. */
  readonly proofs?: ProofOptions;
  /** How many wrong tokens are looked at; absent: as many as clients send by mistake. */
  readonly logins?: LoginLimits;
  /** The cluster whose API ours is a part of; absent: the platform stands alone. */
  readonly cluster?: Cluster;
  /** How many requests are worked on at once; absent: as many as a gateway can. */
  readonly shares?: Shares;
  /** Networks whose `X-Forwarded-For` is believed. */
  readonly trustedProxies?: readonly string[];
  readonly describeEvent: DescribeEvent;
  readonly https: Omit<HttpsOptions, 'logger' | 'clientAuthorities'>;
  readonly logger: LoggerService | false;
  readonly requests: GatewayLog;
  readonly observer?: RequestObserver;
  readonly version: string;
  readonly health: Gateway['health'];
}

export interface RunningGateway {
  readonly port: number;
  readonly cache: DocumentCache;
  /** These tokens count from now on, and watches of others end. */
  replaceTokens(entries: TokenEntries): void;
  /** Certificates of clients and front proxies count when these signed them, and watches of others end. */
  replaceAuthorities(authorities: ClientAuthorities): void;
  /** New connections are shown this certificate. */
  replaceCertificate(tls: HttpsOptions['tls']): void;
  readonly watches: () => Pick<WatchRegistry, 'size' | typeof Symbol.iterator>;
  close(): Promise<void>;
}

const NO_PROOFS: ProofOptions = { tokens: [], certificates: null };

/** Whom the cluster sent may do what the cluster says, all others what the roles of the log say. */
const authorizeBy =
  (access: Authorizer, cluster: Cluster | undefined): Authorize =>
  (user, attributes) =>
    cluster !== undefined && user.provenBy === 'cluster'
      ? cluster.allows(user, attributes)
      : access.allows(user, attributes);

/** How senders prove who they are; the cluster is asked about tokens that nobody here knows. */
const proofsOf = (
  tokens: StaticTokens,
  { proofs = NO_PROOFS, cluster }: GatewayOptions,
): Pick<ApiPorts, 'authenticate' | 'readToken'> => {
  const readToken = firstReader([(token) => tokens.read(token), ...proofs.tokens]);
  return {
    readToken,
    authenticate: firstOf([
      ...(proofs.certificates === null ? [] : [proofs.certificates.authenticate]),
      ...(cluster === undefined ? [] : [cluster.authenticate]),
      bearerTokens(cluster === undefined ? readToken : firstReader([readToken, cluster.readToken])),
    ]),
  };
};

/** A log that isn't caught up with by then is waited for by each request, which says so. */
const CATCH_UP_LIMIT_MS = 10_000;

/** What the log shows, followed from here on. */
const openViews = async (
  options: GatewayOptions,
): Promise<{ readonly cache: DocumentCache; readonly events: EventView; readonly access: Authorizer }> => {
  const { log, feed } = options;
  const loaded = options.loaded === undefined ? {} : { loaded: options.loaded };
  const cache = new DocumentCache({ log, feed, name: `${options.name}-documents`, ...loaded }, SERVED_KINDS);
  await cache.load();
  const events = new EventView(cache, options.describeEvent);
  await events.load(log);
  cache.observeWith(events);
  const access = new Authorizer();
  access.load(cache);
  cache.observeWith(access);
  await cache.follow();
  // The documents may be those of the process's start: roles that were made since must count from the first request on.
  await cache.catchUp(CATCH_UP_LIMIT_MS);
  return { cache, events, access };
};

/** Whose certificates are looked at. */
const authoritiesOf = ({ proofs, cluster }: Pick<GatewayOptions, 'proofs' | 'cluster'>): readonly string[] => [
  ...(proofs?.certificates?.authorities ?? []),
  ...(cluster?.authorities ?? []),
];

const serve = (ports: ApiPorts, options: GatewayOptions): Promise<HttpsServer> => {
  const { proofs = NO_PROOFS, cluster } = options;
  return openHttpsServer(
    {
      ports,
      turns: new FairShare(options.shares),
      logins: new LoginGuard(Date.now, options.logins),
      sourceAddress: sourceAddress(options.trustedProxies ?? []),
      log: options.requests,
      version: options.version,
      health: options.health,
      ...(options.observer === undefined ? {} : { observer: options.observer }),
    },
    {
      ...options.https,
      logger: options.logger,
      // The cluster may have told none yet.
      clientAuthorities: proofs.certificates === null && cluster === undefined ? null : authoritiesOf(options),
    },
  );
};

/** Loads the documents and the last hour's events, follows the log, and serves the API. */
export const openGateway = async (options: GatewayOptions): Promise<RunningGateway> => {
  const { log, feed, bus, cluster } = options;
  await cluster?.open();
  const { cache, events, access } = await openViews(options);
  const telemetry = new Telemetry(Date.now);
  await telemetry.start(bus);
  const authorize = authorizeBy(access, cluster);
  const sessions = new WatchRegistry(access, authorize);
  const tokens = new StaticTokens(options.tokens);
  const ports: ApiPorts = {
    cache,
    bus,
    log,
    locks: new KeyLock(),
    telemetry,
    hub: new WatchHub(),
    history: new LogHistory(cache, options.documentChanges),
    past: options.past,
    describeEvent: options.describeEvent,
    documentChanges: options.documentChanges,
    sessions,
    onWatchEnd: (reason) => options.observer?.watchEnded(reason),
    admit: admission({
      allows: authorize,
      rulesOf: (user, namespace) => access.rulesOf(user, namespace),
      rulesOfRole: (ref, namespace) => access.rulesOfRole(ref, namespace),
    }),
    access,
    ...proofsOf(tokens, options),
    authorize,
    ...(cluster === undefined ? {} : { ensureNamespace: cluster.ensureNamespace }),
  };
  const server = await serve(ports, options);
  await cluster?.follow({
    cache,
    bus,
    feed,
    events,
    sessions,
    authoritiesChanged: () => {
      server.trust(authoritiesOf(options));
      sessions.askCluster();
    },
  });
  return {
    port: server.port,
    cache,
    watches: () => sessions,
    replaceTokens: (entries) => {
      tokens.replace(entries);
      sessions.askAgain();
    },
    replaceAuthorities: (authorities) => {
      options.proofs?.certificates?.replace(authorities);
      server.trust(authoritiesOf(options));
      sessions.askAgain();
    },
    replaceCertificate: (tls) => server.replaceCertificate(tls),
    close: async () => {
      await server.close();
      await cluster?.close();
      await telemetry.stop();
      events.stop();
      await cache.stop();
    },
  };
};
