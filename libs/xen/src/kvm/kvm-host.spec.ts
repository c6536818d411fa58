import { qemuOverheadBytes } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DomainSettings, HostEvent, HostInput } from '../host-model.js';
import { HARDWARE_PROFILES } from '../hardware-profile.js';
import { timingFor } from '../host-timing.js';
import { kvmHostModel } from './kvm-host.js';
import { kvmAllocatableBytes } from './kvm-profile.js';
import type { KvmHostState } from './kvm-state.js';

const GIBIBYTE = 2 ** 30;
const model = kvmHostModel(timingFor(5_000));

const settingsOf = (more: Partial<DomainSettings> = {}): DomainSettings => ({
  name: 'web-1',
  guestType: 'hvm',
  vcpus: 2,
  maxVcpus: 2,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: [],
  nics: [],
  pvDrivers: true,
  ignoresShutdown: false,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
  ...more,
});

const newHost = (): KvmHostState => model.create({ name: 'kvm-0001', seed: 's', profile: '1x4-16', at: 0 });

const startOf = (uid: string, settings = settingsOf(), paused = false): HostInput => ({
  do: 'start',
  ticket: `start ${uid}`,
  uid,
  incarnation: 1,
  settings,
  paused,
});
const on = (uid: string) => ({ ticket: `then ${uid}`, uid, incarnation: 1 });
const clean = { mode: 'clean', timeoutMs: 60_000 } as const;

/** What the host says until it rests. */
const settle = (state: KvmHostState): HostEvent[] => {
  const events: HostEvent[] = [];
  for (let due = model.nextDue(state); due !== null; due = model.nextDue(state))
    events.push(...model.advance(state, due));
  return events;
};

const does = (state: KvmHostState, input: HostInput): HostEvent[] => [
  ...model.apply(state, input, model.timeOf(state)),
  ...settle(state),
];

const codeOf = (events: readonly HostEvent[]): string | undefined => {
  const answered = events.find((event) => event.type === 'answered');
  if (answered?.type !== 'answered') return undefined;
  return answered.result.ok ? 'ok' : answered.result.rejection.code;
};

