import { reject, type Rejection, type Uuid } from '@xenolith/kernel';
import type { DomainSettings, GuestEnd, HostAnswer, OnGuestEnd, Ticket } from '../host-model.js';
import { HARDWARE_PROFILES } from '../hardware-profile.js';
import { buildMs, jittered } from '../host-timing.js';
import { MAXMEM_SLACK_BYTES, PAGE_BYTES, parseCpuSet } from '../hypervisor/index.js';
import type { Errno } from '../outcome.js';
import { answer, nowMs, refuse, rememberEnded, US_PER_MS } from './answers.js';
import { plan } from './agenda.js';
import { accountCpu } from './cpu-account.js';
import { beginAdd, beginRemove, failureOf, letDevicesGo } from './device-control.js';
import {
  deviceModelFailure,
  deviceModelRuns,
  hasDeviceModel,
  startDeviceModel,
  stopDeviceModel,
} from './device-model.js';
import { hasToolstack } from './daemon-deaths.js';
import { whyUnsupported } from './guest-needs.js';
import { devicesOf, withoutDevice } from './machine-devices.js';
import { askWhatWasAsked, makeHome, removeHome } from './domain-store.js';
import { pauseGuest, resumeGuest } from './guest-life.js';
import { giveDevices, mayHaveFunctions, takeDevicesBack, withoutNamed, writeFunctions } from './passed-devices.js';
import { followBalloons } from './guest-resources.js';
import { deviceNamed, newGuest, wantsImage, type Host, type Machine, type Waiting } from './host-state.js';

// Answers.

export const runningAnswer = (host: Host, machine: Machine): HostAnswer => ({
  domid: machine.domid,
  state: machine.paused ? 'paused' : 'running',
  bootId: host.state.bootId,
});

/** Takes those out of the waiting whom it concerns, and tells them. */
export const answerAll = (
  machine: Machine,
  is: (waiting: Waiting) => boolean,
  tell: (ticket: Ticket) => void,
): void => {
  const told = machine.waiting.filter(is);
  machine.waiting = machine.waiting.filter((waiting) => !is(waiting));
  for (const { ticket } of told) tell(ticket);
};

const forStart = (waiting: Waiting): boolean => waiting.for === 'start' || waiting.for === 'reboot';

/** Those who wait for the machine to be up hear that it is. */
export const answerStarted = (host: Host, machine: Machine): void =>
  answerAll(machine, forStart, (ticket) => answer(host, ticket, runningAnswer(host, machine)));

/** The guest leaves with its state and is not stopped: who asked it to stop or to reboot hears so. */
export const refuseStopping = (host: Host, machine: Machine, where: string): void =>
  answerAll(
    machine,
    ({ for: what }) => what === 'end' || what === 'reboot',
    (ticket) => {
      const message = `the guest of ${machine.settings.name} was asked to stop on ${host.state.name} and did not before it ${where}`;
      refuse(host, ticket, reject('guest_ignored_shutdown', message));
    },
  );

const refuseStarting = (host: Host, machine: Machine, refusal: { readonly rejection: Rejection }): void =>
  answerAll(machine, forStart, (ticket) => refuse(host, ticket, refusal));

// Building.

const label = (machine: Machine, what: string): string => `${machine.uid}/${machine.domid}/${what}`;

/** libxl's words for an errno of the hypervisor, with what was asked. */
const SENTENCES: Partial<Record<Errno, string>> = {
  EINVAL: 'the hypervisor supports no such domain',
  EOPNOTSUPP: 'the hypervisor supports no such domain',
  ENODEV: 'the processor lacks what such a guest needs',
  ENOMEM: 'the hypervisor has not enough memory',
};

/** A cap above what all vCPUs can use is none (tools/libs/light/libxl_sched.c refuses it). */
export const capOf = ({ cap, maxVcpus }: DomainSettings): number => (cap > 100 * maxVcpus ? 0 : cap);

