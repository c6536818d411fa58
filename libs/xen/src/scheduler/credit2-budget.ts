import { assert } from '@xenolith/kernel';
import { updateLoad } from './credit2-load.js';
import { MIN_TIMER_NS } from './credit2-state.js';
import type { Credit2Core, DomainBudget } from './credit2-state.js';
import type { ScheduledDomain } from './simulation.js';

/** `csched2_dom_cntl`: the whole budget at once, in portions for each vCPU. Null: no cap. */
export const newBudget = (domain: ScheduledDomain, periodNs: number): DomainBudget | null => {
  if (domain.cap === 0) return null;
  const totalNs = Math.floor((periodNs * domain.cap) / 100);
  const quotaNs = Math.max(Math.floor(totalNs / domain.vcpus.length), MIN_TIMER_NS);
  return { poolNs: totalNs, totalNs, quotaNs, parked: [] };
};

/** `unit_grab_budget`: true where the vCPU has budget now; else it is parked. For a vCPU of a capped domain. */
export const grabBudget = (core: Credit2Core, vcpu: number, budget: DomainBudget): boolean => {
  const state = core.vcpu(vcpu);
  if (state.budgetNs > 0) return true;
  // Less than nothing is left where it overran: the domain pays for it.
  budget.poolNs += state.budgetNs;
  state.budgetNs = 0;
  if (budget.poolNs > 0) {
    state.budgetNs = Math.min(budget.poolNs, budget.quotaNs);
    budget.poolNs -= state.budgetNs;
    return true;
  }
  core.machine.setParked(vcpu, true);
  if (core.remove(vcpu)) updateLoad(core, vcpu, -1);
  budget.parked.unshift(vcpu);
  return false;
};

/** `unit_return_budget`: gives back what a stopped vCPU did not use. Returns who was parked and may try again. */
export const returnBudget = (core: Credit2Core, vcpu: number): readonly number[] => {
  const budget = core.budgetOf(vcpu);
  const state = core.vcpu(vcpu);
  if (budget === null || state.budgetNs <= 0) return [];
  budget.poolNs += state.budgetNs;
  state.budgetNs = 0;
  return takeParked(budget);
};

const takeParked = (budget: DomainBudget): readonly number[] => {
  const { parked } = budget;
  if (budget.poolNs > 0 && parked.length > 0) budget.parked = [];
  return budget.poolNs > 0 ? parked : [];
};

/**
 * `replenish_domain_budget`, at the end of a period. What running vCPUs still hold counts for the new period, so that a domain never runs for
 * more than its budget in any of its periods (Xen lets them keep it on top). Returns who was parked and may try again.
 */
export const replenish = (core: Credit2Core, budget: DomainBudget, vcpus: readonly number[]): readonly number[] => {
  let heldNs = 0;
  for (const vcpu of vcpus) {
    if (core.machine.vcpu(vcpu).mode === 'running') core.burn(vcpu);
    heldNs += core.vcpu(vcpu).budgetNs;
  }
  budget.poolNs = Math.min(budget.poolNs + budget.totalNs, budget.totalNs - heldNs);
  assert(budget.poolNs <= budget.totalNs || heldNs < 0, 'a budget is never more than one period has');
  return takeParked(budget);
};
