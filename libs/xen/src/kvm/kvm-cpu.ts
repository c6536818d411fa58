import { cpusOf, parseCpuSet, type CpuNumbers, type CpuSet } from '../hypervisor/index.js';
import { cpuShares, type DemandingDomain } from '../scheduler/index.js';
import { numaNodesOf } from '../hardware-profile.js';
import { workloadOf } from '../host/device-work.js';
import { profileOf, runs, threadsOfHost, type KvmHost, type KvmMachine } from './kvm-state.js';

const NS_PER_US = 1_000;
const US_PER_SECOND = 1_000_000;
const NS_PER_SECOND = 1_000 * US_PER_SECOND;
/** A guest that boots keeps a CPU busy. */
const BOOTING_DEMAND = 1;
const PERMILLE = 1000;

/** Numbers of the host's threads, as lists of CPUs speak of them. */
export const cpuNumbers = (host: KvmHost): CpuNumbers => {
  const nodes = numaNodesOf(profileOf(host));
  return {
    cpuCount: threadsOfHost(host),
    cpusOfNode: (node) => {
      const threads = nodes[node]?.threads;
      return threads === undefined ? null : [[threads[0] ?? 0, threads.at(-1) ?? 0]];
    },
  };
};

/** Threads that a pin names; null: the text is no list of CPUs. An empty one leaves all. */
export const affinityOf = (host: KvmHost, pin: string): CpuSet | null => {
  const set = parseCpuSet(pin === '' ? 'all' : pin, cpuNumbers(host));
  return set.ok && set.value.length > 0 ? set.value : null;
};

const demandOf = (host: KvmHost, machine: KvmMachine, vcpu: number): number => {
  if (!runs(machine)) return 0;
  switch (machine.guest.phase) {
    case 'off':
    case 'ended':
      return 0;
    case 'booting':
      return vcpu === 0 ? BOOTING_DEMAND : 0;
    case 'up':
      return workloadOf(host.state, machine).cpuPermille / PERMILLE;
  }
};

/** Weight and cap are cpu.weight and cpu.max of the process's control group, which share as Xen's do: by weight, work-conserving, capped. */
const demandsOf = (host: KvmHost, machine: KvmMachine): DemandingDomain => {
  const { weight, cap, pin, vcpus } = machine.settings;
  const pinned = pin === '' ? null : affinityOf(host, pin);
  return {
    weight,
    cap,
    vcpus: Array.from({ length: vcpus }, (_, vcpu) => ({
      demand: demandOf(host, machine, vcpu),
      ...(pinned && { hardAffinity: cpusOf(pinned) }),
    })),
  };
};

/** Books the CPU time up to now and works out anew what each process gets: called after whatever changes that. */
export const settleCpu = (host: KvmHost): void => {
  const { state } = host;
  const machines = Object.values(state.machines);
  const passedNs = (state.nowUs - state.cpuSinceUs) * NS_PER_US;
  const shares = cpuShares(
    threadsOfHost(host),
    machines.map((machine) => demandsOf(host, machine)),
  );
  for (const [index, machine] of machines.entries()) {
    const { cpu } = machine;
    const now = shares[index] ?? [];
    machine.cpu = {
      usedNs: cpu.usedNs + Math.round(cpu.share * passedNs),
      stolenNs: cpu.stolenNs + Math.round(cpu.steal * passedNs),
      share: now.reduce((sum, { share }) => sum + share, 0),
      steal: now.reduce((sum, { steal }) => sum + steal, 0),
    };
  }
  state.cpuSinceUs = state.nowUs;
};

const thousandths = (value: number): number => Math.round(1000 * value) / 1000;

/** What a process uses and has used; asking changes nothing. */
export const cpuFigures = (host: KvmHost, { cpu }: KvmMachine, nowUs: number) => {
  const passedNs = (nowUs - host.state.cpuSinceUs) * NS_PER_US;
  return {
    cpu: thousandths(cpu.share),
    steal: thousandths(cpu.steal),
    cpuSeconds: thousandths((cpu.usedNs + cpu.share * passedNs) / NS_PER_SECOND),
    stealSeconds: thousandths((cpu.stolenNs + cpu.steal * passedNs) / NS_PER_SECOND),
  };
};