/** Sets the domain's memory, vCPUs and share of the CPUs; the error of the first thing that Xen refuses. A node that is full gives what it has: the rest is of others. */
const setUp = (host: Host, domid: number, settings: DomainSettings): Errno | null => {
  const { hypervisor, state } = host;
  const { memory, vcpus } = hypervisor;
  const pages = Math.floor(settings.dynamicMaxBytes / PAGE_BYTES);
  const { memoryNode: node } = settings;
  const pinned = settings.pin === '' ? null : parseCpuSet(settings.pin, hypervisor.cpuNumbers());
  if (pinned && !pinned.ok) return pinned.errno;
  const outcomes = [
    memory.setMaxMemory(domid, settings.staticMaxBytes + MAXMEM_SLACK_BYTES),
    vcpus.setSchedulerParameters(domid, { weight: settings.weight, cap: capOf(settings) }),
    ...(pinned ? (host.state.hypervisor.domains[domid]?.vcpus ?? []) : []).map((_vcpu, id) =>
      vcpus.setAffinity(domid, id, { hard: pinned?.ok ? pinned.value : [] }),
    ),
    ...(node === undefined ? [] : [vcpus.setNodeAffinity(domid, [[node, node]])]),
    memory.setOverhead(domid, { staticMaxBytes: settings.staticMaxBytes }, state.nowUs),
    memory.populate(domid, { pages }, state.nowUs),
  ];
  for (const outcome of outcomes) if (!outcome.ok) return outcome.errno;
  for (let id = settings.vcpus; id < settings.maxVcpus; id += 1) vcpus.down(domid, id, state.nowUs);
  return null;
};

const createDomain = (host: Host, handle: Uuid, settings: DomainSettings): number | Errno => {
  const { nowUs } = host.state;
  const { domains } = host.hypervisor;
  const { guestType: type, maxVcpus } = settings;
  // A host without an IOMMU refuses when it gives the device, and says why.
  const iommu = mayHaveFunctions(settings) && host.state.passthrough?.iommu === true;
  const created = domains.create({ type, handle, maxVcpus, iommu }, nowUs);
  if (!created.ok) return created.errno;
  const refusal = setUp(host, created.value, settings);
  if (refusal === null) return created.value;
  domains.destroy(created.value, nowUs);
  return refusal;
};

/** Why Xen made no domain for the machine. */
export const unbuildable = (host: Host, { settings }: Machine, errno: Errno): { readonly rejection: Rejection } => {
  const why = SENTENCES[errno] ?? 'the hypervisor refused';
  const message = `${host.state.name} can't create a ${settings.guestType} domain of ${settings.maxVcpus} vCPUs and ${settings.staticMaxBytes} bytes for ${settings.name}: ${why} (${errno})`;
  const code = errno === 'ENOMEM' ? 'host_out_of_memory' : 'host_domain_unsupported';
  return reject(code, message, { details: { errno } });
};

/** Creates a domain for the machine, with its memory and without anything in it; the answer is what Xen says against it. */
export const makeDomain = (host: Host, machine: Machine, handle: Uuid = machine.uid): Errno | null => {
  const { settings, uid } = machine;
  const domid = createDomain(host, handle, settings);
  if (typeof domid === 'string') return domid;
  machine.domid = domid;
  machine.createdUs = host.state.nowUs;
  machine.guest = newGuest();
  Reflect.deleteProperty(machine, 'deviceModel');
  machine.devices = [];
  host.state.machines[uid] = machine;
  host.state.byDomid[domid] = uid;
  return null;
};

/** Creates a domain for the machine and begins to build it; false: Xen refused, and whoever waits was told. */
export const beginBuild = (host: Host, machine: Machine): boolean => {
  const { settings, uid } = machine;
  const { features } = HARDWARE_PROFILES[host.state.profile];
  const unsupported = whyUnsupported(settings, { name: host.state.name, features });
  if (unsupported) {
    refuseStarting(host, machine, unsupported);
    return false;
  }
  const errno = makeDomain(host, machine);
  if (errno !== null) {
    refuseStarting(host, machine, unbuildable(host, machine, errno));
    return false;
  }
  const { domid } = machine;
  const lacking = giveDevices(host, machine);
  if (lacking) {
    host.hypervisor.domains.destroy(domid, host.state.nowUs);
    Reflect.deleteProperty(host.state.machines, uid);
    Reflect.deleteProperty(host.state.byDomid, domid);
    refuseStarting(host, machine, lacking);
    return false;
  }
  machine.phase = 'building';
  const duration = buildMs(host.timing, settings.dynamicMaxBytes);
  const buildUs = jittered(duration, host.state.seed, label(machine, 'build')) * US_PER_MS;
  plan(host.state.agenda, host.state.nowUs + buildUs + (machine.wakes?.readingUs ?? 0), { do: 'built', uid, domid });
  return true;
};

