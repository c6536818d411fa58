import {
  apiVersionOf,
  deviceDemand,
  isPciDevice,
  RESERVED_CPU,
  virtualMachineKind,
  type AttachedDisk,
  type AttachedNic,
  type DomainConfig,
  type PlanStep,
  type PlacementRequest,
  type VirtualMachineSpec,
} from '@xenolith/contracts';
import { memoryOverheadBytes, qemuOverheadBytes, uuidFrom, type Uuid } from '@xenolith/kernel';
import { memoryOf } from './virtual-machine.checks.js';
import { volumeKey } from './operation.waits.js';
import type { Leftover, PresentMachine } from './virtual-machine.state.js';

/** Long enough to outlive a restart of any service, short enough that somebody still waits. */
const SERVICE_STEP_MS = 120_000;
/** Building a domain: device model 60 s, hot-plug 40 s, device init 10 s (libxl_internal.h), and a restart of the agent. */
export const START_DOMAIN_MS = 300_000;
/** What a command to a domain may take beyond the guest's own time. */
export const DOMAIN_STEP_MS = 120_000;

type StepParts = Pick<PlanStep, 'name' | 'to' | 'type' | 'streamId' | 'data'> & Partial<PlanStep>;

export const step = (parts: StepParts): PlanStep => ({
  stage: 0,
  timeoutMs: SERVICE_STEP_MS,
  waitOn: [],
  doneOn: [],
  mustSucceed: false,
  ...parts,
});

/** Puts groups of steps one after the other; empty groups take no stage. */
export const inStages = (...groups: readonly (readonly PlanStep[])[]): PlanStep[] =>
  groups.filter((group) => group.length > 0).flatMap((group, stage) => group.map((planned) => ({ ...planned, stage })));

/** The answer, or a part of the answer, of an earlier step. */
export const from = (name: string, path: string): unknown => ({ $from: name, path });

/** The last stage: said to the machine itself in the append that ends the operation. */
export const finish = (machine: PresentMachine, type: string, data: Readonly<Record<string, unknown>>): PlanStep =>
  step({ name: 'finish', to: { service: 'compute' }, type, streamId: machine.meta.uid, data: { ...data } });

/** The uid of the placement of one run. */
export const placementUid = (machine: Uuid, incarnation: number): Uuid => uuidFrom(machine, 'placement', incarnation);
export const volumeUid = (machine: Uuid, disk: string): Uuid => uuidFrom(machine, 'volume', disk);
export const portUid = (machine: Uuid, nic: string): Uuid => uuidFrom(machine, 'port', nic);

/** What a host needs beyond the guest's own memory; where it may be either kind of host, what suffices for both. */
const overheadBytes = (
  { guestType, hypervisor }: VirtualMachineSpec,
  size: { readonly vcpus: number; readonly staticMaxBytes: number },
): number =>
  Math.max(
    hypervisor === 'kvm' ? 0 : memoryOverheadBytes({ guestType, ...size }),
    hypervisor === 'xen' || guestType !== 'hvm' ? 0 : qemuOverheadBytes(size),
  );

export const placementRequest = (machine: PresentMachine): PlacementRequest => {
  const { spec, meta, own } = machine;
  const { staticMaxBytes } = memoryOf(spec);
  const maxVcpus = spec.cpu.max ?? spec.cpu.vcpus;
  return {
    virtualMachine: { uid: meta.uid, name: meta.name, namespace: meta.namespace ?? '' },
    // All that the machine may come to have while it runs, of CPU as of memory.
    vcpus: maxVcpus,
    memoryBytes: staticMaxBytes + overheadBytes(spec, { vcpus: maxVcpus, staticMaxBytes }),
    // A guest that is saved or runs can go on under its own hypervisor only.
    hypervisor: (own.run.phase === 'halted' ? null : own.hypervisor) ?? spec.hypervisor,
    guestType: spec.guestType,
    ...(spec.placement.cluster === undefined ? {} : { cluster: spec.placement.cluster }),
    ...(spec.placement.host === undefined ? {} : { host: spec.placement.host }),
    ...(spec.placement.antiAffinity === undefined ? {} : { antiAffinity: spec.placement.antiAffinity }),
    ...placementRules(machine),
    ...restartRule(spec.ha),
  };
};

/** Kept out of the log where a machine is not to be restarted. */
const restartRule = (ha: VirtualMachineSpec['ha']): Pick<PlacementRequest, 'ha'> => {
  const { restart, priority, order = 0, startDelaySeconds } = ha;
  if (restart === 'never') return {};
  return { ha: { restart, priority, order, ...(startDelaySeconds !== undefined && { startDelaySeconds }) } };
};

