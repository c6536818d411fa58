import { reject } from '@xenolith/kernel';
import type { DeviceFault } from '../device-fault.js';
import type { DomainFigures, DomainView, HostEvent, HostFigures, HostInput, HostModel } from '../host-model.js';
import { jittered, type HostTiming } from '../host-timing.js';
import { emptyAgenda } from '../host/agenda.js';
import { dueUsOf, step, type Course } from '../host/course.js';
import { nowMs, refuse, rememberEnded, US_PER_MS } from '../host/answers.js';
import { bootIdOf } from '../host/host-state.js';
import { workFigures } from '../host/device-work.js';
import { crashMigrations, effectEnds, followMigrations, keepAlive } from '../host/migration.js';
import { isArriving, underWay } from '../host/migration-session.js';
import { isOff, isUp } from '../host/power.js';
import { neededBytes } from './kvm-admission.js';
import { applyCommand, giveUp, started } from './kvm-commands.js';
import { cpuFigures, settleCpu } from './kvm-cpu.js';
import { followDevices, hasVirtio } from './kvm-devices.js';
import { followLibvirtd, lostDaemons, mayLoseProcess } from './kvm-deaths.js';
import { exited, guestStep } from './kvm-guest.js';
import { freshDevices } from './kvm-passing.js';
import { followPages, newKsm, sharedFigure, sharingFigures, unusedBytes } from './ksm.js';
import { dirtyingOf, kvmMigrations } from './kvm-migrations.js';
import {
  machineOf,
  threadsOfHost,
  type KvmHost,
  type KvmHostState,
  type KvmMachine,
  type KvmTask,
} from './kvm-state.js';
import { saved } from './kvm-save.js';
import { failed } from '../xl/index.js';
import { orderOf, virsh } from './virsh.js';

/** Assumption: processes that a host starts before libvirt does its first. */
const FIRST_PID = 1_800;

// What happens at its time.

const perform = (host: KvmHost, task: KvmTask): void => {
  switch (task.do) {
    case 'giveUp':
      giveUp(host, task.uid, task.ticket, task.timeoutMs);
      return;
    case 'migrationEffect':
      effectEnds(kvmMigrations(host), task);
      return;
    case 'keepalive':
      keepAlive(kvmMigrations(host), task);
      return;
    case 'pages':
      // As after all that happens.
      return;
    case 'started':
    case 'guest':
    case 'saved':
    case 'exited':
      performOnMachine(host, task);
      return;
  }
};

const performOnMachine = (host: KvmHost, task: KvmTask & { do: 'started' | 'guest' | 'saved' | 'exited' }): void => {
  const machine = machineOf(host, task.uid, task.pid);
  if (!machine) return;
  switch (task.do) {
    case 'started':
      started(host, machine);
      return;
    case 'guest':
      guestStep(host, machine, task.dueUs);
      return;
    case 'saved':
      saved(host, machine, task.sizeBytes);
      return;
    case 'exited':
      exited(host, machine);
      return;
  }
};

/** Whether a task still means anything: what was overtaken is dropped, so that a host at rest has nothing to do. */
const stillApplies = (host: KvmHost, task: KvmTask): boolean => {
  switch (task.do) {
    case 'giveUp':
      return host.state.machines[task.uid]?.waiting.some(({ ticket }) => ticket === task.ticket) ?? false;
    case 'guest':
      return machineOf(host, task.uid, task.pid)?.guest.next?.dueUs === task.dueUs;
    case 'saved':
      return machineOf(host, task.uid, task.pid)?.savedUs === task.dueUs;
    case 'started':
    case 'exited':
      return machineOf(host, task.uid, task.pid) !== null;
    case 'migrationEffect':
      return host.state.migrations[task.key]?.effectDueUs === task.dueUs;
    case 'keepalive':
      return host.state.migrations[task.key]?.keepaliveUs === task.dueUs;
    case 'pages':
      return host.state.ksm?.scan.dueUs === task.dueUs;
  }
};

// Inputs.

const severMigrations = (host: KvmHost): void => {
  for (const ticket of crashMigrations(kvmMigrations(host)))
    refuse(host, ticket, reject('host_crashed', `${host.state.name} went down in the middle of a migration`));
};

const crash = (host: KvmHost): void => {
  const { state } = host;
  const lost = Object.values(state.machines);
  host.events.push({ type: 'crashed', at: nowMs(host) });
  for (const { ticket } of lost.flatMap((machine) => machine.waiting))
    refuse(host, ticket, reject('host_crashed', `${state.name} crashed while it worked on the command`));
  severMigrations(host);
  for (const machine of lost) rememberEnded(host, machine.uid, machine.incarnation);
  reset(host);
  boot(host);
};

const reset = ({ state }: KvmHost): void => {
  state.machines = {};
  state.agenda = emptyAgenda();
  if (state.ksm) state.ksm = newKsm();
  state.lastPid = FIRST_PID;
  state.lastNumber = 0;
  state.lastTap = -1;
  Reflect.deleteProperty(state, 'libvirtd');
  if (state.devices) state.passthrough = freshDevices(state.devices);
};

