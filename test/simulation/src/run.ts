import type { JsonObject, LoggedEvent } from '@xenolith/kernel';
import { accident, changeWeather } from './accidents.js';
import { brokenWhenQuiet, leftOver, logHash } from './invariants.js';
import type { Mutant } from './mutants.js';
import { FAIR } from './network.js';
import { PowerDice } from './power-dice.js';
import { RestartDice } from './restart-dice.js';
import { UserDice } from './user-dice.js';
import { Watcher } from './watcher.js';
import { World } from './world.js';

/** Users act this often in a run, and so often something is broken on purpose. */
const ACTIONS = 70;
const LONGEST_PAUSE_MS = 4_000;
/** Virtual time that everything under way may take to end once nothing is broken any more. */
const QUIET_LIMIT_MS = 3_600_000;
/** Nothing under way for this long: quiet. Longer than any pause between two attempts. */
const QUIET_FOR_MS = 90_000;

/** Broken for so many of these in a row without anything happening: it stays so. Longer than any pause before another attempt. */
const STILL_ROUNDS = 5;
/** What goes on for ever where nothing happens: waiting, and forgetting what is over. */
const IDLE_EVENTS: ReadonlySet<string> = new Set([
  'OperationStepDeferred',
  'OperationDeletionRequested',
  'OperationMetadataChanged',
  'OperationDeleted',
]);

export interface Outcome {
  readonly seed: number;
  /** Of the whole log: equal for equal seeds, on every machine. */
  readonly hash: string;
  readonly events: number;
  readonly broken: readonly string[];
  readonly log: readonly LoggedEvent[];
}

/** One run in a cluster of that spec: prepare, act in bad weather, heal everything, wait until quiet, look; delete everything, wait, look again. */
export const simulate = async (seed: number, mutant?: Mutant, cluster: JsonObject = {}): Promise<Outcome> => {
  const world = new World(seed, mutant);
  const broken = await runThrough(world, new Watcher(world.evidence()), cluster);
  return { seed, hash: logHash(world.log), events: world.log.log.length, broken, log: world.log.log };
};

/** The same of a world and a watcher that were made before; answers what broke. */
export const runThrough = async (
  world: World,
  watcher: Watcher,
  cluster: JsonObject,
  acts: typeof act = act,
): Promise<readonly string[]> => {
  world.start();
  let ready = false;
  void world.users.prepare(cluster).then(() => (ready = true));
  if (!(await world.clock.advanceUntil(() => ready, QUIET_LIMIT_MS))) return ['the inventory was never accepted'];
  const acted = await acts(world, watcher, cluster);
  if (acted.length > 0) return acted;
  heal(world);
  const rested = await rest(world, watcher, () => brokenWhenQuiet(world.evidence(), watcher));
  if (rested.length > 0) return rested;
  return rest(world, watcher, () => {
    // What was in use may be deleted in the next round.
    world.users.deleteEverything();
    return [...brokenWhenQuiet(world.evidence(), watcher), ...leftOver(world.evidence())];
  });
};

/** Users and accidents; ends early with what broke. */
const act = async (world: World, watcher: Watcher, cluster: JsonObject): Promise<readonly string[]> => {
  const dice = world.random.fork('acts');
  const users = new UserDice(world.users, world.random.fork('users'));
  const restarts = 'highAvailability' in cluster ? new RestartDice(world.users, world.random.fork('restarts')) : null;
  const power = 'powerManagement' in cluster ? new PowerDice(world.users, world.random.fork('power')) : null;
  for (let action = 0; action < ACTIONS; action += 1) {
    if (dice.chance(0.1)) changeWeather(world);
    if (dice.chance(0.3)) accident(world);
    users.act();
    restarts?.act();
    power?.act();
    const broken = await run(world, watcher, world.clock.now() + dice.next() ** 3 * LONGEST_PAUSE_MS);
    if (broken.length > 0) return broken;
  }
  return [];
};

/** Time passes to `until`, the invariants looked at after every step that changed something. */
export const run = async (world: World, watcher: Watcher, until: number): Promise<readonly string[]> => {
  let seen = -1;
  while (await world.clock.step(until)) {
    if (world.log.log.length === seen) continue;
    seen = world.log.log.length;
    const broken = watcher.look();
    if (broken.length > 0) return broken;
  }
  await world.clock.advance(Math.max(0, until - world.clock.now()));
  return watcher.look();
};

const heal = (world: World): void => {
  world.network.weather = FAIR;
  for (const process of [...world.services, world.agent]) process.start();
  world.users.mendEverything();
};

/** What was accepted must end, and what is left must fit together. */
const rest = async (world: World, watcher: Watcher, look: () => readonly string[]): Promise<readonly string[]> => {
  const limit = world.clock.now() + QUIET_LIMIT_MS;
  let broken: readonly string[] = [];
  let still = 0;
  while (world.clock.now() < limit && still < STILL_ROUNDS) {
    const before = world.log.log.length;
    const asked = world.users.sent.length;
    const early = await run(world, watcher, world.clock.now() + QUIET_FOR_MS);
    if (early.length > 0) return early;
    broken = look();
    const news = world.log.log.slice(before).filter((event) => !IDLE_EVENTS.has(event.type));
    const quiet = news.length === 0 && world.users.sent.length === asked;
    if (broken.length === 0 && quiet) return [];
    still = news.length === 0 ? still + 1 : 0;
  }
  return broken.length > 0 ? broken : ['the platform never came to rest'];
};
