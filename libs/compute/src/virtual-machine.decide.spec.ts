import { eventOf, type PowerState, type VirtualMachineSpec } from '@xenolith/contracts';
import type { Command, JsonObject, NewEvent } from '@xenolith/kernel';
import { TEST_STREAM } from '@xenolith/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  act,
  begun,
  change,
  create,
  created,
  HALTED,
  machine,
  PAUSED,
  RUNNING,
  started,
  STARTING,
} from './machine.spec-fixture.js';
import { machineSpec } from './platform.spec-fixture.js';
import { hardwareOf } from './virtual-machine.changes.js';
import { virtualMachineAggregate } from './virtual-machine.js';
import { allowedOperations, beginsRun, isStarting } from './virtual-machine.power.js';
import { currentOperation, type MachineState } from './virtual-machine.state.js';

const observe = (more: object = {}) => ({
  type: 'RecordVirtualMachineObserved',
  data: { incarnation: 1, host: 'host-1', domid: 1, state: 'running', ...more },
});

describe('a host that runs a machine otherwise than was known', () => {
  it('is right, and the wish follows its pause', () => {
    machine(RUNNING)
      .when(observe({ state: 'paused' }))
      .then([{ type: 'VirtualMachineObserved', data: { paused: true, powerState: 'Paused' } }]);
    const observed = { host: 'host-1', domid: 7, paused: true, powerState: 'Paused' };
    machine([...RUNNING, eventOf('VirtualMachineObserved', observed)])
      .when(change({ powerState: 'Running' }))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'unpause' } },
      ]);
    machine(RUNNING)
      .when(observe({ domid: 9 }))
      .then([{ type: 'VirtualMachineObserved', data: { domid: 9, paused: false } }]);
  });

  it('changes no wish that had not been fulfilled before', () => {
    const decided = machine([
      ...RUNNING,
      eventOf('VirtualMachineSpecChanged', { spec: machineSpec({ powerState: 'Halted' }) }),
    ])
      .when(observe({ state: 'paused' }))
      .then([{ type: 'VirtualMachineObserved', data: { paused: true } }]);
    expect(decided.state).toMatchObject({ spec: { powerState: 'Halted' }, own: { run: { phase: 'paused' } } });
  });

  it('is no news about another run, another host, what is known, or what an operation is changing', () => {
    machine(RUNNING).when(observe()).thenNothing();
    machine(RUNNING)
      .when(observe({ incarnation: 2, domid: 9 }))
      .thenNothing();
    machine(RUNNING)
      .when(observe({ host: 'host-2', domid: 9 }))
      .thenNothing();
    machine(HALTED)
      .when(observe({ domid: 9 }))
      .thenNothing();
    machine([...RUNNING, begun('clean_reboot')])
      .when(observe({ domid: 9 }))
      .thenNothing();
  });
});

describe('creating a machine', () => {
  it('starts it at once when its wish is to run', () => {
    machine([])
      .when(create({}))
      .then([
        { type: 'VirtualMachineCreated' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'provision', incarnation: 1 } },
      ]);
  });

  it('leaves it alone when its wish is to be halted', () => {
    machine([])
      .when(create({ powerState: 'Halted' }))
      .then([{ type: 'VirtualMachineCreated' }]);
  });

  it.each<[string, object, string]>([
    [
      'more CPU reserved than it has',
      { cpu: { vcpus: 1, weight: 256, cap: 0, pin: '', reservation: 101 } },
      'spec.cpu.reservation',
    ],
    [
      'more CPU reserved than its cap',
      { cpu: { vcpus: 4, weight: 256, cap: 50, pin: '', reservation: 60 } },
      'spec.cpu.reservation',
    ],
    ['fewer CPUs than it boots with', { cpu: { vcpus: 4, max: 2, weight: 256, cap: 0, pin: '' } }, 'spec.cpu.max'],
    ['more dynamic than static memory', { memory: { staticMax: '1Gi', dynamicMax: '2Gi' } }, 'spec.memory.dynamicMax'],
    [
      'a dynamic minimum above the maximum',
      { memory: { staticMax: '4Gi', dynamicMax: '1Gi', dynamicMin: '2Gi' } },
      'spec.memory.dynamicMin',
    ],
    [
      'a disk with volume and source',
      { disks: [{ name: 'a', volume: 'v', source: { image: 'i' }, readOnly: false }] },
      'spec.disks[0].source',
    ],
    ['a disk of no size', { disks: [{ name: 'a', readOnly: false }] }, 'spec.disks[0].size'],
    [
      'two disks of one name',
      {
        disks: [
          { name: 'a', size: '1Gi' },
          { name: 'a', size: '1Gi' },
        ],
      },
      'spec.disks[1].name',
    ],
    [
      'two interfaces of one name',
      {
        nics: [
          { name: 'a', network: 'n' },
          { name: 'a', network: 'n' },
        ],
      },
      'spec.nics[1].name',
    ],
    [
      'windows without emulated devices',
      { guest: { os: 'windows', pvDrivers: true, ignoresShutdown: false } },
      'spec.guestType',
    ],
    ['a suspended machine', { powerState: 'Suspended' }, 'spec.powerState'],
  ])('refuses %s', (_what, spec, field) => {
    const rejection = machine([]).when(create(spec)).thenRejected('object_invalid');
    expect(rejection.causes?.map((cause) => cause.field)).toEqual([field]);
  });
});