/** What is said of hosts beside their size. Kept out of the log where nothing is. */
const placementRules = ({ spec, meta }: PresentMachine): Partial<PlacementRequest> => {
  const { hostSelector, affinity, tolerations, numa } = spec.placement;
  const { cpuFeatures, resources } = needsOf(spec);
  const storageDomains = unique(spec.disks.map((disk) => disk.storageDomain));
  const networks = unique(spec.nics.map((nic) => nic.network));
  return {
    ...(Object.keys(meta.labels).length === 0 ? {} : { labels: meta.labels }),
    ...(hostSelector ? { hostSelector } : {}),
    ...(affinity ? { affinity } : {}),
    ...(tolerations ? { tolerations } : {}),
    ...(numa === undefined || numa === 'none' ? {} : { numa }),
    ...(cpuFeatures ? { cpuFeatures } : {}),
    ...(resources ? { resources } : {}),
    ...(spec.devices && spec.devices.length > 0 ? { devices: spec.devices } : {}),
    ...(storageDomains.length === 0 ? {} : { storageDomains }),
    ...(spec.disks.length === 0 ? {} : { volumes: spec.disks.map((disk) => volumeOf(meta.name, disk)) }),
    ...(networks.length === 0 ? {} : { networks }),
  };
};

/** What the machine says that it needs of a host, and what its devices need: an IOMMU keeps an HVM guest from using them to get at others' memory. */
const needsOf = ({ cpu, devices = [], guestType, passthrough, placement }: VirtualMachineSpec) => {
  const { cpuFeatures, resources } = placement;
  const guarded = guestType === 'hvm' && (devices.some(isPciDevice) || passthrough !== undefined);
  const reserved = cpu.reservation ? { [RESERVED_CPU]: cpu.reservation } : undefined;
  return {
    cpuFeatures: guarded ? unique([...(cpuFeatures ?? []), 'iommu']) : cpuFeatures,
    resources: devices.length > 0 || reserved ? { ...resources, ...deviceDemand(devices), ...reserved } : resources,
  };
};

/** The scheduler knows where it is, or where it will be made. */
const volumeOf = (machine: string, { name, volume, storageDomain }: Disk): { name: string; own: boolean } => ({
  name: volume ?? `${machine}-${name}`,
  own: volume === undefined && storageDomain === undefined,
});

const unique = (names: readonly (string | undefined)[]): string[] => [
  ...new Set(names.filter((name) => name !== undefined)),
];

export const releasePlacement = (machine: PresentMachine, incarnation: number, reason: string): PlanStep =>
  step({
    name: `release-${incarnation}`,
    to: { service: 'scheduler' },
    type: 'ReleasePlacement',
    streamId: placementUid(machine.meta.uid, incarnation),
    data: { reason },
    mustSucceed: true,
  });

type Parameters = Readonly<Record<string, unknown>>;

/** Whether a machine is to be let in even if its cluster could not survive the losses of hosts any more that it promises to. */
const overcommit = ({ allowOvercommit }: Parameters): Pick<PlacementRequest, 'allowOvercommit'> =>
  allowOvercommit === true ? { allowOvercommit } : {};

export const place = (machine: PresentMachine, incarnation: number, parameters: Parameters): PlanStep => {
  const streamId = placementUid(machine.meta.uid, incarnation);
  return step({
    name: 'place',
    to: { service: 'scheduler' },
    type: 'PlaceVirtualMachine',
    streamId,
    data: { request: { ...placementRequest(machine), ...overcommit(parameters) } },
    waitOn: ['placement_pending'],
    undo: { type: 'ReleasePlacement', streamId, data: { reason: 'the start was taken back' } },
  });
};

export const ownerOf = (machine: PresentMachine): Record<string, unknown> => ({
  apiVersion: apiVersionOf(virtualMachineKind),
  kind: virtualMachineKind.kind,
  name: machine.meta.name,
  uid: machine.meta.uid,
  controller: true,
  blockOwnerDeletion: true,
});

export const machineRef = (machine: PresentMachine): { uid: string; name: string } => ({
  uid: machine.meta.uid,
  name: machine.meta.name,
});

type Disk = VirtualMachineSpec['disks'][number];
type Nic = VirtualMachineSpec['nics'][number];

