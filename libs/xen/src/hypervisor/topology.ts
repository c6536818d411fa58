import { assert } from '@xenolith/kernel';
import {
  allocatableBytesOf,
  controlDomainOf,
  numaNodesOf,
  threadsOf,
  type HardwareProfile,
} from '../hardware-profile.js';
import { allCpus, cpuSetOf, hasCpu, unite, type CpuNumbers, type CpuSet } from './cpu-set.js';
import { PAGE_BYTES, type HypervisorLimits } from './limits.js';
import type { DomainState, NodeState } from './state.js';

/** Where a CPU sits (XEN_SYSCTL_cputopoinfo). */
export interface CpuTopology {
  readonly cpu: number;
  /** Core within its socket. */
  readonly core: number;
  readonly socket: number;
  readonly node: number;
}

/** A `struct page_info` of xen/arch/x86/include/asm/mm.h, one for each page. */
const FRAME_TABLE_BYTES_PER_PAGE = 32;

/** ACPI's distances: 10 within a node, and 20 between two where the firmware states none (xen/arch/x86/srat.c `__node_distance`). */
const LOCAL_DISTANCE = 10;
const REMOTE_DISTANCE = 20;

/** The machine as Xen uses it: without the memory beyond the release's limit. CPUs beyond it stay listed, and offline. */
export const usedHardware = (profile: HardwareProfile, limits: HypervisorLimits): HardwareProfile =>
  profile.memoryBytes <= limits.hostMemoryBytes ? profile : { ...profile, memoryBytes: limits.hostMemoryBytes };

export const onlineCpuCount = (hardware: HardwareProfile, limits: HypervisorLimits): number =>
  Math.min(threadsOf(hardware), limits.physicalCpus);

/** Every online CPU with its place; the threads of a core are neighbours, as are the cores of a socket and the CPUs of a node. */
export const cpuTopology = (hardware: HardwareProfile, limits: HypervisorLimits): readonly CpuTopology[] => {
  const threadsPerSocket = hardware.threadsPerCore * hardware.coresPerSocket;
  const threadsPerNode = threadsOf(hardware) / hardware.numaNodes;
  return Array.from({ length: onlineCpuCount(hardware, limits) }, (_, cpu) => ({
    cpu,
    core: Math.floor((cpu % threadsPerSocket) / hardware.threadsPerCore),
    socket: Math.floor(cpu / threadsPerSocket),
    node: Math.floor(cpu / threadsPerNode),
  }));
};

export const nodeDistances = (hardware: HardwareProfile, node: number): readonly number[] =>
  Array.from({ length: hardware.numaNodes }, (_, other) => (other === node ? LOCAL_DISTANCE : REMOTE_DISTANCE));

/** What lists of CPUs may speak of on this machine. */
export const cpuNumbersOf = (hardware: HardwareProfile, limits: HypervisorLimits): CpuNumbers => {
  const cpuCount = onlineCpuCount(hardware, limits);
  const perNode = threadsOf(hardware) / hardware.numaNodes;
  return {
    cpuCount,
    cpusOfNode: (node) => {
      if (node < 0 || node >= hardware.numaNodes) return null;
      const first = node * perNode;
      return first >= cpuCount ? [] : [[first, Math.min(first + perNode, cpuCount) - 1]];
    },
  };
};

/**
 * The nodes' heaps before Dom0 is built: the installed memory less what Xen keeps, so that the sum is what `allocatableBytesOf` leaves to guests with
 * Dom0's share. Each node bears the frame table of its own pages, node 0 the rest.
 */
export const nodeHeaps = (hardware: HardwareProfile): NodeState[] => {
  const heapPages = (allocatableBytesOf(hardware) + controlDomainOf(hardware).memoryBytes) / PAGE_BYTES;
  assert(Number.isInteger(heapPages), 'the heap is a whole number of pages');
  const nodes = numaNodesOf(hardware);
  const ownShare = 1 - FRAME_TABLE_BYTES_PER_PAGE / PAGE_BYTES;
  const others = nodes.slice(1).map((node) => Math.floor((node.memoryBytes * ownShare) / PAGE_BYTES));
  const first = heapPages - others.reduce((total, pages) => total + pages, 0);
  return [first, ...others].map((pages) => ({ heapPages: pages, freePages: pages }));
};

/**
 * Nodes that a domain's memory shall come from: those it was given, or else those of the CPUs that its vCPUs prefer among the ones they may run on
 * (xen/common/sched/core.c `domain_update_node_aff`).
 */
export const nodeAffinityOf = (
  domain: DomainState,
  hardware: HardwareProfile,
  limits: HypervisorLimits,
): readonly number[] => {
  const nodes = Array.from({ length: hardware.numaNodes }, (_, node) => node);
  if (domain.nodeAffinity) return domain.nodeAffinity;
  if (domain.vcpus.every((vcpu) => vcpu.hardAffinity === null && vcpu.softAffinity === null)) return nodes;
  const numbers = cpuNumbersOf(hardware, limits);
  const all = allCpus(numbers.cpuCount);
  let [hard, soft]: [CpuSet, CpuSet] = [[], []];
  for (const vcpu of domain.vcpus) {
    hard = unite(hard, vcpu.hardAffinity ?? all);
    soft = unite(soft, vcpu.softAffinity ?? all);
  }
  const perNode = threadsOf(hardware) / hardware.numaNodes;
  const cpus = Array.from({ length: numbers.cpuCount }, (_, cpu) => cpu).filter((cpu) => hasCpu(hard, cpu));
  const preferred = cpus.filter((cpu) => hasCpu(soft, cpu));
  const used = new Set((preferred.length > 0 ? preferred : cpus).map((cpu) => Math.floor(cpu / perNode)));
  return nodes.filter((node) => used.has(node));
};

/** The CPUs of a set of nodes. */
export const cpusOfNodes = (nodes: readonly number[], numbers: CpuNumbers): CpuSet =>
  nodes.reduce<CpuSet>((cpus, node) => unite(cpus, numbers.cpusOfNode(node) ?? []), cpuSetOf([]));

/** What the host can do (XEN_SYSCTL_PHYSCAP_* of public/sysctl.h). */
export interface HostCapabilities {
  readonly hvm: boolean;
  readonly pv: boolean;
  /** There is an IOMMU. */
  readonly directio: boolean;
  readonly hap: boolean;
  readonly shadow: boolean;
  /** Guests' page tables serve the IOMMU too. */
  readonly iommuHapPtShare: boolean;
}

export const hostCapabilities = ({ features }: HardwareProfile): HostCapabilities => {
  const hvm = features.includes('vmx') || features.includes('svm');
  const hap = hvm && ['hap', 'ept', 'npt'].some((feature) => features.includes(feature));
  const directio = features.includes('iommu');
  return { hvm, pv: true, directio, hap, shadow: true, iommuHapPtShare: directio && hap };
};
