import {
  COUNTED_MAX,
  deviceSupply,
  RESERVED_CPU,
  type Hardware,
  type HostPowerState,
  type HostSpec,
} from '@xenolith/contracts';
import { bytesOf, type JsonObject } from '@xenolith/kernel';
import type { HostCell, HostFacts } from './host-table.js';
import type { Parking } from './parking.js';
import type { GuestLimits } from './host-traits.js';
import type { Labels } from './selectors.js';

interface HostDocument {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string; readonly labels?: Labels };
  readonly spec: HostSpec;
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly hypervisor?: 'xen' | 'kvm';
    readonly cpus?: number;
    readonly allocatableMemory?: string;
    readonly hardware?: Partial<Hardware>;
    readonly maxVcpus?: GuestLimits;
    readonly power?: { readonly state: HostPowerState; readonly failures?: number };
  };
}

/** A host as its document tells, before its cluster's over-commitment is known. */
export interface KnownHost {
  readonly facts: Omit<HostFacts, 'vcpus' | 'cells'>;
  readonly threads: number;
  readonly nodes: readonly { readonly memoryBytes: number; readonly threads: readonly number[] }[];
}

/** Percent of hardware threads that machines can be promised. */
const reservable = (threads: number): number => Math.min(COUNTED_MAX, threads * 100);

/** CPUs in xl's syntax: `0-3,8`. */
export const cpuList = (cpus: readonly number[]): string => {
  const sorted = [...cpus].sort((left, right) => left - right);
  const ranges: [number, number][] = [];
  for (const cpu of sorted) {
    const last = ranges.at(-1);
    if (last && cpu === last[1] + 1) last[1] = cpu;
    else ranges.push([cpu, cpu]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',');
};

/** A host whose control plane has died starts nothing. */
const isReady = (conditions: readonly { readonly type: string; readonly status: string }[]): boolean => {
  const is = (type: string): string | undefined => conditions.find((condition) => condition.type === type)?.status;
  return is('Ready') === 'True' && is('ControlPlane') !== 'False';
};

const parkingOf = ({ spec, status }: HostDocument): Parking => {
  const { state = 'On', failures = 0 } = status?.power ?? {};
  if (spec.parked === true) return 'parked';
  if (state === 'On') return 'none';
  return failures > 0 ? 'failing' : 'starting';
};

/** Null for a host that has not registered yet. */
export const hostOf = (raw: JsonObject, version: number): KnownHost | null => {
  const { metadata, spec, status } = raw as unknown as HostDocument;
  if (!status?.hypervisor) return null;
  const { hardware = {} } = status;
  const memoryBytes = bytesOf(status.allocatableMemory ?? '0');
  const installed = (hardware.numaNodes ?? []).reduce((sum, node) => sum + node.memoryBytes, 0);
  return {
    threads: status.cpus ?? 0,
    // The hypervisor and Dom0 have a share of each node: guests can have of it what they can have of all.
    nodes: (hardware.numaNodes ?? []).map((node) => ({
      memoryBytes: Math.floor((node.memoryBytes / installed) * memoryBytes),
      threads: node.threads,
    })),
    facts: {
      name: metadata.name,
      cluster: spec.cluster,
      hypervisor: status.hypervisor,
      ...(status.maxVcpus && { maxVcpus: status.maxVcpus }),
      ready: isReady(status.conditions ?? []),
      unschedulable: spec.unschedulable || metadata.deletionTimestamp !== undefined,
      maintenance: spec.maintenance === true,
      parking: parkingOf({ metadata, spec, status }),
      memoryBytes,
      revision: version,
      labels: metadata.labels ?? {},
      taints: spec.taints ?? [],
      features: hardware.cpu?.features ?? [],
      ...spec.reach,
      resources: {
        ...spec.resources,
        ...deviceSupply(hardware.devices ?? []),
        [RESERVED_CPU]: reservable(status.cpus ?? 0),
      },
      ...(hardware.devices && { devices: hardware.devices }),
    },
  };
};

/** With so many virtual CPUs for each hardware thread. */
export const factsOf = (host: KnownHost, overcommit: number): HostFacts => {
  const cells: HostCell[] = host.nodes.map(({ memoryBytes, threads }) => ({
    memoryBytes,
    vcpus: Math.floor(threads.length * overcommit),
    pin: cpuList(threads),
  }));
  return { ...host.facts, vcpus: Math.floor(host.threads * overcommit), cells };
};
