import { present } from '@xenolith/kernel';
import { LOAD_ONE, updateQueueLoad, updateVcpuLoad } from './credit2-load.js';
import type { Credit2Core, Credit2Parameters, RunQueue } from './credit2-state.js';
import { cycle } from './pcpu-mask.js';
import type { Neighbours } from './pcpu-mask.js';
import type { PcpuPlace } from './simulation.js';

type Match = (one: PcpuPlace, other: PcpuPlace) => boolean;

const MATCHES: Readonly<Record<Credit2Parameters['arrangement'], Match>> = {
  cpu: () => false,
  core: (one, other) => one.socket === other.socket && one.core === other.core,
  socket: (one, other) => one.socket === other.socket,
  node: (one, other) => one.node === other.node,
  all: () => true,
};

/**
 * `cpu_add_to_runqueue`, for all pCPUs in order: which pCPUs share a run-queue. No queue gets more than `maxPcpusPerQueue`, all about as many, and
 * the threads of a core stay together. Returns the pCPUs of each queue.
 */
export const arrangeQueues = (
  places: readonly PcpuPlace[],
  neighbours: Neighbours,
  parameters: Credit2Parameters,
): number[][] => {
  const queues: number[][] = [];
  const atLeast = Math.floor((places.length - 1) / parameters.maxPcpusPerQueue) + 1;
  const atMost = Math.floor(places.length / atLeast);
  const matches = MATCHES[parameters.arrangement];
  const siblingsOf = (pcpu: number): readonly number[] => present(neighbours.siblings[pcpu], 'the pCPU exists');
  const hasRoom = (queue: readonly number[], pcpu: number): boolean => {
    if (queue.length >= atMost) return false;
    if (parameters.arrangement === 'all') return true;
    const taken = new Set(queue.flatMap((member) => siblingsOf(member)));
    return taken.size + siblingsOf(pcpu).length <= atMost;
  };
  places.forEach((place, pcpu) => {
    const fitting = queues.filter((queue) => matches(present(places[queue[0] ?? 0], 'the pCPU exists'), place));
    const withSibling = fitting.find((queue) => siblingsOf(pcpu).some((sibling) => queue.includes(sibling)));
    const withRoom = fitting.filter((queue) => hasRoom(queue, pcpu));
    const emptiest = withRoom.reduce<number[] | undefined>(
      (best, queue) => (best === undefined || queue.length < best.length ? queue : best),
      undefined,
    );
    const chosen = withSibling ?? emptiest;
    if (chosen === undefined) queues.push([pcpu]);
    else chosen.push(pcpu);
  });
  return queues;
};

export const assignTo = (core: Credit2Core, vcpu: number, queueIndex: number): void => {
  const state = core.vcpu(vcpu);
  const queue = core.queue(queueIndex);
  state.queue = queueIndex;
  queue.members.push(vcpu);
  queue.maxWeight = Math.max(queue.maxWeight, state.weight);
  queue.balanceLoad += state.averageLoad;
};

const deassign = (core: Credit2Core, vcpu: number): void => {
  const state = core.vcpu(vcpu);
  const queue = core.queueOf(vcpu);
  queue.members.splice(queue.members.indexOf(vcpu), 1);
  if (state.weight === queue.maxWeight)
    queue.maxWeight = queue.members.reduce((most, member) => Math.max(most, core.vcpu(member).weight), 1);
  queue.balanceLoad = Math.max(queue.balanceLoad - state.averageLoad, 0);
};

const pcpuIn = (core: Credit2Core, queue: RunQueue, vcpu: number): number => {
  const { hard } = core.machine.affinity(vcpu);
  const allowed = new Uint8Array(core.machine.pcpuCount);
  for (const pcpu of queue.pcpus) allowed[pcpu] = hard[pcpu] ?? 0;
  return cycle(queue.pickBias, allowed);
};

const reaches = (queue: RunQueue, mask: Uint8Array): boolean => queue.pcpus.some((pcpu) => mask[pcpu] === 1);

/**
 * `csched2_res_pick`: a pCPU of the run-queue with the lowest load, among those of its soft affinity where there are any. `own` is the queue that it is in,
 * -1 for none.
 */
