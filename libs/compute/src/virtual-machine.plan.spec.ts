import {
  agentCommands,
  attachPortData,
  attachVolumeData,
  cancelVolumeHandoverData,
  deprovisionPortData,
  deprovisionVolumeData,
  placeVirtualMachineData,
  planStep,
  prepareVolumeHandoverData,
  provisionPortData,
  provisionVolumeData,
  detachVolumeData,
  discardSealedVolumeData,
  migrateDomainAnswer,
  releasePlacementData,
  revertVolumeData,
  savedImage,
  snapshotVolumeData,
  startDomainAnswer,
  virtualMachineCommands,
  virtualMachineSpec,
  type PlanStep,
  type SnapshotContent,
} from '@xenolith/contracts';
import { memoryOverheadBytes, type JsonObject } from '@xenolith/kernel';
import { given } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { isFinish } from './operation.state.js';
import { referencesOf, resolveReferences } from './plan-references.js';
import { machineSpec, machineUid, metadata, WITH_DEVICES } from './platform.spec-fixture.js';
import { hardwareOf } from './virtual-machine.changes.js';
import { virtualMachineAggregate } from './virtual-machine.js';
import { operationPlan } from './virtual-machine.plan.js';
import type { OperationAction, PresentMachine } from './virtual-machine.state.js';

const halted = (spec: object = WITH_DEVICES): PresentMachine => {
  const { state } = given(
    virtualMachineAggregate,
    [
      {
        type: 'VirtualMachineCreated',
        schemaVersion: 1,
        data: { metadata: metadata('web'), spec: machineSpec({ ...spec, powerState: 'Halted' }) },
      },
    ],
    machineUid('web'),
  );
  if (state.phase !== 'present') throw new Error('the machine was created');
  return state;
};

const running = (spec: object = WITH_DEVICES): PresentMachine => {
  const machine = halted(spec);
  return {
    ...machine,
    own: {
      ...machine.own,
      incarnation: 1,
      run: {
        phase: 'running',
        incarnation: 1,
        host: 'host-1',
        hostUid: 'uid-1',
        domid: 1,
        hostAnswers: true,
        startTime: '2026-01-01T00:00:00Z',
      },
      hardware: hardwareOf(machine.spec),
      disks: [{ name: 'root', volume: 'web-root', volumeUid: 'volume-uid', owned: true }],
      nics: [{ name: 'eth0', port: 'web-eth0', portUid: 'port-uid', mac: '00:16:3e:00:00:01', ips: [] }],
    },
  };
};

const suspended = (): PresentMachine => {
  const machine = running();
  const image = { sizeBytes: 4096, content: 'saved', volume: 'web-suspend-image', volumeUid: 'image-uid' };
  return { ...machine, own: { ...machine.own, run: { phase: 'suspended', incarnation: 1 }, image } };
};

const plan = (machine: PresentMachine, action: OperationAction, more: object = {}): readonly PlanStep[] =>
  operationPlan(machine, { operation: 'op', action, parameters: {}, ...more }).plan;

const outline = (steps: readonly PlanStep[]): string[] =>
  steps.map((step) => `${step.stage} ${step.type}${step.undo ? ` / ${step.undo.type}` : ''}`);

