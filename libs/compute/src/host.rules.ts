import { hostKind, timestamp, type Condition, type HostSpec, type ObjectRules } from '@xenolith/contracts';
import { formatBytes, type JsonObject } from '@xenolith/kernel';
import { onSpecChange } from './host.power.js';
import type { HostOwn, Maintenance, PresentHost } from './host.state.js';

const NOT_REGISTERED: HostOwn = {
  registration: null,
  ready: { type: 'Ready', status: 'False', reason: 'NotRegistered', message: '', lastTransitionTime: timestamp(0) },
  lostSince: null,
  strays: [],
  maintenance: null,
  power: {
    state: 'On',
    since: null,
    reason: '',
    turn: 0,
    bootId: null,
    failures: 0,
    message: '',
    retryAt: null,
  },
};

const summary = ({ own, spec }: PresentHost): string =>
  [
    readiness(own, spec),
    ...(spec.unschedulable ? ['Unschedulable'] : []),
    ...(own.lostSince === null ? [] : ['Degraded']),
    ...emptying(own, spec),
  ].join(',');

const readiness = ({ ready, power }: HostOwn, spec: HostSpec): string => {
  if (power.state === 'On') return ready.status === 'True' ? 'Ready' : 'NotReady';
  // One that should be on, and is not yet.
  return power.state === 'Off' ? (spec.parked === true ? 'Parked' : 'NotReady,Off') : power.state;
};

const emptying = ({ maintenance, power }: HostOwn, spec: HostSpec): readonly string[] => {
  if (maintenance === null) return [];
  if (spec.maintenance === true) return [isEmpty(maintenance) ? 'Maintenance' : 'Evacuating'];
  return power.state === 'On' ? ['Parking'] : [];
};

const powerOf = ({ power }: HostOwn): JsonObject => {
  const { state, since, reason, message, failures, retryAt } = power;
  return {
    state,
    ...(since === null ? {} : { since }),
    reason,
    ...(message === '' ? {} : { message }),
    ...(failures === 0 ? {} : { failures }),
    ...(retryAt === null ? {} : { retryTime: timestamp(retryAt) }),
  };
};

/** Of a host that is to be parked: whether it is. */
const parked = ({ own, spec, meta }: PresentHost): readonly Condition[] => {
  if (spec.parked !== true) return [];
  const { power } = own;
  const is = power.state === 'Off';
  const message = power.message === '' ? power.reason : `${power.reason}; ${power.message}`;
  return [
    {
      type: 'Parked',
      status: is ? 'True' : 'False',
      reason: is ? 'PoweredOff' : power.state === 'On' ? 'Evacuating' : power.state,
      message,
      lastTransitionTime: power.since ?? meta.creationTimestamp,
    },
  ];
};

const isEmpty = ({ remaining }: Maintenance): boolean => remaining === 0;

const maintenanceOf = (maintenance: Maintenance): JsonObject => {
  const { uid, since, remaining, blocked } = maintenance;
  return {
    phase: isEmpty(maintenance) ? 'InMaintenance' : 'Evacuating',
    uid,
    startTime: since,
    ...(remaining === null ? {} : { remaining }),
    ...(blocked.length === 0 ? {} : { blocked: [...blocked] }),
  };
};

const evacuationMessage = ({ remaining, blocked }: Maintenance): string => {
  if (remaining === 0) return 'no virtual machine is left on the host';
  if (remaining === null) return 'the virtual machines on the host are to be moved';
  const left = `${remaining} virtual machine${remaining === 1 ? ' is' : 's are'} left on the host`;
  return blocked.length === 0 ? left : `${left}; ${blocked.length} can't move`;
};

const evacuated = (maintenance: Maintenance): Condition => ({
  type: 'Evacuated',
  status: isEmpty(maintenance) ? 'True' : 'False',
  reason: isEmpty(maintenance) ? 'Empty' : maintenance.blocked.length > 0 ? 'Blocked' : 'Evacuating',
  message: evacuationMessage(maintenance),
  lastTransitionTime: maintenance.turnedAt,
});

/** What the death of daemons means, condition by condition. */
const lost = ({ registration, lostSince }: HostOwn): Condition[] => {
  const daemons = registration?.lostDaemons ?? [];
  const condition = (type: string, names: readonly string[], message: string): Condition[] =>
    names.length === 0
      ? []
      : [
          {
            type,
            status: 'False',
            reason: 'DaemonDied',
            message: `${names.join(' and ')} died: ${message}`,
            lastTransitionTime: lostSince ?? timestamp(0),
          },
        ];
  const control = daemons.filter((daemon) => daemon !== 'xenconsoled');
  const until = control.includes('xenstored') ? 'until the host boots' : 'until it is started again';
  return [
    ...condition('ControlPlane', control, `guests run on, but nothing can be started, stopped or changed ${until}`),
    ...condition('Consoles', daemons.includes('xenconsoled') ? ['xenconsoled'] : [], 'guests run on without consoles'),
  ];
};

const status = (host: PresentHost): JsonObject => {
  const { registration, ready, strays, maintenance } = host.own;
  const conditions = [
    ready,
    ...lost(host.own),
    ...(maintenance ? [evacuated(maintenance)] : []),
    ...parked(host),
  ] as unknown as JsonObject[];
  const kept = maintenance ? { maintenance: maintenanceOf(maintenance) } : {};
  if (registration === null) return { conditions, summary: summary(host), ...kept };
  const { hardware, controlDomain, setup, maxVcpus, memorySharing } = registration;
  return {
    summary: summary(host),
    conditions,
    ...kept,
    power: powerOf(host.own),
    hypervisor: registration.hypervisor,
    version: registration.version,
    agentVersion: registration.agentVersion,
    bootId: registration.bootId,
    hardware: hardware,
    ...(controlDomain && { controlDomain: { ...controlDomain } }),
    ...(setup && { setup: { ...setup } }),
    ...(maxVcpus && { maxVcpus: { ...maxVcpus } }),
    ...(memorySharing && { memorySharing: { ...memorySharing } }),
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
  onSpecChange,
  status,
};
