import { describe, expect, it } from 'vitest';
import {
  timingFor,
  xenHostModel,
  type DeviceEffects,
  type DeviceFault,
  type DomainSettings,
  type HostEvent,
  type HostState,
} from '../index.js';

const GIBIBYTE = 2 ** 30;
const START = 1_000_000;
const model = xenHostModel(timingFor(1_000));
const born = (): HostState => model.create({ name: 'host-0001', seed: 'spec', profile: '1x4-16', at: START });

const SETTINGS: DomainSettings = {
  name: 'web',
  namespace: 'shop',
  guestType: 'pvh',
  vcpus: 1,
  maxVcpus: 1,
  weight: 256,
  cap: 0,
  pin: '',
  staticMaxBytes: GIBIBYTE,
  dynamicMinBytes: GIBIBYTE,
  dynamicMaxBytes: GIBIBYTE,
  disks: [{ name: 'root', volume: 'v', sizeBytes: GIBIBYTE, readOnly: false }],
  nics: [{ name: 'eth0', mac: '00:16:3e:00:00:01', bridge: 'xenbr0', ips: [] }],
  pvDrivers: true,
  ignoresShutdown: false,
  onPoweroff: 'destroy',
  onReboot: 'restart',
  onCrash: 'destroy',
};

const fault = (effects: DeviceEffects, change: Partial<DeviceFault> = {}): DeviceFault => ({
  rule: 'rule',
  machines: [],
  devices: [],
  effects,
  probability: 1,
  seed: 0,
  left: null,
  ...change,
});

/** Starts the machine under these faults and lets an hour pass. */
const startUnder = (...faults: readonly DeviceFault[]) => {
  const state = born();
  model.apply(state, { do: 'setFaults', faults }, START);
  const events: HostEvent[] = [];
  const input = { do: 'start', ticket: 't', uid: 'u', incarnation: 1, settings: SETTINGS, paused: false } as const;
  events.push(...model.apply(state, input, START));
  events.push(...model.advance(state, START + 3_600_000));
  const answer = events.find((event) => event.type === 'answered');
  const strikes = events.flatMap((event) => (event.type === 'faultStruck' ? [event.what] : []));
  return { state, answer, strikes, tookMs: (answer?.at ?? 0) - START };
};

const messageOf = (answer: HostEvent | undefined): string =>
  answer?.type === 'answered' && !answer.result.ok
    ? `${answer.result.rejection.code}: ${answer.result.rejection.message}`
    : 'ok';

const read = (state: HostState, path: string): string =>
  model.tool(state, { tool: 'xenstore', args: ['read', path], at: START + 3_600_000 }).stdout.trim();

describe('faults of devices', () => {
  it('let a failing script refuse the start in its own words', () => {
    const { state, answer, strikes } = startUnder(fault({ failHotplug: 'no such LUN' }, { devices: ['root'] }));
    expect(messageOf(answer)).toBe('host_device_failed: web could not be started on host-0001: disk root: no such LUN');
    expect(strikes).toEqual(['failHotplug web/root']);
    expect(model.inventory(state)).toEqual([]);
  });

  it('let a stalled script be killed after libxl’s 40 seconds', () => {
    const { answer, strikes, tookMs } = startUnder(fault({ stallHotplug: true }, { devices: ['eth?'] }));
    expect(messageOf(answer)).toBe(
      'host_device_failed: web could not be started on host-0001: nic eth0: killing execution of /etc/xen/scripts/vif-bridge online because of timeout',
    );
    expect(strikes).toEqual(['stallHotplug web/eth0']);
    expect(tookMs).toBeGreaterThan(40_000);
    expect(tookMs).toBeLessThan(42_000);
  });

  it.each(['backend', 'toolstack', 'all'] as const)(
    'let libxl give up after 10 seconds when watches of %s are lost',
    (of) => {
      const { state, answer, tookMs } = startUnder(fault({ dropWatches: of }, { devices: ['root'] }));
      expect(messageOf(answer)).toBe(
        'host_device_failed: web could not be started on host-0001: disk root: unable to add device with path /local/domain/0/backend/vbd/1/51712',
      );
      expect(tookMs).toBeGreaterThan(10_000);
      expect(tookMs).toBeLessThan(12_000);
      // The domain is gone whole, though nobody heard of it.
      expect(model.inventory(state)).toEqual([]);
      expect(model.figures(state).freeMemoryBytes).toBe(model.figures(born()).freeMemoryBytes);
      expect(model.nextDue(state)).toBeNull();
    },
  );

  it('let a guest wait for a disk whose watch its driver lost, until it looks again', () => {
    const undisturbed = startUnder();
    const late = startUnder(fault({ dropWatches: 'frontend' }, { devices: ['root'] }));
    expect(messageOf(late.answer)).toBe('ok');
    const delay = late.tookMs - undisturbed.tookMs;
    expect(delay).toBeGreaterThan(9_000);
    expect(delay).toBeLessThan(11_000);
    expect(read(late.state, '/local/domain/1/device/vbd/51712/state')).toBe('4');
  });

  it('strike as often as they may, and no more', () => {
    const { answer, strikes, state } = startUnder(fault({ dropWatches: 'frontend' }, { left: 1 }));
    expect(messageOf(answer)).toBe('ok');
    expect(strikes).toHaveLength(1);
    expect(state.faults[0]?.left).toBe(0);
  });

  it.each([
    [{ machines: ['web'] }, true],
    [{ machines: ['shop/*'] }, true],
    [{ machines: ['default/web'] }, false],
    [{ machines: ['w?b'], devices: ['data'] }, false],
    [{ probability: 0 }, false],
  ])('concern %o: %o', (change, struck) => {
    expect(startUnder(fault({ failHotplug: 'no' }, change)).strikes.length > 0).toBe(struck);
  });

  it('outlive a crash of the host, and end when another list comes', () => {
    const state = born();
    model.apply(state, { do: 'setFaults', faults: [fault({ failHotplug: 'no' })] }, START);
    model.apply(state, { do: 'crash' }, START);
    expect(state.faults).toHaveLength(1);
    model.apply(state, { do: 'setFaults', faults: [] }, START);
    expect(state.faults).toEqual([]);
  });
});
