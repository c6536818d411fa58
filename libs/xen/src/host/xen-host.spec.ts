import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  allocatableBytesOf,
  HARDWARE_PROFILES,
  timingFor,
  type DiskSettings,
  type NicSettings,
  type DeviceEffects,
  type DomainSettings,
  type GuestEnd,
  type HostEvent,
  type HostInput,
} from '../index.js';
import { Hypervisor, PAGE_BYTES } from '../hypervisor/index.js';
import type { HostState } from './host-state.js';
import { xenHostModel } from './xen-host.js';

const GIBIBYTE = 2 ** 30;
const START = 1_000_000;
const model = xenHostModel(timingFor(1_000));
const born = (): HostState => model.create({ name: 'host-0001', seed: 'spec', profile: '1x4-16', at: START });

const DISKS = [{ name: 'root', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false }];
const NICS = [{ name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'xenbr0', ips: ['10.0.0.5'] }];

const settings = (change: Partial<DomainSettings> = {}): DomainSettings => ({
  name: 'web',
  guestType: 'pvh',
  vcpus: 1,
  maxVcpus: 1,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: DISKS,
  nics: NICS,
  pvDrivers: true,
  ignoresShutdown: false,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  ...change,
});

const start = (uid: string, change: Partial<DomainSettings> = {}): HostInput => ({
  do: 'start',
  ticket: `start-${uid}`,
  uid,
  incarnation: 1,
  settings: settings(change),
  paused: false,
});

/** Applies inputs one second apart, then lets an hour pass. */
const run = (inputs: readonly HostInput[], from = born()): { state: HostState; events: readonly HostEvent[] } => {
  const state = from;
  const events: HostEvent[] = [];
  for (const [index, input] of inputs.entries()) {
    events.push(...model.apply(state, input, START + 1_000 * index));
  }
  events.push(...model.advance(state, START + 3_600_000));
  return { state, events };
};

const ended = (events: readonly HostEvent[]): readonly HostEvent[] =>
  events.filter(({ type }) => type === 'guestEnded');