describe('actions', () => {
  const states: [string, readonly NewEvent[], string[]][] = [
    ['halted', HALTED, ['changing_dynamic_range', 'destroy', 'snapshot', 'start']],
    [
      'running',
      RUNNING,
      [
        'changing_VCPUs_live',
        'changing_dynamic_range',
        'checkpoint',
        'clean_reboot',
        'clean_shutdown',
        'hard_reboot',
        'hard_shutdown',
        'pause',
        'pool_migrate',
        'snapshot',
        'suspend',
      ],
    ],
    ['paused', PAUSED, ['checkpoint', 'hard_reboot', 'hard_shutdown', 'snapshot', 'unpause']],
    [
      'running during a snapshot',
      [...RUNNING, begun('snapshot')],
      ['checkpoint', 'hard_reboot', 'hard_shutdown', 'snapshot'],
    ],
    ['running during a checkpoint', [...RUNNING, begun('checkpoint')], ['hard_reboot', 'hard_shutdown', 'snapshot']],
    ['starting', STARTING, []],
    ['running during a clean shutdown', [...RUNNING, begun('clean_shutdown')], ['hard_reboot', 'hard_shutdown']],
    ['running during a hard reboot', [...RUNNING, begun('hard_reboot')], ['hard_shutdown']],
    ['running with devices being plugged', [...RUNNING, begun('reconfigure')], ['hard_reboot', 'hard_shutdown']],
    ['running during a hard shutdown', [...RUNNING, begun('hard_shutdown')], []],
  ];
  it.each(states)('allow a %s machine what XAPI allows', (_state, events, allowed) => {
    const { state } = machine(events);
    expect(state.phase === 'present' && allowedOperations(state)).toEqual(allowed);
  });

  it('are refused with XAPI’s words', () => {
    expect(
      machine(HALTED)
        .when(act('pause'))
        .thenRejected('operation_not_allowed', /it is halted/).details,
    ).toEqual({
      xapi: { code: 'VM_BAD_POWER_STATE', args: [TEST_STREAM, 'running', 'halted'] },
    });
    const busy = machine([...RUNNING, begun('pause', { operation: 'uid-of-pause' })])
      .when(act('reboot'))
      .thenRejected('operation_in_progress', /"web-pause" \(pause\) is under way/);
    expect(busy.details).toEqual({
      xapi: { code: 'OTHER_OPERATION_IN_PROGRESS', args: ['VM', TEST_STREAM, 'pause', 'uid-of-pause'] },
    });
    machine(RUNNING)
      .when(act('dance'))
      .thenRejected('operation_unknown', /no action "dance"/);
  });

  it('ask no guest that has no drivers to hear it', () => {
    const hvm = created({ guestType: 'hvm', guest: { pvDrivers: false } });
    const { details } = machine([hvm, begun('provision', { incarnation: 1 }), started()])
      .when(act('clean-shutdown'))
      .thenRejected('operation_not_allowed', /no paravirtual drivers/);
    expect(details).toMatchObject({ xapi: { code: 'VM_LACKS_FEATURE' } });
  });

  it('set the wish in their own append, and give it back when they fail', () => {
    const { state } = machine(RUNNING)
      .when(act('pause'))
      .then([{ type: 'VirtualMachineOperationStarted', data: { powerState: 'Paused' } }]);
    expect(state).toMatchObject({ spec: { powerState: 'Paused' } });
    const failed = machine([...RUNNING, begun('pause', { powerState: 'Paused' })])
      .when({ type: 'RecordOperationEnded', data: { operation: 'pause', outcome: 'failed', message: 'no' } })
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    expect(failed.state).toMatchObject({ spec: { powerState: 'Running' }, own: { problem: 'no', operations: [] } });
  });
});

