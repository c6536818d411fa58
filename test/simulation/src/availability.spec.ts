import type { ServiceDefinition } from '@xenolith/engine';
import { describe } from 'vitest';
import type { Mutant } from './mutants.js';
import { keepsItsPromises } from './promises.spec-fixture.js';

const cluster = { highAvailability: { hostFailures: 1 } };

const MUTANTS: readonly Mutant[] = [
  {
    name: 'assessment',
    what: 'nobody tells a cluster whether its promise holds',
    shownBy: 1,
    service: (definition): ServiceDefinition => ({
      ...definition,
      reactions: definition.reactions.filter(({ name }) => name !== 'availability-assessment'),
    }),
  },
  {
    name: 'restart_rules',
    what: 'nobody hears that a machine is to be restarted otherwise',
    shownBy: 1,
    service: (definition): ServiceDefinition => ({
      ...definition,
      indexes: definition.indexes.map((index) =>
        index.name === 'restart-rules'
          ? { name: index.name, categories: index.categories, load: () => undefined, apply: () => undefined }
          : index,
      ),
    }),
  },
];

describe('a platform in simulation whose cluster promises to survive the loss of a host', () => {
  keepsItsPromises(cluster, 10, MUTANTS);
});
