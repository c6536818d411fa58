import { hostKind, timestamp, type HostSpec, type ObjectRules } from '@xenolith/contracts';
import { formatBytes, type JsonObject } from '@xenolith/kernel';
import { isReady, type HostOwn, type PresentHost } from './host.state.js';

const NOT_REGISTERED: HostOwn = {
  registration: null,
  ready: { type: 'Ready', status: 'False', reason: 'NotRegistered', message: '', lastTransitionTime: timestamp(0) },
  strays: [],
};

const summary = (host: PresentHost): string =>
  [isReady(host) ? 'Ready' : 'NotReady', ...(host.spec.unschedulable ? ['Unschedulable'] : [])].join(',');

const status = (host: PresentHost): JsonObject => {
  const { registration, ready, strays } = host.own;
  const conditions = [ready as unknown as JsonObject];
  if (registration === null) return { conditions, summary: summary(host) };
  const { hardware, controlDomain } = registration;
  return {
    summary: summary(host),
    conditions,
    hypervisor: registration.hypervisor,
    version: registration.version,
    agentVersion: registration.agentVersion,
    bootId: registration.bootId,
    hardware: hardware,
    ...(controlDomain && { controlDomain: { ...controlDomain } }),
    cpus: hardware.cpu.threads,
    memory: formatBytes(hardware.memoryBytes),
    allocatableMemory: formatBytes(registration.allocatableMemoryBytes),
    numaNodes: hardware.numaNodes.length,
    ...(strays.length === 0 ? {} : { strayDomains: strays.length }),
  };
};

export const hostRules: ObjectRules<HostSpec, HostOwn> = {
  kind: hostKind,
  initialOwn: () => NOT_REGISTERED,
  status,
};