describe('a restart that is cancelled before it gave back what the run before it had held', () => {
  const crashed = eventOf('VirtualMachineHalted', { incarnation: 1, reason: 'guest_crash', message: 'crashed' });
  const restarting = [...RUNNING, crashed, begun('start', { incarnation: 2 })];
  const end = (outcome: string) => ({
    type: 'RecordOperationEnded',
    data: { operation: 'start', outcome, message: 'cancelled by the wish to be halted' },
  });

  it('leaves a clean-up behind', () => {
    machine(restarting)
      .when(end('cancelled'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
  });

  it('leaves none where nothing was held, or somebody cleans up already', () => {
    machine([...HALTED, begun('start', { incarnation: 1 })])
      .when(end('cancelled'))
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    machine([...restarting, begun('release')])
      .when(end('cancelled'))
      .then([{ type: 'VirtualMachineOperationEnded' }]);
  });
});

describe('a change of spec', () => {
  it('turns a changed wish into an operation', () => {
    const wish = (events: readonly NewEvent[], powerState: PowerState) => machine(events).when(change({ powerState }));
    const leads = (action: string) => [
      { type: 'VirtualMachineSpecChanged' },
      { type: 'VirtualMachineOperationStarted', data: { action } },
    ];
    wish(RUNNING, 'Halted').then(leads('shutdown'));
    wish(RUNNING, 'Paused').then(leads('pause'));
    wish([created({ powerState: 'Halted' })], 'Running').then(leads('provision'));
    wish(STARTING, 'Halted').then([
      { type: 'VirtualMachineSpecChanged' },
      { type: 'VirtualMachineOperationSuperseded' },
    ]);
    wish(STARTING, 'Paused').thenRejected('operation_in_progress');
  });

  it('is refused where a running machine can’t take it, cause by cause', () => {
    const rejection = machine(RUNNING)
      .when(change({ memory: '2Gi', cpu: { vcpus: 2 } }))
      .thenRejected('object_invalid');
    expect(rejection.causes?.map((cause) => cause.field)).toEqual(['spec.cpu.vcpus', 'spec.memory']);
    machine(RUNNING)
      .when(change({ onCrash: 'restart' }))
      .then([{ type: 'VirtualMachineSpecChanged' }]);
    machine(HALTED)
      .when(change({ powerState: 'Halted', memory: '2Gi' }))
      .then([{ type: 'VirtualMachineSpecChanged' }]);
  });

  it('may write the memory of a running machine in another form that means the same', () => {
    const running = [created({ memory: '1Gi' }), begun('provision', { incarnation: 1 }), started()];
    for (const memory of ['1024Mi', { staticMax: '1Gi' }, { staticMax: '1Gi', dynamicMin: '1Gi' }])
      machine(running)
        .when(change({ memory }))
        .then([{ type: 'VirtualMachineSpecChanged' }]);
  });
});

describe('records', () => {
  it('of an older run, or of an operation that is over, change nothing', () => {
    const later = [...RUNNING, begun('hard_shutdown')];
    machine(later)
      .when({ type: 'RecordVirtualMachineStarted', data: { ...started().data, operation: 'other' } })
      .thenNothing();
    machine(later)
      .when({ type: 'ReportDomainStopped', data: { incarnation: 0, host: 'host-1', reason: 'crash' } })
      .thenNothing();
    machine(later)
      .when({
        type: 'RecordVirtualMachineStopped',
        data: { incarnation: 1, host: 'other', reason: 'vanished', message: '' },
      })
      .thenNothing();
  });

  it('of a reboot that the guest has overtaken by one of its own change nothing', () => {
    const rebooting = [...RUNNING, begun('hard_reboot')];
    const answer = (domid: number) => ({
      type: 'RecordVirtualMachineRebooted',
      data: { operation: 'hard_reboot', incarnation: 1, domid },
    });
    machine([...rebooting, eventOf('VirtualMachineRebooted', { domid: 3 }), eventOf('VirtualMachinePaused', {})])
      .when(answer(2))
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    machine(rebooting)
      .when(answer(2))
      .then([{ type: 'VirtualMachineRebooted', data: { domid: 2 } }]);
  });

  it('of a guest that ended while it was rebooted by force say of which domain, before and after the reboot', () => {
    const preserving = [created({ onCrash: 'preserve' }), ...RUNNING.slice(1), begun('hard_reboot')];
    const crash = (endedDomid: number) => ({
      type: 'ReportDomainStopped',
      data: { incarnation: 1, host: 'host-1', reason: 'crash', endedDomid },
    });
    const answer = {
      type: 'RecordVirtualMachineRebooted',
      data: { operation: 'hard_reboot', incarnation: 1, domid: 2 },
    };
    const rebooted = eventOf('VirtualMachineRebooted', answer.data);
    machine([...preserving, rebooted])
      .when(crash(1))
      .thenNothing();
    machine([...RUNNING, begun('hard_reboot'), rebooted])
      .when(crash(1))
      .thenNothing();
    machine(preserving)
      .when(crash(2))
      .then([{ type: 'VirtualMachineRebooted', data: { domid: 2 } }, { type: 'VirtualMachinePaused' }]);
    machine([...preserving, eventOf('VirtualMachineRebooted', { domid: 2 }), eventOf('VirtualMachinePaused', {})])
      .when(answer)
      .then([{ type: 'VirtualMachineOperationEnded' }]);
    machine([...preserving, eventOf('VirtualMachinePaused', {})])
      .when(answer)
      .then([{ type: 'VirtualMachineRebooted', data: { domid: 2 } }]);
  });

  it('runs under its new domain id when its host restarted the guest before the start was recorded', () => {
    const report = { incarnation: 1, host: 'host-1', reason: 'reboot', domid: 9 };
    machine(STARTING)
      .when({ type: 'ReportDomainStopped', data: report })
      .then([{ type: 'VirtualMachineEndedEarly', data: { incarnation: 1, reason: 'reboot', domid: 9 } }]);
    machine([...STARTING, eventOf('VirtualMachineEndedEarly', { incarnation: 1, reason: 'reboot', domid: 9 })])
      .when({ type: 'RecordVirtualMachineStarted', data: started().data })
      .then([{ type: 'VirtualMachineStarted' }, { type: 'VirtualMachineRebooted', data: { domid: 9 } }]);
  });

  describe('of somebody on the host itself', () => {
    const report = (more: object) => ({
      type: 'ReportDomainStopped',
      data: {
        incarnation: 1,
        host: 'host-1',
        reason: 'poweroff',
        direct: { command: 'xl shutdown', hard: false },
        ...more,
      },
    });
    const destroyed = { direct: { command: 'xl destroy', hard: true } };

    it('say who ended the machine, which a policy that preserves does not find any more', () => {
      machine([created({ onPoweroff: 'preserve' }), ...RUNNING.slice(1)])
        .when(report({}))
        .then([
          {
            type: 'VirtualMachineHalted',
            data: {
              reason: 'guest_poweroff',
              message: 'was shut down on host-1 with xl shutdown',
              powerState: 'Halted',
            },
          },
          { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
        ]);
    });

    it('restart a machine that restarts after each poweroff, but none that was destroyed', () => {
      const restarting = [created({ onPoweroff: 'restart' }), ...RUNNING.slice(1)];
      machine(restarting)
        .when(report({}))
        .then([
          { type: 'VirtualMachineHalted' },
          { type: 'VirtualMachineOperationStarted', data: { action: 'start' } },
        ]);
      machine(restarting)
        .when(report(destroyed))
        .then([
          { type: 'VirtualMachineHalted', data: { reason: 'hard_shutdown', powerState: 'Halted' } },
          { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
        ]);
    });

    it('are in the log though the domain is the same after a reboot, and not when a later one is known', () => {
      const rebooted = (domid: number) =>
        report({ reason: 'reboot', domid, direct: { command: 'xl reboot', hard: false } });
      machine(RUNNING)
        .when(rebooted(1))
        .then([{ type: 'VirtualMachineRebooted', data: { domid: 1, direct: 'xl reboot' } }]);
      machine([...RUNNING, eventOf('VirtualMachineRebooted', { domid: 3 })])
        .when(rebooted(2))
        .thenNothing();
    });

    it('are acted on with the start when they come before its record', () => {
      const early = eventOf('VirtualMachineEndedEarly', { incarnation: 1, reason: 'poweroff', ...destroyed });
      machine(STARTING)
        .when(report(destroyed))
        .then([{ type: early.type, data: early.data }]);
      machine([...STARTING, early])
        .when({ type: 'RecordVirtualMachineStarted', data: started().data })
        .then([
          { type: 'VirtualMachineStarted' },
          { type: 'VirtualMachineHalted', data: { message: 'was destroyed on host-1 with xl destroy' } },
          { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
        ]);
    });
  });

  it('of a guest that ended before its start was recorded are acted on with it', () => {
    const early = machine(STARTING)
      .when({ type: 'ReportDomainStopped', data: { incarnation: 1, host: 'host-1', reason: 'crash' } })
      .then([{ type: 'VirtualMachineEndedEarly' }]);
    expect(early.state).toMatchObject({ own: { run: { phase: 'halted' } } });
    machine([...STARTING, eventOf('VirtualMachineEndedEarly', { incarnation: 1, reason: 'crash' })])
      .when({ type: 'RecordVirtualMachineStarted', data: started().data })
      .then([
        { type: 'VirtualMachineStarted' },
        { type: 'VirtualMachineHalted', data: { reason: 'guest_crash' } },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
  });

  it('of a start that the wish to be halted came too late for lead to a shutdown', () => {
    const late = [...STARTING, eventOf('VirtualMachineSpecChanged', { spec: machineSpec({ powerState: 'Halted' }) })];
    machine(late)
      .when({ type: 'RecordVirtualMachineStarted', data: started().data })
      .then([
        { type: 'VirtualMachineStarted' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'shutdown' } },
      ]);
  });
});

const commands = fc.oneof(
  fc
    .constantFrom(
      'start',
      'shutdown',
      'hard-shutdown',
      'reboot',
      'pause',
      'unpause',
      'suspend',
      'resume',
      'migrate',
      'snapshot',
      'checkpoint',
    )
    .map(act),
  fc.constantFrom(1, 2).map((vcpus) => change({ cpu: { vcpus, max: 2 } })),
  fc.constantFrom<PowerState>('Running', 'Halted', 'Paused', 'Suspended').map((powerState) => change({ powerState })),
  fc.constantFrom('poweroff', 'crash', 'reboot').map((reason) => ({ report: reason })),
  fc.constantFrom('finish' as const, 'fail' as const, 'cancel' as const).map((outcome) => ({ outcome })),
  fc.constant({ lose: true }),
  fc.constant({ type: 'DeleteVirtualMachine', data: { propagationPolicy: 'Background' } }),
);

const IMAGE = { sizeBytes: 1, content: 'saved', volume: 'web-suspend-image', volumeUid: 'image-uid' };

interface Told {
  readonly type: string;
  readonly data: JsonObject;
}

/** What the oldest operation tells the machine at its end. */
const endOf = (state: MachineState, outcome: 'finish' | 'fail' | 'cancel'): Told | null => {
  if (state.phase !== 'present') return null;
  const [oldest] = state.own.operations;
  if (!oldest) return null;
  const { operation, action } = oldest;
  const { run } = state.own;
  const begins = beginsRun(oldest) || run.phase === 'halted';
  const incarnation = begins ? state.own.incarnation : run.incarnation;
  if (outcome !== 'finish') {
    const ended = outcome === 'fail' ? 'failed' : 'cancelled';
    return { type: 'RecordOperationEnded', data: { operation, outcome: ended, message: outcome } };
  }
  if (isStarting(oldest))
    return { type: 'RecordVirtualMachineStarted', data: { ...started(incarnation).data, operation } };
  if (action === 'pool_migrate') {
    const moved = { incarnation, from: 'host-1', host: 'host-1', hostUid: 'uid-1', domid: 9, state: 'running' };
    return { type: 'RecordVirtualMachineMigrated', data: { operation, ...moved, disks: [], migration: {} } };
  }
  if (action === 'suspend')
    return { type: 'RecordVirtualMachineSuspended', data: { operation, incarnation, image: IMAGE } };
  if (action === 'changing_VCPUs_live') {
    const hardware = hardwareOf(state.spec);
    const data = { operation, incarnation, host: 'host-1', hardware, disks: [], nics: [] };
    return { type: 'RecordVirtualMachineReconfigured', data };
  }
  if (action === 'pause') return { type: 'RecordVirtualMachinePaused', data: { operation } };
  if (action === 'unpause') return { type: 'RecordVirtualMachineUnpaused', data: { operation } };
  if (action === 'clean_reboot' || action === 'hard_reboot')
    return { type: 'RecordVirtualMachineRebooted', data: { operation, domid: 5 } };
  if (action === 'deprovision') return { type: 'RecordVirtualMachineTornDown', data: { operation } };
  if (action === 'release')
    return { type: 'RecordOperationEnded', data: { operation, outcome: 'succeeded', message: '' } };
  return {
    type: 'RecordVirtualMachineHalted',
    data: { operation, incarnation, reason: 'clean_shutdown', message: '' },
  };
};

const commandOf = (state: MachineState, drawn: object): Told | null => {
  if ('outcome' in drawn) return endOf(state, drawn.outcome as 'finish');
  if ('type' in drawn) return drawn as Told;
  const run = state.phase === 'present' ? state.own.run : null;
  const incarnation = run && run.phase !== 'halted' ? run.incarnation : 1;
  if ('report' in drawn)
    return { type: 'ReportDomainStopped', data: { incarnation, host: 'host-1', reason: drawn.report as string } };
  return {
    type: 'RecordVirtualMachineStopped',
    data: { incarnation, host: 'host-1', reason: 'host_crash', message: '' },
  };
};

describe('any interleaving of commands', () => {
  const apply = (
    state: MachineState,
    told: Told,
    step: number,
  ): { state: MachineState; events: readonly NewEvent[] } => {
    const command: Command = {
      ...told,
      commandId: `c${step}`,
      streamId: TEST_STREAM,
      at: step * 1000,
      actor: 'user:x',
    };
    const decided = virtualMachineAggregate.decide(command, state);
    if (!decided.ok) {
      expect(told.type.startsWith('Record') || told.type.startsWith('Report')).toBe(false);
      return { state, events: [] };
    }
    return {
      events: decided.value,
      state: decided.value.reduce<MachineState>((next, event, index) => {
        virtualMachineAggregate.consequences?.(event, next, command);
        return virtualMachineAggregate.evolve(next, event, {
          streamId: TEST_STREAM,
          version: step * 10 + index,
          at: step * 1000,
          actor: 'x',
        });
      }, state),
    };
  };

  it('never has two runs, never starts a run twice, and refuses no record', () => {
    fc.assert(
      fc.property(fc.array(commands, { maxLength: 30 }), (drawn) => {
        let state = apply(
          { phase: 'absent' },
          create({ cpu: { vcpus: 1, max: 2, weight: 256, cap: 0, pin: '' } }),
          0,
        ).state;
        const incarnations = new Set<number>([1]);
        drawn.forEach((one, index) => {
          const told = commandOf(state, one);
          if (!told) return;
          const result = apply(state, told, index + 1);
          for (const event of result.events) {
            const incarnation = event.data['incarnation'];
            if (event.type !== 'VirtualMachineOperationStarted' || typeof incarnation !== 'number') continue;
            expect(incarnations.has(incarnation)).toBe(false);
            incarnations.add(incarnation);
          }
          state = result.state;
          if (state.phase !== 'present') return;
          const { own } = state;
          const starts = own.operations.filter(isStarting);
          expect(starts.length).toBeLessThanOrEqual(1);
          // No run exists while another is being started.
          if (starts.length > 0) expect(['halted', 'suspended']).toContain(own.run.phase);
          // A younger one than the run that there is may only have been on its way.
          if (own.run.phase !== 'halted') expect(own.run.incarnation).toBeLessThanOrEqual(own.incarnation);
        });
      }),
      { numRuns: 500 },
    );
  });

  it('comes to rest: when every operation is ended, nothing is under way, and a deleted machine is gone', () => {
    fc.assert(
      fc.property(fc.array(commands, { maxLength: 20 }), (drawn) => {
        let state = apply(
          { phase: 'absent' },
          create({ cpu: { vcpus: 1, max: 2, weight: 256, cap: 0, pin: '' } }),
          0,
        ).state;
        drawn.forEach((one, index) => {
          const told = commandOf(state, one);
          if (told) state = apply(state, told, index + 1).state;
        });
        for (let step = 100; step < 120; step += 1) {
          const end = endOf(state, 'finish');
          if (end) state = apply(state, end, step).state;
        }
        if (state.phase !== 'present') return;
        expect(state.own.operations).toEqual([]);
        expect(state.meta.deletionTimestamp).toBeUndefined();
        expect(currentOperation(state.own, 'any')).toBeUndefined();
        const spec: VirtualMachineSpec = state.spec;
        // A wish stays when the operation that it led to failed: only who uttered it takes it back.
        const failed = drawn.some((one) => 'outcome' in one && one.outcome !== 'finish');
        if (!failed && spec.powerState === 'Halted') expect(state.own.run.phase).toBe('halted');
      }),
      { numRuns: 500 },
    );
  });
});
