import { hashOf, randomFrom, type Random } from '@xenolith/kernel';
import type { DeviceEffects } from './device-fault.js';
import { emulatedHostModel, type EmulatedHostState, type HostMake } from './emulated-host.js';
import type { DomainSettings, GivenDevice, HostEvent, HostInput } from './host-model.js';
import { timingFor } from './host-timing.js';
import { DEFAULT_XEN_SETUP, type InstalledDevice, type XenSetup } from './xen-setup.js';

const GIBIBYTE = 2 ** 30;
const STEPS = 300;
const LONGEST_PAUSE_MS = 7_000;
/** A scanner needs minutes for the memory of a few guests. */
const LONGEST_SCANNED_PAUSE_MS = 100_000;
const MACHINES = ['a', 'b', 'c', 'd'];
const DEVICES: readonly GivenDevice[] = [
  { name: 'gpu', kind: 'pci', address: '0000:3b:00.0' },
  { name: 'port', kind: 'sriov', address: '0000:18:02.0' },
  { name: 'keys', kind: 'usb', address: '1.4' },
];

const INSTALLED: readonly InstalledDevice[] = [
  { kind: 'pci', address: '0000:3b:00.0', model: 'A2', class: 'gpu' },
  { kind: 'pci', address: '0000:18:00.0', model: 'X710', class: 'net', virtualFunctions: 2 },
  { kind: 'usb', address: '1.4', model: 'Dongle', class: 'keys' },
];

const xen = (setup: Partial<XenSetup>): HostMake => ({
  hypervisor: 'xen',
  profile: '1x4-16',
  setup: { ...DEFAULT_XEN_SETUP, ...setup },
});

/** Hosts whose histories are looked at. */
export const HISTORIES: Readonly<Record<string, HostMake>> = {
  xen: { hypervisor: 'xen', profile: '1x4-16' },
  xend: xen({ release: 'xen-4.0', scheduler: 'credit' }),
  openvswitch: xen({ network: 'openvswitch' }),
  nat: xen({ network: 'nat' }),
  route: xen({ network: 'route' }),
  libvirt: xen({ network: 'libvirt' }),
  'driver-domains': xen({ driverDomains: ['network', 'storage'] }),
  devices: xen({ devices: INSTALLED }),
  'page-sharing': { ...xen({}), memorySharing: { overcommitPercent: 150 } },
  kvm: { hypervisor: 'kvm', profile: '1x4-16' },
  'kvm-devices': { hypervisor: 'kvm', profile: '1x4-16', devices: { devices: INSTALLED } },
  ksm: { hypervisor: 'kvm', profile: '1x4-16', memorySharing: { overcommitPercent: 150 } },
};

const EFFECTS: readonly DeviceEffects[] = [
  { fillRings: true },
  { failHotplug: 'no such bridge' },
  { dropWatches: 'all' },
  { crashDriverDomain: true },
  { killDeviceModel: true },
  { killDaemon: 'xenconsoled' },
  { killDaemon: 'xend' },
  { killDaemon: 'libvirtd' },
  { killDaemon: 'xenstored' },
];

const WORKLOADS = ['idle', 'web', 'database'] as const;

const settingsOf = (uid: string, random: Random, { hypervisor }: HostMake): DomainSettings => ({
  name: `vm-${uid}`,
  image: 'debian-13',
  guestType: hypervisor === 'kvm' ? 'hvm' : ((['pv', 'pvh', 'hvm'] as const)[random.below(3)] ?? 'pvh'),
  vcpus: 1 + random.below(2),
  maxVcpus: 4,
  weight: 64 << random.below(4),
  cap: 50 * random.below(3),
  pin: random.below(3) === 0 ? '0-2' : '',
  staticMaxBytes: 2 * GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: 2 * GIBIBYTE,
  disks: [{ name: 'root', volume: `root-${uid}`, sizeBytes: GIBIBYTE, readOnly: false }],
  nics: [{ name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'xenbr0', ips: [] }],
  pvDrivers: random.below(4) > 0,
  ...(random.below(3) === 0 ? { passthrough: 'enabled' } : {}),
  ignoresShutdown: random.below(5) === 0,
  workload: WORKLOADS[random.below(WORKLOADS.length)] ?? 'idle',
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
});

