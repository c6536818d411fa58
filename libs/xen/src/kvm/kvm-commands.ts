import { qemuOverheadBytes, randomFrom, reject, type Rejection, type Uuid } from '@xenolith/kernel';
import type { DomainSettings, HostInput } from '../host-model.js';
import { jittered } from '../host-timing.js';
import { hasDevice, withDevice, withoutDevice } from '../host/machine-devices.js';
import { affinityOf } from './kvm-cpu.js';
import { goOn, holdStill, letRun, listen, quit, rememberEnded, reset, stopped } from './kvm-guest.js';
import { beginSave, endsSaved, giveUpSave, guestIn, imageMs } from './kvm-save.js';
import { kvmAllocatableBytes } from './kvm-profile.js';
import {
  answer,
  isOver,
  planIn,
  profileOf,
  refuse,
  runningAnswer,
  waitingFor,
  type KvmGuest,
  type KvmHost,
  type KvmMachine,
} from './kvm-state.js';

type Input<Do extends HostInput['do']> = Extract<HostInput, { do: Do }>;
interface OnRun {
  readonly ticket: string;
  readonly uid: Uuid;
  readonly incarnation: number;
}

/** /proc/sys/kernel/pid_max as systemd sets it on 64-bit machines; below 300 are the kernel's own after a wrap (kernel/pid.c, RESERVED_PIDS). */
const PID_MAX = 4_194_304;
const RESERVED_PIDS = 300;
/** Assumption: processes that others start between two of ours. */
const PIDS_BETWEEN = 40;
/** libvirt waits so long for DEVICE_DELETED (qemu_hotplug.c, `qemuDomainRemoveDeviceWaitTime`). */
const UNPLUG_WAIT_MS = 5_000;
/** Assumption: pcie-root-ports that a machine is built with; each takes one device. */
const ROOT_PORTS = 28;
/** cgroup-v2.rst: cpu.weight is 1 to 10000, and libvirt takes what Xen takes where the platform scales it. */
const MAX_WEIGHT = 65_535;

const knownRun = ({ state }: KvmHost, { uid }: OnRun): number =>
  Math.max(state.ended[uid] ?? 0, state.machines[uid]?.incarnation ?? 0);

const refuseStale = (host: KvmHost, input: OnRun): void => {
  const message = `the command is for run ${input.incarnation} of machine ${input.uid}; ${host.state.name} knows run ${knownRun(host, input)} already`;
  refuse(host, input.ticket, reject('host_stale_incarnation', message));
};

const unknownDomain = ({ state }: KvmHost, { uid }: OnRun): { readonly rejection: Rejection } =>
  reject('host_unknown_domain', `${state.name} runs no process of machine ${uid}`);

/** The machine that a command is for; otherwise the command is answered here: a younger run refuses it, an absent one is `gone`. */
const addressed = (host: KvmHost, input: OnRun, gone: () => void): KvmMachine | null => {
  const machine = host.state.machines[input.uid];
  if (knownRun(host, input) > input.incarnation) refuseStale(host, input);
  else if (machine?.incarnation !== input.incarnation) gone();
  else return machine;
  return null;
};

const living = (host: KvmHost, input: OnRun): KvmMachine | null => {
  const refuseIt = (): void => refuse(host, input.ticket, unknownDomain(host, input));
  const machine = addressed(host, input, refuseIt);
  if (machine === null || !isOver(machine)) return machine;
  refuseIt();
  return null;
};

/** What a machine takes of the host's memory: its guest's, and its process's own. */
export const neededBytes = ({ dynamicMaxBytes, maxVcpus, staticMaxBytes }: DomainSettings): number =>
  dynamicMaxBytes + qemuOverheadBytes({ vcpus: maxVcpus, staticMaxBytes });

/** Memory that is promised to no process: guests touch theirs when they like. */
export const freeBytes = (host: KvmHost): number =>
  Object.values(host.state.machines).reduce(
    (free, { settings }) => free - neededBytes(settings),
    kvmAllocatableBytes(profileOf(host)),
  );

const outOfMemory = (host: KvmHost, name: string, needed: number): { readonly rejection: Rejection } => {
  const free = freeBytes(host);
  const message = `${name} needs ${needed} bytes on ${host.state.name} (overhead included), ${free} are free`;
  return reject('host_out_of_memory', message, { details: { neededBytes: needed, freeBytes: free } });
};

