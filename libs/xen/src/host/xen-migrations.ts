import { living } from './addressing.js';
import { refuseStale } from './runs.js';
import { plan } from './agenda.js';
import type { Host, Machine } from './host-state.js';
import type { MigrationHost, MovingDomain, Planner } from './migration-host.js';
import { XenReceiving } from './xen-receiving.js';
import { XenSending } from './xen-sending.js';

const PHASES: Readonly<Record<Machine['phase'], MovingDomain['phase']>> = {
  building: 'elsewhere',
  arriving: 'arriving',
  up: 'up',
  suspended: 'still',
  restarting: 'elsewhere',
  ending: 'ending',
  shutdown: 'elsewhere',
};

const movingDomain = ({ settings, domid, phase }: Machine): MovingDomain => ({
  name: settings.name,
  domid,
  phase: PHASES[phase],
});

/** A Xen host, as its live migrations see it. */
export const xenMigrations = (host: Host): MigrationHost => {
  const { state, timing, events } = host;
  const planner: Planner = { plan: (dueUs, task) => plan(state.agenda, dueUs, task) };
  return {
    ...planner,
    state,
    timing,
    events,
    sending: new XenSending(host, planner),
    receiving: new XenReceiving(host, planner),
    domain: (uid, incarnation) => {
      const machine = state.machines[uid];
      return machine?.incarnation === incarnation ? movingDomain(machine) : null;
    },
    living: (input) => {
      const machine = living(host, input);
      return machine && movingDomain(machine);
    },
    refuseStale: (input) => refuseStale(host, input),
  };
};
