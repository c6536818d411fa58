import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  beginWorld,
  checkAlways,
  checkQuiet,
  faultsOf,
  movesOf,
  play,
  type Fault,
  type Move,
  type World,
} from './ends.spec-fixture.js';
import { beginSource, stepSource, type SourceState } from './source-end.js';
import { beginTarget, stepTarget } from './target-end.js';

/** Longer than any schedule with the faults below; a longer one would not end. */
const MAX_MOVES = 500;

const HOST_DEATHS: readonly Fault[] = ['host of source dies', 'host of target dies'];

const runToQuiet = (world: World): Move[] => {
  const played: Move[] = [];
  for (let move = movesOf(world)[0]; move !== undefined; move = movesOf(world)[0]) {
    play(world, move);
    checkAlways(world);
    played.push(move);
    expect(played.length).toBeLessThan(MAX_MOVES);
  }
  return played;
};

/** The world after the first `moves` moves of the schedule without faults. */
const worldAfter = (moves: number): World => {
  const world = beginWorld();
  for (let played = 0; played < moves; played += 1) {
    const move = movesOf(world)[0];
    if (move === undefined) throw new Error('the schedule has fewer moves');
    play(world, move);
  }
  return world;
};

const LENGTH = runToQuiet(beginWorld()).length;

describe('the two ends of a live migration', () => {
  it('hand the machine over and tidy up', () => {
    const world = beginWorld();
    runToQuiet(world);
    checkQuiet(world);
    expect(world.source.phase).toBe('migrated');
    expect(world.target.phase).toBe('done');
    expect(world.there).toEqual({ name: 'final', runs: true });
    expect(world.target.impaired).toBe(false);
  });

  it('say what xenopsd says, in its order', () => {
    const world = beginWorld();
    const said: string[] = [];
    for (let move = movesOf(world)[0]; move !== undefined; move = movesOf(world)[0]) {
      const queued =
        move.do === 'deliver'
          ? world.connections[move.connection]?.[move.to === 'source' ? 'toSource' : 'toTarget'][0]
          : undefined;
      if (queued !== undefined) said.push(queued.type === 'handshake' ? queued.point : queued.type);
      play(world, move);
    }
    const inOrder = ['importMetadata', 'metadataImported', 'openControl', '1', 'openMemory', '1-mem', '1-mem ACK'];
    expect(said).toEqual([...inOrder, 'endOfStream', '2', '3', '4', 'closed']);
  });

  describe.each<Fault>(['cancel', 'lose', 'crash source', 'crash target', 'fail source', 'fail target'])(
    '%s',
    (fault) => {
      it.each(Array.from({ length: LENGTH + 1 }, (_, k) => k))('after move %i leaves exactly one copy running', (k) => {
        const world = worldAfter(k);
        if (!faultsOf(world).includes(fault)) return;
        const before = structuredClone(world);
        play(world, { do: 'fault', fault });
        checkAlways(world);
        runToQuiet(world);
        checkQuiet(world);
        // The switch is the target's renaming, which only sync point 3 brings about.
        if (['resuming', 'holding', 'done'].includes(before.target.phase)) expect(world.there.runs).toBe(true);
        if (['importing', 'precopy', 'suspending', 'finalCopy', 'restoring'].includes(before.source.phase))
          expect(world.here.runs).toBe(true);
      });
    },
  );

  describe.each(HOST_DEATHS)('%s', (fault) => {
    it.each(Array.from({ length: LENGTH + 1 }, (_, k) => k))('after move %i never leaves two copies', (k) => {
      const world = worldAfter(k);
      const survives = fault === 'host of source dies' ? world.there.runs : world.here.runs;
      play(world, { do: 'fault', fault });
      runToQuiet(world);
      expect(Number(world.here.runs) + Number(world.there.runs)).toBeLessThanOrEqual(1);
      if (survives) expect(world.here.runs || world.there.runs).toBe(true);
    });
  });

  it('leave exactly one copy under every interleaving with any two faults', () => {
    const FAULT_BUDGET = 2;
    const seen = new Set<string>();
    let quiet = 0;
    const pending: { key: string; faults: number }[] = [{ key: JSON.stringify(beginWorld()), faults: 0 }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { key, faults } = next;
      const world = JSON.parse(key) as World;
      const moves = movesOf(world);
      if (moves.length === 0) {
        checkQuiet(world);
        quiet += 1;
      }
      const struck: Move[] =
        faults < FAULT_BUDGET
          ? [...faultsOf(world), ...HOST_DEATHS].map((fault) => ({ do: 'fault', fault }) as const)
          : [];
      for (const move of [...moves, ...struck]) {
        const after = JSON.parse(key) as World;
        play(after, move);
        checkAlways(after);
        const used = faults + (move.do === 'fault' ? 1 : 0);
        const afterKey = JSON.stringify(after);
        const mark = `${used} ${afterKey}`;
        if (seen.has(mark)) continue;
        seen.add(mark);
        pending.push({ key: afterKey, faults: used });
      }
    }
    expect(quiet).toBeGreaterThan(10);
    // Some tens of thousands of states: seconds on an idle machine.
  }, 120_000);

  it('never run two copies, and end with one, under any schedule of many faults', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000), { maxLength: 200 }), fc.boolean(), (choices, mayDie) => {
        const world = beginWorld();
        for (const choice of choices) {
          const moves = movesOf(world);
          // One choice in ten strikes; failures of the last resort (three in a row) are another test's.
          const faults = [...faultsOf(world), ...(mayDie ? HOST_DEATHS : [])].filter(
            (fault) => !fault.startsWith('fail'),
          );
          const fault = faults[Math.floor(choice / 10) % faults.length];
          const move = moves[choice % Math.max(1, moves.length)];
          if (choice % 10 === 0 && fault !== undefined) play(world, { do: 'fault', fault });
          else if (move !== undefined) play(world, move);
          checkAlways(world);
        }
        runToQuiet(world);
        checkQuiet(world);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the source', () => {
  const machine = beginWorld().source.machine;
  const begin = beginSource({ machine, memoryPages: 1_000, policy: { name: 'xen-v2' } });

  it('refuses to cancel once the target may have the machine', () => {
    const inDoubt = { ...begin.state, phase: 'switching' as const };
    expect(stepSource(inDoubt, { type: 'cancel' }).refused).toBe('EBUSY');
    expect(stepSource(begin.state, { type: 'cancel' }).state.phase).toBe('failedBack');
  });

  it('gives up its copy when the host that may have run the machine is dead', () => {
    const inDoubt = { ...begin.state, phase: 'asking' as const };
    const step = stepSource(inDoubt, { type: 'targetDead' });
    expect(step.effects).toEqual([{ do: 'destroyDomain', name: `${machine.slice(0, 24)}000000000000` }]);
  });

  it('says so when it cannot bring the machine back', () => {
    const suspending: SourceState = {
      ...begin.state,
      phase: 'suspending',
      working: true,
      undo: { ...begin.state.undo, suspended: true },
    };
    let step = stepSource(suspending, { type: 'failed', errno: 'EIO' });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      expect(step.effects).toEqual([{ do: 'resumeDomain' }]);
      step = stepSource(step.state, { type: 'failed', errno: 'EIO' });
    }
    expect(step.state.phase).toBe('stuck');
  });
});

describe('the target', () => {
  it('goes on without devices that cannot be restored', () => {
    const machine = beginWorld().source.machine;
    let step = stepTarget({ ...beginTarget(machine), phase: 'renaming', working: true }, { type: 'done' });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      expect(step.effects).toEqual([{ do: 'restoreDevices' }, { do: 'unpauseDomain' }]);
      step = stepTarget(step.state, { type: 'failed', errno: 'EIO' });
    }
    expect(step.effects).toEqual([{ do: 'unpauseDomain' }]);
    step = stepTarget(step.state, { type: 'done' });
    expect(step.state).toMatchObject({ phase: 'holding', impaired: true });
  });
});