const unsupported = ({ state }: KvmHost, name: string, why: string): { readonly rejection: Rejection } =>
  reject('host_domain_unsupported', `${state.name} can't run ${name} so: ${why}`);

/** Why this host can't run such a machine; null: it can. */
const refusalOf = (host: KvmHost, settings: DomainSettings): { readonly rejection: Rejection } | null => {
  const { name, guestType, pin } = settings;
  const { features } = profileOf(host);
  if (guestType !== 'hvm')
    return unsupported(host, name, `KVM runs hvm guests only, ${guestType} guests need Xen's hypercalls`);
  if (!features.includes('vmx') && !features.includes('svm'))
    return unsupported(host, name, 'its processor has no virtualisation extensions');
  if (pin !== '' && affinityOf(host, pin) === null) return unsupported(host, name, `it has none of the CPUs ${pin}`);
  const needed = neededBytes(settings);
  return needed > freeBytes(host) ? outOfMemory(host, name, needed) : null;
};

const nextPid = (host: KvmHost): number => {
  const { state } = host;
  const gap = 1 + randomFrom(`${state.seed}/${state.name}/${state.boots}/pid/${state.lastPid}`).below(PIDS_BETWEEN);
  const pid = state.lastPid + gap;
  state.lastPid = pid >= PID_MAX ? RESERVED_PIDS : pid;
  return state.lastPid;
};

const start = (host: KvmHost, input: Input<'start'> | Input<'resume'>): void => {
  const { settings, uid, incarnation, ticket } = input;
  const machine = host.state.machines[uid];
  if (machine?.incarnation === incarnation && !isOver(machine)) {
    const isUp = machine.phase === 'up' && (machine.paused || machine.guest.phase === 'up');
    if (isUp) answer(host, ticket, runningAnswer(host, machine));
    else machine.waiting.push({ ticket, for: 'start' });
    return;
  }
  if (knownRun(host, input) > incarnation || host.state.ended[uid] === incarnation) {
    refuseStale(host, input);
    return;
  }
  if (machine) {
    const message = `run ${machine.incarnation} of ${settings.name} is still on ${host.state.name} as process ${machine.pid}; destroy it first`;
    refuse(host, ticket, reject('host_domain_exists', message));
    return;
  }
  const refusal = imageRefusal(host, input) ?? refusalOf(host, settings);
  if (refusal) refuse(host, ticket, refusal);
  else spawn(host, input);
};

const NEW_GUEST: KvmGuest = { phase: 'off', next: null, stopping: null };

const imageRefusal = (host: KvmHost, input: Input<'start'> | Input<'resume'>) =>
  input.do === 'resume' && guestIn(input.image) === null
    ? unsupported(host, input.settings.name, 'its image is none of a KVM host')
    : null;

const spawn = (host: KvmHost, input: Input<'start'> | Input<'resume'>): void => {
  const { settings, uid, incarnation, ticket, paused } = input;
  const guest = input.do === 'resume' ? guestIn(input.image) : null;
  const pid = nextPid(host);
  host.state.lastNumber += 1;
  host.state.machines[uid] = {
    uid,
    incarnation,
    pid,
    number: host.state.lastNumber,
    startedUs: host.state.nowUs,
    phase: 'starting',
    paused,
    asked: null,
    settings,
    guest: guest ?? { ...NEW_GUEST },
    savedUs: null,
    image: null,
    waiting: [{ ticket, for: 'start' }],
    cpu: { usedNs: 0, share: 0, steal: 0, stolenNs: 0 },
  };
  // Memory is not filled before the guest touches it, so that its size takes no time.
  const reading = input.do === 'resume' ? imageMs(host, input.image.sizeBytes) : 0;
  const ms = reading + jittered(host.timing.createMs, host.state.seed, `${uid}/${pid}/spawn`);
  planIn(host, ms, { do: 'started', uid, pid });
};

/** QEMU's monitor answers, and its devices are there with it. */
export const started = (host: KvmHost, machine: KvmMachine): void => {
  if (machine.phase === 'starting') goOn(host, machine);
};