export const pickQueue = (core: Credit2Core, vcpu: number, own: number): { queue: number; pcpu: number } => {
  const { hard, soft } = core.machine.affinity(vcpu);
  const state = core.vcpu(vcpu);
  let best = -1;
  let lowest = Infinity;
  for (const mask of [soft, hard]) {
    if (mask === null || best !== -1) continue;
    for (const [index, queue] of core.state.queues.entries()) {
      if (!reaches(queue, mask)) continue;
      const load = index === own ? Math.max(queue.balanceLoad - state.averageLoad, 0) : queue.balanceLoad;
      if (load >= lowest) continue;
      lowest = load;
      best = index;
    }
  }
  const queue = core.queue(best);
  const mask = soft !== null && reaches(queue, soft) ? soft : hard;
  const allowed = new Uint8Array(core.machine.pcpuCount);
  for (const pcpu of queue.pcpus) allowed[pcpu] = mask[pcpu] ?? 0;
  queue.pickBias = cycle(queue.pickBias, allowed);
  return { queue: best, pcpu: queue.pickBias };
};

/** What a move between queues needs of the scheduler. */
type Enter = (vcpu: number) => void;

/** `migrate`: moves a vCPU to another run-queue; one that runs is told to leave its pCPU first. */
export const migrate = (core: Credit2Core, vcpu: number, target: number, enter: Enter): void => {
  const state = core.vcpu(vcpu);
  if (state.scheduled) {
    state.leavingTo = target;
    core.call(core.machine.vcpu(vcpu).pcpu);
    return;
  }
  const waited = core.remove(vcpu);
  if (waited) updateQueueLoad(core, core.queueOf(vcpu), -1);
  deassign(core, vcpu);
  const queue = core.queue(target);
  const pcpu = pcpuIn(core, queue, vcpu);
  core.machine.vcpu(vcpu).pcpu = pcpu;
  queue.pickBias = pcpu;
  assignTo(core, vcpu, target);
  if (!waited) return;
  updateQueueLoad(core, queue, 1);
  enter(vcpu);
};

interface Swap {
  delta: number;
  push: number;
  pull: number;
}

/** `consider` over all pairs: what to push, to pull or to swap so that the two queues differ least. -1: nobody. */
const bestSwap = (core: Credit2Core, here: RunQueue, there: RunQueue, delta: number): Swap => {
  const best: Swap = { delta, push: -1, pull: -1 };
  const mayGo = (vcpu: number, queue: RunQueue): boolean =>
    core.vcpu(vcpu).leavingTo === -1 && reaches(queue, core.machine.affinity(vcpu).hard);
  const pushes = here.members.filter((vcpu) => mayGo(vcpu, there));
  const pulls = there.members.filter((vcpu) => mayGo(vcpu, here));
  for (const vcpu of [...here.members, ...there.members]) {
    const { mode, parked } = core.machine.vcpu(vcpu);
    updateVcpuLoad(core, vcpu, mode !== 'blocked' && !parked);
  }
  const loadOf = (vcpu: number): number => (vcpu === -1 ? 0 : core.vcpu(vcpu).averageLoad);
  const gap = here.balanceLoad - there.balanceLoad;
  for (const push of [...pushes, -1]) {
    for (const pull of push === -1 ? pulls : [...pulls, -1]) {
      const after = Math.abs(gap - 2 * (loadOf(push) - loadOf(pull)));
      if (after >= best.delta) continue;
      best.delta = after;
      best.push = push;
      best.pull = pull;
    }
  }
  return best;
};

/** `balance_load`: evens out the load between this queue and the one that differs most from it. */
export const balanceLoad = (core: Credit2Core, here: number, enter: Enter): void => {
  const { queues, parameters } = core.state;
  const queue = core.queue(here);
  updateQueueLoad(core, queue, 0);
  let furthest = -1;
  let delta = 0;
  for (const [index, other] of queues.entries()) {
    if (index === here) continue;
    updateQueueLoad(core, other, 0);
    const difference = Math.abs(queue.balanceLoad - other.balanceLoad);
    if (difference <= delta) continue;
    delta = difference;
    furthest = index;
  }
  if (furthest === -1) return;
  const other = core.queue(furthest);
  const hasRoom =
    Math.max(queue.balanceLoad, other.balanceLoad) < Math.max(queue.pcpus.length, other.pcpus.length) * LOAD_ONE;
  if (delta < LOAD_ONE * 2 ** (hasRoom ? parameters.balanceUnder : parameters.balanceOver)) return;
  const { push, pull } = bestSwap(core, queue, other, delta);
  if (push !== -1) migrate(core, push, furthest, enter);
  if (pull !== -1) migrate(core, pull, here, enter);
};
