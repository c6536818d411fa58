import { reject, type Rejection, type Uuid } from '@xenolith/kernel';
import { releaseDevices } from '../devices/index.js';
import type { DomainSettings, HostInput } from '../host-model.js';
import { jittered } from '../host-timing.js';
import { answer, refuse, rememberEnded } from '../host/answers.js';
import { addressed, outOfMemory, type OnRun } from '../host/runs.js';
import type { HostCommand } from '../host/course.js';
import { refusedWithout } from '../host/daemon-deaths.js';
import { applyMigration, type MigrationInput } from '../host/migration.js';
import { isArriving, leavingSession } from '../host/migration-session.js';
import { admissionRefused, freeBytes, living, newProcess, unknownDomain, unsupported } from './kvm-admission.js';
import { affinityOf } from './kvm-cpu.js';
import { attach as attachDevice, detach as detachDevice, deviceFailed, deviceFault } from './kvm-devices.js';
import { lostDaemons, mayLoseProcess } from './kvm-deaths.js';
import { forUp, goOn, holdStill, letRun, listen, quit, reset, stopped } from './kvm-guest.js';
import { kvmMigrations } from './kvm-migrations.js';
import { give as giveDevice, giveDevices, take as takeDevice } from './kvm-passing.js';
import { beginSave, endsSaved, giveUpSave, guestIn, imageMs } from './kvm-save.js';
import { isOver, planIn, runningAnswer, waitingFor, type KvmHost, type KvmMachine } from './kvm-state.js';

type Input<Do extends HostInput['do']> = Extract<HostInput, { do: Do }>;

/** cgroup-v2.rst: cpu.weight is 1 to 10000, and libvirt takes what Xen takes where the platform scales it. */
const MAX_WEIGHT = 65_535;

const start = (host: KvmHost, input: Input<'start'> | Input<'resume'>): void => {
  const { uid, incarnation, ticket } = input;
  const machine = host.state.machines[uid];
  if (machine?.incarnation === incarnation && !isOver(machine) && !isArriving(host.state, machine)) {
    const isUp = machine.phase === 'up' && (machine.paused || machine.guest.phase === 'up');
    if (isUp) answer(host, ticket, runningAnswer(host, machine));
    else machine.waiting.push({ ticket, for: 'start' });
    return;
  }
  const unreadable = imageRefusal(host, input);
  if (unreadable) refuse(host, ticket, unreadable);
  else if (!admissionRefused(host, input)) spawn(host, input);
};

const imageRefusal = (host: KvmHost, input: Input<'start'> | Input<'resume'>) =>
  input.do === 'resume' && guestIn(input.image.content) === null
    ? unsupported(host, input.settings.name, 'its image is none of a KVM host')
    : null;

/** The process never came to be. */
const discard = ({ state }: KvmHost, { uid, pid }: KvmMachine): void => {
  Reflect.deleteProperty(state.machines, uid);
  if (state.passthrough) releaseDevices(state.passthrough, pid);
};

const spawn = (host: KvmHost, input: Input<'start'> | Input<'resume'>): void => {
  const { uid, ticket, paused } = input;
  const machine = newProcess(host, input, 'starting');
  const saved = input.do === 'resume' ? guestIn(input.image.content) : null;
  const lacking = giveDevices(host, machine);
  if (lacking) {
    discard(host, machine);
    refuse(host, ticket, lacking);
    return;
  }
  if (saved) machine.guest = saved.guest;
  machine.paused = paused;
  machine.waiting.push({ ticket, for: 'start' });
  // Memory is not filled before the guest touches it, so that its size takes no time.
  const reading = input.do === 'resume' ? imageMs(host, input.image.sizeBytes) : 0;
  const { pid } = machine;
  const ms = reading + jittered(host.timing.createMs, host.state.seed, `${uid}/${pid}/spawn`);
  planIn(host, ms, { do: 'started', uid, pid });
};

