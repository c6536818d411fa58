import { HARDWARE_PROFILES, threadsOf } from '../hardware-profile.js';
import type { DeviceStateFigures, DomainFigures, HostFigures } from '../host-model.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import { cpuFigures, cpusUsed } from './cpu-account.js';
import { controlDomainUsedBytes } from './device-model.js';
import { workFigures } from './device-work.js';
import { dirtyingOf } from './guest-work.js';
import type { Host, MachineDevice } from './host-state.js';
import { hasFrontends } from './machine-devices.js';
import { underWay } from './migration-session.js';

const thousandths = (value: number): number => Math.round(1000 * value) / 1000;

const sharingOf = (host: Host): Pick<HostFigures, 'sharing'> => {
  if (!host.state.scan) return {};
  const { freedPages, usedFrames } = host.hypervisor.sharing.counts();
  return { sharing: { sharedBytes: usedFrames * PAGE_BYTES, savedBytes: freedPages * PAGE_BYTES } };
};

/** What the host as a whole uses. */
export const figuresOf = (host: Host): HostFigures => {
  const info = host.hypervisor.physicalInfo(host.state.nowUs);
  const busy = Object.keys(host.state.hypervisor.domains).reduce(
    (sum, domid) => sum + cpusUsed(host, Number(domid)),
    0,
  );
  const load = busy / threadsOf(HARDWARE_PROFILES[host.state.profile]);
  const dom0 = host.hypervisor.domains.info(0, host.state.nowUs);
  return {
    domains: Object.keys(host.state.machines).length,
    freeMemoryBytes: (info.freePages - info.outstandingPages) * PAGE_BYTES,
    cpuLoad: Math.min(1, thousandths(load)),
    migrations: underWay(host.state),
    ...sharingOf(host),
    controlDomain: {
      cpu: thousandths(cpusUsed(host, 0)),
      memoryBytes: dom0.ok ? dom0.value.totalPages * PAGE_BYTES : 0,
      usedBytes: controlDomainUsedBytes(host),
    },
  };
};

const statesOf = ({ back, front }: MachineDevice): { readonly states?: DeviceStateFigures } =>
  back === null && front === null ? {} : { states: { frontend: front?.state ?? 0, backend: back?.shown ?? 0 } };

const balloonOf = (host: Host, domid: number, actualPages: number): Pick<DomainFigures, 'balloon'> => {
  const balloon = host.state.hypervisor.domains[domid]?.balloon;
  if (!balloon) return {};
  return { balloon: { targetBytes: balloon.targetPages * PAGE_BYTES, actualBytes: actualPages * PAGE_BYTES } };
};

/** Where the memory of a domain lies that shall not lie anywhere. */
const nodesOf = ({ hypervisor, state }: Host, domid: number, nowUs: number): Pick<DomainFigures, 'nodeBytes'> => {
  const preferred = hypervisor.vcpus.nodeAffinity(domid);
  if (!preferred.ok || preferred.value.length === state.hypervisor.nodes.length) return {};
  return { nodeBytes: hypervisor.memory.pagesByNode(domid, nowUs).map((pages) => pages * PAGE_BYTES) };
};

/** What each machine's domain uses at `nowUs`, which may be later than all that has happened. Asking changes nothing. */
export const domainFiguresOf = (host: Host, nowUs: number): readonly DomainFigures[] =>
  Object.values(host.state.machines).map((machine) => {
    const { uid, domid } = machine;
    const info = host.hypervisor.domains.info(domid, nowUs);
    const pages = host.hypervisor.memory.guestPages(domid, nowUs);
    const memoryBytes = info.ok ? (pages + info.value.overheadPages) * PAGE_BYTES : 0;
    const sharedPages = info.ok ? info.value.sharedPages : 0;
    return {
      uid,
      memoryBytes,
      ...cpuFigures(host, domid, nowUs),
      ...balloonOf(host, domid, pages),
      ...nodesOf(host, domid, nowUs),
      ...(sharedPages > 0 && { sharedBytes: sharedPages * PAGE_BYTES }),
      dirtyPagesPerSecond: dirtyingOf(host, machine, pages * PAGE_BYTES).pagesPerSecond,
      ...workFigures(host.state, machine, { overRings: hasFrontends(machine), nowUs, more: statesOf }),
    };
  });
