import { assert } from '@xenolith/kernel';
import { NestLog, type ServiceContext, type ServiceProgram } from '@xenolith/runtime';
import { ACCESS_CATEGORIES, ensureDefaultAccess, ensureDefaultNamespaces, tenancyService } from '@xenolith/tenancy';
import type { z } from 'zod';
import { gatewayMetrics, type GatewayMetrics } from './app/gateway-metrics.js';
import { openGateway, type RunningGateway } from './app/gateway.js';
import { LoadedDocuments } from './cache/loaded-documents.js';
import { SERVED_KINDS } from './discovery/index.js';
import { Cluster } from './cluster/cluster.js';
import { describeEvent } from './describe-event.js';
import { proofOptions } from './auth/auth-settings.js';
import { FileFollower, readFollowed } from './auth/file-follower.js';
import { authorityFiles, certificateFiles, tokensFile } from './auth/followed-files.js';
import { gatewayConfig } from './settings.js';

/** Within some seconds a token that was taken back must not count; a look at a few small files costs nothing. */
const FILES_LOOK_MS = 1_000;

type Context = ServiceContext<z.infer<typeof gatewayConfig>>;

/** Nothing is served before the namespaces and roles that everybody expects are there. */
const ensureDefaults = async ({ engine, clock, log, store }: Context): Promise<void> => {
  const { documents } = await store.documents(ACCESS_CATEGORIES);
  const now = clock.now();
  for (const command of [...ensureDefaultNamespaces(now), ...ensureDefaultAccess(documents, now)]) {
    const reply = await engine.handle(command);
    // Under the same command id the answer is that of the first start.
    // Another gateway that starts at this moment may be faster.
    if (!reply.ok && reply.rejection.code !== 'already_exists')
      log.warn({ code: reply.rejection.code }, reply.rejection.message);
  }
};

/** Files of secrets are replaced while we run: tokens are taken back, certificates are renewed. */
const followFiles = ({ config, log }: Context, gateway: RunningGateway, observer: GatewayMetrics): (() => void) => {
  const options = { log, onState: (name: string, refused: boolean) => observer.fileState(name, refused) };
  const tokens = new FileFollower(
    { ...tokensFile(config), apply: (entries) => gateway.replaceTokens(entries) },
    options,
  );
  const certificate = new FileFollower(
    { ...certificateFiles(config), apply: (tls) => gateway.replaceCertificate(tls) },
    options,
  );
  const authorities = authorityFiles(config);
  const followers = [
    tokens,
    certificate,
    ...(authorities === null
      ? []
      : [new FileFollower({ ...authorities, apply: (found) => gateway.replaceAuthorities(found) }, options)]),
  ];
  const look = (): void => {
    for (const follower of followers) void follower.look();
  };
  look();
  const timer = setInterval(look, FILES_LOOK_MS);
  return () => clearInterval(timer);
};

/** The cluster that the settings name. */
const clusterOf = ({ config, log }: Context, metrics: GatewayMetrics): Cluster | undefined => {
  const { CLUSTER_API_URL: url, CLUSTER_CA_FILE: caFile, CLUSTER_TOKEN_FILE: tokenFile } = config;
  if (url === undefined) return undefined;
  log.info({ url }, 'the API is a part of a cluster’s');
  return new Cluster({
    url,
    caFile,
    tokenFile,
    warn: (message, err) => log.warn({ err }, message),
    eventCounted: metrics.clusterEvent,
  });
};

const start = async (context: Context): Promise<void> => {
  const { config, log, lifecycle, readiness, metrics, store, feed, bus, engine } = context;
  await ensureDefaults(context);
  const observer = gatewayMetrics(metrics.registry);
  const cluster = clusterOf(context, observer);
  const loaded = engine.definition.indexes.find((index) => index instanceof LoadedDocuments);
  assert(loaded !== undefined, 'the engine has read the documents');
  const gateway = await openGateway({
    log: store,
    loaded,
    documentChanges: (query) => store.documentChanges(query),
    past: store.past,
    feed,
    bus,
    name: `gateway-${config.INSTANCE}`,
    trustedProxies: config.TRUSTED_PROXIES ?? [],
    proofs: await proofOptions(config, (fields, message) => log.warn(fields, message)),
    tokens: await readFollowed(tokensFile(config)),
    ...(cluster === undefined ? {} : { cluster }),
    describeEvent,
    https: {
      host: config.GATEWAY_HOST,
      port: config.GATEWAY_PORT,
      tls: await readFollowed(certificateFiles(config)),
    },
    logger: new NestLog(log),
    requests: log,
    observer,
    version: '0.1.0',
    health: (path) =>
      path.startsWith('/readyz')
        ? readiness.report()
        : Promise.resolve({ ok: true, text: '[+]ping ok\nlivez check passed\n' }),
  });
  observer.watch(gateway.watches, () => gateway.cache.position);
  const stopFollowing = followFiles(context, gateway, observer);
  lifecycle.onStop('API', async () => {
    stopFollowing();
    await gateway.close();
  });
  log.info({ host: config.GATEWAY_HOST, port: gateway.port }, 'the API is served over HTTPS');
};

/** The API of the platform, and the namespaces that it owns. */
export const gatewayProgram: ServiceProgram<typeof gatewayConfig> = {
  name: 'gateway',
  config: gatewayConfig,
  define: () => {
    const definition = tenancyService();
    return { ...definition, indexes: [...definition.indexes, new LoadedDocuments(SERVED_KINDS)] };
  },
  start,
};
