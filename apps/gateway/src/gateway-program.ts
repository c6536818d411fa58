import { readFile } from 'node:fs/promises';
import { NestLog, type ServiceContext, type ServiceProgram } from '@xenolith/runtime';
import { ACCESS_CATEGORIES, ensureDefaultAccess, ensureDefaultNamespaces, tenancyService } from '@xenolith/tenancy';
import type { z } from 'zod';
import { gatewayMetrics } from './app/gateway-metrics.js';
import { openGateway } from './app/gateway.js';
import { describeEvent } from './describe-event.js';
import { proofOptions } from './auth/auth-settings.js';
import { tokenEntries } from './auth/static-tokens.js';
import { gatewayConfig } from './settings.js';

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

const start = async (context: Context): Promise<void> => {
  const { config, log, lifecycle, readiness, metrics, store, feed, bus } = context;
  await ensureDefaults(context);
  const observer = gatewayMetrics(metrics.registry);
  const gateway = await openGateway({
    log: store,
    scanDocuments: (categories, onPage) => store.scanDocuments(categories, onPage),
    documentChanges: (query) => store.documentChanges(query),
    past: store.past,
    feed,
    bus,
    name: `gateway-${config.INSTANCE}`,
    trustedProxies: config.TRUSTED_PROXIES ?? [],
    proofs: await proofOptions(config, (fields, message) => log.warn(fields, message)),
    tokens: tokenEntries.parse(JSON.parse(await readFile(config.TOKENS_FILE, 'utf8'))),
    describeEvent,
    https: {
      host: config.GATEWAY_HOST,
      port: config.GATEWAY_PORT,
      tls: { cert: await readFile(config.TLS_CERT_FILE), key: await readFile(config.TLS_KEY_FILE) },
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
  lifecycle.onStop('API', () => gateway.close());
  log.info({ host: config.GATEWAY_HOST, port: gateway.port }, 'the API is served over HTTPS');
};

/** The API of the platform, and the namespaces that it owns. */
export const gatewayProgram: ServiceProgram<typeof gatewayConfig> = {
  name: 'gateway',
  config: gatewayConfig,
  define: () => tenancyService(),
  start,
};
