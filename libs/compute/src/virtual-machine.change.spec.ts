import { eventOf } from '@xenolith/contracts';
import { reject } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  begun,
  change,
  created,
  HALTED,
  machine,
  PAUSED,
  recordEnded,
  RUNNING,
  started,
  STARTING,
} from './machine.spec-fixture.js';
import { machineSpec, machineUid, Platform, WITH_DEVICES } from './platform.spec-fixture.js';

const CPU = { vcpus: 1, max: 4 };
const MEMORY = { staticMax: '4Gi', dynamicMin: '1Gi', dynamicMax: '2Gi' };
const LARGE = [created({ cpu: CPU, memory: MEMORY }), begun('provision', { incarnation: 1 }), started()];
const wanted = (spec: object) => change({ cpu: CPU, memory: MEMORY, ...spec });
const DISKS = { disks: [{ name: 'data', size: '1Gi' }] };

describe('a change of a running machine', () => {
  it.each<[string, object, string]>([
    ['vCPUs', { cpu: { ...CPU, vcpus: 4 } }, 'changing_VCPUs_live'],
    ['its share of CPU', { cpu: { ...CPU, weight: 512, cap: 50, pin: '0-1' } }, 'changing_VCPUs_live'],
    ['its dynamic range', { memory: { ...MEMORY, dynamicMax: '4Gi' } }, 'changing_dynamic_range'],
    ['its lower bound', { memory: { ...MEMORY, dynamicMin: '512Mi' } }, 'changing_dynamic_range'],
    ['a disk more', DISKS, 'reconfigure'],
    ['an interface more', { nics: [{ name: 'eth0', network: 'web' }] }, 'reconfigure'],
    ['several at once', { cpu: { ...CPU, vcpus: 2 }, memory: { ...MEMORY, dynamicMax: '1Gi' } }, 'reconfigure'],
  ])('is carried out by an operation: %s', (_what, spec, action) => {
    machine(LARGE)
      .when(wanted(spec))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action, formerSpec: { cpu: CPU, memory: MEMORY } } },
      ]);
  });

  it.each<[string, object, string[]]>([
    ['more vCPUs than it was built for', { cpu: { ...CPU, vcpus: 5, max: 5 } }, ['spec.cpu.vcpus']],
    ['another bound of vCPUs', { cpu: { vcpus: 1, max: 8 } }, ['spec.cpu.max']],
    ['another reservation', { cpu: { vcpus: 1, reservation: 50 } }, ['spec.cpu.reservation']],
    ['another static maximum', { memory: { ...MEMORY, staticMax: '8Gi' } }, ['spec.memory.staticMax']],
    ['another kind of guest', { guestType: 'pv' }, ['spec.guestType']],
    ['a change with a wish', { cpu: { ...CPU, vcpus: 2 }, powerState: 'Paused' }, ['spec.powerState']],
  ])('is refused with its causes: %s', (_what, spec, fields) => {
    const { causes } = machine(LARGE).when(wanted(spec)).thenRejected('object_invalid');
    expect(causes?.map(({ field }) => field)).toEqual(fields);
  });

  it('can’t turn one device into another in place', () => {
    const { causes } = machine([created(DISKS), begun('provision', { incarnation: 1 }), started()])
      .when(change({ disks: [{ name: 'data', size: '2Gi' }] }))
      .thenRejected('object_invalid', /remove it first/);
    expect(causes?.map(({ field }) => field)).toEqual(['spec.disks[0]']);
  });

  it('is refused as XAPI refuses it where the machine does not run, or is busy', () => {
    const { details } = machine(PAUSED)
      .when(change(DISKS))
      .thenRejected('operation_not_allowed', /it is paused, not running/);
    expect(details).toMatchObject({ xapi: { code: 'VM_BAD_POWER_STATE' } });
    machine([...RUNNING, begun('clean_reboot')])
      .when(change(DISKS))
      .thenRejected('operation_in_progress');
    machine(STARTING).when(change(DISKS)).thenRejected('operation_in_progress');
    const hvm = { guestType: 'hvm', guest: { pvDrivers: false } };
    const plug = machine([created(hvm), begun('provision', { incarnation: 1 }), started()])
      .when(change({ ...hvm, ...DISKS }))
      .thenRejected('operation_not_allowed');
    expect(plug.details).toMatchObject({ xapi: { code: 'VM_MISSING_PV_DRIVERS' } });
  });

  it('that the host refuses comes off the spec again', () => {
    const { state } = machine([
      ...RUNNING,
      eventOf('VirtualMachineSpecChanged', { spec: machineSpec({ ...DISKS, onCrash: 'restart' }) }),
      begun('reconfigure', { formerSpec: machineSpec() }),
    ])
      .when(recordEnded('reconfigure'))
      .then([
        { type: 'VirtualMachineOperationEnded' },
        { type: 'VirtualMachineSpecChanged', data: { spec: { disks: [] } } },
      ]);
    expect(state).toMatchObject({ spec: { disks: [], onCrash: 'restart' } });
  });

  it('of a domain that is gone by its end leaves its devices to be given back', () => {
    const reconfigured = {
      operation: 'reconfigure',
      incarnation: 1,
      host: 'host-1',
      hardware: { vcpus: 1, maxVcpus: 1, weight: 256, cap: 0, pin: '', dynamicMinBytes: 1, dynamicMaxBytes: 1 },
      disks: [{ name: 'data', volume: 'web-data', volumeUid: 'v', owned: true }],
      nics: [],
    };
    const { state } = machine([
      ...RUNNING,
      begun('reconfigure'),
      begun('hard_shutdown'),
      eventOf('VirtualMachineHalted', {
        operation: 'hard_shutdown',
        incarnation: 1,
        reason: 'hard_shutdown',
        message: '',
      }),
    ])
      .when({ type: 'RecordVirtualMachineReconfigured', data: reconfigured })
      .then([
        { type: 'VirtualMachineReconfigured' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
    expect(state).toMatchObject({ own: { run: { leftover: { incarnation: 1, host: 'host-1' } } } });
  });

  it('of one that is halted gives back at once what is named no more', () => {
    const disk = { name: 'data', volume: 'web-data', volumeUid: 'v', owned: true };
    const had = eventOf('VirtualMachineStarted', { ...started().data, disks: [disk] });
    const stopped = eventOf('VirtualMachineHalted', {
      operation: 'hard_shutdown',
      incarnation: 1,
      reason: 'hard_shutdown',
      message: '',
      powerState: 'Halted',
    });
    const halted = [created(DISKS), begun('provision', { incarnation: 1 }), had, stopped];
    const { state } = machine(halted)
      .when(change({ powerState: 'Halted' }))
      .then([
        { type: 'VirtualMachineSpecChanged' },
        { type: 'VirtualMachineOperationStarted', data: { action: 'release' } },
      ]);
    expect(state).toMatchObject({ own: { disks: [disk] } });
    machine(HALTED)
      .when(change({ powerState: 'Halted', ...DISKS }))
      .then([{ type: 'VirtualMachineSpecChanged' }]);
  });
});

describe('the platform', () => {
  let platform: Platform;
  beforeEach(async () => {
    platform = await new Platform().start();
    await platform.register('host-1');
    await platform.createMachine('web', { ...WITH_DEVICES, cpu: CPU, memory: MEMORY });
    await platform.settle();
  });
  afterEach(() => platform.killCompute());

  const agent = () => {
    const party = platform.agents.get('host-1');
    if (party === undefined) throw new Error('host-1 has an agent');
    return party;
  };
  const asked = (type: string) => agent().asked.filter((message) => message.type === type);
  const withDisk = { disks: [...WITH_DEVICES.disks, { name: 'data', size: '2Gi' }] };

  it('changes hardware of the domain that runs', async () => {
    expect((await platform.changeMachine('web', { cpu: { ...CPU, vcpus: 3, weight: 256, cap: 0, pin: '' } })).ok).toBe(
      true,
    );
    await platform.settle();
    expect(asked('ChangeDomain').map(({ data }) => data)).toEqual([{ incarnation: 1, vcpus: 3 }]);
    expect(platform.machine('web')).toMatchObject({ vcpus: 3, memoryTarget: '2Gi', currentOperations: {} });
  });

  it('plugs a disk and takes it away again with all that belongs to it', async () => {
    expect((await platform.changeMachine('web', withDisk)).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web')['disks']).toEqual([
      { name: 'root', volume: 'web-root', attached: true },
      { name: 'data', volume: 'web-data', attached: true },
    ]);
    expect(asked('AttachDisk')[0]?.data).toMatchObject({ disk: { name: 'data', volume: 'web-data', sizeBytes: 1024 } });
    expect(platform.volumes.size).toBe(2);
    expect((await platform.changeMachine('web', { disks: WITH_DEVICES.disks, nics: [] })).ok).toBe(true);
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ disks: [{ name: 'root', attached: true }], nics: [] });
    expect([platform.volumes.size, platform.ports.size]).toEqual([1, 0]);
  });

  it.each(['host_device_failed', 'command_unknown'])('takes everything back when the host answers %s', async (code) => {
    agent().refusal = ({ type }) => (type === 'AttachDisk' ? reject(code, 'no') : null);
    await platform.changeMachine('web', withDisk);
    await platform.settle();
    expect(platform.machine('web')).toMatchObject({ phase: 'Running', disks: [{ name: 'root' }] });
    expect(platform.document(machineUid('web'))).toMatchObject({ spec: { disks: [{ name: 'root' }] } });
    expect(platform.operations().at(-1)?.phase).toBe('Failed');
    expect(platform.volumes.size).toBe(1);
  });
});