/** QEMU's monitor answers, and its devices are there with it. */
export const started = (host: KvmHost, machine: KvmMachine): void => {
  if (machine.phase !== 'starting') return;
  for (const { name } of machine.devices) {
    const failure = deviceFault(host, machine, name);
    if (failure === null) continue;
    const refusal = deviceFailed(host, machine, name, failure);
    for (const { ticket } of waitingFor(machine, forUp)) refuse(host, ticket, refusal);
    quit(host, machine);
    return;
  }
  goOn(host, machine);
  mayLoseProcess(host, machine);
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
  if (machine.phase === 'finishing') {
    const message = `${machine.settings.name} can't be rebooted on ${host.state.name}: its migration has come so far that another host may run it already`;
    refuse(host, input.ticket, reject('migration_switched', message));
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
  const room = { neededBytes: more, freeBytes: freeBytes(host) };
  return room.neededBytes > room.freeBytes ? outOfMemory(host.state.name, next.name, room) : null;
};

/** The machine, if it lives and stays: libvirt lets nobody change a domain while it migrates it (qemu_domainjob.c, `VIR_JOB_MODIFY`). */
const staying = (host: KvmHost, input: OnRun): KvmMachine | null => {
  const machine = living(host, input);
  if (machine === null || leavingSession(host.state, machine.uid) === null) return machine;
  const { name } = machine.settings;
  const message = `${name} can't be changed on ${host.state.name}: it is being migrated`;
  refuse(host, input.ticket, reject('host_domain_unsupported', message));
  return null;
};

/** `virsh setvcpus`, `schedinfo`, `vcpupin` and `setmem` on a machine that lives. */
const change = (host: KvmHost, input: Input<'change'>): void => {
  const machine = staying(host, input);
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

const save = (host: KvmHost, input: Input<'suspend'> | Input<'checkpoint'>): void => {
  const machine = staying(host, input);
  if (machine) beginSave(host, machine, input);
};

const attach = (host: KvmHost, input: Input<'attach'>): void => {
  const machine = staying(host, input);
  if (machine) attachDevice(host, machine, input);
};

const detach = (host: KvmHost, input: Input<'detach'>): void => {
  const machine = staying(host, input);
  if (machine && detachDevice(host, machine, input)) listen(host, machine);
};

const give = (host: KvmHost, input: Input<'give'>): void => {
  const machine = staying(host, input);
  if (machine) giveDevice(host, machine, input);
};

const take = (host: KvmHost, input: Input<'take'>): void => {
  const machine = staying(host, input);
  if (machine) takeDevice(host, machine, input);
};

/** Somebody has waited long enough for a guest to obey. */
export const giveUp = (host: KvmHost, uid: Uuid, ticket: string, timeoutMs: number): void => {
  const machine = host.state.machines[uid];
  const [waiting] = machine ? waitingFor(machine, (each) => each.ticket === ticket) : [];
  if (!machine || !waiting) return;
  if (waiting.for === 'plug' || waiting.for === 'unplug' || waiting.for === 'take') {
    const reason = waiting.for === 'plug' ? 'QEMU does not answer' : 'its guest does not let go';
    refuse(host, ticket, deviceFailed(host, machine, waiting.name, reason));
    return;
  }
  const why = machine.paused ? 'it is paused and cannot run' : 'it did not stop';
  const message = `the guest of ${machine.settings.name} was asked to stop and given ${timeoutMs} ms, but ${why}; use a hard shutdown to end it`;
  refuse(host, ticket, reject('guest_ignored_shutdown', message));
};

const migration = (host: KvmHost, input: MigrationInput): void => applyMigration(kvmMigrations(host), input);

/** The guest ends by itself. */
const guestEnds = (host: KvmHost, { uid, reason }: Input<'guestEnds'>): void => {
  const machine = host.state.machines[uid];
  if (machine?.phase === 'up' && !machine.paused) stopped(host, machine, reason);
};

const COMMANDS: {
  readonly [Do in HostCommand['do']]: (host: KvmHost, input: Input<Do>) => void;
} = {
  start,
  shutdown,
  reboot,
  pause: setPaused,
  unpause: setPaused,
  destroy,
  change,
  attach,
  detach,
  give,
  take,
  suspend: save,
  checkpoint: save,
  resume: start,
  receive: migration,
  migrate: migration,
  cancelMigration: migration,
  settleMigration: migration,
  peer: migration,
  peerRefused: migration,
  guestEnds,
};

/** Applies a command to one of the host's machines. */
export const applyCommand = (host: KvmHost, input: HostCommand): void => {
  if (refusedWithout(host, lostDaemons(host.state), input)) return;
  // The entry of an input takes that input.
  const command = COMMANDS[input.do] as (host: KvmHost, input: HostInput) => void;
  command(host, input);
};
