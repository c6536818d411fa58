export {
  databaseUrlOf,
  EXIT_CONFIG,
  jsonVariable,
  parseConfig,
  processConfig,
  readConfig,
  serviceConfig,
} from './config.js';
export type { ProcessConfig, ServiceConfig } from './config.js';
export { Health, type HealthCheck, type HealthReport } from './health.js';
export { takeCharge, type Lifecycle, type ProcessHandle } from './lifecycle.js';
export { NestLog, openLog, type Log } from './log.js';
export { SECONDS_BUCKETS } from './buckets.js';
export { createMetrics, type Metrics } from './metrics.js';
export { runProcess, systemClock, type EarlyContext, type ProcessContext, type ProcessDefinition } from './process.js';
export { openSidePort, type SidePort } from './side-port.js';
export { engineTracer, startTracing, type Tracing } from './tracing.js';
export { causeChain, waitFor } from './wait-for.js';
export { runService, SERVICE_CONTEXT, type LogContext, type ServiceContext, type ServiceProgram } from './service.js';
export { VERSION } from './version.js';
