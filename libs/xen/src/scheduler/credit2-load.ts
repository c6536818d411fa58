import type { Credit2Core, RunQueue } from './credit2-state.js';

/** LOADAVG_PRECISION_SHIFT: a load of 1 is 2^18. */
export const LOAD_ONE = 2 ** 18;
/** LOADAVG_GRANULARITY_SHIFT: loads change by units of 1,024 ns. */
const LOAD_TICK_NS = 1024;
/** LOADAVG_WINDOW_SHIFT 30 in these units: history counts for about a second. */
const LOAD_WINDOW = 2 ** 20;

/** The exponentially weighted average of credit2: after a whole window without news only the present counts. */
const averaged = (average: number, load: number, elapsed: number): number => {
  if (elapsed > LOAD_WINDOW) return load * LOAD_ONE;
  return (
    average + Math.floor((elapsed * load * LOAD_ONE) / LOAD_WINDOW) - Math.floor((elapsed * average) / LOAD_WINDOW)
  );
};

/** `update_runq_load`: the load so far counts until now; `change` more from now on. */
export const updateQueueLoad = (core: Credit2Core, queue: RunQueue, change: -1 | 0 | 1): void => {
  const now = Math.floor(core.nowNs / LOAD_TICK_NS);
  const elapsed = now - queue.loadAt;
  queue.averageLoad = averaged(queue.averageLoad, queue.load, elapsed);
  queue.balanceLoad = elapsed > LOAD_WINDOW ? queue.averageLoad : averaged(queue.balanceLoad, queue.load, elapsed);
  queue.load += change;
  queue.loadAt = now;
};

/** `update_svc_load`; `wasRunnable`: what it did since the last time. */
export const updateVcpuLoad = (core: Credit2Core, vcpu: number, wasRunnable: boolean): void => {
  const state = core.vcpu(vcpu);
  const now = Math.floor(core.nowNs / LOAD_TICK_NS);
  state.averageLoad = averaged(state.averageLoad, wasRunnable ? 1 : 0, now - state.loadAt);
  state.loadAt = now;
};

/** A vCPU begins (+1) or ends (-1) to want a pCPU, or goes on (0). */
export const updateLoad = (core: Credit2Core, vcpu: number, change: -1 | 0 | 1): void => {
  updateQueueLoad(core, core.queueOf(vcpu), change);
  updateVcpuLoad(core, vcpu, change !== 1);
};
