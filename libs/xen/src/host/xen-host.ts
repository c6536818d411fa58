import type { DeviceFault } from '../device-fault.js';
import type { DomainView, HostEvent, HostInput, HostModel, HostOptions } from '../host-model.js';
import { jittered, type HostTiming } from '../host-timing.js';
import { reject } from '@xenolith/kernel';
import { nowMs, refuse, rememberEnded, US_PER_MS } from './answers.js';
import { emptyAgenda } from './agenda.js';
import { applyCommand, giveUp } from './commands.js';
import { freshLayers, layersOf } from './control-domain.js';
import { dueUsOf, step, type Course } from './course.js';
import { settleCpu } from './cpu-account.js';
import { deviceWatchFired, deviceWatchOf, endScript, probeBack, retryEnd, wakeTask } from './device-control.js';
import { driverDomainMoves, startDriverDomains } from './driver-domains.js';
import { CONTROL_TOKEN } from './domain-store.js';
import { followDaemons, isUnheard, lostDaemons, mayLoseDeviceModel } from './daemon-deaths.js';
import { setFaults } from './faults.js';
import { domainFiguresOf, figuresOf } from './figures.js';
import { BALLOON_TOKEN, balloonsMove, CPU_TOKEN, obeyResources } from './guest-resources.js';
import { deviceConnected, guestStep, lookForRequest, probeNewDevices } from './guest-life.js';
import {
  bootIdOf,
  deviceNamed,
  machineOf,
  type Host,
  type HostTask,
  type Machine,
  type HostState,
} from './host-state.js';
import { toolstack } from './guest-watcher.js';
import { crashMigrations, effectEnds, followMigrations, keepAlive } from './migration.js';
import { isArriving } from './migration-session.js';
import { isOff, isUp } from './power.js';
import { followPages } from './page-merging.js';
import { imageWritten, suspendTimerEnds } from './suspend.js';
import { continuePlugs, plugTimerEnds } from './plugging.js';
import { continueTakes, takeTimerEnds } from './passing.js';
import { BACKENDS_TOKEN, DEVICES_TOKEN } from './store-access.js';
import { failed } from '../xl/index.js';
import { stillApplies } from './still-applies.js';
import { runTool, toolOrder } from './tools.js';
import { continueBuild, deviceModelSettled, continueTeardown, domainBuilt, domainDestroyed } from './toolstack.js';
import { xenMigrations } from './xen-migrations.js';

// What happens at its time.

/** After anything moved on a device: the toolstack and the guest look whether all that they wait for is there. */
const lookAround = (host: Host, machine: Machine): void => {
  continuePlugs(host, machine);
  if (machine.phase === 'building') continueBuild(host, machine);
  else if (machine.phase === 'ending' || machine.phase === 'restarting') continueTeardown(host, machine);
  else deviceConnected(host, machine, toolstack);
};

/** `/local/domain/0/backend/<kind>/<domid>/<devid>/state`: its sixth and seventh parts say whose device it is. */
const DOMID_PART = 6;
const DEVID_PART = 7;

const newBackend = (host: Host, path: string): void => {
  const parts = path.split('/');
  const uid = host.state.byDomid[Number(parts[DOMID_PART])];
  const machine = uid === undefined ? undefined : host.state.machines[uid];
  const device = machine?.devices.find(
    (candidate) =>
      candidate.device.devid === Number(parts[DEVID_PART]) && candidate.device.backendKind === parts[DOMID_PART - 1],
  );
  if (machine && device) probeBack(host, machine, device);
};

const watchFired = (host: Host, task: HostTask & { do: 'watch' }): void => {
  if (task.token === BACKENDS_TOKEN) {
    newBackend(host, task.path);
    return;
  }
  const heard = deviceWatchOf(task.token);
  const uid = host.state.byDomid[heard?.domid ?? task.to];
  const machine = uid === undefined ? undefined : host.state.machines[uid];
  if (!machine) return;
  if (heard) {
    deviceWatchFired(host, machine, heard);
    lookAround(host, machine);
  } else if (task.token === CONTROL_TOKEN) lookForRequest(host, machine);
  else if (task.token === DEVICES_TOKEN) probeNewDevices(host, machine);
  else if (task.token === CPU_TOKEN || task.token === BALLOON_TOKEN) obeyResources(host, machine);
};

const scriptEnds = (host: Host, task: HostTask & { do: 'script' }): void => {
  const machine = machineOf(host, task.uid, task.domid);
  const device = machine && deviceNamed(machine, task.device);
  if (!machine || !device) return;
  endScript(host, machine, device, task.number);
  lookAround(host, machine);
};