const faultOf = (nth: number, random: Random) => ({
  rule: `rule-${nth}`,
  machines: [],
  devices: [],
  effects: EFFECTS[random.below(EFFECTS.length)] ?? {},
  probability: 0.5,
  seed: nth,
  left: random.below(2) === 0 ? null : 1,
});

/** What somebody does to the host next, drawn from its seed. */
const nextInput = (nth: number, random: Random, runs: Map<string, number>, host: HostMake): HostInput => {
  const uid = MACHINES[random.below(MACHINES.length)] ?? 'a';
  const on = { ticket: `${nth}`, uid, incarnation: runs.get(uid) ?? 1 };
  const ending = {
    ...on,
    mode: random.below(2) === 0 ? 'clean' : 'hard',
    timeoutMs: 1_000 + random.below(9_000),
  } as const;
  switch (random.below(17)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const incarnation = (runs.get(uid) ?? 0) + 1;
      runs.set(uid, incarnation);
      return {
        do: 'start',
        ...on,
        incarnation,
        settings: settingsOf(uid, random, host),
        paused: random.below(6) === 0,
      };
    }
    case 4:
      return { do: 'shutdown', ...ending };
    case 5:
      return { do: 'reboot', ...ending };
    case 6:
      return { do: 'pause', ...on };
    case 7:
    case 8:
      return { do: 'unpause', ...on };
    case 9:
      return {
        do: 'change',
        ...on,
        change: { vcpus: 1 + random.below(4), dynamicMaxBytes: GIBIBYTE * (1 + random.below(2)) },
      };
    case 10:
      return {
        do: 'attach',
        ...on,
        device: { kind: 'disk', settings: { name: 'data', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false } },
      };
    case 11:
      return { do: 'detach', ...on, kind: 'disk', name: 'data' };
    case 12:
      return { do: 'guestEnds', uid, reason: (['poweroff', 'reboot', 'crash'] as const)[random.below(3)] ?? 'crash' };
    case 13: {
      const { name = '' } = DEVICES[random.below(DEVICES.length)] ?? {};
      return random.below(3) === 0 ? { do: 'take', ...on, name } : { do: 'give', ...on, name, devices: DEVICES };
    }
    case 14:
    case 15:
      return { do: 'setFaults', faults: random.below(2) === 0 ? [] : [faultOf(nth, random)] };
    default:
      return random.below(8) === 0
        ? { do: 'crash' }
        : { do: random.below(2) === 0 ? 'suspend' : 'checkpoint', ...on, timeoutMs: 5_000 };
  }
};

const eachDue = (
  model: ReturnType<typeof emulatedHostModel>,
  state: EmulatedHostState,
  untilMs: number,
): readonly HostEvent[] => {
  const events: HostEvent[] = [];
  for (let due = model.nextDue(state); due !== null && due <= untilMs; due = model.nextDue(state))
    events.push(...model.advance(state, due));
  return events;
};

/** SHA-256 over all that happens on a host of this seed: what it is told, what it says, its figures, and its whole state at the end. */
export const hostHistory = (seed: string, host: HostMake): string => {
  const model = emulatedHostModel(timingFor(3_000));
  const random = randomFrom(`${seed}/history`);
  const state = model.create({ name: 'host-0001', seed, at: 0, ...host });
  const runs = new Map<string, number>();
  const longestMs = host.memorySharing ? LONGEST_SCANNED_PAUSE_MS : LONGEST_PAUSE_MS;
  let hash = hashOf([seed, host]);
  let at = 0;
  for (let nth = 0; nth < STEPS; nth += 1) {
    at += random.below(longestMs);
    const before = eachDue(model, state, at);
    const input = nextInput(nth, random, runs, host);
    const after = model.apply(state, input, at);
    hash = hashOf([
      hash,
      before,
      input,
      after,
      model.inventory(state),
      model.figures(state),
      model.domainFigures(state, at),
    ]);
  }
  return hashOf([hash, JSON.stringify(state)]);
};
