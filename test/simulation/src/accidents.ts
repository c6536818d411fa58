import { FAIR, FOUL, SLOW } from './network.js';
import type { World } from './world.js';

const LONGEST_OUTAGE_MS = 15_000;
/** An outage that outlasts what an operation tries before it calls for an operator. */
const LONG_OUTAGE_MS = 900_000;
const GUEST_ENDS = ['poweroff', 'reboot', 'crash'] as const;

/** Everything that can go wrong, chosen by the world's dice. */
export const accident = (world: World): void => {
  const { random } = world;
  const dice = random.below(100);
  if (dice < 15) world.agent.crashHost(random.pick(world.agent.hosts));
  else if (dice < 40) endGuest(world);
  else if (dice < 50) random.pick(world.services).loseLeases();
  else outage(world, dice < 63 ? world.agent : random.pick(world.services));
};

export const changeWeather = (world: World): void => {
  world.network.weather = world.random.pick([FAIR, FOUL, FOUL, SLOW]);
};

const endGuest = (world: World): void => {
  const { random } = world;
  const running = world.agent
    .truth()
    .flatMap((host) => host.domains.map((domain) => ({ host: host.name, machine: domain.virtualMachine })));
  if (running.length === 0) return;
  const { host, machine } = random.pick(running);
  world.agent.endGuest(host, machine, random.pick(GUEST_ENDS));
};

const outage = (world: World, victim: { running: boolean; crash: () => void; start: () => void }): void => {
  if (!victim.running) return;
  victim.crash();
  const longest = world.random.chance(0.04) ? LONG_OUTAGE_MS : LONGEST_OUTAGE_MS;
  world.clock.after(world.random.next() ** 2 * longest, () => victim.start());
};
