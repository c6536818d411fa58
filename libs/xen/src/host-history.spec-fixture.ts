import { hashOf, randomFrom, type Random } from '@xenolith/kernel';
import { emulatedHostModel, type EmulatedHostState, type Hypervisor } from './emulated-host.js';
import type { DomainSettings, HostEvent, HostInput } from './host-model.js';
import { timingFor } from './host-timing.js';

const GIBIBYTE = 2 ** 30;
const STEPS = 300;
const LONGEST_PAUSE_MS = 7_000;
const MACHINES = ['a', 'b', 'c', 'd'];
const WORKLOADS = ['idle', 'web', 'database'] as const;

const settingsOf = (uid: string, random: Random, hypervisor: Hypervisor): DomainSettings => ({
  name: `vm-${uid}`,
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
  ignoresShutdown: random.below(5) === 0,
  workload: WORKLOADS[random.below(WORKLOADS.length)] ?? 'idle',
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
});

/** What somebody does to the host next, drawn from its seed. */
const nextInput = (nth: number, random: Random, runs: Map<string, number>, hypervisor: Hypervisor): HostInput => {
  const uid = MACHINES[random.below(MACHINES.length)] ?? 'a';
  const on = { ticket: `${nth}`, uid, incarnation: runs.get(uid) ?? 1 };
  const ending = {
    ...on,
    mode: random.below(2) === 0 ? 'clean' : 'hard',
    timeoutMs: 1_000 + random.below(9_000),
  } as const;
  switch (random.below(14)) {
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
        settings: settingsOf(uid, random, hypervisor),
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
export const hostHistory = (seed: string, hypervisor: Hypervisor): string => {
  const model = emulatedHostModel(timingFor(3_000));
  const random = randomFrom(`${seed}/history`);
  const state = model.create({ name: 'host-0001', seed, profile: '1x4-16', at: 0, hypervisor });
  const runs = new Map<string, number>();
  let hash = hashOf([seed, hypervisor]);
  let at = 0;
  for (let nth = 0; nth < STEPS; nth += 1) {
    at += random.below(LONGEST_PAUSE_MS);
    const before = eachDue(model, state, at);
    const input = nextInput(nth, random, runs, hypervisor);
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
