import { describe, expect, it } from 'vitest';
import { timingFor, xenHostModel, type DomainSettings, type HostState } from '../index.js';
import { GIBIBYTE, settingsOf } from './host.spec-fixture.js';

const model = xenHostModel(timingFor(0));

/** Two nodes of 64 GiB with 16 CPUs each. */
const bornHost = (): HostState => model.create({ name: 'host-0001', seed: 'spec', profile: '2x8-128', at: 0 });

const start = (state: HostState, uid: string, gibibytes: number, change: Partial<DomainSettings>): boolean => {
  const bytes = gibibytes * GIBIBYTE;
  const sizes = { staticMaxBytes: bytes, dynamicMinBytes: bytes, dynamicMaxBytes: bytes };
  const settings = settingsOf({ name: uid, ...sizes, ...change });
  const at = model.timeOf(state);
  const events = model.apply(state, { do: 'start', ticket: uid, uid, incarnation: 1, settings, paused: true }, at);
  return [...events, ...model.advance(state, at + 60_000)].some(
    (event) => event.type === 'answered' && event.result.ok,
  );
};

/** Memory of a machine by node, in GiB. */
const nodesOf = (state: HostState, of: string): readonly number[] | undefined =>
  model
    .domainFigures(state, model.timeOf(state))
    .find(({ uid }) => uid === of)
    ?.nodeBytes?.map((bytes) => bytes / GIBIBYTE);

const xl = (state: HostState, ...args: string[]): string =>
  model.tool(state, { tool: 'xl', args, at: model.timeOf(state) }).stdout;

/** Free MiB of the nodes as `xl info -n` prints them. */
const freeOf = (state: HostState): number[] =>
  [...(xl(state, 'info', '-n').split('numa_info')[1] ?? '').matchAll(/^ +[01]: +\d+ +(\d+) +/gm)].map(([, free]) =>
    Number(free),
  );

describe('the memory of a machine on a host of two nodes', () => {
  it('is of the node that it is given', () => {
    const state = bornHost();
    const [first = 0, second = 0] = freeOf(state);
    expect(start(state, 'a', 20, { memoryNode: 1 })).toBe(true);
    expect(nodesOf(state, 'a')).toEqual([0, 20]);
    expect(freeOf(state)[0]).toBe(first);
    // Its overhead is of the node, too.
    expect(second - (freeOf(state)[1] ?? 0)).toBeGreaterThan(20 * 1024);
    expect(xl(state, 'list', '-n', 'a')).toMatch(/ 1\n$/);
    expect(xl(state, 'vcpu-list', 'a')).toMatch(/all \/ all/);
  });

  it('is of the node that its CPUs are of', () => {
    const state = bornHost();
    start(state, 'a', 20, { pin: '0-15' });
    expect(nodesOf(state, 'a')).toEqual([20, 0]);
    start(state, 'b', 20, { pin: '3', memoryNode: 1 });
    expect(nodesOf(state, 'b')).toEqual([0, 20]);
  });

  it('is of both to even parts, where nothing is said', () => {
    const state = bornHost();
    start(state, 'a', 20, {});
    expect(nodesOf(state, 'a')).toBeUndefined();
    const [first = 0, second = 0] = freeOf(state);
    expect(Math.abs(first - second)).toBeLessThan(600);
  });

  it('is of the other node, too, when its own is full', () => {
    const state = bornHost();
    expect(start(state, 'a', 50, { memoryNode: 0 })).toBe(true);
    expect(start(state, 'b', 20, { memoryNode: 0 })).toBe(true);
    const [here = 0, there = 0] = nodesOf(state, 'b') ?? [];
    expect(here + there).toBe(20);
    expect(here).toBeGreaterThan(0);
    expect(there).toBeGreaterThan(here);
  });

  it('can’t be of a node that the host has not', () => {
    const state = bornHost();
    expect(start(state, 'a', 1, { memoryNode: 2 })).toBe(false);
  });
});