const deviceTimerEnds = (host: Host, task: HostTask & { do: 'deviceTimer' }): void => {
  const machine = machineOf(host, task.uid, task.domid);
  const device = machine && deviceNamed(machine, task.device);
  if (!machine || device?.task?.dueUs !== task.dueUs) return;
  wakeTask(host, machine, device, { why: 'timer' });
  lookAround(host, machine);
};

const endRetries = (host: Host, task: HostTask & { do: 'retry' }): void => {
  const machine = machineOf(host, task.uid, task.domid);
  if (!machine) return;
  retryEnd(host, machine, task);
  lookAround(host, machine);
};

const deviceModelEnds = (host: Host, task: HostTask & { do: 'deviceModel' }): void => {
  const machine = machineOf(host, task.uid, task.domid);
  if (!machine) return;
  deviceModelSettled(host, machine, task.runs);
  mayLoseDeviceModel(host, machine);
  continuePlugs(host, machine);
};

const perform = (host: Host, task: HostTask): void => {
  if (isUnheard(host.state, task)) return;
  switch (task.do) {
    case 'watch':
      watchFired(host, task);
      return;
    case 'script':
      scriptEnds(host, task);
      return;
    case 'deviceTimer':
      deviceTimerEnds(host, task);
      return;
    case 'retry':
      endRetries(host, task);
      return;
    case 'deviceModel':
      deviceModelEnds(host, task);
      return;
    case 'giveUp':
      giveUp(host, task.uid, task.ticket, task.timeoutMs);
      return;
    case 'built':
    case 'guest':
    case 'saved':
    case 'destroyed':
      performOnMachine(host, task);
      return;
    case 'migrationEffect':
      effectEnds(xenMigrations(host), task);
      return;
    case 'keepalive':
      keepAlive(xenMigrations(host), task);
      return;
    case 'plugTimer':
    case 'takeTimer': {
      const machine = host.state.machines[task.uid];
      if (machine) (task.do === 'plugTimer' ? plugTimerEnds : takeTimerEnds)(host, machine, task.ticket);
      return;
    }
    case 'suspendTimer': {
      const machine = host.state.machines[task.uid];
      if (machine) suspendTimerEnds(host, machine, task.ticket, task.timeoutMs);
      return;
    }
    case 'driverDomain':
      driverDomainMoves(host, task);
      for (const machine of Object.values(host.state.machines)) lookAround(host, machine);
      return;
    case 'hypervisor':
      balloonsMove(host);
      return;
    case 'pages':
      // As after all that happens.
      return;
  }
};

const performOnMachine = (host: Host, task: HostTask & { do: 'built' | 'guest' | 'saved' | 'destroyed' }): void => {
  const machine = machineOf(host, task.uid, task.domid);
  if (!machine) return;
  switch (task.do) {
    case 'built':
      if (machine.phase === 'building') domainBuilt(host, machine);
      continuePlugs(host, machine);
      return;
    case 'guest':
      guestStep(host, machine, task.dueUs, toolstack);
      continueTakes(host, machine);
      return;
    case 'saved':
      imageWritten(host, machine, task.sizeBytes);
      return;
    case 'destroyed':
      domainDestroyed(host, machine);
      return;
  }
};

// Inputs.

const severMigrations = (host: Host): void => {
  for (const ticket of crashMigrations(xenMigrations(host)))
    refuse(host, ticket, reject('host_crashed', `${host.state.name} went down in the middle of a migration`));
};

const crash = (host: Host): void => {
  const { state } = host;
  const lost = Object.values(state.machines);
  const { name } = state;
  host.events.push({ type: 'crashed', at: nowMs(host) });
  for (const { ticket } of lost.flatMap((machine) => machine.waiting))
    refuse(host, ticket, reject('host_crashed', `${name} crashed while it worked on the command`));
  severMigrations(host);
  for (const machine of lost) rememberEnded(host, machine.uid, machine.incarnation);
  reset(host);
  boot(host);
};

const reset = (host: Host): void => {
  const { state } = host;
  Object.assign(state, freshLayers(state), { machines: {}, byDomid: {}, agenda: emptyAgenda<HostTask>() });
  Object.assign(host, layersOf(state));
  state.cpu = { sinceUs: state.nowUs, stale: true, domains: {} };
};

