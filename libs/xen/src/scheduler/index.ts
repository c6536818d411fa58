export type {
  PcpuPlace,
  PcpuTimes,
  ScheduledDomain,
  ScheduledVcpu,
  SchedulerSimulation,
  TraceEntry,
  VcpuTimes,
  Workload,
} from './simulation.js';
export { TRACE_LIMIT } from './simulation.js';
export { CREDIT_DEFAULTS } from './credit-accounting.js';
export type { CreditParameters } from './credit-accounting.js';
export { CreditSimulation } from './credit.js';
export type { CreditSettings, CreditState } from './credit.js';
export { CREDIT2_DEFAULTS } from './credit2-state.js';
export type { Credit2Parameters, Credit2State, QueueArrangement } from './credit2-state.js';
export { Credit2Simulation } from './credit2.js';
export type { Credit2Settings } from './credit2.js';
export { cpuShares } from './shares.js';
export type { DemandingDomain, DemandingVcpu, VcpuShare } from './shares.js';
