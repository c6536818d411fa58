import { reject, type Rejection } from '@xenolith/kernel';
import type { DomainSettings, HostInput } from '../host-model.js';
import { allCpus, intersects, PAGE_BYTES, parseCpuSet, type CpuSet } from '../hypervisor/index.js';
import { cpuAvailabilityPath, memoryTargetPath } from '../xenstore/index.js';
import { answer, refuse } from './answers.js';
import { freeBytes, living } from './addressing.js';
import { accountCpu } from './cpu-account.js';
import { hasFrontends } from './machine-devices.js';
import type { Host, Machine } from './host-state.js';
import { transact } from './store-access.js';
import { capOf, runningAnswer } from './toolstack.js';

const KIBIBYTE = 1024;
/** public/domctl.h: weights are of 16 bits and never 0. */
const MAX_WEIGHT = 65_535;

/** Where the vCPUs may run; null: the host has none of the CPUs that the text names, or the text is not xl's. */
const affinityOf = (host: Host, pin: string): CpuSet | null => {
  const numbers = host.hypervisor.cpuNumbers();
  const set = parseCpuSet(pin === '' ? 'all' : pin, numbers);
  return set.ok && intersects(set.value, allCpus(numbers.cpuCount)) ? set.value : null;
};

const unsupported = (host: Host, machine: Machine, why: string): { readonly rejection: Rejection } =>
  reject('host_domain_unsupported', `${machine.settings.name} can't be changed so on ${host.state.name}: ${why}`);

/** Why the machine can't have these settings while it lives; null: it can. */
const refusalOf = (host: Host, machine: Machine, next: DomainSettings): { readonly rejection: Rejection } | null => {
  const { settings } = machine;
  if (next.vcpus > next.maxVcpus)
    return unsupported(host, machine, `its domain was built for ${next.maxVcpus} vCPUs, ${next.vcpus} were asked for`);
  if (next.weight < 1 || next.weight > MAX_WEIGHT)
    return unsupported(host, machine, `a weight is 1 to ${MAX_WEIGHT}, ${next.weight} was asked for`);
  if (next.cap < 0) return unsupported(host, machine, `a cap is not negative, ${next.cap} was asked for`);
  if (next.pin !== settings.pin && affinityOf(host, next.pin) === null)
    return unsupported(host, machine, `the host has none of the CPUs ${next.pin}`);
  if (next.dynamicMaxBytes > next.staticMaxBytes || next.dynamicMinBytes > next.dynamicMaxBytes) {
    const asked = `${next.dynamicMinBytes} to ${next.dynamicMaxBytes} bytes`;
    return unsupported(host, machine, `its memory lies below ${next.staticMaxBytes} bytes, ${asked} was asked for`);
  }
  const more = next.dynamicMaxBytes - settings.dynamicMaxBytes;
  if (more !== 0 && !hasFrontends(machine)) return unsupported(host, machine, 'its guest has no balloon driver');
  const free = freeBytes(host);
  if (more <= free) return null;
  const message = `${settings.name} asks for ${more} bytes more on ${host.state.name}, ${free} are free`;
  return reject('host_out_of_memory', message, { details: { neededBytes: more, freeBytes: free } });
};

/** What the toolstack changes in the hypervisor by itself (tools/libs/light/libxl_sched.c, libxl_cpupool.c). */
const schedule = (host: Host, { domid, settings }: Machine): void => {
  const { vcpus } = host.hypervisor;
  vcpus.setSchedulerParameters(domid, { weight: settings.weight, cap: capOf(settings) });
  const hard = affinityOf(host, settings.pin);
  for (let vcpu = 0; hard !== null && vcpu < settings.maxVcpus; vcpu += 1) vcpus.setAffinity(domid, vcpu, { hard });
  accountCpu(host);
};

/** What was promised to a balloon is kept for it until its guest has taken it (XENMEM_claim_pages; a domain that has as much needs no claim). */
const claim = (host: Host, { domid, settings }: Machine): void => {
  const { memory } = host.hypervisor;
  memory.claim(domid, 0, host.state.nowUs);
  memory.claim(domid, Math.floor(settings.dynamicMaxBytes / PAGE_BYTES), host.state.nowUs);
};

/** What it asks of the guest: `libxl_set_vcpuonline`, `libxl_set_memory_target`. A domain without a home gets these nodes with it. */
const askGuest = (host: Host, { domid, settings }: Machine, before: DomainSettings): void => {
  const target = memoryTargetPath(domid);
  if (!host.xenstore.read(0, target).ok) return;
  for (let vcpu = 0; before.vcpus !== settings.vcpus && vcpu < settings.maxVcpus; vcpu += 1) {
    const value = vcpu < settings.vcpus ? 'online' : 'offline';
    if (value !== (vcpu < before.vcpus ? 'online' : 'offline'))
      transact(host, 0, [{ op: 'write', path: cpuAvailabilityPath(domid, vcpu), value }]);
  }
  if (before.dynamicMaxBytes !== settings.dynamicMaxBytes)
    transact(host, 0, [{ op: 'write', path: target, value: String(settings.dynamicMaxBytes / KIBIBYTE) }]);
};

/** A guest that has not come to read its nodes finds the vCPUs as they shall be; qemu plugs them into one that has no drivers and takes none away. */
const plugCpus = (host: Host, { domid, guest, settings }: Machine, drivers: boolean): void => {
  const booting = guest.phase !== 'up' && guest.phase !== 'ended';
  for (let vcpu = 0; vcpu < settings.maxVcpus; vcpu += 1) {
    if (vcpu < settings.vcpus && (booting || !drivers)) host.hypervisor.vcpus.up(domid, vcpu);
    else if (vcpu >= settings.vcpus && booting) host.hypervisor.vcpus.down(domid, vcpu, host.state.nowUs);
  }
};

/** Changes what may change while a domain lives. It is answered when the host has accepted it: the guest follows at its own pace. */
export const change = (host: Host, input: HostInput & { do: 'change' }): void => {
  const machine = living(host, input);
  if (!machine) return;
  const before = machine.settings;
  const next: DomainSettings = { ...before, ...input.change };
  const refusal = refusalOf(host, machine, next);
  if (refusal) {
    refuse(host, input.ticket, refusal);
    return;
  }
  machine.settings = next;
  // The next domain of a machine that restarts is built as it shall be.
  if (machine.phase !== 'restarting') {
    schedule(host, machine);
    claim(host, machine);
    askGuest(host, machine, before);
    if (before.vcpus !== next.vcpus) plugCpus(host, machine, hasFrontends(machine));
  }
  answer(host, input.ticket, runningAnswer(host, machine));
};
