import { createRequire, syncBuiltinESMExports } from 'node:module';
import type { TracerProvider as Provider } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AlwaysOnSampler, BatchSpanProcessor, ParentBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace';
import pg from 'pg';

/** Spans that wait for their export; more are dropped, as tracing must not fill the memory of a busy service. */
const SPAN_QUEUE = 8_192;
const SPAN_BATCH = 512;
const EXPORT_EVERY_MS = 1_000;
const EXPORT_TIMEOUT_MS = 5_000;

/** Probes and scrapes come every few seconds and say nothing about what users asked for. */
const isProbe = (url: string | undefined): boolean => /^\/(livez|readyz|healthz|metrics)\b/.test(url ?? '');

/** A provider whose spans go to `endpoint` by OTLP over HTTP. `shutdown` sends what is not sent yet. */
export const exportingProvider = (options: {
  readonly service: string;
  readonly instance: string;
  readonly endpoint: string;
}): Provider & { shutdown(): Promise<void> } => {
  const exporter = new OTLPTraceExporter({
    url: `${options.endpoint.replace(/\/$/, '')}/v1/traces`,
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  return new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': options.service,
      'service.namespace': 'xenolith',
      'service.instance.id': options.instance,
    }),
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: SPAN_QUEUE,
        maxExportBatchSize: SPAN_BATCH,
        scheduledDelayMillis: EXPORT_EVERY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
};

/**
 * Instruments what every importer shares. The instrumentations act when CommonJS `require` loads a module, which the imports of ES modules pass by, and
 * a bundled program has no `pg` that could be required. So Node's own modules are required here, whose exports are the same for all, and what is
 * changed of `pg` is changed in what we import: its classes are the same for all, too.
 */
export const instrument = (): void => {
  // A query outside a request is a poll: it belongs to no trace.
  const queries = new PgInstrumentation({ requireParentSpan: true });
  registerInstrumentations({
    instrumentations: [
      new HttpInstrumentation({ ignoreIncomingRequestHook: (request) => isProbe(request.url) }),
      queries,
    ],
  });
  const require = createRequire(import.meta.url);
  for (const name of ['http', 'https']) require(name);
  syncBuiltinESMExports();
  const classes: Readonly<Record<string, unknown>> = { pg, 'pg-pool': Object.getPrototypeOf(pg.Pool) as unknown };
  for (const { name, patch } of queries.getModuleDefinitions()) patch?.(classes[name]);
};
