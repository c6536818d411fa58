import type { CommandRoute, ServiceDefinition } from '@xenolith/engine';
import { ok, type JsonObject } from '@xenolith/kernel';
import { describe } from 'vitest';
import type { Mutant } from './mutants.js';
import { keepsItsPromises } from './promises.spec-fixture.js';

const cluster = { highAvailability: { hostFailures: 1 } };

/** The host is chosen as if the breach of the promise were asked for. */
const withoutAdmission = (route: CommandRoute): CommandRoute => ({
  ...route,
  prepare: async (message, attempt) => {
    const request = message.data['request'] as JsonObject;
    const asking = { ...message, data: { ...message.data, request: { ...request, allowOvercommit: true } } };
    const prepared = await route.prepare?.(asking, attempt);
    return prepared?.ok === true ? ok({ ...prepared.value, request }) : ok(message.data);
  },
});

const MUTANTS: readonly Mutant[] = [
  {
    name: 'assessment',
    what: 'nobody tells a cluster whether its promise holds',
    shownBy: 3,
    service: (definition): ServiceDefinition => ({
      ...definition,
      reactions: definition.reactions.filter(({ name }) => name !== 'availability-assessment'),
    }),
  },
  {
    name: 'restart_rules',
    what: 'nobody hears that a machine is to be restarted otherwise',
    shownBy: 2,
    service: (definition): ServiceDefinition => ({
      ...definition,
      indexes: definition.indexes.map((index) =>
        index.name === 'restart-rules'
          ? { name: index.name, categories: index.categories, load: () => undefined, apply: () => undefined }
          : index,
      ),
    }),
  },
  {
    name: 'admission',
    what: 'a machine is let in where a loss could not be covered then',
    shownBy: 10,
    service: (definition): ServiceDefinition => ({
      ...definition,
      routes: definition.routes.map((route) =>
        route.type === 'PlaceVirtualMachine' ? withoutAdmission(route) : route,
      ),
    }),
  },
];

describe('a platform in simulation whose cluster promises to survive the loss of a host', () => {
  keepsItsPromises(cluster, 10, MUTANTS);
});
