import { CREDIT_INIT, TICKLE_TOLERANCE_NS } from './credit2-state.js';
import type { Credit2Core } from './credit2-state.js';
import { IDLE } from './machine.js';
import { cycle } from './pcpu-mask.js';
import type { PcpuMask } from './pcpu-mask.js';

const prefers = (core: Credit2Core, vcpu: number, pcpu: number): boolean => {
  const { soft } = core.machine.affinity(vcpu);
  return soft === null || soft[pcpu] === 1;
};

/** `tickle_score`: how much a vCPU deserves the pCPU more than who runs there; not above 0: it does not. */
const scoreOf = (core: Credit2Core, vcpu: number, pcpu: number): number => {
  const { machine } = core;
  const { rateLimitNs, migrateResistNs } = core.state.parameters;
  const current = machine.current(pcpu);
  if (current === IDLE) return -1;
  const ranNs = core.nowNs - machine.vcpu(current).sinceNs;
  if (rateLimitNs > TICKLE_TOLERANCE_NS && ranNs <= rateLimitNs - TICKLE_TOLERANCE_NS) return -1;
  core.burn(current);
  let score = core.vcpu(vcpu).credit - core.vcpu(current).credit;
  if (machine.vcpu(vcpu).pcpu !== pcpu) score -= migrateResistNs;
  if (score <= 0) return score;
  if (prefers(core, vcpu, pcpu)) score += CREDIT_INIT;
  if (!prefers(core, current, pcpu)) score += CREDIT_INIT;
  return score;
};

const isFree = (core: Credit2Core, pcpu: number): boolean => {
  const place = core.pcpu(pcpu);
  return place.idle && !place.tickled;
};

/** An idle pCPU of the queue within `mask`, on a core that idles altogether where there is one; -1: none. */
const idlePcpu = (core: Credit2Core, vcpu: number, mask: PcpuMask): number => {
  const home = core.machine.vcpu(vcpu).pcpu;
  const queueIndex = core.vcpu(vcpu).queue;
  const free = new Uint8Array(mask.length);
  const alone = new Uint8Array(mask.length);
  for (const pcpu of core.queue(queueIndex).pcpus) {
    if (mask[pcpu] !== 1 || !isFree(core, pcpu)) continue;
    free[pcpu] = 1;
    const siblings = core.machine.neighbours.siblings[pcpu] ?? [];
    if (siblings.every((sibling) => core.pcpu(sibling).queue === queueIndex && isFree(core, sibling))) alone[pcpu] = 1;
  }
  for (const candidates of [alone, free]) {
    const chosen = candidates[home] === 1 ? home : cycle(home, candidates);
    if (chosen !== -1) return chosen;
  }
  return -1;
};

/** The busy pCPU of the queue that the vCPU deserves most; -1: none. */
const weakestPcpu = (core: Credit2Core, vcpu: number): number => {
  const home = core.machine.vcpu(vcpu).pcpu;
  let best = 0;
  let chosen = -1;
  const consider = (pcpu: number): void => {
    const place = core.pcpu(pcpu);
    if (place.idle || place.tickled || !core.machine.mayRun(vcpu, pcpu)) return;
    const score = scoreOf(core, vcpu, pcpu);
    if (score <= best) return;
    best = score;
    chosen = pcpu;
  };
  consider(home);
  if (chosen !== -1 && prefers(core, vcpu, home)) return chosen;
  for (const pcpu of core.queueOf(vcpu).pcpus) if (pcpu !== home) consider(pcpu);
  return chosen;
};

/** `runq_tickle`: makes a pCPU choose that should take a vCPU which was put into its queue. */
export const tickle = (core: Credit2Core, vcpu: number): void => {
  const { soft, hard } = core.machine.affinity(vcpu);
  let chosen = soft === null ? -1 : idlePcpu(core, vcpu, soft);
  if (chosen === -1) chosen = idlePcpu(core, vcpu, hard);
  if (chosen === -1) chosen = weakestPcpu(core, vcpu);
  if (chosen === -1) return;
  core.call(chosen);
  core.vcpu(vcpu).tickled = chosen;
};
