import { versionParts } from '../dom0/index.js';
import {
  cpusOf,
  DOMINF,
  PAGE_BYTES,
  shutdownCodeOf,
  type DomainInfo,
  type HostCapabilities,
} from '../hypervisor/index.js';
import { backendOf, flowFigures, SECTOR_BYTES, XENBUS, type Queue } from '../devices/index.js';
import {
  SHUTDOWN_REASONS,
  type DiskFacts,
  type DomainFacts,
  type HostFacts,
  type NicFacts,
  type TopFacts,
  type UptimeFacts,
  type UsbFacts,
  type VcpuFacts,
} from '../xl/index.js';
import { activityAt, cpusUsed } from './cpu-account.js';
import { transfersOf, type Transfers } from './device-work.js';
import { driverNamed } from './driver-domains.js';
import { functionsGiven, passthroughOf, usbController, usbOf } from './passed-devices.js';
import { releaseOfHost, type Host, type Machine, type MachineDevice } from './host-state.js';

const KIBIBYTE = 1024;
const MEBIBYTE = 1024 * KIBIBYTE;
const PAGE_KIB = PAGE_BYTES / KIBIBYTE;
const CONTROL_DOMAIN = 'Domain-0';

export const machineOfDomid = (host: Host, domid: number): Machine | null => {
  const uid = host.state.byDomid[domid];
  return uid === undefined ? null : (host.state.machines[uid] ?? null);
};

export const nameOfDomain = (host: Host, domid: number): string | null =>
  domid === 0 ? CONTROL_DOMAIN : (machineOfDomid(host, domid)?.settings.name ?? driverNamed(host, domid));

/** Every domain, zombies included, as it is at this moment; asking moves nothing. */
export const domainsAt = (host: Host, nowUs: number): readonly DomainInfo[] =>
  host.hypervisor.domains.list(nowUs, activityAt(host, nowUs));

const US_PER_S = 1_000_000;

/** How long domains have run: Dom0 as long as its host. */
export const uptimesOf = (host: Host, domains: readonly DomainInfo[], nowUs: number): readonly UptimeFacts[] =>
  domains.map(({ domid }) => {
    const beganUs = machineOfDomid(host, domid)?.createdUs ?? host.state.bootedUs;
    return { domid, name: nameOfDomain(host, domid) ?? '', uptimeSeconds: Math.floor((nowUs - beganUs) / US_PER_S) };
  });

const shutdownOf = (info: DomainInfo): DomainFacts['shutdown'] => {
  const code = shutdownCodeOf(info.flags);
  return code === null ? null : (SHUTDOWN_REASONS[code] ?? 'crash');
};

export const domainFacts = (host: Host, info: DomainInfo): DomainFacts => {
  const nodes = host.hypervisor.vcpus.nodeAffinity(info.domid);
  return {
    domid: info.domid,
    name: nameOfDomain(host, info.domid),
    uuid: info.handle,
    memoryKib: info.totalPages * PAGE_KIB,
    outstandingKib: info.outstandingPages * PAGE_KIB,
    maxMemoryKib: info.domid === 0 ? Infinity : info.maxPages * PAGE_KIB,
    vcpusOnline: info.onlineVcpus,
    running: (info.flags & DOMINF.running) !== 0,
    blocked: (info.flags & DOMINF.blocked) !== 0,
    paused: (info.flags & DOMINF.paused) !== 0,
    dying: (info.flags & DOMINF.dying) !== 0,
    shutdown: shutdownOf(info),
    cpuTimeNs: info.cpuTimeNs,
    cpupool: 'Pool-0',
    nodeAffinity: nodes.ok ? nodes.value : [],
  };
};

export const vcpuFacts = (host: Host, info: DomainInfo, nowUs: number): readonly VcpuFacts[] => {
  const activity = activityAt(host, nowUs);
  const pcpus = host.hypervisor.cpuTopology().length;
  const domain = host.state.hypervisor.domains[info.domid];
  return (domain?.vcpus ?? []).map(({ online }, vcpu) => {
    const affinity = host.hypervisor.vcpus.affinity(info.domid, vcpu);
    const hard = affinity.ok ? cpusOf(affinity.value.hard) : [];
    return {
      vcpu,
      // Where a vCPU ran last is not modelled: each is shown at a place of its own among those that it may have.
      pcpu: hard[(info.domid * 7 + vcpu) % Math.max(1, hard.length)] ?? vcpu % pcpus,
      online,
      ...activity(info.domid, vcpu),
      hardAffinity: hard,
      softAffinity: affinity.ok ? cpusOf(affinity.value.soft) : [],
    };
  });
};