describe('a Xen host', () => {
  it('builds, boots and answers in its own time', () => {
    const host = born();
    expect(model.apply(host, start('a'), START)).toEqual([]);
    const due = model.nextDue(host) ?? 0;
    expect(due).toBeGreaterThan(START);
    const { events } = run([start('a')]);
    expect(events).toMatchObject([{ type: 'answered', ticket: 'start-a', result: { ok: true, value: { domid: 1 } } }]);
    expect(events[0]?.at).toBeGreaterThan(START + 1_000);
  });

  it('does everything at once when booting takes no time', () => {
    const instant = xenHostModel(timingFor(0));
    const state = born();
    expect(instant.apply(state, start('a'), START)).toHaveLength(1);
    expect(instant.nextDue(state)).toBeNull();
  });

  it.each<[GuestEnd, Partial<DomainSettings>, string[], boolean]>([
    ['poweroff', {}, [], true],
    ['crash', {}, [], true],
    ['crash', { onCrash: 'preserve' }, ['shutdown'], true],
    ['poweroff', { onPoweroff: 'restart' }, [], true],
    ['reboot', {}, ['running'], true],
    ['reboot', { onReboot: 'destroy' }, [], true],
  ])('after a guest’s own %s with %o holds %o', (reason, change, states, reported) => {
    const wait: HostInput = { do: 'pause', ticket: 'none', uid: 'nobody', incarnation: 1 };
    const { state, events } = run([start('a', change), wait, wait, { do: 'guestEnds', uid: 'a', reason }]);
    expect(model.inventory(state).map((domain) => domain.state)).toEqual(states);
    expect(ended(events).length > 0).toBe(reported);
  });

  it('lets a slow guest that was given up on end by itself, and reports it', () => {
    const shutdown: HostInput = {
      do: 'shutdown',
      ticket: 'down',
      uid: 'a',
      incarnation: 1,
      mode: 'clean',
      timeoutMs: 10,
    };
    const { state, events } = run([start('a'), shutdown]);
    expect(events.find((event) => event.type === 'answered' && event.ticket === 'down')).toMatchObject({
      result: { ok: false, rejection: { code: 'guest_ignored_shutdown' } },
    });
    expect(ended(events)).toMatchObject([{ reason: 'poweroff', uid: 'a' }]);
    expect(model.inventory(state)).toEqual([]);
  });

  it('loses everything in a crash, boots again, and does then what it was told meanwhile', () => {
    const { state, events } = run([start('a'), { do: 'crash' }, start('b')]);
    expect(events.map(({ type }) => type)).toEqual(['crashed', 'answered', 'booted', 'answered']);
    expect(events[1]).toMatchObject({ ticket: 'start-a', result: { rejection: { code: 'host_crashed' } } });
    expect(model.inventory(state).map(({ uid, domid }) => [uid, domid])).toEqual([['b', 1]]);
    expect(model.bootId(state)).not.toBe(model.bootId(born()));
  });

  it('still answers a clean shutdown that a hard reboot overtook', () => {
    const ending = { uid: 'a', incarnation: 1, timeoutMs: 5_000 };
    const { events } = run([
      start('a'),
      { do: 'shutdown', ticket: 'down', mode: 'clean', ...ending },
      { do: 'reboot', ticket: 'again', mode: 'hard', ...ending },
    ]);
    const results = events.flatMap((event) => (event.type === 'answered' ? [[event.ticket, event.result.ok]] : []));
    expect(Object.fromEntries(results)).toEqual({ 'start-a': true, down: false, again: true });
  });

  it('refuses those who wait for a guest that crashed while it booted and is preserved', () => {
    const { events } = run([start('a', { onCrash: 'preserve' }), { do: 'guestEnds', uid: 'a', reason: 'crash' }]);
    expect(events.map(({ type }) => type)).toEqual(['answered', 'guestEnded']);
  });

  it('lists a guest that reboots itself as running all the while', () => {
    const state = run([start('a')]).state;
    model.apply(state, { do: 'guestEnds', uid: 'a', reason: 'reboot' }, START + 3_700_000);
    while (model.nextDue(state) !== null) {
      expect(model.inventory(state)).toMatchObject([{ uid: 'a', state: 'running' }]);
      model.advance(state, model.nextDue(state) ?? 0);
    }
    expect(model.inventory(state)).toMatchObject([{ uid: 'a', domid: 2, state: 'running' }]);
  });

  it('leaves no older run behind when a younger one is destroyed before it came', () => {
    const { state, events } = run([start('a'), { do: 'destroy', ticket: 'undo', uid: 'a', incarnation: 2 }]);
    expect(model.inventory(state)).toEqual([]);
    expect(events.flatMap((event) => (event.type === 'answered' ? [event.ticket] : []))).toEqual(['start-a', 'undo']);
    expect(model.inventory(run([{ ...start('a'), incarnation: 2 } as HostInput], state).state)).toEqual([]);
  });

  const uid = fc.constantFrom('a', 'b', 'c', 'd');
  const on = { ticket: fc.constant(''), uid, incarnation: fc.integer({ min: 1, max: 3 }) };
  const ending = {
    ...on,
    mode: fc.constantFrom('clean' as const, 'hard' as const),
    timeoutMs: fc.integer({ min: 1, max: 9_000 }),
  };
  const onEnd = fc.constantFrom<DomainSettings['onCrash']>('destroy', 'restart', 'preserve');
  const anySettings = fc.record({
    guestType: fc.constantFrom('pvh' as const, 'hvm' as const),
    pvDrivers: fc.boolean(),
    staticMaxBytes: fc.integer({ min: 1, max: 12 }).map((gibibytes) => gibibytes * GIBIBYTE),
    ignoresShutdown: fc.boolean(),
    onPoweroff: onEnd,
    onReboot: onEnd,
    onCrash: onEnd,
  });
  const anyFaults = fc
    .record({
      effects: fc.constantFrom<DeviceEffects>(
        { dropWatches: 'all' },
        { dropWatches: 'frontend' },
        { dropWatches: 'backend' },
        { stallHotplug: true },
        { failHotplug: 'no' },
        { fillRings: true },
        { stallDeviceModel: true },
      ),
      devices: fc.constantFrom([], ['root'], ['eth*']),
      probability: fc.constantFrom(0.3, 1),
      left: fc.constantFrom(null, 0, 2),
    })
    .map((fault): HostInput => ({ do: 'setFaults', faults: [{ rule: 'rule', seed: 0, machines: [], ...fault }] }));
  const gibibytes = fc.integer({ min: 1, max: 12 }).map((count) => count * GIBIBYTE);
  const anyChange = fc.record({
    do: fc.constant('change' as const),
    ...on,
    change: fc.record(
      { vcpus: fc.constant(1), weight: fc.integer({ min: 0, max: 600 }), dynamicMaxBytes: gibibytes },
      { requiredKeys: [] },
    ),
  });
  const name = fc.constantFrom('root', 'data', 'eth0', 'eth1');
  const anyPlug: fc.Arbitrary<HostInput> = fc.oneof(
    fc.record({
      do: fc.constant('attach' as const),
      ...on,
      device: fc.oneof(
        name.map((as) => ({ kind: 'disk' as const, settings: { ...DISKS[0], name: as } as DiskSettings })),
        name.map((as) => ({ kind: 'nic' as const, settings: { ...NICS[0], name: as } as NicSettings })),
      ),
    }),
    fc.record({
      do: fc.constant('detach' as const),
      ...on,
      kind: fc.constantFrom('disk' as const, 'nic' as const),
      name,
    }),
  );
  const anyInput: fc.Arbitrary<HostInput> = fc.oneof(
    fc.record({ ...on, of: anySettings, paused: fc.boolean() }).map(({ of, ...rest }) => ({
      do: 'start' as const,
      ...rest,
      settings: settings(of),
    })),
    fc.record({ do: fc.constantFrom('shutdown' as const, 'reboot' as const), ...ending }),
    fc.record({ do: fc.constantFrom('pause' as const, 'unpause' as const, 'destroy' as const), ...on }),
    fc.record({
      do: fc.constant('guestEnds' as const),
      uid,
      reason: fc.constantFrom<GuestEnd>('poweroff', 'reboot', 'crash'),
    }),
    fc.constant<HostInput>({ do: 'crash' }),
    fc.record({ do: fc.constantFrom('powerOff' as const, 'powerOn' as const), ticket: fc.constant('power') }),
    anyFaults,
    anyChange,
    anyPlug,
    fc.record({ do: fc.constant('suspend' as const), ...on, timeoutMs: fc.integer({ min: 1, max: 60_000 }) }),
    fc.record({ ...on, of: anySettings, paused: fc.boolean() }).map(({ of, ...rest }) => ({
      do: 'resume' as const,
      ...rest,
      settings: settings(of),
      image: { sizeBytes: GIBIBYTE, content: '{"version":1,"guest":{"phase":"up","next":null,"stopping":null}}' },
    })),
  );
  // A ticket is one command's own: two equal ones would be two answers to one.
  const anyRun = fc
    .array(fc.tuple(fc.integer({ min: 0, max: 5_000 }), anyInput), { maxLength: 40 })
    .map((steps) =>
      steps.map(([pause, input], index): readonly [number, HostInput] => [
        pause,
        'ticket' in input ? { ...input, ticket: `command-${index}` } : input,
      ]),
    );

  it('conserves memory, answers every command once, and never runs an ended run again', () => {
    fc.assert(
      fc.property(anyRun, (steps) => {
        const state = born();
        let at = START;
        const events: HostEvent[] = [];
        const over = new Map<string, number>();
        const check = (): void => {
          const held = Object.values(state.machines);
          const used = model
            .domainFigures(state, model.timeOf(state))
            .reduce((sum, domain) => sum + domain.memoryBytes, 0);
          const promised = new Hypervisor(state.hypervisor).physicalInfo(state.nowUs).outstandingPages * PAGE_BYTES;
          const all = allocatableBytesOf(HARDWARE_PROFILES['1x4-16']);
          expect(model.figures(state).freeMemoryBytes + promised).toBe(all - used);
          expect(model.figures(state).freeMemoryBytes).toBeGreaterThanOrEqual(0);
          expect(new Set(held.map(({ domid }) => domid)).size).toBe(held.length);
          for (const domain of held)
            if (domain.phase !== 'ending') expect(domain.incarnation).toBeGreaterThan(over.get(domain.uid) ?? 0);
          for (const [gone, incarnation] of Object.entries(state.ended)) over.set(gone, incarnation);
        };
        for (const [pause, input] of steps) {
          at += pause;
          events.push(...model.apply(state, input, at));
          check();
        }
        events.push(...model.advance(state, at + 3_600_000));
        expect(model.nextDue(state)).toBeNull();
        const answered = events.flatMap((event) => (event.type === 'answered' ? [event.ticket] : []));
        const asked = steps.flatMap(([, input]) => ('ticket' in input ? [input.ticket] : []));
        expect([...answered].sort()).toEqual([...asked].sort());
      }),
    );
  });

  it('comes to the same state however its time is cut, and through JSON', () => {
    fc.assert(
      fc.property(anyRun, fc.integer({ min: 1, max: 700 }), (steps, cut) => {
        const whole = born();
        let pieces = born();
        let at = START;
        for (const [pause, input] of steps) {
          for (let t = at; t < at + pause; t += cut) model.advance(pieces, t);
          pieces = JSON.parse(JSON.stringify(pieces)) as HostState;
          at += pause;
          model.apply(whole, input, at);
          model.apply(pieces, input, at);
        }
        expect(pieces).toEqual(JSON.parse(JSON.stringify(whole)));
      }),
    );
  });
});