const definedOnly = (members: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

/** A disk of the machine's own: made unless it exists, and attached. Its content is spared by the undo once a run has had it. */
export const provisionDisk = (machine: PresentMachine, disk: Disk, incarnation: number): PlanStep => {
  const streamId = volumeUid(machine.meta.uid, disk.name);
  const known = machine.own.disks.some((attached) => attached.volumeUid === streamId);
  return step({
    name: `disk-${disk.name}`,
    to: { service: 'storage' },
    type: 'ProvisionVolume',
    streamId,
    data: {
      name: `${machine.meta.name}-${disk.name}`,
      namespace: machine.meta.namespace,
      owner: ownerOf(machine),
      spec: definedOnly({
        size: disk.size,
        storageDomain: disk.storageDomain,
        source: disk.source,
        format: 'cow',
        provisioning: 'sparse',
      }),
      virtualMachine: machineRef(machine),
      incarnation,
      readOnly: disk.readOnly ?? false,
    },
    // They may be applied after the machine, and room comes free.
    waitOn: ['image_not_found', 'storage_domain_not_found', 'storage_domain_full'],
    undo: {
      type: 'DeprovisionVolume',
      streamId,
      data: { virtualMachine: { uid: machine.meta.uid }, incarnation, delete: !known },
    },
  });
};

/** A volume that exists by itself; it may be made after the machine. */
export const attachVolume = (machine: PresentMachine, disk: Disk, incarnation: number): PlanStep => {
  const streamId = volumeKey(machine.meta.namespace ?? '', disk.volume ?? '');
  return step({
    name: `disk-${disk.name}`,
    to: { service: 'storage' },
    type: 'AttachVolume',
    streamId,
    data: { virtualMachine: machineRef(machine), incarnation, readOnly: disk.readOnly ?? false },
    waitOn: ['not_found'],
    undo: { type: 'DetachVolume', streamId, data: { virtualMachine: { uid: machine.meta.uid }, incarnation } },
  });
};

/** `host`: where the run is, or a reference to it. */
export const provisionNic = (
  machine: PresentMachine,
  nic: Nic,
  { incarnation, host }: { readonly incarnation: number; readonly host: unknown },
): PlanStep => {
  const streamId = portUid(machine.meta.uid, nic.name);
  const known = machine.own.nics.some((attached) => attached.portUid === streamId);
  return step({
    name: `nic-${nic.name}`,
    to: { service: 'network' },
    type: 'ProvisionPort',
    streamId,
    data: {
      name: `${machine.meta.name}-${nic.name}`,
      namespace: machine.meta.namespace,
      owner: ownerOf(machine),
      spec: definedOnly({ network: nic.network, mac: nic.mac, ip: nic.ip }),
      virtualMachine: machineRef(machine),
      incarnation,
      host,
    },
    waitOn: ['network_not_found', 'network_full'],
    undo: {
      type: 'DeprovisionPort',
      streamId,
      data: { virtualMachine: { uid: machine.meta.uid }, incarnation, delete: !known },
    },
  });
};

/** CPUs near to the NUMA node that the placement reserved, unless the machine names its own. */
export const pinOf = ({ cpu, placement }: VirtualMachineSpec): unknown =>
  cpu.pin === '' && (placement.numa ?? 'none') !== 'none' ? from('place', 'pin') : cpu.pin;

/** Those that placement found for the wishes. */
export const givenDevices = ({ devices = [] }: VirtualMachineSpec): { readonly devices?: unknown } =>
  devices.length === 0 ? {} : { devices: from('place', 'devices') };

export const domainConfig = (
  machine: PresentMachine,
): Record<Exclude<keyof DomainConfig, 'devices' | 'memoryNode' | 'passthrough'>, unknown> => {
  const { spec, meta } = machine;
  return {
    name: meta.name,
    namespace: meta.namespace ?? '',
    guestType: spec.guestType,
    vcpus: spec.cpu.vcpus,
    maxVcpus: spec.cpu.max ?? spec.cpu.vcpus,
    weight: spec.cpu.weight,
    cap: spec.cpu.cap,
    pin: pinOf(spec),
    // Otherwise its memory is near to the CPUs that it is pinned to.
    ...(spec.placement.numa === 'single-numa-node' ? { memoryNode: from('place', 'numaNode') } : {}),
    ...memoryOf(spec),
    disks: spec.disks.map((disk) => ({
      name: disk.name,
      volume: from(`disk-${disk.name}`, 'name'),
      sizeBytes: from(`disk-${disk.name}`, 'sizeBytes'),
      readOnly: disk.readOnly ?? false,
      fencingToken: from(`disk-${disk.name}`, 'fencingToken'),
    })),
    nics: spec.nics.map((nic) => ({
      name: nic.name,
      port: from(`nic-${nic.name}`, 'name'),
      mac: from(`nic-${nic.name}`, 'mac'),
      ips: from(`nic-${nic.name}`, 'ips'),
      bridge: from(`nic-${nic.name}`, 'bridge'),
    })),
    ...givenDevices(spec),
    ...(spec.passthrough ? { passthrough: spec.passthrough } : {}),
    guest: definedOnly({ ...spec.guest, image: spec.disks[0]?.source?.image }),
    onPoweroff: spec.onPoweroff,
    onReboot: spec.onReboot,
    onCrash: spec.onCrash,
  };
};

export const startDomain = (machine: PresentMachine, incarnation: number, paused: boolean): PlanStep =>
  step({
    name: 'start-domain',
    to: { agentOfHost: from('place', 'host') },
    type: 'StartDomain',
    streamId: machine.meta.uid,
    data: { incarnation, config: domainConfig(machine), paused },
    timeoutMs: START_DOMAIN_MS,
    undo: { type: 'DestroyDomain', streamId: machine.meta.uid, data: { incarnation } },
  });

export const destroyDomain = (machine: PresentMachine, run: Leftover): PlanStep =>
  step({
    name: `destroy-domain-${run.incarnation}`,
    to: { agentOfHost: run.host },
    type: 'DestroyDomain',
    streamId: machine.meta.uid,
    data: { incarnation: run.incarnation },
    timeoutMs: DOMAIN_STEP_MS,
    doneOn: ['host_unknown_domain', 'host_stale_incarnation'],
    mustSucceed: true,
  });

/** Ends the leases of a run. The volumes stay: own ones die with the machine. */
export const detachDisks = (machine: PresentMachine, incarnation: number): PlanStep[] =>
  machine.own.disks.map((disk) =>
    step({
      name: `detach-${disk.name}-${incarnation}`,
      to: { service: 'storage' },
      type: 'DetachVolume',
      streamId: disk.volumeUid,
      data: { virtualMachine: { uid: machine.meta.uid }, incarnation },
      doneOn: ['not_found'],
      mustSucceed: true,
    }),
  );

/** The network learns where the machine is now; `host` absent: on none. The ports stay the machine's. What a younger run says of them counts. */
export const moveNics = (machine: PresentMachine, incarnation: number, host?: unknown): PlanStep[] =>
  machine.own.nics.map((nic) =>
    step({
      name: `move-${nic.name}-${incarnation}`,
      to: { service: 'network' },
      type: 'AttachPort',
      streamId: nic.portUid,
      data: definedOnly({ virtualMachine: machineRef(machine), incarnation, host }),
      doneOn: ['not_found', 'virtual_machine_stale_incarnation'],
      mustSucceed: true,
    }),
  );

/** A disk of the machine's own goes, another volume is let go. */
export const giveBackDisk = (machine: PresentMachine, disk: AttachedDisk, incarnation: number): PlanStep => {
  const data = { virtualMachine: { uid: machine.meta.uid }, incarnation };
  return step({
    name: `give-back-disk-${disk.name}`,
    to: { service: 'storage' },
    type: disk.owned ? 'DeprovisionVolume' : 'DetachVolume',
    streamId: disk.volumeUid,
    data: disk.owned ? { ...data, delete: true } : data,
    doneOn: ['not_found'],
    mustSucceed: true,
  });
};

export const giveBackNic = (machine: PresentMachine, nic: AttachedNic, incarnation: number): PlanStep =>
  step({
    name: `give-back-nic-${nic.name}`,
    to: { service: 'network' },
    type: 'DeprovisionPort',
    streamId: nic.portUid,
    data: { virtualMachine: { uid: machine.meta.uid }, incarnation, delete: true },
    doneOn: ['not_found'],
    mustSucceed: true,
  });

/** What a run that ended by itself left: first fenced, then given back. */
export const cleanUp = (machine: PresentMachine): readonly (readonly PlanStep[])[] => {
  const { run } = machine.own;
  if (run.phase !== 'halted' || run.leftover === null) return [];
  const { leftover } = run;
  return [
    [destroyDomain(machine, leftover)],
    [
      ...detachDisks(machine, leftover.incarnation),
      ...moveNics(machine, leftover.incarnation),
      releasePlacement(machine, leftover.incarnation, 'the machine stopped'),
    ],
  ];
};