const stateOf = (device: MachineDevice): number => device.front?.state ?? XENBUS.initialising;

const firstQueue = (device: MachineDevice): Queue | undefined => device.front?.queues[0];

export const nicFacts = (machine: Machine): readonly NicFacts[] =>
  machine.devices
    .filter(({ kind }) => kind === 'nic')
    .map((device) => {
      const queue = firstQueue(device);
      return {
        devid: device.device.devid,
        backendDomid: device.device.backendDomid,
        mac: machine.settings.nics.find(({ name }) => name === device.name)?.mac ?? '',
        state: stateOf(device),
        eventChannel: queue?.ports[0] ?? -1,
        txRingRef: queue?.rings[0]?.[0] ?? -1,
        rxRingRef: queue?.rings[1]?.[0] ?? -1,
        backendPath: backendOf(device.device),
      };
    });

export const diskFacts = (machine: Machine): readonly DiskFacts[] =>
  machine.devices
    .filter(({ kind }) => kind === 'disk')
    .map((device) => {
      const queue = firstQueue(device);
      return {
        devid: device.device.devid,
        backendDomid: device.device.backendDomid,
        frontendDomid: machine.domid,
        state: stateOf(device),
        eventChannel: queue?.ports[0] ?? -1,
        ringRef: queue?.rings[0]?.[0] ?? -1,
        backendPath: backendOf(device.device),
      };
    });

/** A PV guest's bus is its own: what it sees there, its own driver decides, and libxl knows nothing of it. */
export const functionFacts = (machine: Machine) =>
  functionsGiven(machine).map((bdf) => ({ bdf, slot: machine.slots?.[bdf] ?? 0 }));

export const usbFacts = (host: Host, machine: Machine): readonly UsbFacts[] => {
  const attached = usbOf(passthroughOf(host.state), machine.domid);
  if (attached.length === 0) return [];
  const controller = usbController(machine.settings);
  // QEMU's controllers have no ends in the store. Assumption: the paravirtual ones connect when the guest is up.
  const connects = controller.type === 'qusb' && machine.guest.phase === 'up';
  const devices = attached.map(({ port, address }) => {
    const [bus, device] = address.split('.').map(Number);
    return [port, { bus: bus ?? 0, device: device ?? 0 }] as const;
  });
  return [
    { ...controller, backendDomid: 0, state: connects ? XENBUS.connected : 0, devices: Object.fromEntries(devices) },
  ];
};

const NO_TRANSFERS: Transfers = { requests: 0, bytes: 0 };

const add = (one: Transfers, other: Transfers): Transfers => ({
  requests: one.requests + other.requests,
  bytes: one.bytes + other.bytes,
});

/** What went through a domain's devices of a kind, both ways, all together, and how often a ring had no room. */
const trafficThrough = (host: Host, domid: number, kind: MachineDevice['kind'], nowUs: number) => {
  const machine = machineOfDomid(host, domid);
  let [first, second, outOf] = [NO_TRANSFERS, NO_TRANSFERS, 0];
  if (machine === null) return { count: 0, first, second, outOf };
  const devices = machine.devices.filter((device) => device.kind === kind);
  for (const device of devices) {
    const [one, other] = transfersOf(host.state, machine, device, nowUs);
    [first, second] = [add(first, one), add(second, other)];
    for (const flow of device.flows) outOf += flowFigures(flow, nowUs).heldBack;
  }
  return { count: devices.length, first, second, outOf };
};

