import { alwaysBroken, brokenWhenQuiet, logHash } from './invariants.js';
import type { Mutant } from './mutants.js';
import { FAIR, FOUL } from './network.js';
import { World } from './world.js';

/** Users act this often in a run, and so often something is broken on purpose. */
const ACTIONS = 70;
const LONGEST_PAUSE_MS = 4_000;
const LONGEST_OUTAGE_MS = 15_000;
/** Virtual time that everything under way may take to end once nothing is broken any more. */
const QUIET_LIMIT_MS = 3_600_000;
/** Nothing under way for this long: quiet. */
const QUIET_FOR_MS = 30_000;

export interface Outcome {
  readonly seed: number;
  /** Of the whole log: equal for equal seeds, on every machine. */
  readonly hash: string;
  readonly events: number;
  readonly broken: readonly string[];
}

/** One run: prepare, act in bad weather, heal everything, wait until quiet, look. */
export const simulate = async (seed: number, mutant?: Mutant): Promise<Outcome> => {
  const world = new World(seed, mutant);
  world.start();
  const prepared = world.users.prepare();
  let ready = false;
  void prepared.then(() => (ready = true));
  if (!(await world.clock.advanceUntil(() => ready, QUIET_LIMIT_MS)))
    return outcome(seed, world, ['the inventory was never accepted']);
  const broken = (await act(world)) ?? (await rest(world));
  return outcome(seed, world, broken);
};

const outcome = (seed: number, world: World, broken: readonly string[]): Outcome => ({
  seed,
  hash: logHash(world.log),
  events: world.log.log.length,
  broken,
});

/** Users and accidents; ends early with what broke. */
const act = async (world: World): Promise<readonly string[] | null> => {
  const dice = world.random.fork('acts');
  for (let action = 0; action < ACTIONS; action += 1) {
    if (dice.chance(0.1)) world.network.weather = dice.chance(0.5) ? FOUL : FAIR;
    if (dice.chance(0.25)) breakSomething(world, dice.below(100));
    world.users.act();
    const until = world.clock.now() + dice.next() ** 3 * LONGEST_PAUSE_MS;
    const broken = await run(world, until);
    if (broken.length > 0) return broken;
  }
  return null;
};

/** Time passes to `until`, the invariants looked at after every step that changed something. */
const run = async (world: World, until: number): Promise<readonly string[]> => {
  let seen = -1;
  while (await world.clock.step(until)) {
    if (world.log.log.length === seen && world.defects.length === 0) continue;
    seen = world.log.log.length;
    const broken = alwaysBroken(world.evidence());
    if (broken.length > 0) return broken;
  }
  await world.clock.advance(Math.max(0, until - world.clock.now()));
  return [];
};

const breakSomething = (world: World, dice: number): void => {
  const { random } = world;
  if (dice < 15) {
    world.agent.crashHost(random.pick(world.agent.hosts));
    return;
  }
  const victim = dice < 35 ? world.agent : random.pick(world.services);
  if (!victim.running) return;
  victim.crash();
  world.clock.after(random.next() ** 2 * LONGEST_OUTAGE_MS, () => victim.start());
};

/** All is repaired; what was accepted must end, and what is left must fit together. */
const rest = async (world: World): Promise<readonly string[]> => {
  world.network.weather = FAIR;
  await world.clock.advance(LONGEST_OUTAGE_MS);
  const limit = world.clock.now() + QUIET_LIMIT_MS;
  let broken: readonly string[] = [];
  while (world.clock.now() < limit) {
    const before = world.log.log.length;
    const early = await run(world, world.clock.now() + QUIET_FOR_MS);
    if (early.length > 0) return early;
    broken = brokenWhenQuiet(world.evidence());
    if (broken.length === 0 && world.log.log.length === before) return [];
  }
  return broken.length > 0 ? broken : ['the platform never came to rest'];
};
