import { assert, present, uuidFrom } from '@xenolith/kernel';
import { migrationNames, type FoundDomain, type MigrationEffect, type MigrationMessage } from './protocol.js';
import { beginSource, stepSource, type SourceInput, type SourceState } from './source-end.js';
import { beginTarget, stepTarget, type TargetState } from './target-end.js';
import type { EndInput } from './protocol.js';

/** Two hosts, their domains and the connections between them: everything that a schedule of a migration can do. JSON, so that states can be compared. */
export interface World {
  source: SourceState;
  target: TargetState;
  here: Domain;
  there: Domain;
  /** Effects handed out and not carried out; null: nothing to report. */
  sourceWork: MigrationEffect[] | null;
  targetWork: MigrationEffect[] | null;
  connections: Connection[];
  /** The machine has run at the target: the source's copy is out of date for ever. */
  ranThere: boolean;
  hostDied: boolean;
  rounds: number;
}

interface Domain {
  name: FoundDomain;
  runs: boolean;
}

interface Connection {
  broken: boolean;
  toTarget: MigrationMessage[];
  toSource: MigrationMessage[];
  sourceKnows: boolean;
  targetKnows: boolean;
}

const machine = uuidFrom('machine', 'world');
const names = migrationNames(machine);

const connection = (): Connection => ({
  broken: false,
  toTarget: [],
  toSource: [],
  sourceKnows: false,
  targetKnows: false,
});

type Side = 'source' | 'target';
const FAULTS = ['lose', 'crash source', 'crash target', 'fail source', 'fail target', 'cancel'] as const;
export type Fault = (typeof FAULTS)[number] | 'host of source dies' | 'host of target dies';

export type Move =
  | { do: 'deliver'; to: Side; connection: number }
  | { do: 'notice'; by: Side; connection: number }
  | { do: 'work'; on: Side }
  | { do: 'connect' }
  | { do: 'fault'; fault: Fault };

const closeBy = (world: World, side: Side): void => {
  for (const held of world.connections) {
    held.broken = true;
    if (side === 'source') {
      held.sourceKnows = true;
      held.toSource = [];
    } else {
      held.targetKnows = true;
      held.toTarget = [];
    }
  }
};

/** What is said over a broken connection is lost. */
const say = (world: World, side: Side, messages: readonly MigrationMessage[]): void => {
  const newest = present(world.connections.at(-1), 'there is a connection');
  if (newest.broken) return;
  (side === 'source' ? newest.toTarget : newest.toSource).push(...messages);
};

const tellSource = (world: World, input: SourceInput): void => {
  const before = world.source;
  const step = stepSource(before, input);
  world.source = step.state;
  if (step.state.disconnected && !before.disconnected) closeBy(world, 'source');
  say(world, 'source', step.messages);
  if (step.effects.length > 0) world.sourceWork = [...step.effects];
};

const tellTarget = (world: World, input: EndInput): void => {
  const step = stepTarget(world.target, input);
  world.target = step.state;
  say(world, 'target', step.messages);
  if (step.effects.length > 0) world.targetWork = [...step.effects];
};

const rename = (domain: Domain, effect: MigrationEffect & { do: 'renameDomain' }): void => {
  const from = effect.from === names.final ? 'final' : 'temporary';
  if (domain.name === from) domain.name = effect.to === names.final ? 'final' : 'temporary';
};

const carryOut = (world: World, side: Side, effect: MigrationEffect): void => {
  const domain = side === 'source' ? world.here : world.there;
  switch (effect.do) {
    case 'suspendDomain':
      domain.runs = false;
      return;
    case 'resumeDomain':
      if (domain.name !== 'none') domain.runs = true;
      return;
    case 'renameDomain':
      rename(domain, effect);
      return;
    case 'destroyDomain':
      assert(effect.name !== names.final, 'nobody destroys what bears the name of the machine');
      if (domain.name === 'temporary') {
        domain.name = 'none';
        domain.runs = false;
      }
      return;
    case 'buildShell':
      assert(effect.name === names.target, 'the shell has a name of its own');
      domain.name = 'temporary';
      return;
    case 'unpauseDomain':
      assert(domain.name === 'final', 'only the renamed domain is unpaused');
      domain.runs = true;
      world.ranThere = true;
      return;
    case 'squashMemory':
    case 'restoreMemoryRange':
    case 'enableLogDirty':
    case 'disableLogDirty':
    case 'sendRound':
    case 'sendFinal':
    case 'importMetadata':
    case 'restoreDomain':
    case 'restoreDevices':
    case 'removeMetadata':
      return;
  }
};

/** Pages that the guest leaves dirty in each round: the second one is few, the third none. */
const DIRTY = [60, 10, 0];

const work = (world: World, side: Side): void => {
  const queue = side === 'source' ? world.sourceWork : world.targetWork;
  const effect = present(queue, 'there is work').shift();
  if (effect !== undefined) {
    carryOut(world, side, effect);
    if (effect.do !== 'sendRound') return;
    world.sourceWork = null;
    world.rounds += 1;
    tellSource(world, { type: 'roundFinished', dirtyPages: DIRTY[world.rounds] ?? 0, linkPagesPerSecond: 1_000 });
    return;
  }
  if (side === 'source') {
    world.sourceWork = null;
    tellSource(world, { type: 'done' });
  } else {
    world.targetWork = null;
    tellTarget(world, { type: 'done' });
  }
};