/** The domain's memory is filled: it gets its home in the store and its devices. */
export const domainBuilt = (host: Host, machine: Machine): void => {
  makeHome(host, machine);
  askWhatWasAsked(host, machine);
  writeFunctions(host, machine);
  machine.devices = devicesOf(host, machine);
  for (const device of machine.devices) beginAdd(host, machine, device);
  continueBuild(host, machine);
};

/** The device model runs, or libxl has waited for it long enough (tools/libs/light/libxl_exec.c, `spawn_timeout`). */
export const deviceModelSettled = (host: Host, machine: Machine, runs: boolean): void => {
  if (machine.phase === 'arriving') {
    // What did not start is out of the way of the next attempt.
    if (runs) deviceModelRuns(host, machine);
    else stopDeviceModel(host, machine);
  }
  if (machine.phase !== 'building') return;
  if (runs) {
    deviceModelRuns(host, machine);
    continueBuild(host, machine);
    return;
  }
  const message = `${machine.settings.name} could not be started on ${host.state.name}: ${deviceModelFailure(host, machine)}`;
  refuseStarting(host, machine, reject('host_device_failed', message, { details: { device: 'device-model' } }));
  beginTeardown(host, machine);
};

/** Goes on when every device has come up and the device model runs, and gives up when one failed. */
export const continueBuild = (host: Host, machine: Machine): void => {
  const failed = machine.devices.find(({ task }) => task?.phase === 'done' && task.rc !== 0);
  if (failed) {
    const message = `${machine.settings.name} could not be started on ${host.state.name}: ${failed.kind} ${failed.name}: ${failureOf(host, failed)}`;
    refuseStarting(host, machine, reject('host_device_failed', message, { details: { device: failed.name } }));
    beginTeardown(host, machine);
    return;
  }
  if (machine.devices.some(({ task }) => task?.phase !== 'done')) return;
  if (!hasDeviceModel(host, machine)) {
    startDeviceModel(host, machine);
    return;
  }
  for (const device of machine.devices) device.task = null;
  machine.phase = 'up';
  // A guest that shall stay paused is there as soon as it is built; another when it has booted.
  if (machine.paused) answerStarted(host, machine);
  else unpauseDomain(host, machine);
};

export const unpauseDomain = (host: Host, machine: Machine): void => {
  host.hypervisor.domains.unpause(machine.domid, host.state.nowUs);
  followBalloons(host);
  resumeGuest(host, machine);
};

export const pauseDomain = (host: Host, machine: Machine): void => {
  host.hypervisor.domains.pause(machine.domid, host.state.nowUs);
  pauseGuest(host, machine);
};

// The end.

/** Devices that were to be taken away go with their domain, and the next one has them no more. */
const letGoOfUnplugged = (host: Host, machine: Machine): void => {
  for (const waiting of machine.waiting) {
    const device = waiting.for === 'unplug' ? deviceNamed(machine, waiting.device) : null;
    if (device) machine.settings = withoutDevice(machine.settings, device);
    if (waiting.for === 'take') machine.settings = withoutNamed(machine.settings, waiting.device);
  }
  answerAll(
    machine,
    ({ for: what }) => what === 'unplug' || what === 'take',
    (ticket) => answer(host, ticket, {}),
  );
};

const takeApart = (host: Host, machine: Machine): void => {
  machine.guest = { ...machine.guest, next: null };
  host.hypervisor.domains.pause(machine.domid, host.state.nowUs);
  accountCpu(host);
  letGoOfUnplugged(host, machine);
  for (const device of machine.devices) beginRemove(host, machine, device);
  continueTeardown(host, machine);
};

/** Begins to destroy the domain: its guest stops at once, its devices are taken away, then it gives back its memory. */
export const beginTeardown = (host: Host, machine: Machine): void => {
  const underWay = machine.phase === 'ending' || machine.phase === 'restarting';
  machine.phase = 'ending';
  if (!underWay) takeApart(host, machine);
};

/** Destroys the domain and builds another for the same run, with a new id, which is reported if the guest wanted it by itself. */
export const beginRestart = (host: Host, machine: Machine, cause: Machine['restart']): void => {
  machine.restart = cause;
  if (machine.phase === 'restarting') return;
  // The guest whose image was being written is no more, and the next one is not asked for its own.
  if (machine.phase === 'suspended')
    answerAll(machine, wantsImage, (ticket) => refuse(host, ticket, endedBefore(host, machine, 'saved')));
  machine.phase = 'restarting';
  takeApart(host, machine);
};