const trafficOf = (host: Host, domid: number, nowUs: number) => {
  const disks = trafficThrough(host, domid, 'disk', nowUs);
  const nics = trafficThrough(host, domid, 'nic', nowUs);
  return {
    nics: nics.count,
    sentBytes: nics.first.bytes,
    receivedBytes: nics.second.bytes,
    disks: disks.count,
    requests: {
      outOf: disks.outOf,
      reads: disks.first.requests,
      writes: disks.second.requests,
      readSectors: Math.floor(disks.first.bytes / SECTOR_BYTES),
      writtenSectors: Math.floor(disks.second.bytes / SECTOR_BYTES),
    },
  };
};

export const topFacts = (host: Host, info: DomainInfo, nowUs: number): TopFacts => {
  return {
    ...domainFacts(host, info),
    cpuPercent: cpusUsed(host, info.domid) * 100,
    ...trafficOf(host, info.domid, nowUs),
    ssid: 0,
  };
};

/** Of the emulated release and its Dom0. Assumption: names of a build, which no two sites share. */
const BUILD = {
  changeset: '',
  // GRUB's scripts put the word `placeholder` first on every command line of Xen.
  commandline: 'placeholder loglvl=all guest_loglvl=all',
  compiler: 'gcc (Debian 14.2.0) 14.2.0',
  compileBy: 'xenolith',
  compileDomain: 'xenolith.dev',
  compileDate: 'Thu Jul 10 12:00:00 UTC 2025',
  buildId: '',
  virtStart: 'ffff800000000000',
} as const;

const capsOf = (virtCaps: readonly string[]): string =>
  ['xen-3.0-x86_64', ...(virtCaps.includes('hvm') ? ['hvm-3.0-x86_32', 'hvm-3.0-x86_32p', 'hvm-3.0-x86_64'] : [])].join(
    ' ',
  );

/** In the order in which `xl info` prints what the host can do (tools/xl/xl_info.c, `output_physinfo`). */
const virtCapsOf = ({ pv, hvm, directio, hap, shadow, iommuHapPtShare }: HostCapabilities): string[] => {
  const words: readonly (readonly [boolean, string])[] = [
    [pv, 'pv'],
    [hvm, 'hvm'],
    [hvm && directio, 'hvm_directio'],
    [pv && directio, 'pv_directio'],
    [hap, 'hap'],
    [shadow, 'shadow'],
    [iommuHapPtShare, 'iommu_hap_pt_share'],
  ];
  return words.flatMap(([can, word]) => (can ? [word] : []));
};

export const hostFacts = (host: Host, nowUs: number): HostFacts => {
  const { hypervisor, state } = host;
  const physical = hypervisor.physicalInfo(nowUs);
  const virtCaps = virtCapsOf(physical.capabilities);
  const sharing = hypervisor.sharing.counts();
  return {
    host: state.name,
    release: '6.12.48+deb13-amd64',
    version: '#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1',
    machine: 'x86_64',
    cpus: hypervisor.cpuTopology(),
    nodes: hypervisor.numaInfo(nowUs).map(({ memoryBytes, freeBytes, distances }) => ({
      memoryMib: Math.floor(memoryBytes / MEBIBYTE),
      freeMib: Math.floor(freeBytes / MEBIBYTE),
      distances,
    })),
    coresPerSocket: physical.coresPerSocket,
    threadsPerCore: physical.threadsPerCore,
    cpuKhz: physical.cpuKhz,
    hwCaps: physical.hwCaps,
    virtCaps,
    totalMib: Math.floor((physical.totalPages * PAGE_BYTES) / MEBIBYTE),
    freeMib: Math.floor(((physical.freePages - physical.outstandingPages) * PAGE_BYTES) / MEBIBYTE),
    sharingFreedMib: Math.floor((sharing.freedPages * PAGE_BYTES) / MEBIBYTE),
    sharingUsedMib: Math.floor((sharing.usedFrames * PAGE_BYTES) / MEBIBYTE),
    outstandingClaimsMib: Math.floor((physical.outstandingPages * PAGE_BYTES) / MEBIBYTE),
    freeCpus: 0,
    xen: {
      ...versionParts(releaseOfHost(host)),
      caps: capsOf(virtCaps),
      scheduler: state.hypervisor.scheduler,
      pageSize: PAGE_BYTES,
      ...BUILD,
    },
  };
};
