import type { ServiceDefinition } from '@xenolith/engine';
import type { SchedulingService } from '@xenolith/scheduling';
import { describe, expect, it } from 'vitest';
import { onMessages, type Mutant } from './mutants.js';
import { simulate } from './run.js';

const SEEDS = Array.from({ length: 8 }, (_, index) => index + 1);
const RUN_LIMIT_MS = 120_000;
/** In how many runs a mutant is looked for. */
const MUTANT_SEEDS = 300;
const MUTANT_LIMIT_MS = 600_000;

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
  it.each(SEEDS)(
    'keeps all its promises under seed %i',
    async (seed) => {
      expect((await simulate(seed, undefined, cluster)).broken).toEqual([]);
    },
    RUN_LIMIT_MS,
  );

  it.each(MUTANTS)(
    'is found out when $what',
    async (mutant) => {
      const others = Array.from({ length: MUTANT_SEEDS }, (_, index) => index + 1);
      for (const seed of [mutant.shownBy, ...others])
        if ((await simulate(seed, mutant, cluster)).broken.length > 0) return;
      expect.fail(`no seed of ${MUTANT_SEEDS} shows that ${mutant.what}`);
    },
    MUTANT_LIMIT_MS,
  );
});