const endCleanly = (host: KvmHost, machine: KvmMachine, input: Input<'shutdown'> | Input<'reboot'>): void => {
  const { uid, ticket, timeoutMs } = input;
  machine.waiting.push({ ticket, for: input.do === 'shutdown' ? 'end' : 'reboot' });
  planIn(host, timeoutMs, { do: 'giveUp', uid, ticket, timeoutMs });
  // A later request replaces an earlier one.
  machine.asked = input.do === 'shutdown' ? 'poweroff' : 'reboot';
  listen(host, machine);
};

const shutdown = (host: KvmHost, input: Input<'shutdown'>): void => {
  const machine = addressed(host, input, () => answer(host, input.ticket, {}));
  if (!machine) return;
  if (input.mode === 'clean' && !isOver(machine)) {
    endCleanly(host, machine, input);
    return;
  }
  machine.waiting.push({ ticket: input.ticket, for: 'end' });
  quit(host, machine);
};

const reboot = (host: KvmHost, input: Input<'reboot'>): void => {
  const machine = addressed(host, input, () => refuse(host, input.ticket, unknownDomain(host, input)));
  if (!machine) return;
  if (machine.phase === 'ending') {
    refuse(host, input.ticket, unknownDomain(host, input));
    return;
  }
  if (input.mode === 'clean' && machine.phase !== 'shutdown') {
    endCleanly(host, machine, input);
    return;
  }
  machine.waiting.push({ ticket: input.ticket, for: 'reboot' });
  // One that is not up yet is about to boot anyway, and one that is being suspended is about to end.
  if (machine.phase === 'starting' || (machine.phase === 'saving' && endsSaved(machine))) {
    machine.paused = false;
    return;
  }
  if (machine.phase === 'saving') giveUpSave(host, machine);
  reset(host, machine);
};

const setPaused = (host: KvmHost, input: Input<'pause'> | Input<'unpause'>): void => {
  const machine = living(host, input);
  if (!machine) return;
  const paused = input.do === 'pause';
  if (machine.phase !== 'up') machine.paused = paused;
  else if (paused && !machine.paused) holdStill(host, machine);
  else if (!paused && machine.paused) letRun(host, machine);
  answer(host, input.ticket, runningAnswer(host, machine));
};

const destroy = (host: KvmHost, input: Input<'destroy'>): void => {
  const machine = host.state.machines[input.uid];
  // A run that is not come yet must not come later either.
  if (machine?.incarnation !== input.incarnation) rememberEnded(host, input.uid, input.incarnation);
  // An older run that is still here is one that the platform believes gone: it ends with the younger.
  if (machine && machine.incarnation <= input.incarnation) {
    machine.waiting.push({ ticket: input.ticket, for: 'end' });
    quit(host, machine);
  } else answer(host, input.ticket, {});
};

const changeRefusal = (
  host: KvmHost,
  before: DomainSettings,
  next: DomainSettings,
): { readonly rejection: Rejection } | null => {
  const no = (why: string): { readonly rejection: Rejection } => unsupported(host, next.name, why);
  if (next.vcpus > next.maxVcpus) return no(`it was started for ${next.maxVcpus} vCPUs, ${next.vcpus} were asked for`);
  if (next.weight < 1 || next.weight > MAX_WEIGHT) return no(`a weight is 1 to ${MAX_WEIGHT}, not ${next.weight}`);
  if (next.cap < 0) return no(`a cap is not negative, ${next.cap} was asked for`);
  if (affinityOf(host, next.pin) === null) return no(`it has none of the CPUs ${next.pin}`);
  if (next.dynamicMaxBytes > next.staticMaxBytes || next.dynamicMinBytes > next.dynamicMaxBytes)
    return no(`${next.dynamicMinBytes} to ${next.dynamicMaxBytes} bytes do not lie below ${next.staticMaxBytes}`);
  const more = next.dynamicMaxBytes - before.dynamicMaxBytes;
  return more > freeBytes(host) ? outOfMemory(host, next.name, more) : null;
};

