import { describe, expect, it } from 'vitest';
import { nextRelease } from './next-release.js';
import { run, runThrough } from './run.js';
import { UserDice } from './user-dice.js';
import { Watcher } from './watcher.js';
import { World } from './world.js';

/** As docs/upgrading.md has it: the gateway sends the newest commands, so that it comes last, and the agents before it. */
const ORDER = ['storage', 'network', 'compute', 'scheduler', 'agent', 'gateway'] as const;
/** Users go on all the while: so often before, during and after each step. */
const ACTIONS = 8;
const PAUSE_MS = 1_500;
const RUN_LIMIT_MS = 60_000;

const upgradeUnderLoad = async (world: World, watcher: Watcher): Promise<readonly string[]> => {
  const users = new UserDice(world.users, world.random.fork('users'));
  const goOn = async (): Promise<readonly string[]> => {
    for (let action = 0; action < ACTIONS; action += 1) {
      users.act();
      const broken = await run(world, watcher, world.clock.now() + PAUSE_MS);
      if (broken.length > 0) return broken;
    }
    return [];
  };
  for (const part of ORDER) {
    const before = await goOn();
    if (part === 'agent') {
      world.agent.crash();
      world.agent.start();
      continue;
    }
    const retire = world.upgrade(part, nextRelease);
    const beside = await goOn();
    retire();
    if (before.length + beside.length > 0) return [...before, ...beside];
  }
  return goOn();
};

/** Schema versions of each stream's events, in their order. */
const versionsByStream = ({
  log,
}: World): readonly { readonly category: string; readonly versions: readonly number[] }[] =>
  [...Map.groupBy(log.log, ({ streamId }) => streamId).values()].map((events) => ({
    category: events[0]?.category ?? '',
    versions: events.map(({ schemaVersion }) => schemaVersion),
  }));

/** A kind of each service. */
const CATEGORIES = ['volume', 'port', 'virtualmachine', 'placement', 'namespace'] as const;

describe('an upgrade to a release that writes every event in a newer version, service by service under load', () => {
  const goneOnWith = new Set<string>();

  it.each([1, 2, 3, 4])(
    'loses nothing and doubles nothing, and no older process writes after a newer one (seed %i)',
    async (seed) => {
      const world = new World(`upgrade ${seed}`);
      const broken = await runThrough(world, new Watcher(world.evidence()), {}, upgradeUnderLoad);
      expect(broken).toEqual([]);
      for (const { category, versions } of versionsByStream(world)) {
        expect(versions, category).toEqual(versions.toSorted((left, right) => left - right));
        if (versions[0] === 1 && versions.at(-1) === 2) goneOnWith.add(category);
      }
    },
    RUN_LIMIT_MS,
  );

  it('lets the next release go on with what this one began, in every service', () => {
    expect([...goneOnWith]).toEqual(expect.arrayContaining([...CATEGORIES]));
  });
});