const boot = (host: Host): void => {
  const { state } = host;
  state.boots += 1;
  state.bootId = bootIdOf(state, state.boots);
  state.cpu = { sinceUs: state.nowUs, stale: true, domains: {} };
  startDriverDomains(host);
  state.upAtUs = state.nowUs + jittered(host.timing.hostBootMs, state.seed, `boot/${state.boots}`) * US_PER_MS;
};

const beginFaults = (host: Host, faults: readonly DeviceFault[]): void => {
  setFaults(host, faults);
  if (!isUp(host.state)) return;
  followDaemons(host);
  for (const machine of Object.values(host.state.machines)) mayLoseDeviceModel(host, machine);
};

const course: Course<Host, HostTask> = {
  perform,
  stillApplies,
  follow: (host) => {
    followPages(host);
    followMigrations(xenMigrations(host));
  },
  settle: settleCpu,
  booted: followDaemons,
  crash,
  severMigrations,
  reset,
  boot,
  setFaults: beginFaults,
  command: applyCommand,
};

const viewOf = (machine: Machine): DomainView => ({
  uid: machine.uid,
  incarnation: machine.incarnation,
  domid: machine.domid,
  // A domain that is built anew because its guest rebooted runs, for all that people and the platform care.
  state: machine.phase === 'shutdown' ? 'shutdown' : machine.paused ? 'paused' : 'running',
  ...(machine.phase === 'suspended' ? { standsStill: true as const } : {}),
});

/** A host that has booted, before anything runs in it beside Dom0. */
const bornHost = ({ name, seed, profile, at, ...installed }: HostOptions): HostState => {
  const { setup, memorySharing } = installed;
  const chosen = { ...(setup && { setup }), ...(memorySharing && { memorySharing }) };
  return {
    name,
    seed,
    profile,
    ...chosen,
    bornAt: at,
    boots: 1,
    bootId: bootIdOf({ name, seed, bornAt: at }, 1),
    nowUs: at * US_PER_MS,
    bootedUs: at * US_PER_MS,
    upAtUs: null,
    waiting: [],
    ...freshLayers({ name, profile, ...chosen }),
    agenda: emptyAgenda(),
    machines: {},
    byDomid: {},
    ended: {},
    faults: [],
    migrations: {},
    cpu: { sinceUs: at * US_PER_MS, stale: true, domains: {} },
  };
};

/**
 * The Xen host: hypervisor, xenstore, split devices and their scripts, toolstack and guests, as one machine. A start is answered when the guest has booted, or
 * when its domain is built if it shall stay paused. States belong to the model, which changes them in place.
 */
export const xenHostModel = (timing: HostTiming): HostModel<HostState> => {
  // The layers are built once for a state and found again: a state is plain data.
  const layers = new WeakMap<HostState, ReturnType<typeof layersOf>>();
  const hostOf = (state: HostState): Host => {
    const known = layers.get(state) ?? layersOf(state);
    return { state, ...known, timing, events: [] };
  };
  const move = (state: HostState, at: number, input?: HostInput): readonly HostEvent[] => {
    const host = hostOf(state);
    step(course, host, { at, input });
    settleCpu(host);
    layers.set(state, { hypervisor: host.hypervisor, xenstore: host.xenstore });
    return host.events;
  };
  return {
    create: (options) => {
      const state = bornHost(options);
      const host = hostOf(state);
      startDriverDomains(host);
      settleCpu(host);
      return state;
    },
    apply: (state, input, at) => move(state, at, input),
    advance: (state, at) => move(state, at),
    nextDue: (state) => {
      const due = dueUsOf(state);
      return due === null ? null : Math.ceil(due / US_PER_MS);
    },
    isUp,
    isOff,
    bootId: (state) => state.bootId,
    lostDaemons,
    timeOf: (state) => Math.ceil(state.nowUs / US_PER_MS),
    inventory: (state) =>
      Object.values(state.machines)
        .filter((machine) => machine.phase !== 'ending' && !isArriving(state, machine))
        .map(viewOf),
    figures: (state) => figuresOf(hostOf(state)),
    domainFigures: (state, at) => domainFiguresOf(hostOf(state), Math.max(at * US_PER_MS, state.nowUs)),
    tool: (state, { tool, args, at }) =>
      tool === 'virsh'
        ? failed(`${state.name} runs Xen: it has no virsh; ask xl there`)
        : runTool(hostOf(state), tool, args, at),
    order: (state, { tool, args }) => (tool === 'xl' || tool === 'xm' ? toolOrder(hostOf(state), tool, args) : null),
  };
};