/** `virsh setvcpus`, `schedinfo`, `vcpupin` and `setmem` on a machine that lives. */
const change = (host: KvmHost, input: Input<'change'>): void => {
  const machine = living(host, input);
  if (!machine) return;
  const next = { ...machine.settings, ...input.change };
  const refusal = changeRefusal(host, machine.settings, next);
  if (refusal) {
    refuse(host, input.ticket, refusal);
    return;
  }
  machine.settings = next;
  answer(host, input.ticket, runningAnswer(host, machine));
};

const deviceFailed = (host: KvmHost, machine: KvmMachine, name: string, why: string) =>
  reject('host_device_failed', `${name} of ${machine.settings.name} on ${host.state.name}: ${why}`, {
    details: { device: name },
  });

const save = (host: KvmHost, input: Input<'suspend'> | Input<'checkpoint'>): void => {
  const machine = living(host, input);
  if (machine) beginSave(host, machine, input);
};

/** `device_add`: the device is there at once, whether the guest looks or not. */
const attach = (host: KvmHost, { device, ticket, ...on }: Input<'attach'>): void => {
  const machine = living(host, { ticket, ...on });
  if (!machine) return;
  const named = { kind: device.kind, name: device.settings.name };
  const { disks, nics } = machine.settings;
  if (hasDevice(machine.settings, named)) answer(host, ticket, {});
  else if (disks.length + nics.length >= ROOT_PORTS)
    refuse(host, ticket, deviceFailed(host, machine, named.name, 'no more available PCI slots'));
  else {
    machine.settings = withDevice(machine.settings, device);
    answer(host, ticket, {});
  }
};

/** `device_del` asks the guest by ACPI, which lets go when it runs. */
const detach = (host: KvmHost, input: Input<'detach'>): void => {
  const machine = living(host, input);
  if (!machine) return;
  const { ticket, kind, name, uid } = input;
  if (!hasDevice(machine.settings, { kind, name })) {
    answer(host, ticket, {});
    return;
  }
  if (machine.phase === 'starting') {
    machine.settings = withoutDevice(machine.settings, { kind, name });
    answer(host, ticket, {});
    return;
  }
  machine.waiting.push({ ticket, for: 'unplug', kind, name });
  planIn(host, UNPLUG_WAIT_MS, { do: 'giveUp', uid, ticket, timeoutMs: UNPLUG_WAIT_MS });
  listen(host, machine);
};

/** Somebody has waited long enough for a guest to obey. */
export const giveUp = (host: KvmHost, uid: Uuid, ticket: string, timeoutMs: number): void => {
  const machine = host.state.machines[uid];
  const [waiting] = machine ? waitingFor(machine, (each) => each.ticket === ticket) : [];
  if (!machine || !waiting) return;
  if (waiting.for === 'unplug') {
    refuse(host, ticket, deviceFailed(host, machine, waiting.name, 'its guest does not let go'));
    return;
  }
  const why = machine.paused ? 'it is paused and cannot run' : 'it did not stop';
  const message = `the guest of ${machine.settings.name} was asked to stop and given ${timeoutMs} ms, but ${why}; use a hard shutdown to end it`;
  refuse(host, ticket, reject('guest_ignored_shutdown', message));
};

const COMMANDS: { readonly [Do in HostInput['do']]?: (host: KvmHost, input: Input<Do>) => void } = {
  start,
  shutdown,
  reboot,
  pause: setPaused,
  unpause: setPaused,
  destroy,
  change,
  attach,
  detach,
  suspend: save,
  checkpoint: save,
  resume: start,
};

/** Applies a command to one of the host's machines. What KVM hosts do not do is refused. */
export const applyCommand = (host: KvmHost, input: HostInput & { readonly ticket: string }): void => {
  // The entry of an input takes that input.
  const command = COMMANDS[input.do] as ((host: KvmHost, input: HostInput) => void) | undefined;
  if (command) command(host, input);
  else {
    const message = `${host.state.name} runs KVM, and emulated KVM hosts do not ${input.do} machines`;
    refuse(host, input.ticket, reject('host_domain_unsupported', message));
  }
};

/** The guest ends by itself. */
export const guestEnds = (host: KvmHost, { uid, reason }: Input<'guestEnds'>): void => {
  const machine = host.state.machines[uid];
  if (machine?.phase === 'up' && !machine.paused) stopped(host, machine, reason);
};