describe('plans', () => {
  it('start: place, then devices side by side, then the domain, then say so', () => {
    expect(outline(plan(halted(), 'provision', { incarnation: 1 }))).toEqual([
      '0 PlaceVirtualMachine / ReleasePlacement',
      '1 ProvisionVolume / DeprovisionVolume',
      '1 ProvisionPort / DeprovisionPort',
      '2 StartDomain / DestroyDomain',
      '3 RecordVirtualMachineStarted',
    ]);
  });

  it('start: asks to be let in against what the cluster promises only when that is asked for', () => {
    const requested = (parameters: object) =>
      plan(halted(), 'start', { incarnation: 1, parameters }).find(({ type }) => type === 'PlaceVirtualMachine')?.data[
        'request'
      ];
    expect(requested({ allowOvercommit: true })).toMatchObject({ allowOvercommit: true });
    expect(requested({ allowOvercommit: false })).not.toHaveProperty('allowOvercommit');
  });

  it('shutdown: from the domain’s end on, only forwards', () => {
    const steps = plan(running(), 'clean_shutdown');
    expect(outline(steps)).toEqual([
      '0 ShutdownDomain',
      '1 DetachVolume',
      '1 AttachPort',
      '1 ReleasePlacement',
      '2 RecordVirtualMachineHalted',
    ]);
    expect(steps.filter((step) => step.stage === 1).every((step) => step.mustSucceed)).toBe(true);
    expect(outline(plan(running(), 'shutdown')).slice(0, 2)).toEqual(['0 ShutdownDomain', '1 ShutdownDomain']);
  });

  it('deprovision: the domain first, then what it held', () => {
    expect(outline(plan(running(), 'deprovision'))).toEqual([
      '0 DestroyDomain',
      '1 ReleasePlacement',
      '2 DeprovisionVolume',
      '2 DeprovisionPort',
      '3 RecordVirtualMachineTornDown',
    ]);
    expect(outline(plan(halted({}), 'deprovision'))).toEqual(['0 RecordVirtualMachineTornDown']);
  });

  it('start after a run that ended by itself: fence it and give its holdings back first', () => {
    const machine = running();
    const crashed: PresentMachine = {
      ...machine,
      own: {
        ...machine.own,
        run: { phase: 'halted', reason: 'host_crash', message: '', leftover: { incarnation: 1, host: 'host-1' } },
      },
    };
    expect(outline(plan(crashed, 'start', { incarnation: 2 })).slice(0, 5)).toEqual([
      '0 DestroyDomain',
      '1 DetachVolume',
      '1 AttachPort',
      '1 ReleasePlacement',
      '2 PlaceVirtualMachine / ReleasePlacement',
    ]);
  });

  it('suspend: room for the image, the guest into it, then nothing is held; a refusal leaves the machine as it is', () => {
    const steps = plan(running(), 'suspend');
    expect(outline(steps)).toEqual([
      '0 ProvisionVolume / DeprovisionVolume',
      '1 SuspendDomain',
      '2 DetachVolume',
      '2 AttachPort',
      '2 ReleasePlacement',
      '3 RecordVirtualMachineSuspended',
    ]);
    expect(steps.filter((step) => step.stage === 2).every((step) => step.mustSucceed)).toBe(true);
  });

  it('resume: as a start, from the image; the image is kept until the run is recorded', () => {
    const steps = plan(suspended(), 'resume', { incarnation: 2 });
    expect(outline(steps)).toEqual([
      '0 PlaceVirtualMachine / ReleasePlacement',
      '1 ProvisionVolume / DeprovisionVolume',
      '1 ProvisionPort / DeprovisionPort',
      '2 ResumeDomain / DestroyDomain',
      '3 RecordVirtualMachineStarted',
    ]);
    expect(steps[3]?.data).toMatchObject({ incarnation: 2, image: { sizeBytes: 4096, content: 'saved' } });
  });

  it('resume: under the hypervisor that saved the guest, though any will do for the machine, as another can’t read the image', () => {
    const machine = suspended();
    const hypervisorOf = (own: Partial<PresentMachine['own']>): unknown => {
      const spec = { ...machine.spec, guestType: 'hvm' as const, hypervisor: 'any' as const };
      const steps = plan({ ...machine, spec, own: { ...machine.own, ...own } }, 'resume', { incarnation: 2 });
      const place = steps.find(({ name }) => name === 'place');
      return (place?.data['request'] as { hypervisor: string }).hypervisor;
    };
    expect(hypervisorOf({ hypervisor: 'kvm' })).toBe('kvm');
    const run: PresentMachine['own']['run'] = {
      phase: 'halted',
      reason: 'guest_poweroff',
      message: '',
      leftover: null,
    };
    expect(hypervisorOf({ hypervisor: 'kvm', run })).toBe('any');
  });

  it('migration: to a host of the same hypervisor, though any will do for the machine', () => {
    const machine = running();
    const spec = { ...machine.spec, guestType: 'hvm' as const, hypervisor: 'any' as const };
    const [placed] = plan({ ...machine, spec, own: { ...machine.own, hypervisor: 'kvm' } }, 'pool_migrate', {
      incarnation: 2,
    });
    expect(placed?.data['request']).toMatchObject({ hypervisor: 'kvm' });
  });

  it('ends of a suspended machine discard its image', () => {
    expect(outline(plan(suspended(), 'hard_shutdown'))).toEqual([
      '0 DeprovisionVolume',
      '1 RecordVirtualMachineHalted',
    ]);
    expect(outline(plan(suspended(), 'deprovision'))).toEqual([
      '0 DeprovisionVolume',
      '0 DeprovisionPort',
      '0 DeprovisionVolume',
      '1 RecordVirtualMachineTornDown',
    ]);
  });

  it('migration: until the guest has gone over all can be taken back, from then on nothing', () => {
    const steps = plan(running(), 'pool_migrate', {
      incarnation: 2,
      parameters: { to: 'host-2', policy: 'post-copy' },
    });
    expect(outline(steps)).toEqual([
      '0 PlaceVirtualMachine / ReleasePlacement',
      '1 PrepareVolumeHandover / CancelVolumeHandover',
      '2 ReceiveDomain / DestroyDomain',
      '3 MigrateDomain',
      '4 SettleMigration',
      '5 AttachVolume',
      '5 AttachPort',
      '5 DestroyDomain',
      '5 ReleasePlacement',
      '6 RecordVirtualMachineMigrated',
    ]);
    expect(steps[0]).toMatchObject({ data: { request: { host: 'host-2', exceptHost: 'host-1' } }, waitOn: [] });
    expect(steps[2]).toMatchObject({ data: { incarnation: 2, from: 'host-1', fromIncarnation: 1 } });
    expect(steps[3]).toMatchObject({
      to: { agentOfHost: 'host-1' },
      data: { incarnation: 1, toIncarnation: 2, operation: 'op', policy: 'post-copy' },
      untilAnswered: true,
      cancel: { type: 'CancelMigration', data: { incarnation: 1 } },
    });
    expect(steps.filter(({ stage }) => stage > 3 && stage < 6).every(({ mustSucceed }) => mustSucceed)).toBe(true);
  });

  const content: SnapshotContent = {
    spec: halted().spec,
    hardware: null,
    hypervisor: 'xen',
    disks: [
      {
        name: 'root',
        volume: 'web-root',
        volumeUid: 'volume-uid',
        owned: true,
        readOnly: false,
        sizeBytes: 1024,
        held: { volume: 'before-root', volumeUid: 'held-uid' },
      },
    ],
  };
  const image = { sizeBytes: 9, content: 'saved', volume: 'i', volumeUid: 'held-image', reservedBytes: 16 };
  const snapped = (machine: PresentMachine, memory = false): PresentMachine => {
    const snapshot = { uid: 's', name: 'before', content: memory ? { ...content, image } : content };
    return { ...machine, own: { ...machine.own, snapshots: [snapshot] } };
  };
  const NAMED = { parameters: { name: 'before' } };
  const BACK = { parameters: { to: 'before' }, incarnation: 2 };

  it('snapshot: each disk, in whatever state the machine is', () => {
    for (const machine of [running(), suspended()])
      expect(outline(plan(machine, 'snapshot', NAMED))).toEqual([
        '0 SnapshotVolume / DiscardSealedVolume',
        '1 RecordVirtualMachineSnapshotTaken',
      ]);
  });

  it('checkpoint: the guest stands still from its image to the last disk', () => {
    const steps = plan(running(), 'checkpoint', NAMED);
    expect(outline(steps)).toEqual([
      '0 ProvisionVolume / DiscardSealedVolume',
      '1 CheckpointDomain / UnpauseDomain',
      '2 SnapshotVolume / DiscardSealedVolume',
      '3 UnpauseDomain',
      '3 DetachVolume',
      '4 RecordVirtualMachineSnapshotTaken',
    ]);
    expect(steps[1]?.data).toMatchObject({ paused: true });
    expect(outline(plan(suspended(), 'checkpoint', NAMED))).toEqual([
      '0 SnapshotVolume / DiscardSealedVolume',
      '0 SnapshotVolume / DiscardSealedVolume',
      '1 RecordVirtualMachineSnapshotTaken',
    ]);
  });

  it('revert: the run ends, and once all volumes are the machine’s it goes forwards only', () => {
    const steps = plan(snapped(running()), 'revert', BACK);
    expect(outline(steps)).toEqual([
      '0 ShutdownDomain',
      '1 DetachVolume',
      '1 AttachPort',
      '1 ReleasePlacement',
      '2 ProvisionVolume / DeprovisionVolume',
      '3 RevertVolume',
      '4 DetachVolume',
      '5 RecordVirtualMachineReverted',
    ]);
    expect(steps.filter(({ stage }) => stage !== 2 && stage !== 5).every(({ mustSucceed }) => mustSucceed)).toBe(true);
    expect(outline(plan(snapped(suspended(), true), 'revert', BACK))).toEqual([
      '0 ProvisionVolume / DeprovisionVolume',
      '0 ProvisionVolume / DeprovisionVolume',
      '1 RevertVolume',
      '1 RevertVolume',
      '2 DetachVolume',
      '3 RecordVirtualMachineReverted',
    ]);
  });

  it('revert: what the snapshot does not know is given back, the image of a suspended machine too', () => {
    const machine = suspended();
    const data = { name: 'data', volume: 'web-data', volumeUid: 'data-uid', owned: true };
    const more = { ...machine, own: { ...machine.own, disks: [...machine.own.disks, data] } };
    const changed = { ...more, spec: virtualMachineSpec.parse(machineSpec({ nics: [] })) };
    const steps = plan(snapped(changed), 'revert', BACK);
    expect(steps.filter(({ type }) => type.startsWith('Deprovision')).map(({ streamId }) => streamId)).toEqual([
      'data-uid',
      'port-uid',
      'image-uid',
    ]);
  });

  it('change of a running machine: provide, plug, unplug, and only then let go', () => {
    const machine = running();
    const spec = machineSpec({ cpu: { vcpus: 1, weight: 512 }, disks: [{ name: 'data', size: '2Gi' }], nics: [] });
    const changed = { ...machine, spec: virtualMachineSpec.parse(spec) };
    expect(outline(plan(changed, 'reconfigure'))).toEqual([
      '0 ProvisionVolume / DeprovisionVolume',
      '1 ChangeDomain / ChangeDomain',
      '1 AttachDisk / DetachDisk',
      '2 DetachDisk / AttachDisk',
      '2 DetachNic / AttachNic',
      '3 DeprovisionVolume',
      '3 DeprovisionPort',
      '4 RecordVirtualMachineReconfigured',
    ]);
    expect(plan(changed, 'reconfigure')[1]).toMatchObject({
      data: { incarnation: 1, weight: 512 },
      undo: { data: { incarnation: 1, weight: 256 } },
    });
  });

  it('give back what the spec of a halted machine names no more', () => {
    const machine = running();
    const run = { phase: 'halted', reason: 'clean_shutdown', message: '', leftover: null } as const;
    const spec = virtualMachineSpec.parse(machineSpec({ powerState: 'Halted' }));
    const bare: PresentMachine = { ...machine, spec, own: { ...machine.own, run } };
    expect(outline(plan(bare, 'release'))).toEqual([
      '0 DeprovisionVolume',
      '0 DeprovisionPort',
      '1 RecordOperationEnded',
    ]);
  });

  it('attach a volume of its own life by its name, and wait for it', () => {
    const steps = plan(halted({ disks: [{ name: 'data', volume: 'shared' }] }), 'start', { incarnation: 1 });
    expect(steps[1]).toMatchObject({ type: 'AttachVolume', streamId: 'volume:default/shared', waitOn: ['not_found'] });
  });

  it('tell placement which volumes and networks the host must reach', () => {
    const disks = [
      { name: 'root', size: '1Gi' },
      { name: 'logs', size: '1Gi', storageDomain: 'nas' },
      { name: 'data', volume: 'shared' },
    ];
    const [place] = plan(halted({ disks, nics: [{ name: 'eth0', network: 'web' }] }), 'start', { incarnation: 1 });
    expect(place?.data['request']).toMatchObject({
      storageDomains: ['nas'],
      volumes: [
        { name: 'web-root', own: true },
        { name: 'web-logs', own: false },
        { name: 'shared', own: false },
      ],
      networks: ['web'],
    });
  });

  it('ask for the CPU that is reserved', () => {
    const asked = (spec: object) => plan(halted(spec), 'start', { incarnation: 1 })[0]?.data['request'];
    expect(asked({ cpu: { vcpus: 2, reservation: 150 } })).toMatchObject({ resources: { 'cpu:reserved': 150 } });
    expect(asked({ cpu: { vcpus: 2 } })).not.toHaveProperty('resources');
  });

  it('ask for memory with the domain’s overhead', () => {
    const [place] = plan(halted({ memory: '4Gi', cpu: { vcpus: 2, max: 4 } }), 'start', { incarnation: 1 });
    const staticMaxBytes = 4 * 2 ** 30;
    expect(place?.data).toMatchObject({
      request: {
        // What may be plugged in while it runs is reserved, as all of its memory is.
        vcpus: 4,
        memoryBytes: staticMaxBytes + memoryOverheadBytes({ guestType: 'pvh', vcpus: 4, staticMaxBytes }),
      },
    });
  });

  const actions: OperationAction[] = [
    'clean_shutdown',
    'shutdown',
    'hard_shutdown',
    'clean_reboot',
    'hard_reboot',
    'pause',
    'unpause',
    'suspend',
    'deprovision',
  ];
  const all: [string, readonly PlanStep[]][] = [
    ['provision', plan(halted(), 'provision', { incarnation: 1 })],
    ['resume', plan(suspended(), 'resume', { incarnation: 2 })],
    ['migration', plan(running(), 'pool_migrate', { incarnation: 2 })],
    ['snapshot', plan(running(), 'snapshot', NAMED)],
    ['checkpoint', plan(running(), 'checkpoint', NAMED)],
    ['revert', plan(snapped(running(), true), 'revert', BACK)],
    ['hard_shutdown of a saved guest', plan(suspended(), 'hard_shutdown')],
    ['deprovision of a saved guest', plan(suspended(), 'deprovision')],
    ...actions.map((action): [string, readonly PlanStep[]] => [action, plan(running(), action)]),
  ];
  it.each(all)('%s: can be executed', (_action, steps) => {
    for (const step of steps) expect(() => planStep.parse(step)).not.toThrow();
    expect(new Set(steps.map((step) => step.name)).size).toBe(steps.length);
    // Stages have no gaps, and the only words to the machine itself are the last.
    expect([...new Set(steps.map((step) => step.stage))]).toEqual(
      Array.from({ length: (steps.at(-1)?.stage ?? 0) + 1 }, (_, stage) => stage),
    );
    expect(steps.map(isFinish)).toEqual(steps.map((_, index) => index === steps.length - 1));
    for (const reference of referencesOf(steps)) {
      const source = steps.find((step) => step.name === reference.from);
      expect(source && source.stage < reference.step.stage, `${reference.step.name} <- ${reference.from}`).toBe(true);
    }
  });

  it('send what the contracts ask for', () => {
    const answers = new Map<string, JsonObject>([
      ['place', { host: 'host-1', hostUid: 'uid-1' }],
      ['disk-root', { name: 'web-root', uid: 'v', sizeBytes: 1, fencingToken: 1 }],
      ['handover-root', { fencingToken: 2 }],
      ['nic-eth0', { name: 'web-eth0', uid: 'p', mac: '00:16:3e:00:00:01', ips: [], bridge: 'xenbr0' }],
      ['start-domain', startDomainAnswer.parse({ domid: 1, state: 'running' }) as JsonObject],
    ]);
    const schemas = {
      ...agentCommands,
      ...virtualMachineCommands,
      PlaceVirtualMachine: placeVirtualMachineData,
      ReleasePlacement: releasePlacementData,
      ProvisionVolume: provisionVolumeData,
      DeprovisionVolume: deprovisionVolumeData,
      AttachVolume: attachVolumeData,
      DetachVolume: detachVolumeData,
      SnapshotVolume: snapshotVolumeData,
      DiscardSealedVolume: discardSealedVolumeData,
      RevertVolume: revertVolumeData,
      PrepareVolumeHandover: prepareVolumeHandoverData,
      CancelVolumeHandover: cancelVolumeHandoverData,
      ProvisionPort: provisionPortData,
      AttachPort: attachPortData,
      DeprovisionPort: deprovisionPortData,
    };
    const check = (type: string, data: unknown) => {
      const schema = schemas[type as keyof typeof schemas];
      expect(schema.safeParse(resolveReferences(data, answers)), type).toMatchObject({ success: true });
    };
    const saved = savedImage.parse({ sizeBytes: 4096, content: 'saved' }) as JsonObject;
    answers.set('suspend-domain', saved).set('image', { name: 'web-suspend-image', uid: 'i' });
    const moved = migrateDomainAnswer.parse({ rounds: 5, pagesSent: 5000, durationMs: 700, downtimeMs: 12 });
    answers.set('migrate-domain', moved as JsonObject);
    answers.set('settle-migration', startDomainAnswer.parse({ domid: 2, state: 'running' }) as JsonObject);
    answers.set('checkpoint-domain', saved).set('snapshot-root', { sizeBytes: 1024 });
    answers.set('snapshot-suspend-image', { sizeBytes: 16 }).set('image', { name: 'i', uid: 'i', sizeBytes: 16 });
    answers.set('lease-suspend-image', { name: 'i', uid: 'i' });
    const plans = [
      plan(running(), 'checkpoint', NAMED),
      plan(suspended(), 'checkpoint', NAMED),
      plan(snapped(running(), true), 'revert', BACK),
      plan(halted(), 'provision', { incarnation: 1 }),
      plan(running(), 'suspend'),
      plan(suspended(), 'resume', { incarnation: 2 }),
      plan(suspended(), 'hard_shutdown'),
      plan(running(), 'pool_migrate', { incarnation: 2 }),
      plan({ ...running(), spec: halted().spec }, 'reconfigure'),
      plan({ ...running(), spec: halted({}).spec }, 'reconfigure'),
    ];
    for (const step of plans.flat()) {
      check(step.type, step.data);
      if (step.cancel) check(step.cancel.type, step.cancel.data);
      if (step.undo) check(step.undo.type, step.undo.data);
    }
  });
});