const boot = (host: KvmHost): void => {
  const { state } = host;
  state.boots += 1;
  state.bootId = bootIdOf(state, state.boots);
  state.upAtUs =
    state.nowUs + jittered(host.timing.hostBootMs, state.seed, `${state.name}/boot/${state.boots}`) * US_PER_MS;
};

/** Processes are killed when a fault comes, and libvirtd is started again when none wants it dead any more. */
const setFaults = (host: KvmHost, faults: readonly DeviceFault[]): void => {
  host.state.faults = [...faults];
  if (!isUp(host.state)) return;
  followLibvirtd(host);
  for (const machine of Object.values(host.state.machines)) mayLoseProcess(host, machine);
};

const course: Course<KvmHost, KvmTask> = {
  perform,
  stillApplies,
  follow: (host) => {
    followPages(host);
    followMigrations(kvmMigrations(host));
    followDevices(host);
    settleCpu(host);
  },
  // What processes get is booked whenever it changes.
  settle: () => undefined,
  booted: followLibvirtd,
  crash,
  severMigrations,
  reset,
  boot,
  setFaults,
  command: applyCommand,
};

const viewOf = (machine: KvmMachine): DomainView => ({
  uid: machine.uid,
  incarnation: machine.incarnation,
  domid: machine.pid,
  state: machine.phase === 'shutdown' ? 'shutdown' : machine.paused ? 'paused' : 'running',
  ...(machine.phase === 'saving' || machine.phase === 'finishing' ? { standsStill: true as const } : {}),
});

const figuresOf = (host: KvmHost): HostFigures => {
  const machines = Object.values(host.state.machines);
  const busy = machines.reduce((sum, { cpu }) => sum + cpu.share, 0);
  return {
    domains: machines.length,
    freeMemoryBytes: Math.max(0, unusedBytes(host)),
    cpuLoad: Math.min(1, Math.round((1000 * busy) / threadsOfHost(host)) / 1000),
    migrations: underWay(host.state),
    ...(host.state.ksm && { sharing: sharingFigures(host) }),
  };
};

const domainFiguresOf = (host: KvmHost, nowUs: number): readonly DomainFigures[] =>
  Object.values(host.state.machines).map((machine) => ({
    uid: machine.uid,
    memoryBytes: neededBytes(machine.settings),
    ...cpuFigures(host, machine, nowUs),
    dirtyPagesPerSecond: dirtyingOf(host, machine, machine.settings.dynamicMaxBytes).pagesPerSecond,
    ...sharedFigure(host.state, machine),
    ...workFigures(host.state, machine, { overRings: hasVirtio(machine), nowUs, more: () => ({}) }),
  }));

/**
 * The KVM host: a QEMU process for each machine, virtio devices, no control domain. A start is answered when the guest has booted, or when QEMU stands ready if
 * it shall stay paused; a reboot happens in place, under the same process id. States belong to the model, which changes them in place.
 */
export const kvmHostModel = (timing: HostTiming): HostModel<KvmHostState> => {
  const hostOf = (state: KvmHostState): KvmHost => ({ state, timing, events: [] });
  const move = (state: KvmHostState, at: number, input?: HostInput): readonly HostEvent[] => {
    const host = hostOf(state);
    step(course, host, { at, input });
    return host.events;
  };
  return {
    create: ({ name, seed, profile, memorySharing, devices, at }) => ({
      kind: 'kvm',
      name,
      seed,
      profile,
      ...(memorySharing && { memorySharing, ksm: newKsm() }),
      ...(devices && { devices, passthrough: freshDevices(devices) }),
      bornAt: at,
      boots: 1,
      bootId: bootIdOf({ name, seed, bornAt: at }, 1),
      nowUs: at * US_PER_MS,
      bootedUs: at * US_PER_MS,
      upAtUs: null,
      waiting: [],
      agenda: emptyAgenda(),
      machines: {},
      ended: {},
      faults: [],
      migrations: {},
      lastPid: FIRST_PID,
      lastNumber: 0,
      lastTap: -1,
      cpuSinceUs: at * US_PER_MS,
    }),
    apply: (state, input, at) => move(state, at, input),
    advance: (state, at) => move(state, at),
    nextDue: (state) => {
      const due = dueUsOf(state);
      return due === null ? null : Math.ceil(due / US_PER_MS);
    },
    timeOf: (state) => Math.ceil(state.nowUs / US_PER_MS),
    isUp,
    isOff,
    bootId: (state) => state.bootId,
    lostDaemons,
    inventory: (state) =>
      Object.values(state.machines)
        .filter((machine) => machine.phase !== 'ending' && !isArriving(state, machine))
        .map(viewOf),
    figures: (state) => figuresOf(hostOf(state)),
    domainFigures: (state, at) => domainFiguresOf(hostOf(state), Math.max(at * US_PER_MS, state.nowUs)),
    tool: (state, { tool, args, at }) =>
      tool === 'virsh' || !isUp(state)
        ? virsh(hostOf(state), args, Math.max(at * US_PER_MS, state.nowUs))
        : failed(`${state.name} runs KVM, not Xen: it has no ${tool}; ask virsh there`),
    order: (state, { tool, args }) => (tool === 'virsh' ? orderOf(hostOf(state), args) : null),
  };
};
