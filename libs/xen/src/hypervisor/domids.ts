import { done, fail, type Outcome } from '../outcome.js';
import { forgetOldDomids } from './lifecycle.js';
import { DOMID_FIRST_RESERVED } from './limits.js';
import type { HypervisorState } from './state.js';

/**
 * The id of a new domain. Xen takes the first free one after the last that it gave, and begins at 1 again behind the last ordinary id
 * (xen/common/domid.c); libxl gives back those that were destroyed in the last 60 s, and asks again (tools/libs/light/libxl_create.c). EEXIST: `wanted` is
 * not free, or none is.
 */
export const takeDomid = (state: HypervisorState, wanted: number | undefined, nowUs: number): Outcome<number> => {
  forgetOldDomids(state, nowUs);
  const recent = new Set(state.recentDomids.map(({ domid }) => domid));
  const isFree = (domid: number): boolean => state.domains[domid] === undefined && !recent.has(domid);
  if (wanted !== undefined) {
    const ordinary = Number.isInteger(wanted) && wanted > 0 && wanted < DOMID_FIRST_RESERVED;
    return ordinary && isFree(wanted) ? done(wanted) : fail('EEXIST');
  }
  const ids = DOMID_FIRST_RESERVED - 1;
  for (let step = 0; step < ids; step += 1) {
    const domid = ((state.lastDomid + step) % ids) + 1;
    if (!isFree(domid)) continue;
    state.lastDomid = domid;
    return done(domid);
  }
  return fail('EEXIST');
};
