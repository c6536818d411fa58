import type { Refused } from '../availability/failover-planner.js';
import { breachText } from '../explanation.js';
import type { Blocked } from './movement.js';
import type { PlannedMachine } from './planned-machine.js';
import type { WhatIf } from './what-if.js';

/** A machine that would move to a host, but for what the cluster promises of the loss of hosts. */
export const blockedBy = (
  whatIf: WhatIf,
  { machine, slot, breach }: { readonly machine: PlannedMachine; readonly slot: number; readonly breach: Refused },
): Blocked => ({
  virtualMachine: machine.request.virtualMachine,
  host: whatIf.nameOf(machine.slot),
  message: breachText(whatIf.outlook.table, slot, breach),
});
