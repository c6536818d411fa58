import { assert, type GuestType } from '@xenolith/kernel';
import { HARDWARE_PROFILES, type HardwareProfile } from '../hardware-profile.js';
import type { Outcome } from '../outcome.js';
import { createHypervisor, Hypervisor, type HypervisorOptions } from './hypervisor.js';
import { sum } from './state.js';

const GIBIBYTE = 2 ** 30;

/** One socket with one node, and two of them with two. */
export const SMALL = HARDWARE_PROFILES['1x4-16'];
export const TWO_NODES = HARDWARE_PROFILES['2x8-128'];

export const bootedHost = (profile: HardwareProfile = SMALL, more: Partial<HypervisorOptions> = {}): Hypervisor =>
  new Hypervisor(
    createHypervisor({
      profile,
      limits: 'xen-4.20',
      scheduler: 'credit2',
      dom0: { vcpus: 2, memoryBytes: 2 * GIBIBYTE },
      ...more,
    }),
  );

/** The value of an outcome that must not fail. */
export const valueOf = <Value>(outcome: Outcome<Value>): Value => {
  assert(outcome.ok, `the operation succeeds: ${JSON.stringify(outcome)}`);
  return outcome.value;
};

/** A running domain with that many pages, and no others in reserve. */
export const runningDomain = (host: Hypervisor, pages = 0, type: GuestType = 'pvh', nowUs = 0): number => {
  const domid = valueOf(host.domains.create({ type, handle: 'ab', maxVcpus: 2 }, nowUs));
  valueOf(host.memory.setMaxMemory(domid, pages * 4096));
  valueOf(host.memory.populate(domid, { pages }, nowUs));
  valueOf(host.domains.unpause(domid, nowUs));
  return domid;
};

/** Every page of the heap, wherever it is: the same at all times. */
export const accountedPages = ({ state }: Hypervisor): readonly number[] =>
  state.nodes.map((node, index) => {
    let pages = node.freePages;
    for (const domain of Object.values(state.domains))
      pages += (domain.pages[index] ?? 0) + (domain.overheadPages[index] ?? 0);
    for (const frames of state.shared) pages += frames.pages[index] ?? 0;
    return pages;
  });

export const heapPages = ({ state }: Hypervisor): readonly number[] => state.nodes.map((node) => node.heapPages);

export const freeHeapPages = ({ state }: Hypervisor): number => sum(state.nodes.map((node) => node.freePages));

/** A domain that takes all but so many pages. */
export const fillHost = (host: Hypervisor, leave: number): number => runningDomain(host, freeHeapPages(host) - leave);

/** What a refused call answers. */
export const refusal = (errno: string): object => ({ ok: false, errno });
