import { cpuShares, type DemandingDomain } from '../scheduler/index.js';
import { HARDWARE_PROFILES, threadsOf } from '../hardware-profile.js';
import type { ActivityOf, DomainState } from '../hypervisor/index.js';
import { cpusOf } from '../hypervisor/index.js';
import { deviceModelCpus } from './device-model.js';
import { workloadOf } from './device-work.js';
import { followWork } from './guest-work.js';
import type { Host, Machine } from './host-state.js';
import { isStuck } from './machine-devices.js';

export { accountCpu } from './host-state.js';

const NS_PER_US = 1_000;
const US_PER_SECOND = 1_000_000;
/** What a vCPU of Dom0 or of a driver domain uses for itself. Assumption: daemons and timers of an idle Linux. */
const CONTROL_DOMAIN_DEMAND = 0.01;
/** A guest that boots keeps a CPU busy. */
const BOOTING_DEMAND = 1;
const PERMILLE = 1000;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

const demandOf = (host: Host, machine: Machine, vcpu: number): number => {
  if (isStuck(machine)) return 0;
  switch (machine.guest.phase) {
    case 'off':
    case 'ended':
      return 0;
    case 'loading':
    case 'probing':
      return vcpu === 0 ? BOOTING_DEMAND : 0;
    case 'up':
      return workloadOf(host.state, machine).cpuPermille / PERMILLE;
  }
};

/** `dom0Busy`: CPUs that Dom0 needs for its guests' devices. */
const demandsOf = (host: Host, domain: DomainState, dom0Busy: number): DemandingDomain => {
  const uid = host.state.byDomid[domain.domid];
  const machine = uid === undefined ? undefined : host.state.machines[uid];
  const halted = domain.controllerPauses > 0 || domain.shutdownCode !== null || domain.dying !== 'alive';
  const dom0Demand = Math.min(1, CONTROL_DOMAIN_DEMAND + dom0Busy / domain.vcpus.length);
  return {
    weight: domain.weight,
    cap: domain.cap,
    vcpus: domain.vcpus.map((vcpu, id) => {
      const own = machine ? demandOf(host, machine, id) : domain.domid === 0 ? dom0Demand : CONTROL_DOMAIN_DEMAND;
      const demand = halted || !vcpu.online ? 0 : own;
      return vcpu.hardAffinity === null ? { demand } : { demand, hardAffinity: cpusOf(vcpu.hardAffinity) };
    }),
  };
};

/** Books the CPU time up to now and works out anew what each vCPU gets. */
export const settleCpu = (host: Host): void => {
  const { cpu, hypervisor, nowUs, profile } = host.state;
  if (!cpu.stale) return;
  const domains = Object.values(hypervisor.domains);
  const dom0Busy = followWork(host) + deviceModelCpus(host);
  const shares = cpuShares(
    threadsOf(HARDWARE_PROFILES[profile]),
    domains.map((domain) => demandsOf(host, domain, dom0Busy)),
  );
  const passedNs = (nowUs - cpu.sinceUs) * NS_PER_US;
  const booked: typeof cpu.domains = {};
  for (const [index, domain] of domains.entries()) {
    const before = cpu.domains[domain.domid];
    const now = shares[index] ?? [];
    booked[domain.domid] = {
      usedNs: now.map((_share, id) => (before?.usedNs[id] ?? 0) + Math.round((before?.shares[id] ?? 0) * passedNs)),
      shares: now.map(({ share }) => share),
      steals: now.map(({ steal }) => steal),
      stolenNs: (before?.stolenNs ?? 0) + Math.round(sum(before?.steals ?? []) * passedNs),
    };
  }
  host.state.cpu = { sinceUs: nowUs, stale: false, domains: booked };
};

/** What the hypervisor answers of vCPUs: a vCPU that gets more than half of a CPU is shown as running. */
export const activityAt =
  (host: Host, nowUs: number): ActivityOf =>
  (domid, vcpu) => {
    const account = host.state.cpu.domains[domid];
    const share = account?.shares[vcpu] ?? 0;
    const passedNs = (nowUs - host.state.cpu.sinceUs) * NS_PER_US;
    // Who asks does so on a vCPU of Dom0.
    const running = share > 0.5 || (domid === 0 && vcpu === 0);
    return {
      running,
      blocked: !running,
      cpuTimeNs: Math.round((account?.usedNs[vcpu] ?? 0) + share * passedNs),
    };
  };

/** CPUs that a domain keeps busy. */
export const cpusUsed = (host: Host, domid: number): number =>
  (host.state.cpu.domains[domid]?.shares ?? []).reduce((sum, share) => sum + share, 0);

const thousandths = (value: number): number => Math.round(1000 * value) / 1000;

/** What a domain uses of the CPUs and waits for, in threads, and its CPU time since it began. */
export const cpuFigures = (
  host: Host,
  domid: number,
  nowUs: number,
): { readonly cpu: number; readonly steal: number; readonly cpuSeconds: number; readonly stealSeconds: number } => {
  const account = host.state.cpu.domains[domid];
  const cpu = sum(account?.shares ?? []);
  const passedUs = nowUs - host.state.cpu.sinceUs;
  const steal = sum(account?.steals ?? []);
  const stolenUs = (account?.stolenNs ?? 0) / NS_PER_US + steal * passedUs;
  const usedUs = sum(account?.usedNs ?? []) / NS_PER_US + cpu * passedUs;
  return {
    cpu: thousandths(cpu),
    steal: thousandths(steal),
    cpuSeconds: thousandths(usedUs / US_PER_SECOND),
    stealSeconds: thousandths(stolenUs / US_PER_SECOND),
  };
};