/** Goes on when every device has let go. */
export const continueTeardown = (host: Host, machine: Machine): void => {
  if (machine.devices.some(({ task }) => task !== null && task.phase !== 'done')) return;
  const ms = jittered(host.timing.destroyMs, host.state.seed, label(machine, 'destroy'));
  const { uid, domid } = machine;
  plan(host.state.agenda, host.state.nowUs + ms * US_PER_MS, { do: 'destroyed', uid, domid });
};

const endedBefore = (host: Host, machine: Machine, what = 'up'): { readonly rejection: Rejection } =>
  reject('command_cancelled', `${machine.settings.name} was ended on ${host.state.name} before it was ${what}`);

const forget = (host: Host, machine: Machine): void => {
  Reflect.deleteProperty(host.state.machines, machine.uid);
  rememberEnded(host, machine.uid, machine.incarnation);
  for (const waiting of machine.waiting.splice(0))
    if (waiting.for === 'end') answer(host, waiting.ticket, {});
    else if (waiting.for === 'suspend' && machine.image !== null) answer(host, waiting.ticket, machine.image);
    else refuse(host, waiting.ticket, endedBefore(host, machine, wantsImage(waiting) ? 'saved' : 'up'));
};

const buildAgain = (host: Host, machine: Machine): void => {
  const { restart, uid, incarnation, domid: endedDomid } = machine;
  machine.restart = null;
  machine.paused = false;
  machine.wakes = null;
  const built = beginBuild(host, machine);
  if (!built) forget(host, machine);
  if (restart !== 'itself') return;
  const ended = { type: 'guestEnded' as const, at: nowMs(host), uid, incarnation, endedDomid };
  host.events.push(built ? { ...ended, reason: 'reboot', domid: machine.domid } : { ...ended, reason: 'crash' });
};

/** The last of the domain. A machine that is to run again gets its next domain at once, as the memory is there now. */
export const domainDestroyed = (host: Host, machine: Machine): void => {
  const { domid } = machine;
  letDevicesGo(host, machine);
  stopDeviceModel(host, machine);
  takeDevicesBack(host, domid);
  host.hypervisor.domains.destroy(domid, host.state.nowUs);
  removeHome(host, machine);
  Reflect.deleteProperty(host.state.byDomid, domid);
  Reflect.deleteProperty(host.state.cpu.domains, domid);
  accountCpu(host);
  if (machine.phase === 'restarting') buildAgain(host, machine);
  else forget(host, machine);
};

const policyOf = (machine: Machine, reason: GuestEnd): OnGuestEnd => {
  switch (reason) {
    case 'poweroff':
      return machine.settings.onPoweroff;
    case 'reboot':
      return machine.settings.onReboot;
    case 'crash':
      return machine.settings.onCrash;
  }
};

/**
 * The guest stopped. Where somebody waits for just that, it was asked to; else it did so by itself and its settings say what follows. A restart after
 * poweroff or crash is a new run, which only the platform may begin: the host tears down and reports.
 */
export const stopped = (host: Host, machine: Machine, reason: GuestEnd): void => {
  if (reason !== 'crash' && machine.waiting.some((waiting) => waiting.for === 'end')) {
    beginTeardown(host, machine);
    return;
  }
  if (reason === 'reboot' && machine.waiting.some((waiting) => waiting.for === 'reboot')) {
    beginRestart(host, machine, 'asked');
    return;
  }
  // Nobody hears of it who could do more.
  const policy = hasToolstack(host.state) ? policyOf(machine, reason) : 'preserve';
  const { uid, incarnation, domid: endedDomid } = machine;
  const event = { type: 'guestEnded' as const, at: nowMs(host), uid, incarnation, reason, endedDomid };
  if (policy === 'preserve') {
    refuseStarting(host, machine, endedBefore(host, machine));
    machine.phase = 'shutdown';
    host.events.push(event);
  } else if (policy === 'restart' && reason === 'reboot') {
    beginRestart(host, machine, 'itself');
  } else {
    beginTeardown(host, machine);
    host.events.push(event);
  }
};
