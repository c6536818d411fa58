import type { ServiceDefinition } from '@xenolith/engine';
import type { SchedulingService } from '@xenolith/scheduling';
import { describe } from 'vitest';
import { onMessages, type Mutant } from './mutants.js';
import { keepsItsPromises } from './promises.spec-fixture.js';

const cluster = { powerManagement: { mode: 'Automatic', idleSeconds: 30 } };

const MUTANTS: readonly Mutant[] = [
  {
    name: 'waking',
    what: 'no machine that fits nowhere wakes a host',
    shownBy: 4,
    service: (definition): ServiceDefinition => {
      if ('rebalancing' in definition)
        (definition as unknown as SchedulingService).rebalancing.proposals.waking = () => null;
      return definition;
    },
  },
  {
    name: 'power_order',
    what: 'a power-off that comes after the power-on which overtook it takes effect',
    shownBy: 15,
    agentBus: (bus) =>
      onMessages(bus, (message) => {
        const { undoes: _undone, ...late } = message;
        return message.type === 'PowerOnHost' ? late : message;
      }),
  },
];

describe('a platform in simulation whose cluster parks hosts and wakes them', () => {
  keepsItsPromises(cluster, 8, MUTANTS);
});