const crash = (world: World, side: Side): void => {
  closeBy(world, side);
  if (side === 'source') {
    world.sourceWork = null;
    tellSource(world, { type: 'restarted', found: world.here.name });
  } else {
    world.targetWork = null;
    tellTarget(world, { type: 'restarted', found: world.there.name });
  }
};

const strike = (world: World, fault: Fault): void => {
  switch (fault) {
    case 'lose':
      for (const held of world.connections) held.broken = true;
      return;
    case 'crash source':
      crash(world, 'source');
      return;
    case 'crash target':
      crash(world, 'target');
      return;
    case 'fail source':
      world.sourceWork = null;
      tellSource(world, { type: 'failed', errno: 'EIO' });
      return;
    case 'fail target':
      world.targetWork = null;
      tellTarget(world, { type: 'failed', errno: 'ENOMEM' });
      return;
    case 'cancel':
      tellSource(world, { type: 'cancel' });
      return;
    case 'host of source dies':
      world.hostDied = true;
      world.here = { name: 'none', runs: false };
      crash(world, 'source');
      return;
    case 'host of target dies':
      world.hostDied = true;
      world.there = { name: 'none', runs: false };
      crash(world, 'target');
      return;
  }
};

export const beginWorld = (): World => {
  const step = beginSource({ machine, memoryPages: 200, policy: { name: 'xen-v2' } });
  const world: World = {
    source: step.state,
    target: beginTarget(machine),
    here: { name: 'final', runs: true },
    there: { name: 'none', runs: false },
    sourceWork: null,
    targetWork: null,
    connections: [connection()],
    ranThere: false,
    hostDied: false,
    rounds: 0,
  };
  say(world, 'source', step.messages);
  return world;
};

/** Changes the world by one move. */
export const play = (world: World, move: Move): void => {
  switch (move.do) {
    case 'deliver': {
      const held = present(world.connections[move.connection], 'a known connection');
      const queue = move.to === 'source' ? held.toSource : held.toTarget;
      const message = present(queue.shift(), 'there is a message');
      if (move.to === 'source') tellSource(world, { type: 'message', message });
      else tellTarget(world, { type: 'message', message });
      break;
    }
    case 'notice': {
      const held = present(world.connections[move.connection], 'a known connection');
      if (move.by === 'source') {
        held.sourceKnows = true;
        held.toSource = [];
        tellSource(world, { type: 'lost' });
      } else {
        held.targetKnows = true;
        held.toTarget = [];
        tellTarget(world, { type: 'lost' });
      }
      break;
    }
    case 'work':
      work(world, move.on);
      break;
    case 'connect':
      world.connections.push(connection());
      tellSource(world, { type: 'connected' });
      break;
    case 'fault':
      strike(world, move.fault);
      break;
  }
  // A connection that nobody hears any more is forgotten, so that equal worlds look equal.
  const last = world.connections.at(-1);
  world.connections = world.connections.filter((held) => held === last || !held.sourceKnows || !held.targetKnows);
};

/** All that may happen next without a fault. */
export const movesOf = (world: World): Move[] => {
  const moves: Move[] = [];
  for (const [index, held] of world.connections.entries()) {
    if (held.toTarget.length > 0 && !held.targetKnows) moves.push({ do: 'deliver', to: 'target', connection: index });
    if (held.toSource.length > 0 && !held.sourceKnows) moves.push({ do: 'deliver', to: 'source', connection: index });
    if (held.broken && !held.sourceKnows) moves.push({ do: 'notice', by: 'source', connection: index });
    if (held.broken && !held.targetKnows) moves.push({ do: 'notice', by: 'target', connection: index });
  }
  if (world.sourceWork !== null) moves.push({ do: 'work', on: 'source' });
  if (world.targetWork !== null) moves.push({ do: 'work', on: 'target' });
  if (world.source.phase === 'asking' && present(world.connections.at(-1), 'a connection').broken)
    moves.push({ do: 'connect' });
  return moves;
};

/** The faults that can strike now, and change something. */
export const faultsOf = (world: World): Fault[] =>
  FAULTS.filter((fault) => {
    if (fault === 'lose') return world.connections.some((held) => !held.broken);
    if (fault === 'fail source') return world.sourceWork !== null;
    if (fault === 'fail target') return world.targetWork !== null;
    return true;
  });

/** What must hold at every step. */
export const checkAlways = (world: World): void => {
  assert(!(world.here.runs && world.there.runs), `two copies run: ${JSON.stringify(world)}`);
  assert(!(world.here.runs && world.ranThere), `an old copy runs again: ${JSON.stringify(world)}`);
};

/** What must hold once nothing happens any more. */
export const checkQuiet = (world: World): void => {
  const where = JSON.stringify(world);
  if (world.hostDied) return;
  assert(world.here.runs !== world.there.runs, `exactly one copy runs: ${where}`);
  if (world.source.phase === 'migrated') {
    assert(world.there.runs && world.there.name === 'final', `the target runs the machine: ${where}`);
    assert(world.here.name === 'none', `nothing is left at the source: ${where}`);
  } else {
    assert(world.source.phase === 'failedBack', `the source has ended: ${where}`);
    assert(world.here.name === 'final', `the source runs the machine under its name: ${where}`);
    assert(world.there.name === 'none', `nothing is left at the target: ${where}`);
    assert(world.target.phase === 'aborted' || world.target.phase === 'idle', `the target gave up: ${where}`);
  }
};
