import { done, fail, type Outcome } from '../outcome.js';
import { WATCHDOGS_PER_DOMAIN } from './limits.js';
import { knownDomain, type HypervisorState, type WatchdogState } from './state.js';

const US_PER_S = 1_000_000;

/** Watchdog timers, which shut their domain down unless it sets them again in time; Dom0's reboot the host. They run on while the domain is paused. */
export class Watchdogs {
  constructor(private readonly state: HypervisorState) {}

  private find(domid: number, id: number): WatchdogState | undefined {
    return this.state.watchdogs.find((watchdog) => watchdog.domid === domid && watchdog.id === id);
  }

  /**
   * SCHEDOP_watchdog (xen/common/sched/core.c `domain_watchdog`). Id 0 starts the first free timer and answers its id, 1 or 2; otherwise `timeoutS` 0 ends
   * the timer, and any other time-out sets it anew. ENOSPC: both are in use. EINVAL: no such timer.
   */
  watchdog(caller: number, id: number, timeoutS: number, nowUs: number): Outcome<number> {
    const { domid } = knownDomain(this.state, caller);
    const dueUs = nowUs + timeoutS * US_PER_S;
    if (id === 0) {
      let free = 1;
      while (this.find(domid, free)) free += 1;
      if (free > WATCHDOGS_PER_DOMAIN) return fail('ENOSPC');
      this.state.watchdogs.push({ domid, id: free, dueUs });
      return done(free);
    }
    const watchdog = this.find(domid, id);
    if (!watchdog) return fail('EINVAL');
    if (timeoutS === 0) this.state.watchdogs.splice(this.state.watchdogs.indexOf(watchdog), 1);
    else watchdog.dueUs = dueUs;
    return done(0);
  }
}