describe('a KVM host', () => {
  it('starts a process for each machine, and answers when its guest has booted', () => {
    const state = newHost();
    const events = does(state, startOf('a'));
    expect(events).toMatchObject([{ type: 'answered', result: { ok: true, value: { state: 'running' } } }]);
    expect(events[0]?.at).toBeGreaterThan(4_000);
    does(state, startOf('b'));
    const [first, second] = model.inventory(state).map(({ domid }) => domid);
    expect(first).toBeGreaterThan(1_800);
    expect(second).toBeGreaterThan(first ?? 0);
  });

  it('runs hvm guests and no others', () => {
    for (const guestType of ['pv', 'pvh'] as const) {
      const state = newHost();
      expect(codeOf(does(state, startOf('a', settingsOf({ guestType }))))).toBe('host_domain_unsupported');
      expect(model.inventory(state)).toEqual([]);
    }
  });

  it('promises memory to the byte, its processes’ own included', () => {
    const free = kvmAllocatableBytes(HARDWARE_PROFILES['1x4-16']);
    const overhead = qemuOverheadBytes({ vcpus: 2, staticMaxBytes: free });
    const fits = (bytes: number): string | undefined =>
      codeOf(does(newHost(), startOf('a', settingsOf({ staticMaxBytes: free, dynamicMaxBytes: bytes }))));
    expect(fits(free - overhead)).toBe('ok');
    expect(fits(free - overhead + 1)).toBe('host_out_of_memory');
  });

  it('reboots in place, under the same process id', () => {
    const state = newHost();
    does(state, startOf('a'));
    const [before] = model.inventory(state);
    for (const mode of ['clean', 'hard'] as const) {
      expect(codeOf(does(state, { do: 'reboot', ...on('a'), mode, timeoutMs: 60_000 }))).toBe('ok');
      expect(model.inventory(state)).toEqual([before]);
    }
    expect(does(state, { do: 'guestEnds', uid: 'a', reason: 'reboot' })).toMatchObject([
      { type: 'guestEnded', reason: 'reboot', domid: before?.domid },
    ]);
    expect(model.inventory(state)).toEqual([before]);
  });

  it('lets a paused guest hear the power button when it runs again', () => {
    const state = newHost();
    does(state, startOf('a'));
    does(state, { do: 'pause', ...on('a') });
    model.apply(state, { do: 'shutdown', ...on('a'), ...clean }, model.timeOf(state));
    expect(model.inventory(state)).toMatchObject([{ state: 'paused' }]);
    does(state, { do: 'unpause', ...on('a'), ticket: 'go on' });
    expect(model.inventory(state)).toEqual([]);
  });

  it('gives up on a guest that ignores the power button, and on a device that it does not let go', () => {
    const state = newHost();
    const disk = { name: 'data', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false };
    does(state, startOf('a', settingsOf({ ignoresShutdown: true, disks: [disk] })));
    expect(codeOf(does(state, { do: 'shutdown', ...on('a'), mode: 'clean', timeoutMs: 500 }))).toBe(
      'guest_ignored_shutdown',
    );
    does(state, { do: 'pause', ...on('a') });
    expect(codeOf(does(state, { do: 'detach', ...on('a'), kind: 'disk', name: 'data' }))).toBe('host_device_failed');
    does(state, { do: 'unpause', ...on('a') });
    expect(codeOf(does(state, { do: 'detach', ...on('a'), kind: 'disk', name: 'data' }))).toBe('ok');
  });

  it('keeps a crashed guest that shall be preserved, and ends others', () => {
    const state = newHost();
    does(state, startOf('a', settingsOf({ onCrash: 'preserve' })));
    does(state, startOf('b'));
    for (const uid of ['a', 'b']) does(state, { do: 'guestEnds', uid, reason: 'crash' });
    expect(model.inventory(state)).toMatchObject([{ uid: 'a', state: 'shutdown' }]);
  });

  it('loses everything when it crashes, and numbers its processes anew', () => {
    const state = newHost();
    does(state, startOf('a'));
    const before = model.bootId(state);
    const events = does(state, { do: 'crash' });
    expect(events.map(({ type }) => type)).toEqual(['crashed', 'booted']);
    expect(model.bootId(state)).not.toBe(before);
    expect(model.inventory(state)).toEqual([]);
    expect(codeOf(does(state, startOf('a')))).toBe('host_stale_incarnation');
  });

  it('saves a guest without asking it, and lets it go on where it was', () => {
    const state = newHost();
    does(state, startOf('a', settingsOf({ ignoresShutdown: true, bootMs: 300_000 })));
    const answers = does(state, { do: 'suspend', ...on('a'), timeoutMs: 1_000 });
    const [answered] = answers.flatMap((event) =>
      event.type === 'answered' && event.result.ok ? [event.result.value] : [],
    );
    const { sizeBytes = 0, content = '' } = answered ?? {};
    expect(sizeBytes).toBeGreaterThan(GIBIBYTE);
    expect(model.inventory(state)).toEqual([]);
    const resume = {
      do: 'resume',
      ticket: 'again',
      uid: 'a',
      incarnation: 2,
      settings: settingsOf({ bootMs: 300_000 }),
      paused: false,
    } as const;
    expect(codeOf(does(state, { ...resume, image: { sizeBytes, content: '{}' } }))).toBe('host_domain_unsupported');
    const before = model.timeOf(state);
    const resumed = does(state, { ...resume, image: { sizeBytes, content } });
    expect(codeOf(resumed)).toBe('ok');
    // It has booted already: no boot follows.
    expect((resumed[0]?.at ?? Infinity) - before).toBeLessThan(60_000);
  });

  /** A machine whose guest stands still while QEMU writes a checkpoint. */
  const writing = (settings = settingsOf()): KvmHostState => {
    const state = newHost();
    does(state, startOf('a', settings));
    model.apply(state, { do: 'checkpoint', ...on('a'), ticket: 'image', timeoutMs: 1_000 }, model.timeOf(state));
    expect(model.inventory(state)).toMatchObject([{ state: 'running', standsStill: true }]);
    expect(model.tool(state, { tool: 'virsh', args: ['list'], at: 0 }).stdout).toContain('web-1   paused');
    return state;
  };
  const codesOf = (events: readonly HostEvent[]): Record<string, string | undefined> =>
    Object.fromEntries(
      events.flatMap((event) => (event.type === 'answered' ? [[event.ticket, codeOf([event])] as const] : [])),
    );

  it('takes a checkpoint of a guest without asking it, and lets it go on in its process', () => {
    const state = writing(settingsOf({ ignoresShutdown: true }));
    const [{ domid } = { domid: 0 }] = model.inventory(state);
    const [answered] = settle(state).flatMap((event) =>
      event.type === 'answered' && event.result.ok ? [event.result.value] : [],
    );
    const { sizeBytes = 0, content = '' } = answered ?? {};
    expect(sizeBytes).toBeGreaterThan(GIBIBYTE);
    expect(model.inventory(state)).toEqual([{ uid: 'a', incarnation: 1, domid, state: 'running' }]);
    expect(model.tool(state, { tool: 'virsh', args: ['list'], at: 0 }).stdout).toContain('1    web-1   running');
    expect(codeOf(does(state, { do: 'checkpoint', ...on('a'), timeoutMs: 1_000 }))).toBe('ok');
    does(state, { do: 'shutdown', ...on('a'), mode: 'hard', timeoutMs: 1 });
    const again = { ...startOf('a'), do: 'resume', incarnation: 2, image: { sizeBytes, content } } as HostInput;
    expect(codeOf(does(state, again))).toBe('ok');
  });

  it('holds the time of a guest that boots or stops while its checkpoint is written', () => {
    const state = newHost();
    model.apply(state, startOf('a'), 0);
    model.advance(state, 2_000);
    const events = [
      ...model.apply(state, { do: 'checkpoint', ...on('a'), ticket: 'image', timeoutMs: 1_000 }, 2_000),
      ...model.apply(state, { ...startOf('a'), ticket: 'start again' } as HostInput, 2_001),
      ...settle(state),
    ];
    expect(codesOf(events)).toEqual({ image: 'ok', 'start a': 'ok', 'start again': 'ok' });
    const stopping = [
      ...model.apply(state, { do: 'shutdown', ...on('a'), ...clean }, model.timeOf(state)),
      ...does(state, { do: 'checkpoint', ...on('a'), ticket: 'image', timeoutMs: 1_000 }),
    ];
    expect(codesOf(stopping)).toEqual({ image: 'ok', 'then a': 'ok' });
    expect(model.inventory(state)).toEqual([]);
  });

  it('decides about what is asked while a checkpoint is written', () => {
    const outcome = (...inputs: Record<string, unknown>[]): [Record<string, string | undefined>, unknown] => {
      const state = writing();
      const events = inputs.flatMap((each) => [
        ...model.apply(state, { ...on('a'), timeoutMs: 60_000, ...each } as HostInput, model.timeOf(state)),
      ]);
      events.push(...settle(state));
      return [codesOf(events), model.inventory(state).map((view) => view.state)];
    };
    expect(outcome({ do: 'shutdown', mode: 'clean' })).toEqual([{ image: 'ok', 'then a': 'ok' }, []]);
    expect(outcome({ do: 'reboot', mode: 'clean' })).toEqual([{ image: 'ok', 'then a': 'ok' }, ['running']]);
    expect(outcome({ do: 'pause' })).toEqual([{ image: 'ok', 'then a': 'ok' }, ['paused']]);
    expect(outcome({ do: 'start', settings: settingsOf(), paused: false })).toEqual([
      { image: 'ok', 'then a': 'ok' },
      ['running'],
    ]);
    expect(outcome({ do: 'checkpoint' })).toEqual([{ image: 'ok', 'then a': 'ok' }, ['running']]);
    expect(outcome({ do: 'suspend' })).toEqual([{ image: 'ok', 'then a': 'ok' }, []]);
    for (const [end, left] of [
      [{ do: 'shutdown', mode: 'hard' }, []],
      [{ do: 'destroy' }, []],
      [{ do: 'reboot', mode: 'hard' }, ['running']],
    ] as const)
      expect(outcome(end)).toEqual([{ image: 'command_cancelled', 'then a': 'ok' }, left]);
    // What was begun for a guest that is no more does not end what was begun for the next.
    expect(outcome({ do: 'reboot', mode: 'hard' }, { do: 'checkpoint', ticket: 'next' })).toEqual([
      { image: 'command_cancelled', 'then a': 'ok', next: 'ok' },
      ['running'],
    ]);
    const crashed = outcome({ do: 'crash' });
    expect(crashed).toEqual([{ image: 'host_crashed' }, []]);
  });

  it('answers a start and a hard reboot that a pause overtakes', () => {
    const state = newHost();
    const slow = settingsOf({ bootMs: 300_000 });
    model.apply(state, startOf('a', slow), 0);
    const paused = model.apply(state, { do: 'pause', ...on('a'), ticket: 'pause' }, 10_000);
    expect(paused.map((event) => event.type === 'answered' && event.ticket)).toHaveLength(2);
    does(state, { do: 'unpause', ...on('a') });
    const at = model.timeOf(state);
    model.apply(state, { do: 'reboot', ...on('a'), ticket: 'reboot', mode: 'hard', timeoutMs: 1_000 }, at);
    const again = model.apply(state, { do: 'pause', ...on('a'), ticket: 'again' }, at + 10);
    expect(again.flatMap((event) => (event.type === 'answered' ? [event.ticket] : []))).toEqual(['reboot', 'again']);
  });

  it('has libvirt’s tools and none of Xen’s', () => {
    const state = newHost();
    does(state, startOf('a'));
    expect(model.tool(state, { tool: 'xl', args: ['list'], at: 0 })).toMatchObject({
      exitCode: 1,
      stderr: 'kvm-0001 runs KVM, not Xen: it has no xl; ask virsh there\n',
    });
    expect(model.tool(state, { tool: 'virsh', args: ['list'], at: 0 }).stdout).toBe(
      ' Id   Name    State\n-----------------------\n 1    web-1   running\n\n',
    );
  });

  const uid = fc.constantFrom('a', 'b', 'c');
  const incarnation = fc.integer({ min: 1, max: 3 });
  const input: fc.Arbitrary<HostInput> = fc.oneof(
    fc.record({
      do: fc.constant('start' as const),
      ticket: fc.uuid(),
      uid,
      incarnation,
      paused: fc.boolean(),
      settings: fc
        .record({
          onReboot: fc.constantFrom('destroy', 'restart', 'preserve'),
          dynamicMaxBytes: fc.integer({ min: 1, max: 12 }).map((gibibytes) => gibibytes * GIBIBYTE),
        } as const)
        .map((more) => settingsOf({ ...more, staticMaxBytes: 12 * GIBIBYTE })),
    }),
    fc.record({
      do: fc.constantFrom('shutdown' as const, 'reboot' as const),
      ticket: fc.uuid(),
      uid,
      incarnation,
      mode: fc.constantFrom('clean', 'hard'),
      timeoutMs: fc.integer({ min: 1, max: 9_000 }),
    }),
    fc.record({ do: fc.constantFrom('pause' as const, 'unpause', 'destroy'), ticket: fc.uuid(), uid, incarnation }),
    fc.record({
      do: fc.constantFrom('suspend' as const, 'checkpoint'),
      ticket: fc.uuid(),
      uid,
      incarnation,
      timeoutMs: fc.constant(1_000),
    }),
    fc.record({ do: fc.constant('guestEnds' as const), uid, reason: fc.constantFrom('poweroff', 'reboot', 'crash') }),
    fc.constant<HostInput>({ do: 'crash' }),
    fc.record({ do: fc.constantFrom('powerOff' as const, 'powerOn' as const), ticket: fc.constant('power') }),
  );
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 8_000 }), input), { maxLength: 30 });

  it('answers every command once, and promises no memory that it has not', () => {
    fc.assert(
      fc.property(steps, (script) => {
        const state = newHost();
        const events: HostEvent[] = [];
        let at = 0;
        for (const [pause, each] of script) {
          at += pause;
          events.push(...model.apply(state, each, at));
          expect(model.figures(state).freeMemoryBytes).toBeGreaterThanOrEqual(0);
        }
        events.push(...settle(state));
        const answered = events.flatMap((event) => (event.type === 'answered' ? [event.ticket] : []));
        const asked = script.flatMap(([, each]) => ('ticket' in each ? [each.ticket] : []));
        expect(answered.toSorted()).toEqual(asked.toSorted());
      }),
    );
  });

  it('comes to the same state however its time is cut, and through JSON', () => {
    fc.assert(
      fc.property(steps, fc.array(fc.integer({ min: 1, max: 5_000 }), { maxLength: 20 }), (script, cuts) => {
        const whole = newHost();
        let cut = newHost();
        const events: { whole: HostEvent[]; cut: HostEvent[] } = { whole: [], cut: [] };
        let at = 0;
        for (const [index, [pause, each]] of script.entries()) {
          const stop = at + Math.min(pause, cuts[index] ?? 0);
          events.cut.push(...model.advance(cut, stop));
          cut = JSON.parse(JSON.stringify(cut)) as KvmHostState;
          at += pause;
          events.cut.push(...model.apply(cut, each, at));
          events.whole.push(...model.apply(whole, each, at));
        }
        expect(events.cut).toEqual(events.whole);
        expect(cut).toEqual(whole);
      }),
    );
  });
});
