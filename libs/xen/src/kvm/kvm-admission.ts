import { qemuOverheadBytes, randomFrom, reject, type Rejection } from '@xenolith/kernel';
import type { DomainSettings } from '../host-model.js';
import { refuse } from '../host/answers.js';
import { addressed, otherRunRefuses, outOfMemory, type OnRun } from '../host/runs.js';
import { promisableBytes } from '../memory-sharing.js';
import { affinityOf } from './kvm-cpu.js';
import { devicesOf } from './kvm-devices.js';
import { kvmAllocatableBytes } from './kvm-profile.js';
import { isOver, profileOf, type KvmHost, type KvmMachine } from './kvm-state.js';

/** /proc/sys/kernel/pid_max as systemd sets it on 64-bit machines; below 300 are the kernel's own after a wrap (kernel/pid.c, RESERVED_PIDS). */
const PID_MAX = 4_194_304;
const RESERVED_PIDS = 300;
/** Assumption: processes that others start between two of ours. */
const PIDS_BETWEEN = 40;

export const unknownDomain = ({ state }: KvmHost, { uid }: OnRun): { readonly rejection: Rejection } =>
  reject('host_unknown_domain', `${state.name} runs no process of machine ${uid}`);

export const living = (host: KvmHost, input: OnRun): KvmMachine | null => {
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
    promisableBytes(kvmAllocatableBytes(profileOf(host)), host.state.memorySharing),
  );

export const unsupported = ({ state }: KvmHost, name: string, why: string): { readonly rejection: Rejection } =>
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
  const room = { neededBytes: neededBytes(settings), freeBytes: freeBytes(host) };
  return room.neededBytes > room.freeBytes ? outOfMemory(host.state.name, name, room) : null;
};

/** A new run needs that no other one is here or was, and room; the command is refused where it has not. */
export const admissionRefused = (host: KvmHost, input: OnRun & { readonly settings: DomainSettings }): boolean => {
  if (otherRunRefuses(host, input, ({ pid }) => `process ${pid}`)) return true;
  const refusal = refusalOf(host, input.settings);
  if (refusal) refuse(host, input.ticket, refusal);
  return refusal !== null;
};

const nextPid = ({ state }: KvmHost): number => {
  const gap = 1 + randomFrom(`${state.seed}/${state.name}/${state.boots}/pid/${state.lastPid}`).below(PIDS_BETWEEN);
  const pid = state.lastPid + gap;
  state.lastPid = pid >= PID_MAX ? RESERVED_PIDS : pid;
  return state.lastPid;
};

/** A process for the run, with its memory; its guest was never let run. */
export const newProcess = (
  host: KvmHost,
  { uid, incarnation, settings }: OnRun & { readonly settings: DomainSettings },
  phase: 'starting' | 'arriving',
): KvmMachine => {
  host.state.lastNumber += 1;
  const machine: KvmMachine = {
    uid,
    incarnation,
    pid: nextPid(host),
    number: host.state.lastNumber,
    startedUs: host.state.nowUs,
    phase,
    paused: false,
    asked: null,
    settings,
    devices: devicesOf(host, settings),
    guest: { phase: 'off', next: null, stopping: null },
    savedUs: null,
    image: null,
    waiting: [],
    cpu: { usedNs: 0, share: 0, steal: 0, stolenNs: 0 },
  };
  host.state.machines[uid] = machine;
  return machine;
};
